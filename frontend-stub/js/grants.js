// grants: what a key may do, as short text.

const MOST = 2; // entries of a list that are named

// The verbs of the lists, in the order of the contract.
const VERBS = { as: 'as', publish: 'publish', read: 'read', enqueue: 'enqueue', work: 'work', can: 'can' };

export const CAPABILITIES = ['observe', 'process', 'webhooks', 'dead_letters', 'import', 'erase', 'schemas', 'claims', 'keys'];

const isEverything = (grants) => ['as', 'enqueue', 'work'].every((name) => grants[name]?.includes('*'))
  && ['publish', 'read'].every((name) => grants[name]?.includes('agent.>'))
  && CAPABILITIES.every((capability) => grants.can?.includes(capability));

function listed(values) {
  if (values.includes('*')) return 'any';
  const more = values.length - MOST;
  return values.slice(0, MOST).join(', ') + (more > 0 ? ` +${more}` : '');
}

// ['as ann', 'publish agent.message.>, agent.task.> +1', 'can observe']
export function brief(grants) {
  if (isEverything(grants)) return ['every grant'];
  const parts = Object.entries(VERBS).filter(([name]) => grants[name]?.length).map(([name, verb]) => `${verb} ${listed(grants[name])}`);
  return parts.length ? parts : ['no grant'];
}

// Every entry, a list a line.
export const inFull = (grants) => Object.keys(VERBS).filter((name) => grants[name]?.length)
  .map((name) => `${name}: ${grants[name].join(', ')}`).join('\n') || 'no grant';
