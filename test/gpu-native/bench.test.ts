// The benchmark follows the engine's contract: both kinds of work run to finite numbers and are timed. Figures are not judged here.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

const script = join(__dirname, "../../gpu-native/bench/bench.mjs");

it.each(["f32", "bf16"])("a lab-shaped step and batch of trials run and are timed in %s", (dtype) => {
  const run = spawnSync(
    process.execPath,
    [script, "--shapes", "lab", "--dtypes", dtype, "--repeats", "1", "--no-kernels"],
    {
      encoding: "utf8",
    },
  );
  expect(run.stderr).toBe("");
  expect(run.status).toBe(0);
  for (const what of ["training examples/s", "trials/s"]) {
    const row = run.stdout.split("\n").find((line) => line.includes(what));
    expect(Number(/steerlab\W+(?:training examples|trials)\/s\W+([\d.]+)/.exec(row ?? "")?.[1])).toBeGreaterThan(0);
  }
});
