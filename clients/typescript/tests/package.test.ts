// The package as `npm pack` makes it, installed into an empty project: the README's first lines run there.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { startServer, type TestServer } from "agentbus/testing";
import { examples } from "./support/readme.js";

const run = promisify(execFile);
const PACKAGE = join(import.meta.dirname, "..");

let server: TestServer;
let project: string;
before(async () => {
  server = await startServer();
  project = mkdtempSync(join(tmpdir(), "agentbus-project-"));
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(project, { recursive: true, force: true });
});

test("the packed package runs the README's five lines in an empty project", async () => {
  const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", project];
  const { stdout } = await run("npm", pack, { cwd: PACKAGE });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  writeFileSync(join(project, "package.json"), '{"private":true}');
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", join(project, filename)], {
    cwd: project,
  });

  const [five] = examples("js");
  assert.ok(five);
  writeFileSync(join(project, "five.mjs"), five.code);
  const env = { ...process.env, AGENTBUS_URL: server.url };
  const result = await run(process.execPath, ["five.mjs"], { cwd: project, env, timeout: 30_000 });
  assert.deepEqual(result, { stdout: "Please read parser.ts.\n", stderr: "" });
});
