/** JSONL inputs of the command line: what is read, and what is refused with file, line and field. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readLines, parseTrial } from "../../../kernel-lib/src/command";
import { parseTrainExample } from "../../../kernel-lib/src/train";
import { FakeEngine } from "../../helpers/fake-engine";

const { config } = new FakeEngine();
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "line-files-"));
const file = path.join(folder, "in.jsonl");
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const entry = { layers: [0, 1], magnitude: 2 };
const trial = {
  id: "a",
  context: [1, 2],
  question: [3],
  steering: [{ ...entry, vector: Array(config.hidden_size).fill(0.5), span: [0, 2] }],
  report: { tokens: [4], topK: 0 },
};
const example = {
  id: "a",
  context: [1, 2],
  question: [3],
  labels: [4, 5],
  target: 0,
  steering: { ...entry, vectorIndex: 0 },
};
const asTrial = (value: unknown, at: string) => parseTrial(value, at, config);
const asExample = (value: unknown, at: string) => parseTrainExample(value, at, config, 1);
const lines = (...values: unknown[]): string => values.map((value) => `${JSON.stringify(value)}\n`).join("");

function trials(content: string | Uint8Array) {
  fs.writeFileSync(file, content);
  return readLines(file, asTrial);
}

describe("a file of lines", () => {
  it("may have blank lines, CRLF, a byte-order mark, and no newline at its end", () => {
    const [one, two] = [JSON.stringify(trial), JSON.stringify({ ...trial, id: 2 })];
    for (const text of [`${one}\n${two}`, `\n${one}\r\n\r\n  \n${two}\r\n`, `\ufeff${one}\n${two}\n`])
      expect(trials(text).map(({ id }) => id)).toEqual(["a", 2]);
  });

  it.each([
    ["a key twice", lines(trial).replace('"id"', '"magnitude":1,"id":"b","id"'), /in\.jsonl line 1 .*"id" twice/],
    ["an id twice", `\n${lines(trial)}\n${lines(trial)}`, /every id once in .*lines 2 and 4 both have "a"/],
    ["a line cut off", lines(trial) + JSON.stringify(trial).slice(0, 30), /in\.jsonl line 2 .*cut off/],
    ["nothing", "\n \n", /at least one line/],
    ["a number too many", lines({ ...trial, id: 1 }, { ...trial, question: [config.vocab_size] }), /question.*line 2/],
  ])("is refused with %s", (_, text, message) => {
    expect(() => trials(text)).toThrow(message);
  });

  it("is refused when it is not UTF-8, a folder, or not there", () => {
    const bytes = Buffer.from(lines(trial, { ...trial, id: "b" }), "latin1");
    bytes[bytes.lastIndexOf("b")] = 0xff;
    expect(() => trials(bytes)).toThrow(/UTF-8 text in .*line 2/);
    expect(() => trials(Buffer.from(lines(trial), "utf16le"))).toThrow(/in\.jsonl line 1/);
    expect(() => readLines(folder, asTrial)).toThrow(/but found a folder/);
    expect(() => readLines(path.join(folder, "absent"), asTrial)).toThrow(/could not open/);
  });

  it("does not take a key of another object, or one inside a string, for a second one", () => {
    const both = [{ ...trial.steering[0] }, { ...trial.steering[0] }];
    expect(trials(lines({ ...trial, id: '"id": {"id": 1}', steering: both }))).toHaveLength(1);
  });
});

describe.each([
  ["trial", asTrial, trial],
  ["example", asExample, example],
])("a %s", (_, read, good) => {
  const long = Array(config.max_position_embeddings).fill(1);
  it.each([
    ["no context to steer", { context: [] }, /at least one token id to steer .* for context but received \[\]/],
    ["no question", { question: [] }, /at least one token id for question/],
    ["a context that fills every position", { context: long }, /max_position_embeddings/],
    ["a fraction", { context: [1.5] }, /token ids 0\.\./],
    ["a token in quotes", { question: ["3"] }, /question but received "3"/],
    ["no id", { id: null }, /for id but received null/],
    ["an id that has lost digits", JSON.parse('{"id": 9007199254740993}'), /number within .*2\^53.* for id/],
    ["an id without end", JSON.parse('{"id": -1e999}'), /for id but received -Infinity/],
    ["a misspelt field", { stering: null }, /one of id, .* but received "stering"/],
  ])("is refused with %s", (_name, change, message) => {
    expect(read(good, "f line 1").context).toEqual([1, 2]);
    expect(() => read({ ...good, ...change }, "f line 1")).toThrow(message);
    expect(() => read({ ...good, ...change }, "f line 1")).toThrow(/\(f line 1\)\.$/);
  });

  it.each([
    ["a magnitude beyond 32 bits", { magnitude: 1e300 }, /finite number for magnitude but received 1e\+300/],
    ["reversed layers", { layers: [1, 0] }, /half-open pair .* for layers but received \[1,0\]/],
    ["layers past the model", { layers: [0, config.num_hidden_layers + 1] }, /for layers/],
  ])("is refused with %s in its steering", (_name, change, message) => {
    const [first] = [good.steering].flat();
    const steering = Array.isArray(good.steering) ? [{ ...first, ...change }] : { ...first, ...change };
    expect(() => read({ ...good, steering }, "f line 1")).toThrow(message);
  });
});

describe("a bare question", () => {
  it.each([
    ["trial", asTrial, trial, [null, undefined, []]],
    ["example", asExample, example, [null, undefined, []]],
  ] as const)("is a fair %s, and is not steered", (_name, read, good, none) => {
    for (const steering of none) expect(read({ ...good, context: [], steering }, "l").context).toEqual([]);
    expect(() => read({ ...good, context: [] }, "l")).toThrow(/to steer/);
  });
});

describe("what a trial reports", () => {
  it("is tokens, the likeliest ones, or both; never nothing", () => {
    expect(asTrial({ ...trial, report: { topK: 2 } }, "l")).toMatchObject({ wanted: [], topK: 2 });
    for (const report of [undefined, null, {}, { tokens: [], topK: 0 }])
      expect(() => asTrial({ ...trial, report }, "l")).toThrow(/report\.tokens or a report\.topK above 0/);
    expect(() => asTrial({ ...trial, report: { topK: config.vocab_size + 1 } }, "l")).toThrow(/report\.topK/);
  });

  it("is steered within the context by vectors of the model's width", () => {
    const steered = (change: object) => () =>
      asTrial({ ...trial, steering: [{ ...trial.steering[0], ...change }] }, "l");
    expect(steered({ span: [0, 3] })).toThrow(/<= 2 for span/);
    expect(steered({ vector: [1] })).toThrow(/hidden_size.*1 of them.*steering\[0\]/);
    expect(steered({ vector: Array(config.hidden_size).fill(1e39) })).toThrow(/finite number for vector/);
    expect(steered({ span: undefined })().steering[0].span).toEqual([0, 2]);
    const long = Array(config.hidden_size).fill(-1e30);
    expect(steered({ vector: long, magnitude: 1e30 })).toThrow(/product with its vector within 32 bits for magnitude/);
    expect(steered({ vector: long, magnitude: 1e8 })().steering[0].magnitude).toBe(1e8);
  });
});
