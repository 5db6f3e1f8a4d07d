// empty: the text of the feed while it has no messages to show.
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
  if (state === 'reconnecting') return 'The feed continues where it stopped when the server is back.';
  if (state === 'replaying') return 'Searching the log for matching messages.';
  if (filtered) return 'No message matches these filters yet. New ones will appear here.';
  if (from !== 'now' && from !== 'start') return `The log has not reached sequence ${from} yet.`;
  return 'No messages yet. Send the first one with the button above, or:';
}
