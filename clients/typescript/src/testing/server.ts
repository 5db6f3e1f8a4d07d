import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findBinary } from "./binary.js";

/** Milliseconds within which a server is ready, or has stopped. */
const READY_WITHIN = 30_000;
const STOPPED_WITHIN = 20_000;

export interface ServerOptions {
  /** The program; by default what `findBinary` finds. */
  binary?: string | undefined;
  /** A key with every grant: `ab_root_` and 40 letters or digits. */
  rootKey?: string | undefined;
  /** `required`: requests need a key. The server has `rootKey`, or a new one. */
  auth?: "off" | "required" | undefined;
  /** Further settings, as environment variables. */
  env?: Record<string, string> | undefined;
}

/** Starts a server, and resolves when it is ready. */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const server = new TestServer(options, await freePort());
  try {
    await server.start();
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return server;
}

/** One server. It keeps its port and its folder through `restart`; disposing it deletes the folder. */
export class TestServer implements AsyncDisposable {
  readonly url: string;
  /** The folder with `data` and `log`. */
  readonly folder: string;
  /** A key with every grant, if one was given or `auth` is `required`. */
  readonly rootKey: string | undefined;
  readonly #binary: string;
  readonly #env: Record<string, string>;
  #process: ChildProcess | undefined;

  constructor({ binary, auth = "off", rootKey, env = {} }: ServerOptions, port: number) {
    this.url = `http://127.0.0.1:${port}`;
    this.folder = mkdtempSync(join(tmpdir(), "agentbus-"));
    this.#binary = binary ?? findBinary();
    const data = join(this.folder, "data");
    mkdirSync(data);
    // Nothing else of this process's environment may change what the server does.
    this.#env = {
      PATH: process.env.PATH ?? "",
      HTTP_ADDR: `127.0.0.1:${port}`,
      DATA_DIR: data,
      AUTH: auth,
      ...env,
    };
    this.rootKey = rootKey ?? (auth === "required" ? newRootKey() : undefined);
    if (this.rootKey !== undefined) {
      const file = join(this.folder, "root-key");
      writeFileSync(file, `${this.rootKey}\n`, { mode: 0o600 });
      this.#env.ROOT_KEY_FILE = file;
    }
  }

  /** What the server has logged. */
  get log(): string {
    return readFileSync(this.#logPath, "utf8");
  }

  get #logPath(): string {
    return join(this.folder, "log");
  }

  /** Starts the server again after `stop` or `kill`. */
  async start(): Promise<void> {
    if (this.#process !== undefined) throw new Error("the server runs already");
    const log = openSync(this.#logPath, "a");
    this.#process = spawn(this.#binary, ["serve"], { env: this.#env, stdio: ["ignore", log, log] });
    closeSync(log);
    let failure: Error | undefined;
    this.#process.on("error", (error) => {
      failure = error;
    });
    for (const deadline = Date.now() + READY_WITHIN; !(await isReady(this.url)); await sleep(20)) {
      const ended = failure !== undefined || this.#process.exitCode !== null;
      if (ended || Date.now() > deadline) {
        throw new Error(`the server is not ready: ${failure?.message ?? this.log.slice(-2000)}`);
      }
    }
  }

  /** Asks the server to stop, and waits until it has. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Ends the server at once, as a crash would. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Stops and starts the server on the same port and folder. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const ended = this.#process;
    this.#process = undefined;
    if (ended?.pid === undefined || ended.exitCode !== null || ended.signalCode !== null) return;
    const exit = once(ended, "exit");
    ended.kill(signal);
    const late = setTimeout(() => ended.kill("SIGKILL"), STOPPED_WITHIN);
    await exit;
    clearTimeout(late);
  }
}

function newRootKey(): string {
  return `ab_root_${crypto.randomUUID().replaceAll("-", "")}${"0".repeat(8)}`;
}

async function isReady(url: string): Promise<boolean> {
  return fetch(`${url}/readyz`).then(
    (response) => response.ok,
    () => false,
  );
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  listener.close();
  await once(listener, "close");
  if (address === null || typeof address === "string") throw new Error("no free port");
  return address.port;
}
