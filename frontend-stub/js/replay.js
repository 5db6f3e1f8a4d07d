// replay: selects where the feed begins: now, at the start, or at a sequence.
import { $ } from './dom.js';

export class Replay {
  // on: {from(where)}
  constructor(on) {
    $('replay-now').addEventListener('click', () => on.from('now'));
    $('replay-start').addEventListener('click', () => on.from('start'));
    $('replay').addEventListener('submit', (event) => {
      event.preventDefault();
      const wanted = $('replay-from').value.trim().replaceAll(',', '');
      if (wanted) on.from(wanted);
      else $('replay-from').focus();
    });
  }

  show(from) {
    $('replay-now').setAttribute('aria-pressed', String(from === 'now'));
    $('replay-start').setAttribute('aria-pressed', String(from === 'start'));
    const sequence = from !== 'now' && from !== 'start';
    $('replay-from').value = sequence ? from : '';
    $('replay-from').closest('.from').classList.toggle('on', sequence);
  }

  refuse(errors) {
    const error = errors.find((each) => each.parameter === 'from');
    if (error) $('replay-from').setAttribute('aria-invalid', 'true');
    else $('replay-from').removeAttribute('aria-invalid');
  }
}
