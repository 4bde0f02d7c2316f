/** Control questions on the same caches: what an adapter that reads only the cache earns, and one that reads the question. */
import { describe, expect, it } from "vitest";
import { summariseDetection } from "../../../kernel-lib/src/evaluate";
import { findMetrics } from "../../../kernel-lib/src/runs";
import { loadProtocol, type QuestionKind, type TrialRecord } from "../../../kernel-lib/src/study";
import { record } from "../../helpers/records";

const strict = loadProtocol("strict");

/** Forty caches, half steered, each asked for detection and one control of each kind; base and tuned answer by the given rules. */
function study(
  tuned: (kind: QuestionKind, steered: boolean) => boolean,
  base: (kind: QuestionKind, steered: boolean) => boolean = (kind) => kind === "trueFact",
): TrialRecord[] {
  const kinds = ["detection", "reversed", "trueFact", "falseFact", "sideEffect"] as const;
  return Array.from({ length: 40 }, (_, i) => i).flatMap((i) =>
    kinds.flatMap((questionKind) =>
      (["tuned", "base"] as const).map((condition) => {
        const steered = i % 2 === 0;
        return record({
          tier: questionKind === "detection" ? "held_out_random" : "controls",
          condition,
          target: steered ? "steered" : "clean",
          vector: steered ? `random-${100 + i}` : null,
          context: `c${i}`,
          question: `${questionKind}-1`,
          questionKind,
          truth: questionKind === "trueFact" ? "yes" : questionKind === "falseFact" ? "no" : null,
          says: (condition === "tuned" ? tuned : base)(questionKind, steered),
        });
      }),
    ),
  );
}

const one = (records: TrialRecord[], name: string, group: Record<string, string | number> = {}) => {
  const { metrics } = summariseDetection(records, strict);
  const found = findMetrics(metrics, { name, tier: "controls", condition: "tuned", group });
  expect(found).toHaveLength(1);
  return found[0];
};

describe("selectivity", () => {
  it("is what is left of detection when a cache classifier says yes to everything on a steered cache", () => {
    const classifier = study((_, steered) => steered);
    // Leaks: false facts and side effects, 40 of 60 steered controls; true facts get the yes that the base gives too.
    expect(one(classifier, "controlLeak")).toMatchObject({ value: 2 / 3, n: 60 });
    expect(one(classifier, "selectivity").value).toBeCloseTo(1 - 2 / 3, 12);
    expect(one(classifier, "controlYes", { kind: "falseFact", cache: "steered" }).value).toBe(1);
    expect(one(classifier, "controlTruthful", { kind: "trueFact", cache: "clean" }).value).toBe(0);
  });

  it("is whole when the question is read, and negative when only controls are answered yes", () => {
    const reader = study((kind, steered) => (kind === "detection" ? steered : kind === "trueFact"));
    expect(one(reader, "selectivity")).toMatchObject({ value: 1 });
    expect(one(reader, "controlLeak").high!).toBeGreaterThan(0.05); // 20 vectors without a leak still allow some
    const contrary = study((kind) => kind === "falseFact" || kind === "sideEffect");
    expect(one(contrary, "selectivity").value).toBeCloseTo(-2 / 3, 12);
  });

  it("leaves detection figures to detection trials", () => {
    const { metrics } = summariseDetection(
      study((kind, steered) => kind === "detection" && steered),
      strict,
    );
    expect(findMetrics(metrics, { name: "hitRate", tier: "controls" })).toEqual([]);
    expect(
      findMetrics(metrics, { name: "hitRate", tier: "held_out_random", condition: "tuned", group: {} })[0],
    ).toMatchObject({ value: 1, n: 20 });
  });
});
