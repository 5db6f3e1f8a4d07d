// The position of a stream across its connections. No I/O.
// Invariant: it moves only by the id of an event, and a message at or below it is not yielded again.

/** Where a stream begins. */
export interface Start {
  /** The first message has this sequence or a higher one; `start`: everything kept; `now`, the default: what comes. */
  from?: number | "start" | "now" | undefined;
  /** Resume after this sequence: what `cursor` of an earlier stream was, or the `seq` of the last message handled. */
  since?: number | undefined;
}

export class Cursor {
  readonly #from: string;
  #after: number | undefined;
  #floor: number;

  constructor(start: Start) {
    if (start.from !== undefined && start.since !== undefined) {
      throw new TypeError("a stream begins from one place: from or since");
    }
    this.#from = String(start.from ?? "now");
    this.#after = start.since;
    this.#floor = start.since ?? 0;
  }

  /** The sequence to resume after; undefined before the first event of a stream that began with `from`. */
  get after(): number | undefined {
    return this.#after;
  }

  /** The query and headers that the next connection begins with. */
  request(): { query: { from?: string }; headers: Record<string, string> } {
    return this.#after === undefined
      ? { query: { from: this.#from }, headers: {} }
      : { query: {}, headers: { "last-event-id": String(this.#after) } };
  }

  /**
   * The connection is ready: nothing at or below `id` is owed. A stream that waits for a sequence beyond the end of
   * the log keeps asking for it: as a cursor, that sequence would be ahead of the log.
   */
  ready(id: number): void {
    this.#floor = id;
    const waitsForSequence = this.#after === undefined && /^\d+$/.test(this.#from);
    if (!waitsForSequence) this.#after = id;
  }

  /** Moves to this sequence. False if the cursor is there or beyond already. */
  pass(id: number): boolean {
    if (id <= this.#floor) return false;
    this.#floor = id;
    this.#after = id;
    return true;
  }
}
