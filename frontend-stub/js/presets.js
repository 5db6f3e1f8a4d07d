// presets: grants for the common kinds of keys. The command line has the same (src/access/preset.rs).
import { CAPABILITIES } from './grants.js';

const agent = (name) => ({
  as: [name], publish: ['agent.message.>', `agent.status.${name}.>`, 'agent.task.>'], enqueue: ['*'],
});

// noun: what the preset is made for, if it is made for something; name: the name of a key that got none.
export const PRESETS = {
  agent: {
    title: 'Agent', kind: 'agent', noun: 'agent', name: (of) => of, grants: agent,
    about: 'Writes messages, its own status and task events. Reads what it sent and what was sent to it. Puts jobs into any queue.',
  },
  human: {
    title: 'Human', kind: 'human', noun: 'person', name: (of) => of,
    grants: (of) => ({ ...agent(of), read: ['agent.>'], can: ['observe'] }),
    about: 'Writes as an agent does, reads everything, and sees how the servers do.',
  },
  watcher: {
    title: 'Watcher', kind: 'service', noun: null, name: () => 'watcher', grants: () => ({ read: ['agent.>'], can: ['observe'] }),
    about: 'Reads everything, and sees how the servers do. Writes nothing.',
  },
  worker: {
    title: 'Worker', kind: 'agent', noun: 'queue', name: (of) => `worker-${of}`, grants: (of) => ({ work: [of] }),
    about: 'Leases jobs from one queue, and nothing else.',
  },
  admin: {
    title: 'Admin', kind: 'human', noun: null, name: () => 'admin',
    grants: () => ({ as: ['*'], publish: ['agent.>'], read: ['agent.>'], enqueue: ['*'], work: ['*'], can: CAPABILITIES }),
    about: 'Every grant there is, also making and revoking keys.',
  },
};
