/**
 * The plain f64 twin against transformers + PEFT goldens: validates the twin and the goldens by each other, no engine needed.
 */
import { describe, expect, it } from "vitest";
import { plainForward } from "./plain-qwen2";
import {
  adapterFolder,
  largest,
  logSoftmax,
  MODEL_NAMES,
  modelFolder,
  numbers,
  readAdapterParts,
  readGolden,
  readPlainModel,
  relative,
  row,
} from "./readers";

/** transformers computes in f32: 4-5 blocks of sums of up to 112 products leave about 1e-6. */
const F32_OF_GOLDENS = 1e-5;
/** |delta log-probability| of the same goldens; logits are of order 5. */
const LOGPROB = 3e-5;

describe.each(MODEL_NAMES)("plain twin = transformers: %s", (name) => {
  const golden = readGolden(name);
  const model = readPlainModel(modelFolder(name));
  const { hidden_size: C, vocab_size: V, num_hidden_layers: L } = model.config;
  const part = golden.part("f32");

  it.each(golden.forward.map((c, i) => [c.name, i] as const))("forward %s", (_name, i) => {
    const { tokens, steering } = golden.forward[i];
    const out = plainForward(model, { tokens, steering: golden.steering(steering) });
    const T = tokens.length;
    for (let layer = 0; layer < L; layer++) {
      expect(relative(out.hidden[layer], row(numbers(part, `forward.${i}.hidden`), layer, T * C))).toBeLessThan(
        F32_OF_GOLDENS,
      );
      for (const [kind, mine] of [
        ["keys", out.cache.keys[layer]],
        ["values", out.cache.values[layer]],
      ] as const) {
        expect(relative(mine, row(numbers(part, `forward.${i}.${kind}`), layer, mine.length))).toBeLessThan(
          F32_OF_GOLDENS,
        );
      }
    }
    for (let t = 0; t < T; t++) {
      expect(
        largest(logSoftmax(row(out.logits, t, V)), logSoftmax(row(numbers(part, `forward.${i}.logits`), t, V))),
      ).toBeLessThan(LOGPROB);
    }
  });

  it("steer, remove, ask on one cache, with and without adapters", () => {
    for (const tag of [null, ...golden.adapters]) {
      const adapter = tag === null ? null : readAdapterParts(adapterFolder(name, tag));
      for (const [i, { context, question, steering }] of golden.ask.entries()) {
        const { cache } = plainForward(model, { tokens: context, steering: golden.steering(steering), adapter });
        const out = plainForward(model, { tokens: question, cache, adapter });
        const last = logSoftmax(row(out.logits, question.length - 1, V));
        const key = tag === null ? `ask.${i}.logits` : `adapter.${tag}.ask.${i}.logits`;
        expect(largest(last, logSoftmax(numbers(part, key)))).toBeLessThan(LOGPROB);
      }
    }
  });

  it("steering matters: the goldens tell steered from clean, and one adapter from another", () => {
    expect(relative(numbers(part, "ask.0.logits"), numbers(part, "ask.2.logits"))).toBeGreaterThan(0.01);
    const [first, second] = golden.adapters;
    expect(
      relative(numbers(part, `adapter.${first}.ask.0.logits`), numbers(part, `adapter.${second}.ask.0.logits`)),
    ).toBeGreaterThan(0.01);
  });
});
