/**
 * The engine's forward pass against transformers + PEFT goldens: hidden states after every block, keys and values, logits,
 * steer-remove-ask, adapters; f32 on every instruction set and thread count of this machine, bf16 against transformers in bf16.
 */
import { afterAll, describe, expect, it } from "vitest";
import type { Adapter, Engine, Row, RowResult } from "../../kernel-lib/src/engine";
import { absentBackends, cacheOf, type EngineChoice, engineChoices, openFixture } from "./engines";
import { BF16_LOGITS, BF16_OF_REFERENCE, BF16_REFERENCE_SLACK, F32_HIDDEN, F32_LOGPROB } from "./tolerances";
import {
  adapterFolder,
  type Golden,
  largest,
  logSoftmax,
  MODEL_NAMES,
  type ModelName,
  numbers,
  readAdapterParts,
  readGolden,
  relative,
  row,
} from "./readers";

const engines: Engine[] = [];
afterAll(() => {
  for (const engine of engines) engine.dispose();
});

async function open(name: ModelName, choice: EngineChoice): Promise<Engine> {
  const engine = await openFixture(name, choice);
  engines.push(engine);
  return engine;
}

function adaptersOf(engine: Engine, golden: Golden): Map<string, Adapter> {
  return new Map(
    golden.adapters.map((tag) => [
      tag,
      engine.bindAdapter(readAdapterParts(adapterFolder(golden.name, tag)), { name: tag, hash: tag }),
    ]),
  );
}

/** All forward cases as the rows of one batch, every position and layer reported. */
async function forwardAll(engine: Engine, golden: Golden, adapter: Adapter | null = null): Promise<RowResult[]> {
  const rows: Row[] = golden.forward.map(({ tokens, steering }) => ({
    tokens,
    steering: golden.steering(steering),
    adapter,
  }));
  const layers = Array.from({ length: engine.config.num_hidden_layers }, (_, i) => i);
  return engine.forward(rows, { report: "all", fullVocabulary: true, capture: { layers, positions: "all" } });
}

/** (positions, layers, C) of one row -> layer `layer` as (positions, C). */
function layerOf(result: RowResult, layer: number, layers: number, C: number): Float64Array {
  const captures = result.captures as Float32Array;
  const positions = captures.length / (layers * C);
  const out = new Float64Array(positions * C);
  for (let t = 0; t < positions; t++)
    out.set(captures.subarray((t * layers + layer) * C, (t * layers + layer + 1) * C), t * C);
  return out;
}

/** The last-position logprobs of every ask case, once as child rows of one batch and once over kept caches. */
async function askAll(
  engine: Engine,
  golden: Golden,
  adapters: (Adapter | null)[],
): Promise<{ child: Float32Array[]; cached: Float32Array[] }> {
  const cases = adapters.flatMap((adapter) => golden.ask.map((ask) => ({ ...ask, adapter })));
  const contexts: Row[] = cases.map(({ context, steering, adapter }) => ({
    tokens: context,
    steering: golden.steering(steering),
    adapter,
    report: false,
  }));
  const questions: Row[] = cases.map(({ question, adapter }, i) => ({ tokens: question, adapter, parent: i }));
  const options = { report: "last", fullVocabulary: true } as const;
  const child = (await engine.forward([...contexts, ...questions], options)).slice(cases.length);
  const kept = await engine.forward(
    contexts.map((context) => ({ ...context, keepCache: true })),
    { report: "none" },
  );
  const cached = await engine.forward(
    questions.map((question, i) => ({ ...question, parent: null, cache: kept[i].cache })),
    options,
  );
  for (const { cache } of kept) cache?.dispose();
  const all = (results: RowResult[]): Float32Array[] =>
    results.map((result) => result.positions[0].all as Float32Array);
  return { child: all(child), cached: all(cached) };
}

describe.each(engineChoices("f32"))("f32 $label", (choice) => {
  it.each(MODEL_NAMES)("%s: hidden states and logits of every case", async (name) => {
    const golden = readGolden(name);
    const engine = await open(name, choice);
    const { hidden_size: C, vocab_size: V, num_hidden_layers: L } = engine.config;
    const part = golden.part("f32");
    for (const [i, result] of (await forwardAll(engine, golden)).entries()) {
      const T = golden.forward[i].tokens.length;
      for (let layer = 0; layer < L; layer++) {
        const at = `${golden.forward[i].name}, layer ${layer}`;
        expect(
          relative(layerOf(result, layer, L, C), row(numbers(part, `forward.${i}.hidden`), layer, T * C)),
          at,
        ).toBeLessThan(F32_HIDDEN);
      }
      for (let t = 0; t < T; t++) {
        const theirs = logSoftmax(row(numbers(part, `forward.${i}.logits`), t, V));
        expect(
          largest(result.positions[t].all as Float32Array, theirs),
          `${golden.forward[i].name}, position ${t}`,
        ).toBeLessThan(F32_LOGPROB);
      }
    }
  });

  it.each(MODEL_NAMES)("%s: keys and values", async (name) => {
    const golden = readGolden(name);
    const engine = await open(name, choice);
    const part = golden.part("f32");
    const rows: Row[] = golden.forward.map(({ tokens, steering }) => ({
      tokens,
      steering: golden.steering(steering),
      keepCache: true,
    }));
    for (const [i, { cache }] of (await engine.forward(rows)).entries()) {
      if (cache === null) throw new Error("no cache was kept");
      expect(cache.length).toBe(golden.forward[i].tokens.length);
      for (let layer = 0; layer < engine.config.num_hidden_layers; layer++) {
        const { k, v } = cacheOf(cache, layer);
        expect(relative(k, row(numbers(part, `forward.${i}.keys`), layer, k.length))).toBeLessThan(F32_HIDDEN);
        expect(relative(v, row(numbers(part, `forward.${i}.values`), layer, v.length))).toBeLessThan(F32_HIDDEN);
      }
      cache.dispose();
    }
  });

  it.each(MODEL_NAMES)("%s: steer, remove, ask with the base and both adapters in one batch", async (name) => {
    const golden = readGolden(name);
    const engine = await open(name, choice);
    const part = golden.part("f32");
    const adapters = adaptersOf(engine, golden);
    const tags = [null, ...golden.adapters];
    const { child, cached } = await askAll(
      engine,
      golden,
      tags.map((tag) => (tag === null ? null : (adapters.get(tag) as Adapter))),
    );
    for (const [k, tag] of tags.entries()) {
      for (const [i, ask] of golden.ask.entries()) {
        const theirs = logSoftmax(numbers(part, tag === null ? `ask.${i}.logits` : `adapter.${tag}.ask.${i}.logits`));
        const at = `${ask.name}, adapter ${tag ?? "none"}`;
        expect(largest(child[k * golden.ask.length + i], theirs), at).toBeLessThan(F32_LOGPROB);
        // A child row and a kept cache are two routes to the same keys.
        expect(cached[k * golden.ask.length + i], at).toEqual(child[k * golden.ask.length + i]);
      }
    }
  });
});

describe("f32: adapters over whole rows", () => {
  it.each(MODEL_NAMES)("%s", async (name) => {
    const golden = readGolden(name);
    const engine = await open(name, engineChoices("f32")[0]);
    const V = engine.config.vocab_size;
    for (const [tag, adapter] of adaptersOf(engine, golden)) {
      const results = await forwardAll(engine, golden, adapter);
      for (const i of [0, 2]) {
        const logits = numbers(golden.part("f32"), `adapter.${tag}.forward.${i}.logits`);
        for (const [t, position] of results[i].positions.entries()) {
          expect(
            largest(position.all as Float32Array, logSoftmax(row(logits, t, V))),
            `${tag}, case ${i}, position ${t}`,
          ).toBeLessThan(F32_LOGPROB);
        }
      }
    }
  });
});

describe("f32: argmax generation over steered caches", () => {
  it.each(MODEL_NAMES)("%s", async (name) => {
    const golden = readGolden(name);
    const engine = await open(name, engineChoices("f32")[0]);
    const adapters = adaptersOf(engine, golden);
    const bound = golden.greedy.map(({ adapter }) => (adapter === null ? null : (adapters.get(adapter) as Adapter)));
    const contexts = golden.greedy.map(({ ask }, i) => ({
      tokens: golden.ask[ask].context,
      steering: golden.steering(golden.ask[ask].steering),
      adapter: bound[i],
      keepCache: true,
    }));
    const kept = await engine.forward(contexts);
    const prompts = golden.greedy.map(({ ask }, i) => ({
      tokens: golden.ask[ask].question,
      cache: kept[i].cache,
      adapter: bound[i],
    }));
    const answers = await engine.generate(prompts, { maxTokens: 8, temperature: 0, seed: 1 });
    expect(answers.map(({ tokens }) => [...tokens])).toEqual(golden.greedy.map(({ tokens }) => tokens));
    // A stop id ends a row before it is given out.
    const stop = golden.greedy[0].tokens[3];
    const [stopped] = await engine.generate(prompts.slice(0, 1), {
      maxTokens: 8,
      temperature: 0,
      seed: 1,
      stopIds: [stop],
    });
    expect([...stopped.tokens]).toEqual(golden.greedy[0].tokens.slice(0, golden.greedy[0].tokens.indexOf(stop)));
    expect(stopped.stopped).toBe(true);
    for (const { cache } of kept) cache?.dispose();
  });
});

describe("f32: the same numbers whatever the threads, the batch and the sharing", () => {
  it.each(MODEL_NAMES)("%s", async (name) => {
    const golden = readGolden(name);
    const [best] = engineChoices("f32");
    const one = await open(name, { ...best, threads: 1 });
    const two = await open(name, { ...best, threads: 2 });
    const whole = await forwardAll(one, golden);
    expect(await forwardAll(two, golden)).toEqual(whole);
    for (const [i, { tokens, steering }] of golden.forward.entries()) {
      const [alone] = await two.forward([{ tokens, steering: golden.steering(steering) }], {
        report: "all",
        fullVocabulary: true,
        shareLayers: false,
      });
      expect(alone.positions.map((p) => p.all)).toEqual(whole[i].positions.map((p) => p.all));
    }
  });
});

describe.each(engineChoices("bf16"))("bf16 $label", (choice) => {
  it.each(MODEL_NAMES)("%s: as transformers in bf16, and no further from f32 than it is", async (name) => {
    const golden = readGolden(name);
    const engine = await open(name, choice);
    const { hidden_size: C, vocab_size: V, num_hidden_layers: L } = engine.config;
    const [theirs, exact] = [golden.part("bf16"), golden.part("f32")];
    const [hidden, reference, truth]: number[][] = [[], [], []];
    for (const [i, result] of (await forwardAll(engine, golden)).entries()) {
      for (let layer = 0; layer < L; layer++) {
        const width = golden.forward[i].tokens.length * C;
        hidden.push(...layerOf(result, layer, L, C));
        reference.push(...row(numbers(theirs, `forward.${i}.hidden`), layer, width));
        truth.push(...row(numbers(exact, `forward.${i}.hidden`), layer, width));
      }
      for (const [t, position] of result.positions.entries()) {
        const at = `${golden.forward[i].name}, position ${t}`;
        expect(
          relative(position.all as Float32Array, logSoftmax(row(numbers(theirs, `forward.${i}.logits`), t, V))),
          at,
        ).toBeLessThan(BF16_LOGITS);
      }
    }
    expect(relative(hidden, reference)).toBeLessThan(BF16_OF_REFERENCE);
    expect(relative(hidden, truth)).toBeLessThan(BF16_REFERENCE_SLACK * relative(reference, truth));
  });

  it.each(MODEL_NAMES)("%s: steer, remove, ask with adapters", async (name) => {
    const golden = readGolden(name);
    const engine = await open(name, choice);
    const adapters = adaptersOf(engine, golden);
    const tags = [null, ...golden.adapters];
    const { child, cached } = await askAll(
      engine,
      golden,
      tags.map((tag) => (tag === null ? null : (adapters.get(tag) as Adapter))),
    );
    expect(cached).toEqual(child);
    const [mine, reference, truth]: number[][] = [[], [], []];
    for (const [k, tag] of tags.entries()) {
      for (const i of golden.ask.keys()) {
        const key = tag === null ? `ask.${i}.logits` : `adapter.${tag}.ask.${i}.logits`;
        mine.push(...child[k * golden.ask.length + i]);
        reference.push(...logSoftmax(numbers(golden.part("bf16"), key)));
        truth.push(...logSoftmax(numbers(golden.part("f32"), key)));
      }
    }
    expect(relative(mine, reference)).toBeLessThan(BF16_OF_REFERENCE);
    expect(relative(mine, truth)).toBeLessThan(BF16_REFERENCE_SLACK * relative(reference, truth));
  });
});

for (const reason of absentBackends()) it.skip(`on ${reason}`);
