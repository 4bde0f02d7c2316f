// Coverage of every interval kind and false positives of every test, by simulation with crossed clusters. The slow suite draws ten
// times as many data sets and holds the tables of kernel-lib/docs/statistics.md to them; to remake the table:
//   STEERLAB_SLOW=1 npx vitest run test/kernel-lib/stats/coverage.test.ts -u
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import * as stats from "../../../kernel-lib/src/stats";
import { scenarios } from "./scenarios";
import { type Scenario, simulate } from "./simulation";

const page = path.resolve(import.meta.dirname, "../../../kernel-lib/docs/statistics.md");
const slow = process.env.STEERLAB_SLOW === "1";
const rng = random(20);

function passes({ kind, bound, naive = false }: Scenario, share: number): boolean {
  const isGood = kind === "test" ? share <= bound : share >= bound;
  return isGood !== naive;
}

describe("coverage and false positives", () => {
  for (const scenario of scenarios) {
    it(scenario.name, () => {
      const { share } = simulate(scenario, scenario.sets, rng);
      expect(passes(scenario, share), `${share} against ${scenario.bound}`).toBe(true);
    }, 120_000);
  }
});

/** The page with its table replaced by rows of these scenarios. */
function withTable(text: string, kind: Scenario["kind"], rows: readonly string[]): string {
  const [start, end] = [`<!-- ${kind}s: begin -->\n`, `<!-- ${kind}s: end -->`];
  const [from, to] = [text.indexOf(start) + start.length, text.indexOf(end)];
  return `${text.slice(0, from)}${rows.join("\n")}\n${text.slice(to)}`;
}

const HEADS: Readonly<Record<Scenario["kind"], readonly string[]>> = {
  interval: ["| interval | coverage | mean width | data sets |", "| --- | --- | --- | --- |"],
  test: ["| test | rejected at .05 | data sets |", "| --- | --- | --- |"],
  claim: ["| claim | held | runs |", "| --- | --- | --- |"],
};

/** Functions of the room's door that make no interval, no p-value and no claim of their own. */
const DESCRIPTIVE = new Set([
  "midranks",
  "percentileInterval", // the ends of crossedBootstrap and thresholdInterval
  "sortedQuantile",
  "designEffect",
  "intraclassCorrelation",
  "kish",
  "criterion",
  "fitLogistic",
  "differences",
  "fitPsychometric",
  "betaQuantile",
  "incompleteBeta",
  "logGamma",
  "normalCdf",
  "normalQuantile",
  "studentCdf",
  "studentQuantile",
]);

describe("what the stats room gives", () => {
  const names = Object.entries(stats).flatMap(([name, value]) => (typeof value === "function" ? [name] : []));
  const simulated = new Set(scenarios.filter(({ naive }) => naive !== true).map(({ name }) => name.split(/[ ,]/)[0]));

  it.each(names.filter((name) => !DESCRIPTIVE.has(name)))("%s is simulated", (name) => {
    expect(simulated).toContain(name);
  });

  it.each([...DESCRIPTIVE])("%s is there and describes", (name) => {
    expect(names).toContain(name);
    expect(simulated).not.toContain(name);
  });
});

describe("the page of statistics", () => {
  it("has a row for every scenario", () => {
    const text = fs.readFileSync(page, "utf8");
    for (const { name } of scenarios) expect(text).toContain(`| ${name} |`);
  });

  it.runIf(slow)(
    "shows what the simulations give",
    async () => {
      let text = fs.readFileSync(page, "utf8");
      for (const kind of ["interval", "test", "claim"] as const) {
        const rows = scenarios
          .filter((scenario) => scenario.kind === kind)
          .map((scenario) => {
            const sets = 10 * scenario.sets;
            const { share, width } = simulate(scenario, sets, rng);
            const cells = kind === "interval" ? [share.toFixed(3), width?.toFixed(3) ?? "open"] : [share.toFixed(3)];
            return `| ${[scenario.name, ...cells, sets].join(" | ")} |`;
          });
        text = withTable(text, kind, ["", ...HEADS[kind], ...rows, ""]);
      }
      await expect(text).toMatchFileSnapshot(page);
    },
    3_600_000,
  );
});
