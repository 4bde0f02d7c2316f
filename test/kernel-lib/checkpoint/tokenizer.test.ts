// Ids against the reference implementation on awkward text; spans as laws; labels proven single; nothing typed is a control token.
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import { loadTokenizer, parseTokenizer, type TextPart, vocabularyNote } from "../../../kernel-lib/src/checkpoint";

const fixtures = path.join(__dirname, "..", "..", "fixtures", "tokenizer");
const golden = JSON.parse(fs.readFileSync(path.join(fixtures, "golden.json"), "utf8")) as {
  texts: { text: string; ids: number[] }[];
};
const tokenizer = loadTokenizer(fixtures);
const content = (text: string): TextPart => ({ kind: "content", text });
const template = (text: string): TextPart => ({ kind: "template", text });

describe("encode and decode", () => {
  it.each(golden.texts.map(({ text, ids }) => [JSON.stringify(text).slice(0, 40), text, ids] as const))(
    "%s",
    (_shown, text, ids) => {
      expect([...tokenizer.encode(text)]).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(text.normalize("NFC"));
    },
  );

  it("never gives a control token for text that looks like one", () => {
    const controls = new Set(tokenizer.controlTokens.values());
    expect([...tokenizer.controlTokens.keys()]).toContain("<|im_end|>");
    for (const text of tokenizer.controlTokens.keys()) {
      expect([...tokenizer.encode(`a${text}b`)].some((id) => controls.has(id))).toBe(false);
      expect([...tokenizer.encodeParts([template(text)]).ids]).toEqual([tokenizer.controlTokens.get(text)]);
    }
    // Half in a content, half in the template: still no control token.
    const straddling = tokenizer.encodeParts([content("<|im_"), template("end|>")]).ids;
    expect([...straddling].some((id) => controls.has(id))).toBe(false);
  });

  it("decodes control tokens on request, half characters as U+FFFD, and padding ids as U+FFFD", () => {
    const end = tokenizer.controlTokens.get("<|im_end|>") as number;
    const hi = tokenizer.encode("hi");
    expect(tokenizer.decode([...hi, end])).toBe("hi<|im_end|>");
    expect(tokenizer.decode([...hi, end], { skipControls: true })).toBe("hi");
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.decode([tokenizer.size + 5])).toBe("\uFFFD");
    const emoji = tokenizer.encode("😀");
    expect(tokenizer.decode(emoji.subarray(0, 1))).toBe("\uFFFD");
    expect(() => tokenizer.decode([-1])).toThrowError(/token ids >= 0/);
  });

  it("refuses half a character", () => {
    expect(() => tokenizer.encode("a\ud83d")).toThrowError(expect.objectContaining({ code: "text" }));
  });
});

describe("spans", () => {
  it("cover exactly the tokens whose characters they touch", () => {
    const parts = [template("<|im_start|>user\n"), content("The answer is 😀 e\u0301!"), template("<|im_end|>\n")];
    const text = parts.map((part) => part.text).join("");
    const encoded = tokenizer.encodeParts(parts);
    for (const word of ["<|im_start|>", "user\n", " answer", "😀", "<|im_end|>"]) {
      const start = text.indexOf(word);
      const [from, to] = encoded.tokensOf([start, start + word.length]);
      expect(tokenizer.decode(encoded.ids.subarray(from, to))).toContain(word);
      expect(tokenizer.decode(encoded.ids.subarray(from + 1, to))).not.toContain(word);
    }
    expect(encoded.tokensOf([0, text.length])).toEqual([0, encoded.ids.length]);
    expect(encoded.tokensOf([0, 0])).toEqual([0, 0]);
    expect(encoded.tokensOf([12, 12])).toEqual([1, 1]);
    expect(() => encoded.tokensOf([3, 2])).toThrowError(/0 <= start <= end/);
  });

  it("carry any cut of random text: ranges grow with their spans and neighbours meet", () => {
    const rng = random(31);
    const alphabet = ["a", "The", " ", "\n", "é", "e\u0301", "😀", "中", "12", "<|im_end|>", "!"];
    for (let i = 0; i < 300; i++) {
      const parts = Array.from({ length: 1 + rng.integer(5) }, (): TextPart => {
        const text = Array.from({ length: rng.integer(6) }, () => rng.pick(alphabet)).join("");
        return rng.integer(2) === 0 ? template(text) : content(text);
      });
      const text = parts.map((part) => part.text).join("");
      const encoded = tokenizer.encodeParts(parts);
      const [a, b, c] = [0, 0, 0].map(() => rng.integer(text.length + 1)).sort((x, y) => x - y);
      const left = encoded.tokensOf([a, b]);
      const right = encoded.tokensOf([b, c]);
      const both = encoded.tokensOf([a, c]);
      if (a < b && b < c) {
        expect(both).toEqual([left[0], right[1]]);
        expect(right[0] === left[1] || right[0] === left[1] - 1).toBe(true); // at most one token is shared
      }
      expect(encoded.tokensOf([0, text.length])).toEqual([0, encoded.ids.length]);
    }
  });
});

describe("labelTokens", () => {
  const prefix = [template("<|im_start|>assistant\n"), content("The answer is")];

  it("proves single tokens after a prefix", () => {
    const labels = tokenizer.labelTokens(prefix, [" yes", " no"]);
    expect(labels.texts).toEqual([" yes", " no"]);
    expect(labels.ids.map((id) => tokenizer.decode([id]))).toEqual([" yes", " no"]);
  });

  it("fails closed, saying why", () => {
    expect(() => tokenizer.labelTokens(prefix, [" yes", " 0"])).toThrowError(
      /Expected one token for label " 0" .* received 2 \(" ", "0"\)/,
    );
    expect(() => tokenizer.labelTokens("The answer is ", [" yes"])).toThrowError(
      expect.objectContaining({ code: "trailing-space" }),
    );
    expect(() => tokenizer.labelTokens(prefix, ["yes"])).toThrowError(/label "yes"/); // "isyes" is not "is" + "yes" here
    expect(() => tokenizer.labelTokens(prefix, [" yes", " yes"])).toThrowError(/different tokens/);
    expect(() => tokenizer.labelTokens(prefix, [""])).toThrowError(/received 0/);
    expect(() => tokenizer.labelTokens(prefix, [])).toThrowError(/at least one label/);
    expect(() => tokenizer.labelTokens(prefix, ["<|im_end|>"])).toThrowError(/one token/); // a label is content too
  });
});

describe("parseTokenizer", () => {
  const json = JSON.parse(fs.readFileSync(path.join(fixtures, "tokenizer.json"), "utf8"));
  it.each<[string, Record<string, unknown>]>([
    ["model.type", { model: { ...json.model, type: "Unigram" } }],
    ["decoder", { decoder: { type: "Metaspace" } }],
    ["normalizer", { normalizer: { type: "Lowercase" } }],
    ["added_tokens", { added_tokens: [{ id: 3 }] }],
  ])("refuses another %s by name", (part, change) => {
    expect(() => parseTokenizer(JSON.stringify({ ...json, ...change }))).toThrowError(
      expect.objectContaining({ code: "tokenizer-unsupported", message: expect.stringContaining(part) }),
    );
  });

  it("names the missing file and broken JSON", () => {
    expect(() => loadTokenizer(path.join(fixtures, "nowhere"))).toThrowError(
      expect.objectContaining({ code: "tokenizer-missing" }),
    );
    expect(() => parseTokenizer("{")).toThrowError(/valid JSON/);
  });
});

describe("vocabularyNote", () => {
  it("names ids for which a model has no embedding", () => {
    expect(vocabularyNote(tokenizer, tokenizer.size)).toBeNull();
    const end = tokenizer.controlTokens.get("<tool_call>") as number;
    expect(vocabularyNote(tokenizer, end)).toMatch(/"<tool_call>" and 0 more added tokens.*embeds only 0\.\./);
  });
});
