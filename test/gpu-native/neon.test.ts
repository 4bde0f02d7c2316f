/**
 * The NEON kernels on any machine: the op driver of ops.test.ts, cross-compiled for aarch64 and run by qemu's user emulation.
 * Needs aarch64-linux-gnu-g++ and qemu-aarch64-static (Debian: g++-aarch64-linux-gnu, qemu-user-static).
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const run = promisify(execFile);
const root = join(__dirname, "..", "..", "gpu-native");
const COMPILER = "aarch64-linux-gnu-g++";
const EMULATOR = "qemu-aarch64-static";
const FLAGS = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fno-math-errno", "-Isrc"];
const present = [COMPILER, EMULATOR].every((tool) => spawnSync(tool, ["--version"]).status === 0);

const sources = ["src/cpu", "test-ops"].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".cpp"))
    .map((name) => join(folder, name)),
);

describe.skipIf(!present)(`NEON kernels (needs ${COMPILER} and ${EMULATOR})`, () => {
  let folder = "";
  let driver = "";

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "steerlab-neon-"));
    driver = join(folder, "ops");
    const objects = sources.map((file) => join(folder, `${basename(file, ".cpp")}.o`));
    const compile = async (first: number): Promise<void> => {
      for (let i = first; i < sources.length; i += 2)
        await run(COMPILER, [...FLAGS, "-c", sources[i] as string, "-o", objects[i] as string], { cwd: root });
    };
    await Promise.all([compile(0), compile(1)]);
    await run(COMPILER, ["-static", ...objects, "-o", driver, "-lpthread"]);
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  for (const dtype of ["f32", "bf16"])
    it.concurrent(`every op in ${dtype} gives its twin's numbers`, async () => {
      const { stdout } = await run(EMULATOR, [driver, dtype, "neon"], { maxBuffer: 1 << 26 });
      const lines = stdout.split("\n");
      expect(lines.filter((line) => line.startsWith("FAIL"))).toEqual([]);
      expect(lines.filter((line) => line.startsWith("ok\t")).length).toBeGreaterThan(600);
      expect(stdout).toMatch(/ linear\.neon=[1-9]/);
    }, 300_000);
});
