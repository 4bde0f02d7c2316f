/**
 * A real Qwen2.5-Coder-0.5B-Instruct, where there is one: STEERLAB_REAL_MODEL names a folder or a .gguf file, or several joined by
 * ":" (";" on Windows). Skipped by name elsewhere; weights are never committed.
 *
 * The figures in README were made with "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M GGUF" (sha256
 * 1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32), opened as it is or dequantised to bf16.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Model, openModel } from "../../kernel-lib/src/engine";

const places = (process.env.STEERLAB_REAL_MODEL ?? "").split(path.delimiter).filter((place) => place !== "");
const title = "a real Qwen2.5-Coder-0.5B-Instruct";

/** Texts and their ids by transformers; none of them changes under NFC, which a GGUF file's tokenizer does not apply. */
const TEXTS: [string, number[]][] = [
  ["Hello, world!", [9707, 11, 1879, 0]],
  ["The answer is yes", [785, 4226, 374, 9834]],
  [
    "def f(x):\n\treturn x**2  # 1234\n\n",
    [750, 282, 2075, 982, 853, 856, 334, 17, 220, 671, 220, 16, 17, 18, 19, 271],
  ],
  ["你好，世界 😀 naïve façade", [108386, 3837, 99489, 90316, 94880, 586, 94872, 1021]],
  ["it's IT'S we'Ll   spaces \r\n\r\n\tx", [275, 594, 8700, 13272, 582, 91426, 75, 256, 12621, 23341, 10225]],
  ["<|im_end|> ２０２４ ﬁ", [27, 91, 318, 6213, 91, 29, 220, 24918, 26022, 24918, 45602, 32495, 70731]],
];
const HI = [
  151644, 8948, 198, 2610, 525, 1207, 16948, 11, 3465, 553, 54364, 14817, 13, 1446, 525, 264, 10950, 17847, 13, 151645,
  198, 151644, 872, 198, 13048, 151645, 198, 151644, 77091, 198,
];

/** Loading 0.5 B parameters takes seconds on an idle machine; a shared one is slower. */
const TIMEOUT_MS = 300_000;

const opened = new Map<string, Promise<Model>>();
function modelAt(place: string): Promise<Model> {
  const model = opened.get(place) ?? openModel(place, { backend: "cpu", dtype: "f32" });
  opened.set(place, model);
  return model;
}
afterAll(async () => {
  for (const model of opened.values()) (await model).dispose();
});

describe.skipIf(places.length > 0)(`${title} (skipped: set STEERLAB_REAL_MODEL to a folder or .gguf file)`, () => {
  it.skip("is not named here", () => undefined);
});

describe.skipIf(places.length === 0).each(places)(`${title}, %s`, (place) => {
  it(
    "has the config, the labels and the ids of the family",
    async () => {
      const { config, tokenizer, checkpoint } = await modelAt(place);
      expect(config).toMatchObject({ hidden_size: 896, num_hidden_layers: 24, vocab_size: 151936, rope_theta: 1e6 });
      expect(tokenizer.labelTokens("The answer is", [" yes", " no"]).ids).toEqual([9834, 902]);
      for (const [text, ids] of TEXTS) expect([...tokenizer.encode(text)], text).toEqual(ids);
      expect(checkpoint.eosTokenIds).toEqual([151645, 151643]);
    },
    TIMEOUT_MS,
  );

  it(
    "renders chats as its own template does",
    async () => {
      const { ids } = (await modelAt(place)).encodeChat([{ role: "user", content: "Hi" }], { answerPrefix: "" });
      expect([...ids]).toEqual(HI);
    },
    TIMEOUT_MS,
  );

  it(
    "answers with sense and stops by itself",
    async () => {
      const model = await modelAt(place);
      const options = { maxTokens: 24, seed: 1, temperature: 0 };
      const [capital] = await model.sample(
        [{ role: "user", content: "What is the capital of France? One word." }],
        options,
      );
      expect(capital).toMatch(/^Paris\.?$/);
      const tokens = model.tokenizer.encode("def add(a, b):\n    return a +");
      const [{ positions }] = await model.engine.forward([{ tokens }], { report: "last", topK: 1 });
      expect(model.tokenizer.decode([positions[0].top[0].token])).toBe(" b");
    },
    TIMEOUT_MS,
  );

  it(
    "puts nearly all of the answer's mass on yes and no, and yes rather on what is true",
    async () => {
      const model = await modelAt(place);
      const [yes, no] = model.tokenizer.labelTokens("The answer is", [" yes", " no"]).ids;
      const answers: number[] = [];
      for (const question of ["Is bread a kind of food?", "Is iron a kind of fruit?"]) {
        const turn = { role: "user" as const, content: `${question} Answer with just yes or no.` };
        const { ids } = model.encodeChat([turn], { answerPrefix: "The answer is" });
        const cache = await model.prefill(ids.subarray(0, -1));
        const [{ probability, mass }] = await model.ask(cache, [ids.subarray(-1)], [yes, no]);
        cache.dispose();
        expect(mass, question).toBeGreaterThan(0.8);
        answers.push(probability);
      }
      expect(answers[0]).toBeGreaterThan(answers[1] + 0.05); // a weak knower: seen 0.645 against 0.498
    },
    TIMEOUT_MS,
  );
});

const folder = places.find((place) => fs.statSync(place).isDirectory());
const file = places.find((place) => place.endsWith(".gguf"));
const pair = folder !== undefined && file !== undefined;

/**
 * The folder is the file dequantised to bf16 with the embedding as its head (8-bit head of the file against 5-bit embedding): not the
 * same model, but nearly.
 */
describe.skipIf(!pair)(`a GGUF file and a folder of the same model${pair ? "" : " (skipped: name both)"}`, () => {
  it(
    "have the same ids and nearly the same log-probabilities",
    async () => {
      const [a, b] = [await modelAt(file as string), await modelAt(folder as string)];
      const text =
        "The river rises in the hills north of the town and runs past the old mill before it meets the sea. ".repeat(3);
      const tokens = a.tokenizer.encode(text);
      expect([...b.tokenizer.encode(text)]).toEqual([...tokens]);
      const [x, y] = await Promise.all(
        [a, b].map(
          async ({ engine }) =>
            (await engine.forward([{ tokens }], { report: "all", topK: 1, fullVocabulary: true }))[0],
        ),
      );
      let agree = 0;
      let distance = 0;
      for (const [t, { top, all }] of x.positions.entries()) {
        const other = y.positions[t];
        if (top[0].token === other.top[0].token) agree += 1;
        const [p, q] = [all as Float32Array, other.all as Float32Array];
        distance += p.reduce((sum, logprob, v) => sum + Math.exp(logprob) * (logprob - q[v]), 0);
      }
      expect(agree / x.positions.length).toBeGreaterThan(0.9);
      expect(distance / x.positions.length).toBeLessThan(0.05); // mean Kullback-Leibler divergence, nats
      console.log(
        `top tokens equal ${agree}/${x.positions.length}, mean divergence ${distance / x.positions.length} nats`,
      );
    },
    TIMEOUT_MS,
  );
});
