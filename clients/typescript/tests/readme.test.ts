// The examples of the README compile, and run as they stand.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { startServer, type TestServer } from "agentbus/testing";
import { examples } from "./support/readme.js";

const run = promisify(execFile);
const PACKAGE = join(import.meta.dirname, "..");
const FOLDER = join(PACKAGE, "dist-readme");
const CONFIG = {
  extends: "../tsconfig.json",
  compilerOptions: { noEmit: false, types: ["node"], rootDir: ".", outDir: "." },
  include: ["."],
  exclude: [],
};

const found = [...examples("js"), ...examples("ts")];

let server: TestServer;
before(async () => {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER);
  for (const { name, code } of found) writeFileSync(join(FOLDER, `${name}.ts`), code);
  writeFileSync(join(FOLDER, "tsconfig.json"), JSON.stringify(CONFIG));
  server = await startServer();
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(FOLDER, { recursive: true, force: true });
});

test("the README has an example of each feature", () => {
  const sections = readFileSync(join(PACKAGE, "README.md"), "utf8").match(/^## /gm);
  assert.ok(found.length >= 10 && sections !== null && sections.length >= 12);
});

test("the examples compile", async () => {
  await run(process.execPath, [join(PACKAGE, "node_modules/typescript/bin/tsc"), "-p", FOLDER]).catch(
    (error: { stdout: string }) => assert.fail(error.stdout),
  );
});

for (const { name } of found) {
  test(`the example of "${name}" runs`, async () => {
    const env = { ...process.env, AGENTBUS_URL: server.url };
    const { stdout, stderr } = await run(process.execPath, [join(FOLDER, `${name}.js`)], {
      env,
      timeout: 30_000,
    });
    assert.equal(stderr, "");
    assert.notEqual(stdout, "", "each example says what it has done");
  });
}
