// The calls of the table of cases, by the methods of this client.

import { setTimeout as sleep } from "node:timers/promises";
import {
  type Agentbus,
  type BatchResult,
  Gap,
  type Job,
  type NewJob,
  type OutgoingItem,
  PermanentFailure,
} from "agentbus";

// biome-ignore lint/suspicious/noExplicitAny: arguments come from JSON; the server and the cases check them.
export type Args = any;

/** A message of the wire by the names of `send`. */
function outgoing(message: Args): OutgoingItem<Record<string, string>> {
  const { sender_id, sender_role, recipient_id, task_id, conversation_id, ...same } = message;
  const renamed = {
    sender: sender_id,
    role: sender_role,
    to: recipient_id,
    task: task_id,
    conversation: conversation_id,
  };
  const given = Object.entries(renamed).filter(([, value]) => value !== undefined);
  return { ...same, ...Object.fromEntries(given) };
}

async function collect(items: AsyncIterable<unknown>, take = Number.POSITIVE_INFINITY): Promise<unknown[]> {
  const taken: unknown[] = [];
  if (take === 0) return taken;
  for await (const item of items) {
    taken.push(item instanceof Gap ? { gap: item } : item);
    if (taken.length >= take) break;
  }
  return taken;
}

async function inbox(bus: Agentbus, { agent, take, broadcast, ack = true }: Args): Promise<unknown[]> {
  const taken: unknown[] = [];
  await using messages = bus.inbox(agent, { broadcast }, { ack: ack ? "each" : "none" });
  for await (const message of messages) {
    taken.push(message);
    if (taken.length < take) continue;
    if (ack) await messages.ack();
    break;
  }
  return taken;
}

async function work(bus: Agentbus, { queue, until, concurrency }: Args): Promise<unknown[]> {
  const runs: unknown[] = [];
  const handler = async ({ job_id, type, payload, attempt }: Job): Promise<void> => {
    try {
      if (type === "once" && attempt === 1) throw new Error("not yet");
      if (type === "bad") throw new PermanentFailure("no good");
      if (type === "slow") await sleep((payload as { seconds: number }).seconds * 1000);
    } finally {
      runs.push({ job_id, type, payload, attempt });
      if (runs.length >= until) void worker.stop();
    }
  };
  const worker = bus.worker(queue, handler, { concurrency, worker: "runner" });
  await worker.run();
  return runs;
}

function settle({ leases }: Agentbus, { token, action, ...how }: Args): Promise<unknown> {
  if (action === "ack") return leases.ack(token);
  if (action === "nack") return leases.nack(token, how);
  if (action === "fail") return leases.fail(token, how);
  return leases.extend(token);
}

type Call = (bus: Agentbus, args: Args) => Promise<unknown>;

/** Refused and accepted items as the table has them. */
const flat = (results: BatchResult<object>[]) =>
  results.map((result) =>
    "error" in result ? { error: { ...result.error, status: result.status } } : result,
  );

export const CALLS: Record<string, Call> = {
  send: (bus, { ack, idempotency_key, ...message }) => {
    const { type, ...rest } = outgoing(message);
    return bus.send(type, rest, { ack, idempotencyKey: idempotency_key });
  },
  send_many: async (bus, { messages, ack }) => flat(await bus.sendMany(messages.map(outgoing), { ack })),
  get_message: (bus, { id }) => bus.message(id),
  erase: (bus, { id, reason }) => bus.erase(id, reason),
  history: (bus, { take, page_size, ...query }) => collect(bus.history({ ...query, limit: page_size }), take),
  stream: (bus, { take, after, ...query }) => collect(bus.stream({ ...query, since: after }), take),
  inbox,
  inbox_page: (bus, { agent, wait, ...query }) => bus.inboxPage(agent, { ...query, wait_s: wait }),
  inbox_ack: (bus, { agent, through }) => bus.ackInbox(agent, through),
  ask: (bus, { reply_within, ...message }) => {
    const { type, ...rest } = outgoing(message);
    return bus.ask(type, { ...rest, reply_within });
  },
  answer: (bus, { message, ...answer }) => bus.answer(message, outgoing(answer)),
  agents: (bus) => collect(bus.agents()),
  agent: (bus, { id }) => bus.agent(id),
  tasks: (bus, query) => collect(bus.tasks(query)),
  task: (bus, { id }) => bus.task(id),
  set_queue: (bus, { queue, ...settings }) => bus.queues.set(queue, settings),
  queues: (bus) => collect(bus.queues.list()),
  queue: (bus, { queue }) => bus.queues.get(queue),
  delete_queue: (bus, { queue, force }) => bus.queues.delete(queue, { force }),
  enqueue: (bus, { queue, type, payload, ...job }) => bus.enqueue(queue, type, payload, job),
  enqueue_many: async (bus, { queue, jobs }) => flat(await bus.enqueueMany(queue, jobs as NewJob[])),
  lease: (bus, { queue, ...request }) => bus.leases.take(queue, request),
  settle,
  work,
  dead_letters: (bus, query) => collect(bus.deadLetters.list(query)),
  dead_letter: (bus, { id }) => bus.deadLetters.get(id),
  redrive: (bus, { id }) => bus.deadLetters.redrive(id),
  redrive_all: (bus, query) => bus.deadLetters.redriveAll(query),
  discard: (bus, { id }) => bus.deadLetters.discard(id),
  consumers: (bus) => bus.consumers.list(),
  pause_consumer: (bus, { name, reason }) => bus.consumers.pause(name, { reason }),
  resume_consumer: (bus, { name }) => bus.consumers.resume(name),
  reset_consumer: (bus, { name, from }) => bus.consumers.reset(name, { from }),
  webhooks: (bus) => bus.webhooks.list(),
  webhook: (bus, { id }) => bus.webhooks.get(id),
  create_webhook: (bus, webhook) => bus.webhooks.create(webhook),
  set_webhook_state: (bus, { id, state }) =>
    state === "paused" ? bus.webhooks.pause(id) : bus.webhooks.resume(id),
  delete_webhook: (bus, { id }) => bus.webhooks.delete(id),
  keys: (bus) => collect(bus.keys.list()),
  key: (bus, { id }) => bus.keys.get(id),
  create_key: (bus, key) => bus.keys.create(key),
  update_key: (bus, { id, ...change }) => bus.keys.update(id, change),
  rotate_key: (bus, { id, overlap_s }) => bus.keys.rotate(id, { overlap_s }),
  revoke_key: (bus, { id }) => bus.keys.revoke(id),
  audit: (bus, { take, ...query }) => collect(bus.keys.audit(query), take),
  schemas: (bus) => bus.schemas.list(),
  schema: (bus, { kind, type }) => bus.schemas.get(kind, type),
  schema_versions: (bus, { kind, type }) => bus.schemas.versions(kind, type),
  put_schema: (bus, { kind, type, ...schema }) => bus.schemas.put(kind, type, schema),
  check_schema: (bus, { kind, type, ...schema }) => bus.schemas.check(kind, type, schema),
  delete_schema: (bus, { kind, type }) => bus.schemas.delete(kind, type),
  create_ticket: (bus, query) => bus.createTicket(query),
  me: (bus) => bus.me(),
  status: (bus) => bus.status(),
  stats: (bus, query) => bus.stats(query),
};
