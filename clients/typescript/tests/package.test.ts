// The package as `npm pack` makes it, installed into an empty project: the README's first lines run there.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
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
  writeFileSync(join(project, "package.json"), '{"private":true,"type":"module"}');
  await install();
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(project, { recursive: true, force: true });
});

async function install(): Promise<void> {
  const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", project];
  const { stdout } = await run("npm", pack, { cwd: PACKAGE });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  const packed = join(project, filename);
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", packed], { cwd: project });
  // What a project for Node.js has besides.
  symlinkSync(join(PACKAGE, "node_modules/@types"), join(project, "node_modules/@types"));
}

test("the packed package runs the README's first lines in an empty project", async () => {
  const [first] = examples("js");
  assert.ok(first);
  writeFileSync(join(project, "first.js"), first.code);
  const env = { ...process.env, AGENTBUS_URL: server.url };
  const result = await run(process.execPath, ["first.js"], { cwd: project, env, timeout: 30_000 });
  assert.deepEqual(result, { stdout: "Please read parser.ts.\n", stderr: "" });
});

const PROJECTS = [
  { name: "a browser's", lib: ["ES2022", "DOM"], types: [], imports: ["agentbus"] },
  { name: "a Node.js", lib: ["ES2022"], types: ["node"], imports: ["agentbus", "agentbus/testing"] },
];

for (const { name, lib, types, imports } of PROJECTS) {
  test(`its types compile in ${name} project that checks libraries too`, async () => {
    const lines = imports.map((path, i) => `export * as part${i} from "${path}";`);
    writeFileSync(join(project, "types.ts"), lines.join("\n"));
    const module = "NodeNext";
    const compilerOptions = { strict: true, target: "ES2022", module, lib, types, noEmit: true };
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["types.ts"] }));
    const compile = run(process.execPath, [join(PACKAGE, "node_modules/typescript/bin/tsc"), "-p", project]);
    await compile.catch((error: { stdout: string }) => assert.fail(error.stdout));
  });
}
