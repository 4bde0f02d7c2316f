/** A model as notebooks hold it, on the lab model: prefill, ask, sample, attach. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LAB_MODEL, random } from "../../../kernel-lib/src/base";
import { type AdapterManifest, PROJECTIONS, projectionShape, writeAdapter } from "../../../kernel-lib/src/checkpoint";
import { adapterFor, type Model, openEngine, openModel, readModelConfig } from "../../../kernel-lib/src/engine";
import { checkSteerRemoveAsk } from "../../../kernel-lib/src/evaluate";
import { randomDirections } from "../../../kernel-lib/src/steering";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "model-"));
let model: Model;
beforeAll(async () => {
  model = await openModel(LAB_MODEL, { backend: "cpu", threads: 1 });
});
afterAll(() => {
  model.dispose();
  fs.rmSync(folder, { recursive: true, force: true });
});

const MANIFEST: AdapterManifest = {
  format: 1,
  questions: [],
  labels: [" yes", " no"],
  answerPrefix: null,
  protocolHash: null,
  baseModelHash: null,
  step: null,
  metrics: {},
  seed: null,
};

/** A random adapter on q_proj and down_proj, whose configuration and manifest name a base. */
function adapterFolder(name: string, baseModel: string | null, baseModelHash: string | null): string {
  const rng = random(5);
  const { config } = model;
  const targets = PROJECTIONS.filter((module) => ["q_proj", "down_proj"].includes(module));
  const values = (count: number) => Float32Array.from({ length: count }, () => 0.05 * rng.normal());
  const parts = Array.from({ length: config.num_hidden_layers }, (_, layer) =>
    targets.map((module) => {
      const [out, input] = projectionShape(config, module);
      return { layer, module, r: 2, scaling: 2, a: values(2 * input), b: values(out * 2) };
    }),
  ).flat();
  const lora = { r: 2, alpha: 4, dropout: 0, targets, baseModel };
  const made = path.join(folder, name);
  writeAdapter(made, { lora, parts, config, manifest: { ...MANIFEST, baseModelHash } });
  return made;
}

describe("openModel", () => {
  it("holds the checkpoint, says that it is the lab model, and shows itself in one line", () => {
    expect(model).toMatchObject({ name: "lab-model", isLabModel: true });
    expect(model.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(inspect(model)).toMatch(/^Model lab-model \(lab model\): 12 layers x 256, f32 on cpu \(.+\)$/);
  });

  it("knows a renamed copy of the lab model by its mark, and nothing else for it", async () => {
    const copy = path.join(folder, "copy");
    fs.cpSync(LAB_MODEL, copy, { recursive: true, filter: (file) => !file.includes("recipe") });
    const open = async (): Promise<Model> => {
      const opened = await openModel(copy, { backend: "cpu", threads: 1 });
      opened.dispose();
      return opened;
    };
    expect(await open()).toMatchObject({ name: copy, isLabModel: true, hash: model.hash });
    const { steerlab_lab_model: mark, ...plain } = JSON.parse(fs.readFileSync(path.join(copy, "config.json"), "utf8"));
    expect(mark).toBe(true);
    fs.writeFileSync(path.join(copy, "config.json"), JSON.stringify(plain));
    expect(await open()).toMatchObject({ isLabModel: false, hash: model.hash });
  });

  it("says which folder is not there", async () => {
    await expect(readModelConfig(path.join(folder, "absent"))).rejects.toThrow(/absent/);
  });
});

describe("prefill and ask", () => {
  const words = (text: string): number[] => Array.from(model.tokenizer.encode(text));

  it("answer as one packed call does, in any order, and only steering moves them", async () => {
    const [direction] = randomDirections(1, model.config.hidden_size, random(1));
    const steering = [{ direction, layers: [2, 6] as const, magnitude: 8 }];
    const context = words("The river runs past the old mill and the children play beside it.");
    const questions = ["Is bread a food?", "Was it changed?", "Do you see the river now?"].map(words);
    const labels = [words(" yes")[0], words(" no")[0]] as const;
    const cache = await model.prefill(context, { steering });
    expect(cache.length).toBe(context.length);
    const answers = await model.ask(cache, questions, labels);
    const reversed = await model.ask(cache, [...questions].reverse(), labels);
    expect([...reversed].reverse()).toEqual(answers);
    const packed = await model.engine.forward(
      [
        { tokens: context, steering, report: false },
        ...questions.map((tokens) => ({ tokens, parent: 0, wanted: labels })),
      ],
      { report: "last" },
    );
    answers.forEach(({ probability, mass }, i) => {
      const [yes, no] = packed[i + 1].positions[0].logprobs;
      expect(mass).toBeCloseTo(Math.exp(yes) + Math.exp(no), 12);
      expect(probability).toBeCloseTo(Math.exp(yes) / (Math.exp(yes) + Math.exp(no)), 12);
    });
    const clean = await model.prefill(context);
    expect(await model.ask(clean, questions, labels)).not.toEqual(answers);
    cache.dispose();
    clean.dispose();
  });

  it("agree bit for bit with a kept cache and a packed pass", async () => {
    expect((await checkSteerRemoveAsk(model, { seed: 2 })).largestDifference).toBe(0);
  });
});

describe("sample", () => {
  const turns = [{ role: "user" as const, content: "Who are you?" }];
  it("gives the same text for the same seed, one seed a sample, and argmax whatever the seed", async () => {
    const three = await model.sample(turns, { maxTokens: 12, seed: 4, samples: 3, temperature: 3 });
    expect(await model.sample(turns, { maxTokens: 12, seed: 4, samples: 3, temperature: 3 })).toEqual(three);
    expect(new Set(three).size).toBe(3);
    expect(await model.sample(turns, { maxTokens: 12, seed: 5, temperature: 3 })).toEqual([three[1]]);
    const [first, second] = await model.sample(turns, { maxTokens: 12, seed: 1, samples: 2, temperature: 0 });
    expect(second).toBe(first);
    for (const text of three) expect(text).not.toContain("<|");
  });
});

describe("attach", () => {
  it("binds an adapter per request: with it answers move, without it nothing does", async () => {
    const ids = Array.from(model.tokenizer.encode("The weather is mild today."));
    const ask = async (adapter: Awaited<ReturnType<Model["attach"]>> | null) =>
      (await model.engine.forward([{ tokens: ids, adapter, wanted: [1, 2] }], { report: "last" }))[0].positions[0]
        .logprobs;
    const before = await ask(null);
    const adapter = await model.attach(adapterFolder("mine", "lab-model", model.hash));
    expect(adapter.name).toBe("mine");
    expect(await ask(adapter)).not.toEqual(before);
    expect(await ask(null)).toEqual(before);
    adapter.dispose();
  });

  it("refuses one made on other weights, unless told to accept it; a name alone is no proof", async () => {
    const foreign = adapterFolder("foreign", "lab-model", "ab".repeat(32));
    await expect(model.attach(foreign)).rejects.toMatchObject({ code: "adapter-base" });
    (await model.attach(foreign, { otherBase: "accept" })).dispose();
    const { engine, attach } = await openEngine(LAB_MODEL, { backend: "cpu", threads: 1 });
    await expect(attach(foreign)).rejects.toMatchObject({ code: "adapter-base" });
    engine.dispose();
    const renamed = adapterFolder("renamed", "example-org/other", null);
    const { notes } = await adapterFor(model.checkpoint, { name: "here" }, renamed);
    expect(notes).toEqual([expect.stringMatching(/names base model example-org\/other and is bound to here/)]);
    const nested = path.dirname(renamed);
    const subfolder = path.basename(renamed);
    expect((await adapterFor(model.checkpoint, model, nested, { subfolder, otherBase: "accept" })).folder).toBe(
      renamed,
    );
  });
});
