// Questions: a message, and the wait for its answer, asked on under the same id until the time is over.

import { Backoff } from "./backoff.js";
import { NoReplyError } from "./errors.js";
import { FIRST_WAIT, REPLY_WITHIN_S } from "./limits.js";
import { type CallOptions, isTransient, pause, type Transport } from "./transport.js";
import type { Envelope } from "./types.js";

/** Posts the question, and resolves with the answer. `body` has an id. */
export async function ask(
  transport: Transport,
  body: object,
  withinS: number,
  options: CallOptions,
): Promise<Envelope> {
  const backoff = new Backoff(FIRST_WAIT);
  const deadline = Date.now() + withinS * 1000;
  const retryUntil = Math.max(deadline, Date.now() + transport.settings.retryFor);
  for (let left = withinS; ; left = Math.max(1, Math.round((deadline - Date.now()) / 1000))) {
    const reply_within = Math.min(left, REPLY_WITHIN_S);
    const call = { method: "POST", path: "/v1/messages", query: { reply_within }, body } as const;
    try {
      const { reply } = await transport.json<{ reply: Envelope }>({
        ...call,
        waitS: reply_within,
        ...options,
      });
      return reply;
    } catch (error) {
      // No reply before the time: the server was stopped, or does not wait for so long in one request.
      const goesOn = error instanceof NoReplyError ? Date.now() + 1000 <= deadline : isTransient(error);
      if (!goesOn || Date.now() > retryUntil) throw error;
      await pause(error, backoff, options.signal);
    }
  }
}
