import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

const PROGRAMS = join(import.meta.dirname, "../../tests/programs");

/** A program that runs, with the lines that it has printed. */
export function startProgram(url: string, name: string, ...args: string[]) {
  const env = { ...process.env, AGENTBUS_URL: url };
  const child = spawn(process.execPath, [join(PROGRAMS, name), ...args], {
    env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  let printed = "";
  child.stdout.on("data", (bytes) => {
    printed += bytes;
  });
  const lines = () =>
    printed
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  return { lines, ended: once(child, "close").then(([code]) => code as number | null), child };
}
