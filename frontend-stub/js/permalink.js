// permalink: #seq=N in the address names the message whose detail is open.
import { get, history } from './api.js';
import { address } from './query.js';
import { showProblem } from './problem.js';

export function setHash(query, hash) {
  if (location.hash !== hash) window.history.replaceState(null, '', address(query) + hash);
}

async function open(detail, load) {
  try {
    detail.show(await load());
  } catch (problem) {
    showProblem(problem, () => open(detail, load));
  }
}

export const openId = (detail, id) => open(detail, () => get(`/v1/messages/${encodeURIComponent(id)}`));

// Loads the message by its sequence, since the feed may not show it.
export function openLinked(detail) {
  const seq = /^#seq=(\d+)$/.exec(location.hash)?.[1];
  if (!seq || String(detail.message?.seq) === seq) return;
  open(detail, async () => {
    const { messages } = await history(new URLSearchParams({ after: Math.max(0, seq - 1), limit: 1 }));
    const found = messages.find((message) => String(message.seq) === seq);
    if (!found) throw Object.assign(new Error(`History has no message with sequence ${seq}.`), { title: 'Not found', errors: [] });
    return found;
  });
}
