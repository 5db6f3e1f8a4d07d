import assert from "node:assert/strict";
import { Agentbus, type AgentbusOptions, type Gap, type Message, type MessageStream } from "agentbus";

/** A client that keeps what it logs. */
export function quietBus(options: AgentbusOptions): { bus: Agentbus; logged: string[] } {
  const logged: string[] = [];
  const logger = { warn: (text: string) => logged.push(text), info: (text: string) => logged.push(text) };
  return { bus: new Agentbus({ agent: "ann", ignoreVersion: true, logger, ...options }), logged };
}

/** The contents of the next `count` messages. */
export async function take(stream: MessageStream<Message>, count: number): Promise<string[]> {
  const contents: string[] = [];
  while (contents.length < count) {
    const { value } = await stream.next();
    assert.ok(
      value !== undefined && value.kind !== "gap",
      `a message and not ${JSON.stringify(value as Gap)}`,
    );
    contents.push(value.content);
  }
  return contents;
}

export function numbered(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => String(from + i));
}

/** Messages with these contents. */
export function notes(contents: string[]): { type: string; content: string }[] {
  return contents.map((content) => ({ type: "note", content }));
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}
