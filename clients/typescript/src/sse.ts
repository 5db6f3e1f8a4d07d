// A parser of Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html). No I/O.
// Unlike a browser it reports events without data: a heartbeat has only an id.

import { ConnectionError } from "./errors.js";
import { EVENT_UNITS } from "./limits.js";

export interface SseEvent {
  /** `message` if the block names none. */
  name: string;
  data: string | undefined;
  /** The id of this block alone; it is not carried over from earlier ones. */
  id: string | undefined;
  /** Milliseconds to wait before a reconnect. */
  retry: number | undefined;
}

export class SseParser {
  readonly #decoder = new TextDecoder();
  #rest = "";
  #event = empty();
  #size = 0;

  /** The events that this chunk completes. An event that the stream leaves unfinished is never reported. */
  push(chunk: Uint8Array): SseEvent[] {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    const events: SseEvent[] = [];
    let start = 0;
    for (;;) {
      const end = lineEnd(text, start);
      if (end === undefined) break;
      this.#line(text.slice(start, end.at), events);
      start = end.next;
    }
    this.#rest = text.slice(start);
    if (this.#rest.length + this.#size > EVENT_UNITS) {
      throw new ConnectionError(`an event of the stream is longer than ${EVENT_UNITS} characters`);
    }
    return events;
  }

  #line(line: string, events: SseEvent[]): void {
    if (line === "") {
      if (this.#size > 0) events.push(this.#event);
      this.#event = empty();
      this.#size = 0;
      return;
    }
    if (line.startsWith(":")) return;
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    this.#size += line.length;
    this.#field(field, value);
  }

  #field(field: string, value: string): void {
    const event = this.#event;
    if (field === "event") event.name = value;
    else if (field === "data") event.data = event.data === undefined ? value : `${event.data}\n${value}`;
    else if (field === "id" && !value.includes("\0")) event.id = value;
    else if (field === "retry" && /^\d+$/.test(value)) event.retry = Number(value);
  }
}

function empty(): SseEvent {
  return { name: "message", data: undefined, id: undefined, retry: undefined };
}

// A line ends with LF, CR LF or CR. A CR at the end of the text may belong to a CR LF.
function lineEnd(text: string, start: number): { at: number; next: number } | undefined {
  const lf = text.indexOf("\n", start);
  const line = lf === -1 ? text.length : lf;
  const cr = text.lastIndexOf("\r", line) < start ? -1 : text.indexOf("\r", start);
  if (cr === -1) return lf === -1 ? undefined : { at: lf, next: lf + 1 };
  if (cr === text.length - 1) return undefined;
  return { at: cr, next: text[cr + 1] === "\n" ? cr + 2 : cr + 1 };
}
