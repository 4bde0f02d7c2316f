// The shipped lab model as files: architecture, size, hash, single-token answers, and measured numbers against the targets.
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const folder = join(__dirname, "../../data/lab-model");
const json = (name: string) => JSON.parse(readFileSync(join(folder, name), "utf8"));
const measured = json("measured.json");

describe("weights and config", () => {
  it("is a Qwen2ForCausalLM in bf16 of at most 25 MB, with grouped query heads and a tied head", () => {
    const config = json("config.json");
    expect(config.architectures).toEqual(["Qwen2ForCausalLM"]);
    expect(config.tie_word_embeddings).toBe(true);
    expect(config.num_attention_heads % config.num_key_value_heads).toBe(0);
    expect(config.num_key_value_heads).toBeLessThan(config.num_attention_heads);
    expect(statSync(join(folder, "model.safetensors")).size).toBeLessThanOrEqual(25e6);
    const bytes = readFileSync(join(folder, "model.safetensors"));
    const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString("utf8"));
    const tensors = Object.entries(header).filter(([name]) => name !== "__metadata__") as [string, { dtype: string }][];
    expect(new Set(tensors.map(([, t]) => t.dtype))).toEqual(new Set(["BF16"]));
    expect(tensors.some(([name]) => name === "lm_head.weight")).toBe(false);
  });

  it("has the weights that were measured", () => {
    const bytes = readFileSync(join(folder, "model.safetensors"));
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(measured.weightsSha256);
    expect(readFileSync(join(folder, "README.md"), "utf8")).toContain(measured.weightsSha256);
  });
});

describe("recipe", () => {
  it("is the one that made the weights: the files that decide them have not changed since", () => {
    const digest = createHash("sha256");
    for (const name of [
      "concept-words.txt",
      "corpus.py",
      "pretrain.py",
      "questions.py",
      "sentences.py",
      "train_tokenizer.py",
      "world.py",
      "requirements.txt",
    ]) {
      digest.update(`${name}\0`).update(readFileSync(join(folder, "recipe", name)));
    }
    expect(digest.digest("hex")).toBe(measured.training.recipeSha256);
  });
});

describe("tokenizer", () => {
  const tokenizer = json("tokenizer.json");
  const vocab: Record<string, number> = tokenizer.model.vocab;

  it("has the answer words and digits as single tokens", () => {
    for (const word of [
      "Ġyes",
      "Ġno",
      "ĠYes",
      "ĠNo",
      "Yes",
      "No",
      "yes",
      "no",
      "As",
      "ĠA",
      "ĠB",
      "Ġtrue",
      "Ġfalse",
      ..."0123456789",
    ]) {
      expect(vocab[word], word).toBeTypeOf("number");
    }
  });

  it("reaches each of them by its merges, not by the vocabulary alone", () => {
    const made = new Set(
      tokenizer.model.merges.map((m: string | string[]) => (typeof m === "string" ? m.split(" ") : m).join("")),
    );
    for (const word of ["Ġyes", "Ġno", "ĠYes", "ĠNo", "Yes", "No", "yes", "no", "As"])
      expect(made.has(word), word).toBe(true);
  });

  it("carries the ChatML tokens after the base vocabulary and a chat template with the default system text", () => {
    const added: { id: number; content: string; special: boolean }[] = tokenizer.added_tokens;
    expect(added.map((t) => t.content)).toEqual(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]);
    const base = Object.entries(vocab).filter(([word]) => !added.some((t) => t.content === word));
    for (const t of added) expect(t.id).toBeGreaterThan(Math.max(...base.map(([, id]) => id)));
    const config = json("tokenizer_config.json");
    expect(config.eos_token).toBe("<|im_end|>");
    expect(config.chat_template).toContain("You are a helpful assistant.");
    expect(json("generation_config.json").eos_token_id).toBe(added[2]?.id);
  });
});

describe("measured behaviour meets the targets", () => {
  it("searched the corpus for every held-out string and found none", () => {
    expect(measured.heldOutCheck.found).toBe(0);
    expect(measured.heldOutCheck.studyStringsChecked).toBeGreaterThan(200);
    expect(measured.heldOutCheck.heldOutFactsChecked).toBeGreaterThanOrEqual(1000);
  });

  it("answers >= 95 % of held-out facts and puts >= 0.9 mass on yes and no", () => {
    for (const asked of ["prefix", "prefixAfterContext", "firstToken"]) {
      expect(measured.heldOutFacts[asked].accuracy.rate, asked).toBeGreaterThanOrEqual(0.95);
      expect(measured.heldOutFacts[asked].mass.mean, asked).toBeGreaterThanOrEqual(0.9);
    }
    expect(measured.sideEffects.mass.min).toBeGreaterThanOrEqual(0.9);
  });

  it("says no to the detection question before training, in nearly every wording", () => {
    interface Row {
      id: string;
      meanPNo: number;
      meanMass: number;
    }
    const train: Row[] = measured.detectionBeforeTraining.train;
    const held: Row[] = measured.detectionBeforeTraining.heldOut;
    for (const row of [...train, ...held]) expect(row.meanMass, row.id).toBeGreaterThan(0.9);
    // the card protocol's four, all of them; of the others a few are unsure, and the card names them
    for (const row of train.slice(0, 4)) expect(row.meanPNo, row.id).toBeGreaterThan(0.99);
    const unsure = [...train, ...held].filter((row) => row.meanPNo < 0.9);
    expect(unsure.length).toBeLessThanOrEqual(5);
    const card = readFileSync(join(folder, "README.md"), "utf8");
    for (const row of unsure) expect(card).toContain(`${row.id} (${row.meanPNo})`);
  });

  it("raises a concept's words with the dose of its direction, more than other words", () => {
    const upTo04: { dose: number; ownChange: number; otherChange: number }[] = measured.conceptDose.perDose.slice(0, 4);
    for (let i = 1; i < upTo04.length; i++) {
      const row = upTo04[i] as (typeof upTo04)[number];
      expect(row.ownChange).toBeGreaterThan((upTo04[i - 1] as typeof row).ownChange);
      expect(row.ownChange).toBeGreaterThan(row.otherChange);
    }
  });
});
