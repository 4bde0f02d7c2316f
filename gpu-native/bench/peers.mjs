/** Runs peers.py as a child that does one batch per line of its standard input and answers with the seconds it took. */
import { spawn, spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const script = join(dirname(fileURLToPath(import.meta.url)), "peers.py");
const python = process.env.STEERLAB_PEER_PYTHON ?? "python3";
const NAMES = { loop: "torch + PEFT, one by one", batched: "torch + PEFT, batched" };

/** @returns {Promise<{missing: string} | {name: string, run(what: string): Promise<number>, close(): void}>} */
export async function openPeer(kind, shape, dtype, threads) {
  const probe = spawnSync(python, ["-c", "import torch, transformers, peft"], { encoding: "utf8" });
  if (probe.status !== 0)
    return { missing: `torch, transformers or peft is not installed in ${python} (set STEERLAB_PEER_PYTHON)` };
  const child = spawn(python, [script, kind, shape, dtype, String(threads)], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`The peer ${kind} stopped.`);
    return value;
  };
  if ((await answer()) !== "ready") throw new Error(`The peer ${kind} did not start.`);
  return {
    name: NAMES[kind],
    run: async (what) => {
      child.stdin.write(`${what}\n`);
      return Number(await answer());
    },
    close: () => child.stdin.end(),
  };
}
