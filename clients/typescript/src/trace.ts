// `traceparent` of the current OpenTelemetry context, if `@opentelemetry/api` is installed.

import { isServerSide } from "./settings.js";

interface Api {
  context: { active(): unknown };
  propagation: { inject(context: unknown, carrier: Record<string, string>): void };
}

let loaded: Promise<Api | undefined> | undefined;

/** Adds the headers of the current trace. Browsers have no such package to import by name: see `Settings.propagate`. */
export async function addTraceHeaders(headers: Record<string, string>): Promise<void> {
  loaded ??= load();
  const api = await loaded;
  api?.propagation.inject(api.context.active(), headers);
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
