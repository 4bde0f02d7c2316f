import { describe, expect, it } from "vitest";
import { summariseDetection } from "../../../kernel-lib/src/evaluate";
import { findMetrics } from "../../../kernel-lib/src/runs";
import { loadProtocol } from "../../../kernel-lib/src/study";
import { records } from "../../helpers/records";

const strict = loadProtocol("strict");

/** 60 steered and 60 clean trials of a tier, `hits` and `alarms` of which get a yes. */
const tier = (name: string, hits: number, alarms: number) => [
  ...records(hits, 60, { tier: name, target: "steered", strength: 0.2 }),
  ...records(alarms, 60, { tier: name, target: "clean" }),
];

describe("gap between trained and held-out tiers", () => {
  const trials = [
    ...tier("in_distribution", 60, 0),
    ...tier("held_out_random", 45, 6),
    ...tier("held_out_strengths", 30, 0),
  ];
  const { metrics } = summariseDetection(trials, strict);

  it("is the loss of balanced accuracy, with an interval and the tier it is against", () => {
    const [gap] = findMetrics(metrics, { name: "gap", tier: "held_out_random", condition: "tuned" });
    expect(gap.value).toBeCloseTo(1 - (45 / 60 + 54 / 60) / 2, 12);
    expect(gap.group).toEqual({ against: "in_distribution" });
    expect(gap.n).toBe(240);
    expect(gap.low as number).toBeLessThan(gap.value as number);
    expect(gap.method).toMatch(/^MOVER of two balanced accuracies/);
  });

  it("is not taken of tiers that push otherwise, nor of what was not asked", () => {
    expect(findMetrics(metrics, { name: "gap" })).toHaveLength(1);
    expect(findMetrics(summariseDetection(tier("held_out_random", 45, 6), strict).metrics, { name: "gap" })).toEqual(
      [],
    );
  });

  it("stands beside hit rates by layer range, over all strengths", () => {
    const [range] = findMetrics(metrics, { name: "hitRateOfRange", tier: "held_out_random" });
    expect(range).toMatchObject({ value: 0.75, n: 60, group: { range: "early" } });
  });
});
