/**
 * Laws of the forward pass that hold bit for bit: what is shared, packed, split or threaded must not show in the numbers.
 * Every law runs on the plain kernels, on the best ones of this machine and on its CUDA device, in f32 and bf16.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Adapter, Cache, ForwardOptions, NativeEngine, Row } from "../../kernel-lib/src/engine";
import { absentBuilds, adapterOf, allLogprobs, directionOf, TOY, tokensOf, toyBuilds, toyEngine } from "./toy";

const FULL: ForwardOptions = { report: "all", fullVocabulary: true };
const LAST: ForwardOptions = { report: "last", fullVocabulary: true };
describe.skip.each(absentBuilds())("forward laws on %s", () => {
  it("needs the device", () => undefined);
});

describe.each(toyBuilds())("forward laws on $label", ({ backend, isa, dtype }) => {
  let engine: NativeEngine;
  let adapters: [Adapter, Adapter];
  const context = tokensOf(9, 1);
  const questions = Array.from({ length: 20 }, (_, i) => tokensOf(2 + (i % 4), 50 + i));
  const direction = directionOf(3);

  beforeAll(async () => {
    engine = await toyEngine({ backend, isa, dtype });
    adapters = [adapterOf(engine, 21), adapterOf(engine, 22, { r: 5, modules: ["q_proj", "o_proj", "down_proj"] })];
  });
  afterAll(() => engine.dispose());

  const run = (rows: Row[], options: ForwardOptions = LAST): Promise<Float32Array[][]> =>
    engine.forward(rows, options).then(allLogprobs);

  it("gives probabilities that sum to one", async () => {
    const [[all]] = await run([{ tokens: context }]);
    expect(all.reduce((sum, x) => sum + Math.exp(x), 0)).toBeCloseTo(1, 5);
  });

  it("magnitude 0, an empty span and an empty layer range are exactly no steering; a real one is not", async () => {
    const clean = await run([{ tokens: context }], FULL);
    for (const plan of [
      { direction, layers: [0, 4] as const, magnitude: 0 },
      { direction, layers: [0, 4] as const, magnitude: 3, span: [4, 4] as const },
      { direction, layers: [2, 2] as const, magnitude: 3 },
    ]) {
      expect(await run([{ tokens: context, steering: [plan] }], FULL)).toEqual(clean);
    }
    expect(await run([{ tokens: context, steering: [{ direction, layers: [0, 4], magnitude: 3 }] }], FULL)).not.toEqual(
      clean,
    );
  });

  it("steering a span leaves earlier positions alone and changes the span", async () => {
    const [clean] = await run([{ tokens: context }], FULL);
    const [steered] = await run(
      [{ tokens: context, steering: [{ direction, layers: [1, 3], magnitude: 2, span: [5, 7] }] }],
      FULL,
    );
    for (let t = 0; t < 5; t++) expect(steered[t]).toEqual(clean[t]);
    expect(steered[5]).not.toEqual(clean[5]);
    expect(steered[8]).not.toEqual(clean[8]);
  });

  it("two entries on one layer add up in order and equal captures say where", async () => {
    const plan = { direction, layers: [2, 3] as const, magnitude: 2 };
    const options: ForwardOptions = { capture: { layers: [1, 2, 3], positions: "all" } };
    const [clean] = await engine.forward([{ tokens: context }], options);
    const [steered] = await engine.forward([{ tokens: context, steering: [plan] }], options);
    const C = TOY.hidden_size;
    const at = (captures: Float32Array | null, t: number, layer: number): Float32Array =>
      (captures as Float32Array).subarray((t * 3 + layer) * C, (t * 3 + layer + 1) * C);
    expect(at(steered.captures, 4, 0)).toEqual(at(clean.captures, 4, 0));
    const difference = at(steered.captures, 4, 1).map((x, i) => x - at(clean.captures, 4, 1)[i]);
    const tolerance = dtype === "bf16" ? 0.02 : 1e-6; // bf16 keeps 8 bits of a sum near 1
    for (const [i, d] of difference.entries()) expect(Math.abs(d - 2 * direction[i])).toBeLessThan(tolerance);
    expect(at(steered.captures, 4, 2)).not.toEqual(at(clean.captures, 4, 2));
  });

  it("a child row of the same call equals a continuation of the kept cache", async () => {
    const plan = [{ direction, layers: [0, 3] as const, magnitude: 1.5 }];
    const [packed, child] = await engine.forward(
      [
        { tokens: context, steering: plan, keepCache: true },
        { tokens: questions[0], parent: 0 },
      ],
      FULL,
    );
    const [continued] = await run([{ tokens: questions[0], cache: packed.cache }], FULL);
    expect(allLogprobs([child])[0]).toEqual(continued);
    expect((packed.cache as Cache).length).toBe(context.length);
  });

  it("a prefix in one piece equals the same prefix in two, three and six pieces", async () => {
    const [[whole]] = await run([{ tokens: [...context, ...questions[1]] }]);
    for (const cuts of [[4], [2, 5], [1, 2, 3, 5, 7]]) {
      let cache: Cache | null = null;
      const bounds = [0, ...cuts, context.length];
      for (let i = 1; i < bounds.length; i++) {
        const [row] = await engine.forward([
          { tokens: context.slice(bounds[i - 1], bounds[i]), cache, keepCache: true },
        ]);
        cache = row.cache;
      }
      const [[continued]] = await run([{ tokens: questions[1], cache }]);
      expect(continued).toEqual(whole);
    }
  });

  it("twenty questions in any order, together or alone, give identical numbers and leave the cache as it was", async () => {
    const [{ cache }] = await engine.forward([{ tokens: context, keepCache: true }]);
    const before = [0, 3].map((layer) => engine.readCache(cache as Cache, layer));
    const forwards = await run(questions.map((tokens) => ({ tokens, cache })));
    const backwards = (await run([...questions].reverse().map((tokens) => ({ tokens, cache })))).reverse();
    const alone: Float32Array[][] = [];
    for (const tokens of questions) alone.push((await run([{ tokens, cache, keepCache: true }]))[0]);
    expect(backwards).toEqual(forwards);
    expect(alone).toEqual(forwards);
    expect([0, 3].map((layer) => engine.readCache(cache as Cache, layer))).toEqual(before);
  });

  it("a mixed batch equals its rows alone: adapters, steering, lengths, any permutation", async () => {
    const rows: Row[] = [
      { tokens: context },
      { tokens: context, adapter: adapters[0] },
      { tokens: context, adapter: adapters[1] },
      { tokens: questions[3], adapter: adapters[0], steering: [{ direction, layers: [0, 2], magnitude: 1 }] },
      { tokens: questions[5], steering: [{ direction, layers: [1, 4], magnitude: 2, span: [0, 2] }] },
      { tokens: questions[7], adapter: adapters[1] },
    ];
    const together = await run(rows, FULL);
    const alone: Float32Array[][] = [];
    for (const row of rows) alone.push((await run([row], FULL))[0]);
    expect(together).toEqual(alone);
    const order = [4, 2, 0, 5, 3, 1];
    expect(
      await run(
        order.map((i) => rows[i]),
        FULL,
      ),
    ).toEqual(order.map((i) => together[i]));
    expect(together[1]).not.toEqual(together[0]);
    expect(together[2]).not.toEqual(together[0]);
  });

  it("asking for the last position only gives what asking for all gives there", async () => {
    // Steering of the last block, in rows that do not begin the pack: whole, up to the last token, and beside it.
    const last3 = { direction, layers: [3, 4] as const, magnitude: 3 };
    const rows: Row[] = [
      { tokens: context, adapter: adapters[0] },
      { tokens: questions[2], parent: 0, steering: [last3] },
      { tokens: questions[3], parent: 0, steering: [{ ...last3, span: [0, questions[3].length - 1] }] },
      { tokens: context, adapter: adapters[1], steering: [{ ...last3, span: [8, 9] }] },
    ];
    const all = await run(rows, FULL);
    const last = await run(rows, LAST);
    expect(last.map(([p]) => p)).toEqual(all.map((positions) => positions[positions.length - 1]));
  });

  it("chosen ids and top-k agree with the whole vocabulary", async () => {
    const wanted = [7, 0, 60];
    const [{ positions }] = await engine.forward([{ tokens: context, wanted }], { ...LAST, topK: 5 });
    const all = positions[0].all as Float32Array;
    for (const [i, id] of wanted.entries()) expect(positions[0].logprobs[i]).toBeCloseTo(all[id], 5);
    const sorted = [...all.keys()].sort((a, b) => all[b] - all[a] || a - b).slice(0, 5);
    expect(positions[0].top.map((t) => t.token)).toEqual(sorted);
  });

  it("1 and 2 threads give the same bytes", async () => {
    const two = await toyEngine({ backend, isa, dtype, threads: 2 });
    const rows: Row[] = [
      { tokens: tokensOf(40, 9) },
      { tokens: context, steering: [{ direction, layers: [0, 4], magnitude: 1 }] },
    ];
    expect(allLogprobs(await two.forward(rows, FULL))).toEqual(await run(rows, FULL));
    two.dispose();
  });
});
