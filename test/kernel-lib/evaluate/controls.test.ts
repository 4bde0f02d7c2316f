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
  it("is nothing for a cache classifier, which says yes to everything on a steered cache", () => {
    const classifier = study((_, steered) => steered);
    // True facts, to which the base says yes, cannot leak: 40 of the 60 steered controls are left.
    expect(one(classifier, "controlLeak")).toMatchObject({ value: 1, n: 40 });
    expect(one(classifier, "controlLeakClean")).toMatchObject({ value: 0, n: 40 });
    expect(one(classifier, "selectivity").value).toBeCloseTo(0, 12);
    expect(one(classifier, "selectivity", { kind: "falseFact" }).value).toBeCloseTo(0, 12);
    expect(one(classifier, "controlYes", { kind: "falseFact", cache: "steered" }).value).toBe(1);
    expect(one(classifier, "controlTruthful", { kind: "trueFact", cache: "clean" }).value).toBe(0);
  });

  it("is whole when the question is read, and negative when only controls are answered yes", () => {
    const reader = study((kind, steered) => (kind === "detection" ? steered : kind === "trueFact"));
    expect(one(reader, "selectivity")).toMatchObject({ value: 1 });
    expect(one(reader, "controlLeak").high!).toBeGreaterThan(0.05); // 20 vectors without a leak still allow some
    const contrary = study((kind, steered) => steered && (kind === "falseFact" || kind === "sideEffect"));
    expect(one(contrary, "selectivity").value).toBeCloseTo(-1, 12);
  });

  it("is nothing for who says yes to everything, or yes by chance of the cache to detection alone", () => {
    expect(
      one(
        study(() => true),
        "selectivity",
      ).value,
    ).toBeCloseTo(0, 12);
    // Yes to detection on every cache, no to all else: hits are whole, and so are false alarms.
    expect(
      one(
        study((kind) => kind === "detection"),
        "selectivity",
      ).value,
    ).toBeCloseTo(0, 12);
  });

  it("tells kinds of controls apart", () => {
    const leaky = study((kind, steered) => steered && kind !== "falseFact" && kind !== "trueFact");
    expect(one(leaky, "selectivity", { kind: "sideEffect" }).value).toBeCloseTo(0, 12);
    expect(one(leaky, "selectivity", { kind: "falseFact" }).value).toBe(1);
    expect(one(leaky, "selectivity", { kind: "reversed" }).value).toBeCloseTo(0, 12);
    expect(one(leaky, "selectivity").value).toBeCloseTo(0.5, 12); // reversed questions are not in it
  });

  it("counts every control where the base gives neither answer, and none where the base was not asked", () => {
    const records = study((_, steered) => steered).map((record) =>
      record.condition === "base" ? { ...record, mass: 1e-6 } : record,
    );
    expect(one(records, "controlLeak")).toMatchObject({ value: 1, n: 60 });
    const { metrics } = summariseDetection(
      records.filter(({ condition }) => condition === "tuned"),
      strict,
    );
    expect(findMetrics(metrics, { name: "selectivity" })).toEqual([]);
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
