// api: requests to the server. A refused request throws a Problem (RFC 9457).
import { parse } from './format.js';

export class Problem extends Error {
  constructor(status, body, retryAfter = null) {
    super(body.needs ? `This key lacks: ${body.needs}` : body.detail || body.title || `The server responded with ${status}`);
    Object.assign(this, { status, title: body.title, code: body.code, needs: body.needs ?? null, retryAfter });
    this.errors = Array.isArray(body.errors) ? body.errors : [];
  }

  // Whether the same request would fail again.
  get final() {
    return this.status >= 400 && this.status < 500 && this.status !== 408 && this.status !== 429;
  }
}

let refused = () => {};
// Sets what happens when the server wants another credential (401).
export const on401 = (act) => { refused = act; };

export async function problemOf(response) {
  if (response.status === 401) refused();
  const type = response.headers.get('content-type') ?? '';
  const after = Number(response.headers.get('retry-after'));
  let body = {};
  if (type.includes('json')) body = (await response.json().catch(() => null)) ?? {};
  return new Problem(response.status, body, Number.isFinite(after) && after > 0 ? after : null);
}

// as: the parser of the response. Messages need the default, which keeps numbers as written; other responses are plain JSON.
export async function get(path, { signal, as = parse } = {}) {
  const response = await fetch(path, { signal, headers: { Accept: 'application/json' }, cache: 'no-store' });
  if (!response.ok) throw await problemOf(response);
  return as(await response.text());
}

// body: JSON text, or undefined. Returns the parsed response, or null if it is empty.
export async function send(method, path, body) {
  const headers = { Accept: 'application/json', ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) };
  const response = await fetch(path, { method, body, headers });
  if (!response.ok) throw await problemOf(response);
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

export const post = (path, body) => send('POST', path, body);

// One page of history, always oldest first.
export async function history(params, { signal } = {}) {
  const page = await get(`/v1/messages?${params}`, { signal });
  const messages = Array.isArray(page.messages) ? page.messages : [];
  if (params.get('order') === 'desc') messages.reverse();
  return { messages, next: page.next ?? null, committed: page.committed_through };
}
