// Values and patterns of the table of cases (clients/conformance/README.md).

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export type Names = Map<string, unknown>;
type Members = Record<string, unknown>;

const isObject = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The value with its names replaced by what they are bound to. */
export function expand(value: unknown, names: Names): unknown {
  if (typeof value === "string") return expandText(value, names);
  if (Array.isArray(value)) return value.map((each) => expand(each, names));
  if (!isObject(value)) return value;
  if (typeof value.$times === "number") {
    return Array.from({ length: value.$times }, (_, i) => expand(value.of, new Map(names).set("i", i)));
  }
  if (typeof value.$text === "string") return value.$text.repeat(value.times as number);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, expand(each, names)]));
}

function expandText(text: string, names: Names): unknown {
  const whole = /^\$\{([^}]+)\}$/.exec(text);
  if (whole?.[1] !== undefined) return bound(whole[1], names);
  return text.replace(/\$\{([^}]+)\}/g, (_, name: string) => String(bound(name, names)));
}

function bound(name: string, names: Names): unknown {
  const [first = "", ...parts] = name.split(".");
  if (!names.has(first)) throw new Error(`${first} is not bound`);
  return parts.reduce<unknown>((value, part) => (value as Members)[part], names.get(first));
}

/** Why the value does not match, or undefined if it does. Binds names on the way. */
export function mismatch(pattern: unknown, value: unknown, names: Names, at = "result"): string | undefined {
  const fails = (what: string) => `${at} ${what}, but is ${JSON.stringify(value)}`;
  if (typeof pattern === "string")
    return matchesText(pattern, value) ? undefined : fails(`must be ${pattern}`);
  if (Array.isArray(pattern)) {
    if (!Array.isArray(value) || value.length !== pattern.length)
      return fails(`must have ${pattern.length} elements`);
    return first(pattern, (each, i) => mismatch(each, value[i], names, `${at}[${i}]`));
  }
  if (!isObject(pattern)) return pattern === value ? undefined : fails(`must be ${JSON.stringify(pattern)}`);
  if (Object.keys(pattern).some((name) => name.startsWith("$"))) return special(pattern, value, names, at);
  if (!isObject(value)) return fails("must be an object");
  return first(Object.entries(pattern), ([name, each]) =>
    mismatch(each, value[name], names, `${at}.${name}`),
  );
}

function first<T>(items: T[], check: (item: T, i: number) => string | undefined): string | undefined {
  for (const [i, item] of items.entries()) {
    const found = check(item, i);
    if (found !== undefined) return found;
  }
  return undefined;
}

function matchesText(pattern: string, value: unknown): boolean {
  switch (pattern) {
    case "$any":
      return value !== undefined;
    case "$absent":
      return value === undefined || value === null;
    case "$string":
      return typeof value === "string";
    case "$number":
      return typeof value === "number";
    case "$object":
      return isObject(value);
    case "$seq":
      return Number.isInteger(value) && (value as number) > 0;
    case "$uuid":
      return typeof value === "string" && UUID.test(value);
    case "$time":
      return typeof value === "string" && TIME.test(value);
    default:
      if (pattern.startsWith("$")) throw new Error(`no such pattern: ${pattern}`);
      return pattern === value;
  }
}

function special(pattern: Members, value: unknown, names: Names, at: string): string | undefined {
  const fails = (what: string) => `${at} ${what}, but is ${JSON.stringify(value)}`;
  const matches = (each: unknown, one: unknown) => mismatch(each, one, names, at) === undefined;
  if ("$bind" in pattern) {
    const found = "is" in pattern ? mismatch(pattern.is, value, names, at) : undefined;
    if (found === undefined) names.set(pattern.$bind as string, value);
    return found;
  }
  if ("$has" in pattern) {
    const has = typeof value === "string" && value.includes(pattern.$has as string);
    return has ? undefined : fails(`must have ${JSON.stringify(pattern.$has)}`);
  }
  if (!Array.isArray(value)) return fails("must be an array");
  if ("$length" in pattern) {
    return value.length === pattern.$length ? undefined : fails(`must have ${pattern.$length} elements`);
  }
  if ("$includes" in pattern) {
    return first(pattern.$includes as unknown[], (each) =>
      value.some((one) => matches(each, one)) ? undefined : fails(`must include ${JSON.stringify(each)}`),
    );
  }
  if ("$excludes" in pattern) {
    return value.some((one) => matches(pattern.$excludes, one)) ? fails("must exclude a match") : undefined;
  }
  if ("$unordered" in pattern) {
    const patterns = pattern.$unordered as unknown[];
    const pairs = patterns.length === value.length && assign(patterns, value, matches);
    return pairs ? undefined : fails(`must be, in any order, ${JSON.stringify(patterns)}`);
  }
  throw new Error(`no such pattern: ${JSON.stringify(pattern)}`);
}

/** Whether each pattern can have an element of its own. */
function assign(
  patterns: unknown[],
  left: unknown[],
  matches: (pattern: unknown, one: unknown) => boolean,
): boolean {
  const [pattern, ...others] = patterns;
  if (patterns.length === 0) return true;
  return left.some((one, i) => matches(pattern, one) && assign(others, left.toSpliced(i, 1), matches));
}
