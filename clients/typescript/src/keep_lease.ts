// Extends a lease at every third of its time, so that two extensions may fail before it is lost.

import type { Leases } from "./leases.js";
import { EXTEND_EVERY } from "./limits.js";
import { sleep } from "./time.js";
import { isTransient } from "./transport.js";
import type { Job } from "./types.js";

/**
 * Keeps the lease of a job until `over` is aborted, and reports the error that lost it. `date` is the server's clock
 * when it gave the lease: an interval must not depend on this machine's clock being right.
 */
export async function keepLease(
  leases: Leases,
  job: Job,
  date: number | undefined,
  over: AbortSignal,
  onLost: (error: unknown) => void,
): Promise<void> {
  let third = thirdOf(job.lease_expires_at, date);
  let expires = Date.now() + 3 * third;
  try {
    for (;;) {
      await sleep(third, over);
      try {
        const { body, date: now } = await leases.extendDated(job.lease_token, { signal: over });
        third = thirdOf(body.lease_expires_at, now);
        expires = Date.now() + 3 * third;
      } catch (error) {
        if (over.aborted) return;
        if (!isTransient(error) || Date.now() > expires) throw error;
      }
    }
  } catch (error) {
    if (!over.aborted) onLost(error);
  }
}

/** A third of the time that a lease lasts, in milliseconds. `date` is up to 1 s early, which adds a third of it. */
function thirdOf(expiresAt: string, date: number | undefined): number {
  const third = (Date.parse(expiresAt) - (date ?? Date.now())) / 3;
  const longest = date === undefined ? EXTEND_EVERY : third;
  return Math.max(100, Math.min(third, longest) || 0);
}
