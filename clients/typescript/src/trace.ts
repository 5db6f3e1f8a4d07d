// `traceparent` of the current OpenTelemetry context, if `@opentelemetry/api` is installed.

import { isServerSide } from "./settings.js";

interface Api {
  context: { active(): unknown; with<T>(context: unknown, run: () => T): T };
  propagation: {
    inject(context: unknown, carrier: Record<string, string>): void;
    extract(context: unknown, carrier: Record<string, string>): unknown;
  };
}

let loaded: Promise<Api | undefined> | undefined;

/** Adds the headers of the current trace. Browsers have no such package to import by name: see `Settings.propagate`. */
export async function addTraceHeaders(headers: Record<string, string>): Promise<void> {
  loaded ??= load();
  const api = await loaded;
  api?.propagation.inject(api.context.active(), headers);
}

/** Runs a function in the trace that a job came with: its spans and requests continue it. */
export async function inTraceOf<T>(
  job: { traceparent?: string | undefined; tracestate?: string | undefined },
  run: () => T,
): Promise<Awaited<T>> {
  loaded ??= load();
  const api = await loaded;
  const { traceparent, tracestate } = job;
  if (api === undefined || traceparent === undefined) return await run();
  const headers = { traceparent, ...(tracestate === undefined ? {} : { tracestate }) };
  return await api.context.with(api.propagation.extract(api.context.active(), headers), run);
}

async function load(): Promise<Api | undefined> {
  if (!isServerSide()) return undefined;
  // Not a literal, so that bundlers do not look for the package.
  const name = "@opentelemetry/api";
  try {
    return await import(/* webpackIgnore: true */ /* @vite-ignore */ name);
  } catch {
    return undefined;
  }
}
