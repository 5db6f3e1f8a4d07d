// detail: one message with all its members, linked to related messages.
import { $, copy, el } from './dom.js';
import { kindClass, stringify } from './format.js';
import { parts } from './parts.js';
import { avatar } from './row.js';

const panel = $('detail');

export class Detail {
  // on: {open(id), replies(id), reply(message), replay(seq), move(step), closed()}
  constructor(on) { Object.assign(this, { on, message: null }); }

  show(found) {
    const message = { ...found, type: found.type ?? 'unknown', sender_id: found.sender_id ?? 'unknown' };
    this.message = message;
    panel.replaceChildren(this.header(message), el('div', { class: 'body' },
      parts(message, 'detail', (id) => this.on.open(id)).filter(Boolean)));
    panel.className = `detail ${kindClass(message.kind)}`;
    panel.hidden = false;
    panel.scrollTop = 0;
    document.body.classList.add('with-detail');
  }

  close() {
    if (panel.hidden) return;
    panel.hidden = true;
    this.message = null;
    document.body.classList.remove('with-detail');
    this.on.closed();
  }

  header(message) {
    const button = (label, text, onclick, testid) =>
      el('button', { type: 'button', class: 'icon', 'aria-label': label, title: label, onclick, 'data-testid': testid }, text);
    return el('header', {},
      el('div', { class: 'line' }, el('span', { class: 'tag' }, el('i', { class: 'shape' }), String(message.kind)),
        el('span', { class: 'seq' }, `#${message.seq}`), el('span', { class: 'space' }),
        button('Previous message (k)', '↑', () => this.on.move(-1), 'detail-prev'),
        button('Next message (j)', '↓', () => this.on.move(1), 'detail-next'),
        button('Close (Esc)', '×', () => this.close(), 'detail-close')),
      el('h2', {}, String(message.type)),
      el('div', { class: 'route' }, avatar(message.sender_id), el('b', {}, String(message.sender_id)), el('span', { class: 'arrow' }, '→'),
        message.recipient_id ? [avatar(message.recipient_id), el('b', {}, String(message.recipient_id))] : el('span', { class: 'all' }, 'everyone')),
      el('div', { class: 'actions' },
        this.action('Copy JSON', 'detail-copy', () => stringify(message)),
        this.action('Copy link', 'detail-link', () => `${location.origin}${location.pathname}${location.search}#seq=${message.seq}`),
        el('button', { type: 'button', 'data-testid': 'detail-reply', onclick: () => this.on.reply(message) }, 'Reply'),
        el('button', { type: 'button', 'data-testid': 'detail-replies', onclick: () => this.on.replies(message.id) }, 'Replies'),
        el('button', { type: 'button', 'data-testid': 'detail-replay', onclick: () => this.on.replay(message.seq) }, 'Replay from here')));
  }

  action(label, testid, text) {
    const node = el('button', { type: 'button', 'data-testid': testid }, label);
    node.addEventListener('click', async () => {
      await copy(text());
      node.textContent = 'Copied';
      setTimeout(() => { node.textContent = label; }, 1200);
    });
    return node;
  }
}
