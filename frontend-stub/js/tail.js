// tail: the newest page of history, so that the feed does not start empty, and older pages.
import { history, Problem } from './api.js';
import { params } from './query.js';

const PAGE = 200;
const PATIENCE_MS = 5000; // a store that hangs must not delay the stream

// The newest page, and the sequence from which the stream continues without gap or duplicate. The stream starts even if
// history cannot be read now; the page is then `owed`.
export async function newest(query, signal) {
  const asked = params(query);
  asked.set('order', 'desc');
  asked.set('limit', PAGE);
  try {
    const { messages, next, committed } = await history(asked, { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]) });
    return { messages, more: next !== null, from: Number.isFinite(committed) ? committed + 1 : 'now' };
  } catch (problem) {
    if (signal.aborted || (problem instanceof Problem && problem.final)) throw problem;
    return { messages: [], more: false, from: 'now', owed: true };
  }
}

export async function before(query, seq, signal) {
  const asked = params(query);
  asked.set('before', seq);
  asked.set('order', 'desc');
  asked.set('limit', PAGE);
  const { messages, next } = await history(asked, { signal });
  return { messages, more: next !== null };
}
