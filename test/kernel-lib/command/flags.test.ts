/** Command lines: what is read by a command's table, and that a slip is one sentence which names the flag. */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  BATCH,
  type CommandTable,
  engineOptions,
  helpOf,
  main,
  parametersOf,
  parseArguments,
  refuseToOverwriteInput,
  SCORE,
  stopOnSignals,
  wantsText,
} from "../../../kernel-lib/src/command";
import { LIBRARY_VERSION } from "../../../kernel-lib/src/base";

const TABLE = {
  about: "tries things",
  usage: "FILE [options]",
  text: "Tries.",
  operands: { name: "file", least: 1 },
  flags: {
    out: { kind: "text", value: "FILE", about: "where to\nand how" },
    name: { kind: "text", value: "NAME", many: true, about: "repeats" },
    need: { kind: "text", value: "X", required: true, about: "is needed" },
    batch: { kind: "whole", least: 1, most: 9, about: "a number" },
    type: { kind: "choice", choices: ["a", "b"], about: "a word" },
    fast: { kind: "switch", about: "a switch" },
    parameter: { kind: "pairs", about: "a pair" },
  },
} as const satisfies CommandTable;
const read = (...args: string[]) => parseArguments("try", TABLE, args);
const refused = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe("parseArguments", () => {
  it("reads flags in both forms, before, between and after operands, and the rest after --", () => {
    const { flags, operands } = read(
      "one",
      "--need=x",
      "--out",
      "a b",
      "two",
      "--batch",
      "7",
      "--fast",
      "--",
      "--three",
    );
    expect(flags).toEqual({ need: "x", out: "a b", batch: 7, fast: true, name: [], type: undefined, parameter: [] });
    expect(operands).toEqual(["one", "two", "--three"]);
    expect(read("one", "--need", "x", "--out=").flags).toMatchObject({ out: "", fast: false, batch: undefined });
  });

  it("takes what may repeat as a list, and pairs in both forms, with values that look like flags or operands", () => {
    const line = [
      "f",
      "--need=x",
      "--name=a",
      "--name",
      "b",
      "-p",
      "seed",
      "3",
      "-p",
      "list=[1, 2]",
      "-p",
      "shift",
      "-1",
    ];
    const { flags, operands } = read(...line, "--parameter", "text=a=b", "-p", "words", "a b");
    expect(flags.name).toEqual(["a", "b"]);
    expect(flags.parameter).toEqual([
      ["seed", "3"],
      ["list", "[1, 2]"],
      ["shift", "-1"],
      ["text", "a=b"],
      ["words", "a b"],
    ]);
    expect(operands).toEqual(["f"]);
  });

  it.each([
    [["--modle", "x"], "bad-flag", /Expected one of --out, --name.* but received --modle\. Run "steerlab try --help"/],
    [["-x"], "bad-flag", /but received -x\./],
    [["f"], "missing-flag", /--need for "steerlab try" but received none/],
    [["f", "--need"], "bad-flag", /value for --need but received none; write --need=VALUE/],
    [["f", "--need", "--fast"], "bad-flag", /value for --need but received one that starts with a dash/],
    [["f", "--need=x", "--batch=-1"], "bad-flag", /whole number 1\.\.9 for --batch but received "-1"/],
    [["f", "--need=a", "--need=b"], "bad-flag", /--need once but received it 2 times/],
    [["f", "--need=x", "--fast=yes"], "bad-flag", /--fast without a value but received "yes"/],
    [["f", "--need=x", "--type=c"], "bad-flag", /one of a, b for --type but received "c"/],
    [["f", "--need=x", "-p", "seed"], "bad-flag", /NAME VALUE after -p but received "seed" alone/],
    [["f", "--need=x", "-p", "seed", "--fast"], "bad-flag", /NAME VALUE after -p/],
    [["--need=x"], "bad-operand", /at least 1 file for "steerlab try"/],
  ])("refuses %j in one sentence", (args, code, message) => {
    expect(() => read(...args)).toThrowError(refused(code, message));
    expect(() => read(...args)).not.toThrowError(/\n/);
  });

  it("refuses an operand where a command takes none", () => {
    expect(() => parseArguments("score", SCORE, ["stray"])).toThrowError(refused("bad-operand", /received "stray"/));
  });

  it.each(["0", "-1", "1.5", "", " ", "x", "NaN", "1e999", "10"])("takes no %j for a whole number", (text) => {
    expect(() => read("f", "--need=x", `--batch=${text}`)).toThrow(/whole number 1\.\.9 for --batch/);
  });

  it("leaves which type is best to the engine, and bounds the threads", () => {
    expect(engineOptions({})).toEqual({ backend: "auto", dtype: undefined, threads: 0 });
    expect(() => parseArguments("score", SCORE, ["--model=m", "--trials=t", "--out=o", "--threads=1025"])).toThrow(
      /1\.\.1024 for --threads/,
    );
  });
});

describe("help", () => {
  it("tells every flag of the table once, lines after the first under the first", () => {
    const lines = helpOf("try", TABLE).split("\n");
    expect(lines.slice(0, 3)).toEqual(["steerlab try FILE [options]", "", "Tries."]);
    expect(lines.filter((line) => /^ {2}-/.test(line))).toHaveLength(Object.keys(TABLE.flags).length);
    const at = lines.findIndex((line) => line.includes("--out FILE"));
    expect(lines[at + 1].indexOf("and how")).toBe(lines[at].indexOf("where to"));
    expect(lines.find((line) => line.includes("a pair"))).toMatch(/^ {2}-p NAME VALUE/);
  });

  it("is asked for anywhere, but not where it is a value or after --", () => {
    expect(wantsText(TABLE, ["f", "--need=x", "--help"])).toBe("help");
    expect(wantsText(TABLE, ["-h"])).toBe("help");
    expect(wantsText(TABLE, ["--version"])).toBe("version");
    expect(wantsText(TABLE, ["--out", "--help"])).toBeNull();
    expect(wantsText(TABLE, ["--", "--help"])).toBeNull();
  });
});

describe("main", () => {
  async function says(...argv: string[]): Promise<{ out: string; err: string; status: unknown }> {
    const written = { out: "", err: "" };
    const [out, err] = [process.stdout.write, process.stderr.write];
    const into = (name: "out" | "err") =>
      ((text: string) => {
        written[name] += text;
        return true;
      }) as typeof process.stdout.write;
    [process.stdout.write, process.stderr.write] = [into("out"), into("err")];
    try {
      await main(argv);
    } finally {
      [process.stdout.write, process.stderr.write] = [out, err];
    }
    const status = process.exitCode;
    process.exitCode = undefined;
    return { ...written, status };
  }

  it("tells its version, its help, and a slip with status 2", async () => {
    expect((await says("--version")).out).toBe(`steerlab ${LIBRARY_VERSION}\n`);
    expect((await says("score", "--version")).out).toBe(`steerlab ${LIBRARY_VERSION}\n`);
    expect((await says("batch", "--notebook", "x", "--help")).out).toBe(helpOf("batch", BATCH));
    expect((await says("--help")).out).toMatch(/score {2,}score a file of steered trials/);
    expect(await says("scroe")).toMatchObject({ status: 2, err: expect.stringMatching(/one of score.* "scroe"/) });
    expect(await says("report", "--oops")).toMatchObject({ status: 2, out: "" });
    expect(await says("constructor")).toMatchObject({ status: 2 });
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("says after %s how to go on, with the status that shells count", async (name, status) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "main-"));
    fs.mkdirSync(path.join(folder, "run"));
    fs.writeFileSync(path.join(folder, "run", "meta.json"), "{}");
    const before = process.listenerCount(name);
    const running = says("report", path.join(folder, "run"), "--out", path.join(folder, "new", "r.html"));
    process.emit(name);
    const said = await running;
    expect(said).toMatchObject({ status, out: "" });
    expect(said.err).toMatch(/Stopped on request\. Nothing was written; run the same again\. \[aborted\]\n$/);
    expect(fs.readdirSync(folder)).toEqual(["run"]);
    expect(process.listenerCount(name)).toBe(before);
    fs.rmSync(folder, { recursive: true });
  });
});

describe("parametersOf", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "parameters-"));
  afterAll(() => fs.rmSync(folder, { recursive: true }));

  it("reads JSON where it is JSON, else text", () => {
    const given = { seed: "3", tiers: '["a", "b"]', deep: '{"a": {"b": [1e-7, null]}}', on: "true", name: "held out" };
    expect(parametersOf(Object.entries(given))).toEqual({
      seed: 3,
      tiers: ["a", "b"],
      deep: { a: { b: [1e-7, null] } },
      on: true,
      name: "held out",
    });
  });

  it("collects changes of the protocol by dotted path", () => {
    expect(
      parametersOf([
        ["protocol.training.optimizer.lr", "2e-4"],
        ["protocolChanges", '{"training.epochs": 2}'],
        ["protocol.tiers.0.contexts", '["a"]'],
        ["seed", "1"],
      ]),
    ).toEqual({
      seed: 1,
      protocolChanges: { "training.epochs": 2, "training.optimizer.lr": 2e-4, "tiers.0.contexts": ["a"] },
    });
  });

  it.each([
    [["x", "NaN"], /finite number for -p x but received "NaN"/],
    [["x", "-Infinity"], /finite number/],
    [["x", "1e999"], /numbers within .* received "1e999"/],
    [["x", '{"a": [1, -1e999]}'], /numbers within/],
    [["x", "9007199254740993"], /numbers within/],
    [["x", "[1, NaN]"], /valid JSON/],
    [["x", '{"a": 1'], /valid JSON/],
    [["model.name", "x"], /"protocol\." and a field/],
    [["protocol.", "1"], /"protocol\." and a field/],
    [["", "1"], /a name/],
  ])("refuses %j", (pair, message) => {
    expect(() => parametersOf([pair as [string, string]])).toThrowError(refused("parameter", message));
  });

  it("refuses a name that stands twice", () => {
    for (const pairs of [
      [
        ["a", "1"],
        ["a", "2"],
      ],
      [
        ["protocol.x", "1"],
        ["protocol.x", "2"],
      ],
      [
        ["protocolChanges", '{"x": 1}'],
        ["protocol.x", "2"],
      ],
    ] as [string, string][][])
      expect(() => parametersOf(pairs)).toThrow(/once but/);
  });

  it("makes a path that leads somewhere absolute, from here or from the project, and leaves names alone", () => {
    const file = path.join(folder, "mine.yaml");
    fs.writeFileSync(file, "");
    expect(parametersOf([["a", path.relative(process.cwd(), file)]])).toEqual({ a: file });
    const elsewhere = process.cwd();
    process.chdir(folder);
    try {
      const { a, b, c } = parametersOf([
        ["a", "mine.yaml"],
        ["b", "data/lab-model"],
        ["c", "strict"],
      ]) as Record<string, string>;
      expect([fs.realpathSync(a), c]).toEqual([fs.realpathSync(file), "strict"]);
      expect(b).toBe(path.resolve(elsewhere, "data/lab-model"));
      expect(parametersOf([["d", "Qwen/Qwen2.5-0.5B"]])).toEqual({ d: "Qwen/Qwen2.5-0.5B" });
    } finally {
      process.chdir(elsewhere);
    }
  });
});

describe("refuseToOverwriteInput", () => {
  it("sees the same file by another path, and through links", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "flags-"));
    fs.mkdirSync(path.join(folder, "real"));
    fs.symlinkSync("real", path.join(folder, "link"));
    const input = path.join(folder, "real", "in.jsonl");
    fs.writeFileSync(input, "");
    fs.symlinkSync(input, path.join(folder, "out.jsonl"));
    for (const out of [
      input,
      path.join(folder, "real", ".", "in.jsonl"),
      path.join(folder, "link", "in.jsonl"),
      path.join(folder, "out.jsonl"),
    ])
      expect(() => refuseToOverwriteInput(out, [input])).toThrowError(expect.objectContaining({ code: "overwrite" }));
    refuseToOverwriteInput(path.join(folder, "real", "out.jsonl"), [input]);
    refuseToOverwriteInput(path.join(folder, "absent", "out.jsonl"), [input]);
    fs.rmSync(folder, { recursive: true });
  });
});

describe("stopOnSignals", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("turns %s into an abort, once, and listens no more when released", (name, status) => {
    const before = process.listenerCount(name);
    const stop = stopOnSignals();
    expect([stop.signal.aborted, stop.status()]).toEqual([false, null]);
    process.emit(name);
    expect([stop.signal.aborted, stop.status()]).toEqual([true, status]);
    expect(process.listenerCount(name)).toBe(before); // a second one ends the process
    const other = stopOnSignals();
    other.release();
    expect(process.listenerCount(name)).toBe(before);
    stop.release();
  });
});
