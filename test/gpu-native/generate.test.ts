/** Generation: the sequence a row gets depends on its prompt, seed and adapter only, and equals step-by-step scoring. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeEngine, Row } from "../../kernel-lib/src/engine";
import { adapterOf, directionOf, TOY, tokensOf, toyBuilds, toyEngine } from "./toy";

describe.each(toyBuilds(["f32"]))("generate on $label", ({ backend, isa }) => {
  let engine: NativeEngine;
  beforeAll(async () => {
    engine = await toyEngine({ backend, isa });
  });
  afterAll(() => engine.dispose());

  it("temperature 0 follows the argmax of a full forward at every step", async () => {
    const prompt = tokensOf(6, 1);
    const [{ tokens, stopped }] = await engine.generate([{ tokens: prompt }], {
      maxTokens: 10,
      temperature: 0,
      seed: 1,
    });
    const sequence = [...prompt];
    for (const token of tokens) {
      const [{ positions }] = await engine.forward([{ tokens: sequence }], { report: "last", topK: 1 });
      expect(positions[0].top[0].token).toBe(token);
      sequence.push(token);
    }
    expect(tokens.length).toBe(10);
    expect(stopped).toBe(false);
  });

  it.each([0, 0.7])("a push that overflows is said so, not sampled from, at temperature %s", async (temperature) => {
    const direction = new Float32Array(TOY.hidden_size).fill(3e38);
    const steering = [{ direction, layers: [0, 3] as const, magnitude: 1e30 }];
    const answer = engine.generate([{ tokens: tokensOf(3, 1), steering }], { maxTokens: 2, temperature, seed: 1 });
    await expect(answer).rejects.toMatchObject({ code: "not-finite" });
  });

  it("rows together, alone, permuted, over a cache or over a parent row give the same tokens", async () => {
    const adapter = adapterOf(engine, 3);
    const context = tokensOf(5, 7);
    const steering = [{ direction: directionOf(2), layers: [0, 3] as const, magnitude: 2 }];
    const [{ cache }] = await engine.forward([{ tokens: context, steering, keepCache: true }]);
    const rows: Row[] = [
      { tokens: tokensOf(4, 1) },
      { tokens: tokensOf(2, 2), adapter },
      { tokens: tokensOf(3, 3), cache },
      { tokens: tokensOf(7, 4), steering },
    ];
    const seed = [11, 12, 13, 14];
    const options = { maxTokens: 9, temperature: 1.5, topP: 0.95 };
    const together = await engine.generate(rows, { ...options, seed });
    for (let i = 0; i < rows.length; i++)
      expect(await engine.generate([rows[i]], { ...options, seed: [seed[i]] })).toEqual([together[i]]);
    const order = [2, 0, 3, 1];
    expect(
      await engine.generate(
        order.map((i) => rows[i]),
        { ...options, seed: order.map((i) => seed[i]) },
      ),
    ).toEqual(order.map((i) => together[i]));
    const [parent, child] = await engine.generate(
      [
        { tokens: context, steering, report: false },
        { tokens: tokensOf(3, 3), parent: 0 },
      ],
      { ...options, seed: [0, 13] },
    );
    expect(parent.tokens.length).toBe(0);
    expect(child).toEqual(together[2]);
    expect(cache?.length).toBe(context.length);
  });

  it("other seeds give other texts, one number seeds rows in order, and a stop id ends a row without being returned", async () => {
    const rows = Array.from({ length: 6 }, () => ({ tokens: [1, 2, 3] }));
    const numbered = await engine.generate(rows, { maxTokens: 12, seed: 40 });
    expect(numbered).toEqual(await engine.generate(rows, { maxTokens: 12, seed: [40, 41, 42, 43, 44, 45] }));
    expect(new Set(numbered.map((g) => g.tokens.join(" "))).size).toBe(6);
    const stop = numbered[0].tokens[4];
    const first = numbered[0].tokens.indexOf(stop);
    const [stopped] = await engine.generate(rows, { maxTokens: 12, seed: 40, stopIds: [stop] });
    expect(stopped).toEqual({ tokens: numbered[0].tokens.slice(0, first), stopped: true });
  });

  it("samples from the model's distribution", async () => {
    const [{ positions }] = await engine.forward([{ tokens: [5, 6] }], { report: "last", fullVocabulary: true });
    const n = 3000;
    const generated = await engine.generate(
      Array.from({ length: n }, () => ({ tokens: [5, 6] })),
      { maxTokens: 1, seed: 1 },
    );
    const counts = new Float64Array(TOY.vocab_size);
    for (const { tokens } of generated) counts[tokens[0]]++;
    let chi = 0;
    (positions[0].all as Float32Array).forEach((logprob, id) => {
      const expected = n * Math.exp(logprob);
      chi += (counts[id] - expected) ** 2 / expected;
    });
    expect(chi).toBeLessThan(112); // 60 degrees of freedom: exceeded with probability 5e-5, and the seeds are fixed
  });

  it("refuses what cannot be", async () => {
    const rows = [{ tokens: tokensOf(60, 1) }];
    await expect(engine.generate(rows, { maxTokens: 50, seed: 1 })).rejects.toMatchObject({ code: "too-long" });
    await expect(engine.generate(rows, { maxTokens: 0, seed: 1 })).rejects.toMatchObject({ code: "max-tokens" });
    await expect(engine.generate(rows, { maxTokens: 1, seed: 1, topP: 0 })).rejects.toMatchObject({ code: "top-p" });
    await expect(engine.generate(rows, { maxTokens: 1, seed: [1, 2] })).rejects.toMatchObject({ code: "seed" });
    await expect(engine.generate(rows, { maxTokens: 1, seed: 1, stopIds: [61] })).rejects.toMatchObject({
      code: "bad-token",
    });
  });
});
