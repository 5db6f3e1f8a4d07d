// Typed content. On the wire, content is a string; a type that is registered here has JSON in it.

import { ContentError } from "./errors.js";

/** A validator of the Standard Schema specification (https://standardschema.dev): zod, valibot, arktype and others. */
export interface StandardSchema<Output = unknown> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string;
        readonly path?: readonly unknown[] | undefined;
      }[];
    };

/** How content is checked: not at all (`"json"`), by a function that returns it or throws, or by a schema. */
export type ContentType<Content> = "json" | ((value: unknown) => Content) | StandardSchema<Content>;

/** The text for the wire; undefined for a text that is left out. */
export async function encode(
  type: ContentType<unknown> | undefined,
  name: string,
  value: unknown,
): Promise<string | undefined> {
  if (type === undefined) {
    if (value === undefined || typeof value === "string") return value;
    throw new ContentError(
      `the content of ${name} must be a string, or ${name} one of the client's contents`,
    );
  }
  const text = JSON.stringify(await check(type, name, value, undefined));
  if (text === undefined) throw new ContentError(`the content of ${name} is missing`);
  return text;
}

/** The value of a text from the wire. `received` is what the text came in. */
export async function decode(
  type: ContentType<unknown> | undefined,
  name: string,
  text: string,
  received: unknown,
): Promise<unknown> {
  if (type === undefined) return text;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ContentError(`the content of ${name} is not JSON`, { cause, received });
  }
  return check(type, name, value, received);
}

/** The value as the content type returns it. */
export async function check(
  type: ContentType<unknown>,
  name: string,
  value: unknown,
  received: unknown,
): Promise<unknown> {
  if (type === "json") return value;
  if (!isSchema(type)) {
    try {
      return type(value);
    } catch (cause) {
      const text = cause instanceof Error ? cause.message : String(cause);
      throw new ContentError(`the content of ${name} is refused: ${text}`, { cause, received });
    }
  }
  const result = await type["~standard"].validate(value);
  if (result.issues === undefined) return result.value;
  const faults = result.issues.map(({ message, path }) =>
    [path?.map(key).join("."), message].filter(Boolean).join(": "),
  );
  throw new ContentError(`the content of ${name} is refused: ${faults.join("; ")}`, {
    cause: result.issues,
    received,
  });
}

// Some schemas are functions too.
function isSchema(type: Exclude<ContentType<unknown>, "json">): type is StandardSchema {
  return "~standard" in type;
}

function key(segment: unknown): string {
  return String(segment instanceof Object && "key" in segment ? segment.key : segment);
}
