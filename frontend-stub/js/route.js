// route: the page that the address names in its hash: '#tasks?state=open', '#dead-letters/ID'. Any other hash belongs to the live feed.

export const PAGES = { live: 'Live', agents: 'Agents', tasks: 'Tasks', consumers: 'Consumers', queues: 'Queues', 'dead-letters': 'Dead letters', keys: 'Keys', schemas: 'Schemas' };

const decode = (text) => { try { return decodeURIComponent(text); } catch { return text; } };

export function route(hash) {
  const [, page, id, search] = /^#([a-z-]+)(?:\/([^?]*))?(?:\?(.*))?$/.exec(hash) ?? [];
  if (!Object.hasOwn(PAGES, page ?? '') || page === 'live') return { page: 'live', id: null, params: new URLSearchParams() };
  return { page, id: id ? decode(id) : null, params: new URLSearchParams(search ?? '') };
}

// params: {name: value}; empty values are left out.
export function hashOf(page, { id = null, ...params } = {}) {
  const given = new URLSearchParams(Object.entries(params).filter(([, value]) => value));
  return `#${page}${id ? `/${encodeURIComponent(id)}` : ''}${given.size ? `?${given}` : ''}`;
}
