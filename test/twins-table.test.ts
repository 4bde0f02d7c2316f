// README's table of the study among its twins is made of the shipped rows, and they are of whole comparisons.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { TwinRow } from "../kernel-lib/src/evaluate";
import { type Metric, quote } from "../kernel-lib/src/runs";
import { defaultTwins, loadProtocol } from "../kernel-lib/src/study";

const root = join(__dirname, "..");
const rows = JSON.parse(readFileSync(join(root, "data/published/lab-model-twins.json"), "utf8")) as TwinRow[];
const readme = readFileSync(join(root, "README.md"), "utf8");
const twins = [...new Set(rows.map(({ twin }) => twin))];

/** One value per seed, in order of seeds. */
const seeds = (twin: string, value: (row: TwinRow) => number | null | undefined): string =>
  rows
    .filter((row) => row.twin === twin)
    .sort((a, b) => a.seed - b.seed)
    .map((row) => value(row)?.toFixed(3))
    .join(" / ");

const line = (twin: string): string =>
  `| ${[
    twin === "study" ? "**study** (strict)" : twin,
    seeds(twin, (row) => row.validationAccuracy),
    seeds(twin, (row) => row.balancedAccuracy.value),
    seeds(twin, (row) => row.selectivity?.value),
    seeds(twin, (row) => row.falseAlarmRate.value),
    seeds(twin, (row) => row.shift.value),
    seeds(twin, (row) => row.chatDivergence.value),
  ].join(" | ")} |`;

describe("yardsticks", () => {
  const { metrics, contexts } = JSON.parse(
    readFileSync(join(root, "data/published/lab-model-yardsticks.json"), "utf8"),
  ) as { metrics: Metric[]; contexts: number };
  const row = (strength: number | undefined): string =>
    ["tuned", "norm", "probe"]
      .map((condition) => metrics.filter((of) => of.condition === condition && of.group.strength === strength))
      .map(([metric]) => quote(metric))
      .join(" | ");

  it.each([
    ["all", undefined],
    [".08 of the norm", 0.08],
    [".2", 0.2],
  ])("push %s is quoted in README as it was measured", (push, strength) => {
    expect(readme).toContain(`| ${push} | ${row(strength)} |`);
    expect(readme).toContain(`fitted on ${contexts.toLocaleString("en-US")} contexts`);
  });
});

describe("the study among its twins", () => {
  it("holds every twin by the same seeds and steps", () => {
    const trained = rows.map(({ seed, steps }) => `${seed} ${steps}`);
    expect(new Set(trained).size).toBe(3);
    expect(rows).toHaveLength(3 * twins.length);
    expect(twins).toEqual(["study", ...defaultTwins(loadProtocol("strict"))]);
  });

  it.each(twins)("%s is quoted in README as it was measured", (twin) => {
    expect(readme).toContain(line(twin));
  });
});
