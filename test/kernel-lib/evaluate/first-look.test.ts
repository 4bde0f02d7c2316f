/** The first minutes by hand: facts, three ways of steer-remove-ask, one dose series. */
import { describe, expect, it } from "vitest";
import type { Row } from "../../../kernel-lib/src/engine";
import { askFacts, checkSteerRemoveAsk, doseByHand, EASY_FACTS } from "../../../kernel-lib/src/evaluate";
import { bindStudy, loadProtocol } from "../../../kernel-lib/src/study";
import { FakeEngine, fakeAdapter, fakeModel } from "../../helpers/fake-engine";

describe("askFacts", () => {
  it("puts each question to the model, and holds the likelier label against the truth", async () => {
    const engine = new FakeEngine();
    const asked: string[] = [];
    // An engine that says yes to everything about bread, and no to the rest.
    const logprobs = engine.logprobs.bind(engine);
    engine.logprobs = (state, adapter) => {
      const text = engine.tokenizer.decode(state.tokens);
      asked.push(text);
      const all = logprobs(state, adapter);
      const [yes, no] = [engine.labelIds.yes[0], engine.labelIds.no[0]];
      const p = text.includes("bread") ? 0.9 : 0.2;
      all[yes] = Math.log(0.8 * p);
      all[no] = Math.log(0.8 * (1 - p));
      return all;
    };
    const rows = await askFacts(fakeModel(engine));
    expect(rows.map(({ truth }) => truth)).toEqual(["yes", "no", "yes", "no"]);
    expect(rows.map(({ pYes }) => Number(pYes.toFixed(9)))).toEqual([0.9, 0.2, 0.2, 0.2]);
    expect(rows.map(({ right }) => right)).toEqual([true, true, false, true]);
    for (const { mass } of rows) expect(mass).toBeCloseTo(0.8, 12);
    EASY_FACTS.forEach(({ question }, i) => {
      expect(asked[i]).toContain(`${question} Answer with just yes or no.`);
      expect(asked[i].endsWith("The answer is")).toBe(true);
    });
  });
});

describe("checkSteerRemoveAsk", () => {
  /** An engine whose every token depends on the steering of the prefix; `spoil` changes rows before they are run. */
  function engine(spoil: (row: Row) => Row = (row) => row): FakeEngine {
    const fake = new FakeEngine();
    const forward = fake.forward.bind(fake);
    fake.forward = (rows, options) => forward(rows.map(spoil), options);
    const logprobs = fake.logprobs.bind(fake);
    fake.logprobs = (state, adapter) => logprobs(state, adapter).map((value) => value - state.energy / 100);
    return fake;
  }

  it("finds three equal answers, by a steered context and the same question", async () => {
    const seen: Row[] = [];
    const result = await checkSteerRemoveAsk(fakeModel(engine((row) => seen[seen.push(row) - 1])), { seed: 3 });
    expect(result.largestDifference).toBe(0);
    expect(result.rows).toHaveLength(3);
    expect(new Set(result.rows.map(({ logprob }) => logprob)).size).toBe(1);
    const steered = seen.filter((row) => row.steering !== undefined);
    expect(steered).toHaveLength(2); // the kept context and the packed one, never a question
    for (const { steering } of steered) expect(steering?.[0]).toMatchObject({ layers: [1, 3], magnitude: 5 });
    const again = await checkSteerRemoveAsk(fakeModel(engine()), { seed: 3 });
    expect(again.rows[0].logprob).toBe(result.rows[0].logprob);
  });

  it("tells when a cache forgets its steering, or changes as it is asked", async () => {
    const forgets = engine((row) => (row.keepCache === true ? { ...row, steering: [] } : row));
    expect((await checkSteerRemoveAsk(fakeModel(forgets), { seed: 3 })).largestDifference).toBeGreaterThan(0.01);
    let asked = 0;
    const wears = engine((row) =>
      row.cache ? { ...row, tokens: [...Array(asked++).fill(1), ...Array.from(row.tokens)] } : row,
    );
    const logprobs = wears.logprobs.bind(wears);
    wears.logprobs = (state, adapter) => logprobs(state, adapter).map((value) => value - state.tokens.length);
    expect((await checkSteerRemoveAsk(fakeModel(wears), { seed: 3 })).largestDifference).toBeGreaterThan(0.5);
  });
});

describe("doseByHand", () => {
  it("asks every range and strength once, clean first; the trained adapter answers to the dose, the base does not", async () => {
    const engine = new FakeEngine();
    const study = await bindStudy(fakeModel(engine), loadProtocol("strict"));
    const rows = await doseByHand(study, fakeAdapter(engine, [0, 2]));
    const { magnitudes } = study.protocol.steering;
    expect(rows.map(({ range, strength }) => [range, strength])).toEqual([
      ["none", 0],
      ...study.ranges.flatMap(({ name }) => magnitudes.map((strength) => [name, strength])),
    ]);
    for (const { base, baseMass, tunedMass } of rows) {
      expect(base).toBeCloseTo(rows[0].base, 12);
      expect([baseMass, tunedMass].map((mass) => mass.toFixed(9))).toEqual(["0.900000000", "0.900000000"]);
    }
    expect(rows[0].tuned).toBeCloseTo(rows[0].base, 12); // clean: no energy, so the adapter adds nothing
    const first = rows.slice(1, 1 + magnitudes.length);
    const byStrength = [...first].sort((a, b) => a.strength - b.strength).map(({ tuned }) => tuned);
    expect(byStrength[0]).toBeGreaterThan(rows[0].tuned);
    expect(byStrength).toEqual([...byStrength].sort((a, b) => a - b));
    expect(byStrength[byStrength.length - 1]).toBeGreaterThan(1.5 * byStrength[0]);
  });
});
