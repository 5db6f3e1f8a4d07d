// The tour of the README with the types that openapi-typescript made: publish, repeat, read history.
import type { components, paths } from "./schema.js";

type NewMessage = components["schemas"]["NewMessage"];
type Receipt = components["schemas"]["Receipt"];
type Page = paths["/v1/messages"]["get"]["responses"][200]["content"]["application/json"];

declare const process: { argv: string[] };
const base = process.argv[2];

async function publish(message: NewMessage, key?: string): Promise<Receipt> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (key !== undefined) headers["idempotency-key"] = key;
  const response = await fetch(`${base}/v1/messages`, { method: "POST", headers, body: JSON.stringify(message) });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as Receipt;
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

async function tour(): Promise<void> {
  const question: NewMessage = {
    kind: "message", type: "question", sender_id: "cyd", recipient_id: "bob", content: "Which port?",
  };
  const receipt = await publish(question);
  check(receipt.seq >= 1 && !receipt.duplicate, "a new message");
  const task: NewMessage = { kind: "task", type: "started", sender_id: "cyd", task_id: "parser-8" };
  const [once, again] = [await publish(task, "parser-8-start"), await publish(task, "parser-8-start")];
  check(once.seq === again.seq && again.duplicate, "a repeat is the same message");
  const page = (await (await fetch(`${base}/v1/messages?sender=cyd&kind=message`)).json()) as Page;
  check(page.messages.length === 1 && page.messages[0].content === "Which port?", "history has it");
}

void tour();
