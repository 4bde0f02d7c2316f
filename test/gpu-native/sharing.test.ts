/** Rows that share layers: the same bytes as without sharing, and really less work. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Cache, ForwardOptions, NativeEngine, Row, RowResult } from "../../kernel-lib/src/engine";
import { adapterOf, directionOf, TOY, tokensOf, toyBuilds, toyEngine } from "./toy";

const L = TOY.num_hidden_layers;

describe.each(toyBuilds(["f32"]))("layer sharing on $label", ({ backend, isa }) => {
  let engine: NativeEngine;
  const context = tokensOf(8, 1);
  const question = tokensOf(3, 2);
  const steer = (start: number, end: number, seed = 3): Row["steering"] => [
    { direction: directionOf(seed), layers: [start, end], magnitude: 1.5 },
  ];
  const everything: ForwardOptions = {
    report: "all",
    fullVocabulary: true,
    capture: { layers: [0, 1, 2, 3], positions: "all" },
  };

  beforeAll(async () => {
    engine = await toyEngine({ backend, isa });
  });
  afterAll(() => engine.dispose());

  /** All that a result says, caches read out in every layer. */
  function contents(results: RowResult[]): unknown {
    return results.map((r) => ({
      positions: r.positions,
      captures: r.captures,
      cache: r.cache && Array.from({ length: L }, (_, layer) => engine.readCache(r.cache as Cache, layer)),
    }));
  }

  /** Runs both ways, compares, and gives the token-layers that sharing saved. */
  async function saved(rows: Row[], options: ForwardOptions = everything): Promise<number> {
    const apart = await engine.forward(rows, { ...options, shareLayers: false });
    const before = engine.work.sharedTokenLayers;
    const shared = await engine.forward(rows, { ...options, shareLayers: true });
    expect(contents(shared)).toEqual(contents(apart));
    return engine.work.sharedTokenLayers - before;
  }

  it("context rows that differ only in steering share the blocks up to the first steered one", async () => {
    const rows: Row[] = [0, 1, 2].map((start) => ({ tokens: context, steering: steer(start, L), keepCache: true }));
    rows.splice(1, 0, { tokens: context, keepCache: true });
    // forks after blocks 0, 1 and 2 save 1 + 2 + 3 blocks
    expect(await saved(rows)).toBe(6 * context.length);
  });

  it("child rows fork where their parents fork", async () => {
    const rows: Row[] = [
      { tokens: context, steering: steer(1, 3), keepCache: true },
      { tokens: context },
      { tokens: context, steering: steer(2, 4, 5) },
      { tokens: question, parent: 0, keepCache: true },
      { tokens: question, parent: 1, keepCache: true },
      { tokens: question, parent: 2 },
      { tokens: question, parent: 2, steering: steer(0, 1) },
      { tokens: question.slice(0, 2), parent: 5 },
      { tokens: question.slice(0, 2), parent: 4, keepCache: true },
    ];
    // contexts: 2 + 3 blocks of 8; questions: 2 + 3 + 1 blocks of 3; grandchildren: 3 blocks of 2
    expect(await saved(rows)).toBe(5 * 8 + 6 * 3 + 3 * 2);
  });

  it("continuations of caches that share blocks share those blocks too", async () => {
    const contexts = await engine.forward([
      { tokens: context, keepCache: true },
      { tokens: context, steering: steer(1, 2), keepCache: true },
    ]);
    const rows: Row[] = contexts.map(({ cache }) => ({ tokens: question, cache, keepCache: true }));
    expect(await saved(rows)).toBe(2 * question.length);
  });

  it("exact duplicates share all but the last block; other adapters, tokens or prefixes share nothing", async () => {
    const adapter = adapterOf(engine, 4);
    expect(await saved([{ tokens: context }, { tokens: context }])).toBe((L - 1) * context.length);
    expect(
      await saved([
        { tokens: context, adapter },
        { tokens: context, adapter, steering: steer(0, 1) },
      ]),
    ).toBe(context.length);
    expect(await saved([{ tokens: context }, { tokens: context, adapter }])).toBe(0);
    expect(await saved([{ tokens: context }, { tokens: question }])).toBe(0);
    expect(await saved([{ tokens: context }, { tokens: question }, { tokens: question, parent: 0 }])).toBe(0);
  });

  it("two different steerings without a clean row still share below the lower one", async () => {
    expect(
      await saved(
        [
          { tokens: context, steering: steer(2, 4) },
          { tokens: context, steering: steer(1, 2) },
        ],
        { report: "last", fullVocabulary: true },
      ),
    ).toBe(2 * context.length);
  });
});
