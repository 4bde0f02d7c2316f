// Yardsticks: the norm and a linear probe on states whose answer is known, and through the runner on the fake engine and the lab model.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import { openModel } from "../../../kernel-lib/src/engine";
import {
  evaluateProbe,
  fitProbe,
  type LabelledStates,
  probeMetrics,
  readRecords,
} from "../../../kernel-lib/src/evaluate";
import { findMetrics } from "../../../kernel-lib/src/runs";
import { yardsticksTable } from "../../../kernel-lib/src/report";
import { auroc } from "../../../kernel-lib/src/stats";
import { loadProtocol, twin } from "../../../kernel-lib/src/study";
import { fakeAdapter, fakeModel } from "../../helpers/fake-engine";

const strict = loadProtocol("strict");
const small = (vectorCount: number) =>
  twin(strict, {
    "evaluation.tiers": strict.evaluation.tiers
      .filter(({ name }) => name === "held_out_random")
      .map((tier) => ({ ...tier, vectorCount })),
  });
/** Engine calls of a run that is read back: residual norms once, the linter's passes. */
const LINTED = 22;
const folder = (): string => mkdtempSync(join(tmpdir(), "probe-"));

/** States of 2 layers x 8: noise, changed by `steer` where they are steered. */
function states(seed: number, n: number, steer: (state: Float32Array) => void): LabelledStates {
  const stream = random(seed);
  const made = Array.from({ length: n }, (_, i) => {
    const state = Float32Array.from({ length: 16 }, () => stream.normal());
    if (i % 2 === 0) steer(state);
    return state;
  });
  return {
    states: made,
    steered: made.map((_, i) => i % 2 === 0),
    topics: made.map((_, i) => `t${Math.floor(i / 2) % 10}`),
  };
}

function aurocs(train: LabelledStates, test: LabelledStates): { norm: number; probe: number } {
  const fitted = fitProbe(train, 2);
  const scores = test.states.map((state) => fitted.scores(state));
  const of = (name: "normScore" | "probeScore"): number =>
    auroc(
      scores.filter((_, i) => test.steered[i]).map((score) => score[name]),
      scores.filter((_, i) => !test.steered[i]).map((score) => score[name]),
    ).value as number;
  return { norm: of("normScore"), probe: of("probeScore") };
}

describe("fitProbe", () => {
  it("sees a shift along one direction with the probe, and hardly with the norm", () => {
    const shift = (state: Float32Array): void => {
      state[3] += 2;
    };
    const { norm, probe } = aurocs(states(1, 400, shift), states(2, 400, shift));
    expect(probe).toBeGreaterThan(0.88);
    expect(norm).toBeLessThan(0.75);
  });

  it("sees a change of length with the norm, and not with the probe", () => {
    const stretch = (state: Float32Array): void => {
      for (let k = 0; k < 8; k++) state[k] *= 3;
    };
    const { norm, probe } = aurocs(states(3, 400, stretch), states(4, 400, stretch));
    expect(norm).toBeGreaterThan(0.95);
    expect(Math.abs(probe - 0.5)).toBeLessThan(0.1);
  });

  it("finds nothing where there is nothing", () => {
    const { norm, probe } = aurocs(
      states(5, 400, () => {}),
      states(6, 400, () => {}),
    ); // sd of an AUROC of 200 : 200 is 0.03
    expect(Math.abs(norm - 0.5)).toBeLessThan(0.1);
    expect(Math.abs(probe - 0.5)).toBeLessThan(0.1);
  });
});

describe("evaluateProbe", { timeout: 120_000 }, () => {
  it("records answer, norm and probe of every trial of the held-out tier, once", async () => {
    const model = fakeModel();
    const [root, protocol] = [folder(), small(8)];
    const options = { adapter: fakeAdapter(model.engine, [2, 3]), root, examples: 120 };
    const run = await evaluateProbe(model, protocol, options);
    expect(run.records).toHaveLength(2 * 8 * 12);
    for (const condition of ["tuned", "norm", "probe"]) {
      const [whole] = run.find({ name: "auroc", condition, group: {} });
      expect(whole.value!, condition).toBeGreaterThan(0.9);
      expect(run.find({ condition }), condition).toHaveLength(1 + strict.steering.magnitudes.length);
    }
    expect(run.find({ condition: "probe", group: { strength: 0.8 } })[0].low).not.toBeNull();
    expect(probeMetrics(readRecords(run.folder, "probe"))).toEqual(run.metrics);
    expect(yardsticksTable(run.metrics).map(({ strength }) => strength)).toEqual(["all", "0.08", "0.2", "0.4", "0.8"]);
    const calls = model.engine.calls;
    expect((await evaluateProbe(model, protocol, options)).folder).toBe(run.folder);
    expect(model.engine.calls - calls).toBe(LINTED); // the linter alone: nothing is fitted or asked again
  });

  it("refuses layers that are not there and too few examples", async () => {
    const model = fakeModel();
    const adapter = null;
    await expect(evaluateProbe(model, small(1), { adapter, layers: [6] })).rejects.toMatchObject({
      code: "layer-range",
    });
    await expect(evaluateProbe(model, small(1), { adapter, examples: 3 })).rejects.toMatchObject({
      code: "probe-examples",
    });
  });

  it("reads the lab model's own states", async () => {
    const model = await openModel(undefined, { threads: 1 });
    try {
      const run = await evaluateProbe(model, small(6), { adapter: null, root: folder(), examples: 80 });
      const strong = findMetrics(run.metrics, { condition: "norm", group: { strength: 0.8 } })[0];
      expect(strong.value!).toBeGreaterThan(0.7);
      expect(run.records.every(({ normScore, probeScore }) => Number.isFinite(normScore + probeScore))).toBe(true);
    } finally {
      model.dispose();
    }
  });
});
