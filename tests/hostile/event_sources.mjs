// Plain EventSources of the npm package, and what each of them sees: one JSON line an event on standard output.
import { createRequire } from "node:module";

const [folder, url, count] = process.argv.slice(2);
const { EventSource } = createRequire(`${folder}/`)("eventsource");

function tell(source, what, id) {
  process.stdout.write(`${JSON.stringify({ source, what, id })}\n`);
}

for (let source = 0; source < Number(count); source += 1) {
  const events = new EventSource(`${url}/v1/stream?from=1`);
  for (const kind of ["message", "status", "task"]) {
    events.addEventListener(kind, (event) => tell(source, "event", Number(event.lastEventId)));
  }
  events.onopen = () => tell(source, "open");
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) tell(source, "closed");
  };
}
