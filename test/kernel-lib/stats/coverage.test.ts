// Coverage of every interval kind and false positives of every test, by simulation with crossed clusters. The slow suite draws ten
// times as many data sets and holds the table of kernel-lib/docs/statistics.md to them; to remake the table:
//   STEERLAB_SLOW=1 npx vitest run test/kernel-lib/stats/coverage.test.ts -u
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import { scenarios } from "./scenarios";
import { type Scenario, simulate } from "./simulation";

const page = path.resolve(import.meta.dirname, "../../../kernel-lib/docs/statistics.md");
const slow = process.env.STEERLAB_SLOW === "1";
const rng = random(20);

function passes({ kind, bound, naive = false }: Scenario, share: number): boolean {
  const isGood = kind === "interval" ? share >= bound : share <= bound;
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

describe("the page of statistics", () => {
  it("has a row for every scenario", () => {
    const text = fs.readFileSync(page, "utf8");
    for (const { name } of scenarios) expect(text).toContain(`| ${name} |`);
  });

  it.runIf(slow)(
    "shows what the simulations give",
    async () => {
      let text = fs.readFileSync(page, "utf8");
      for (const kind of ["interval", "test"] as const) {
        const rows = scenarios
          .filter((scenario) => scenario.kind === kind)
          .map((scenario) => {
            const sets = 10 * scenario.sets;
            const { share, width } = simulate(scenario, sets, rng);
            const cells = kind === "interval" ? [share.toFixed(3), width?.toFixed(3) ?? "open"] : [share.toFixed(3)];
            return `| ${[scenario.name, ...cells, sets].join(" | ")} |`;
          });
        const head =
          kind === "interval"
            ? ["| interval | coverage | mean width | data sets |", "| --- | --- | --- | --- |"]
            : ["| test | rejected at .05 | data sets |", "| --- | --- | --- |"];
        text = withTable(text, kind, ["", ...head, ...rows, ""]);
      }
      await expect(text).toMatchFileSnapshot(page);
    },
    1_200_000,
  );
});
