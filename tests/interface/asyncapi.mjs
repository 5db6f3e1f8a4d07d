// Prints the faults of an AsyncAPI document; fails if it has any.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [file, packages] = process.argv.slice(2);
const { Parser } = createRequire(`${packages}/`)("@asyncapi/parser");
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
// Severity 0 is an error, 1 a warning; the others are advice, such as a newer version of AsyncAPI.
const faults = diagnostics.filter(({ severity }) => severity <= 1);
for (const { code, message, path } of faults) console.error(`${path.join(".")}: ${message} (${code})`);
if (!document || faults.length > 0) process.exit(1);
