import { accessSync, constants } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";

/**
 * The server's program: `AGENTBUS_BIN`, else `agentbus` on the PATH, else a build in a `target` folder here or
 * above.
 */
export function findBinary(): string {
  const named = process.env.AGENTBUS_BIN;
  if (named) {
    if (!isExecutable(named)) throw new Error(`AGENTBUS_BIN=${named} is not a program`);
    return resolve(named);
  }
  const onPath = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "agentbus"));
  const built = [...above(process.cwd())].flatMap((folder) =>
    ["debug", "release"].map((profile) => join(folder, "target", profile, "agentbus")),
  );
  const found = [...onPath, ...built].find(isExecutable);
  if (found === undefined) {
    throw new Error("found no agentbus: set AGENTBUS_BIN to the program's path, or put it on the PATH");
  }
  return found;
}

function* above(folder: string): Generator<string> {
  for (let at = folder; ; at = dirname(at)) {
    yield at;
    if (dirname(at) === at) return;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
