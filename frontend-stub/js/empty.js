// empty: what the feed says while it has nothing to show.
import { $ } from './dom.js';

export function empty(isEmpty, state, filtered, from) {
  $('empty').hidden = !isEmpty || state === 'connecting' || state === 'error';
  if ($('empty').hidden) return;
  $('empty-title').textContent = state === 'replaying' ? 'Replaying' : state === 'reconnecting' ? 'Waiting for the server' : 'Listening';
  $('empty-text').textContent = explain(state, filtered, from);
  $('empty-code').hidden = filtered || state !== 'live';
  $('empty-code').textContent = `curl ${location.origin}/v1/messages \\
  -H 'Content-Type: application/json' \\
  -d '{"kind":"message","type":"greeting","sender_id":"me","content":"hello, squad"}'`;
}

function explain(state, filtered, from) {
  if (state === 'reconnecting') return 'The feed goes on where it stopped as soon as the server is back.';
  if (state === 'replaying') return 'Looking through the log for what matches.';
  if (filtered) return 'Nothing matches these filters so far. What does will appear here.';
  if (from !== 'now' && from !== 'start') return `The log has not come to sequence ${from} yet.`;
  return 'No messages yet. Send the first one with the button above, or:';
}
