// Files survive what happens to files: torn lines, killed writers, hostile paths, damaged JSON.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  canonicalJson,
  confinePath,
  contentHash,
  finiteJson,
  JsonlWriter,
  parseJsonStrict,
  readJsonl,
  scanJsonl,
  sha256,
  sha256File,
  writeFileAtomic,
  writeJsonAtomic,
} from "../../../kernel-lib/src/files";
import { createRunFolder, runFoldersBelow, openRunFolder, slugify } from "../../../kernel-lib/src/runs";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-files-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const at = (...parts: string[]): string => path.join(folder, ...parts);

describe("jsonl", () => {
  it("reads back what was appended, in order, across writers", () => {
    const file = at("a", "trials.jsonl");
    const first = new JsonlWriter(file);
    first.append({ id: 1, text: "line\nbreak ☃" });
    first.close();
    first.close();
    const second = new JsonlWriter(file);
    second.appendAll([{ id: 2 }, { id: 3, value: null }]);
    second.close();
    expect(readJsonl(file)).toEqual({
      records: [{ id: 1, text: "line\nbreak ☃" }, { id: 2 }, { id: 3, value: null }],
      torn: null,
    });
    expect(() => second.append({})).toThrowError(/was closed/);
  });

  it("a file cut at any byte gives a prefix of the records, and appending resumes to the same bytes", () => {
    const records = [{ id: 1, s: "é" }, { id: 2 }, { id: 3, list: [1, 2] }];
    const whole = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    for (let cut = 0; cut <= whole.length; cut++) {
      const file = at("cut.jsonl");
      fs.writeFileSync(file, whole.subarray(0, cut));
      const { records: found, torn } = readJsonl(file);
      expect(found).toEqual(records.slice(0, found.length));
      expect(torn === null).toBe(cut === 0 || whole[cut - 1] === 0x0a);
      const writer = new JsonlWriter(file);
      writer.appendAll(records.slice(found.length));
      writer.close();
      expect(fs.readFileSync(file).equals(whole)).toBe(true);
    }
  });

  it("names the line of damage inside the file, and a missing file", () => {
    fs.writeFileSync(at("bad.jsonl"), '{"a":1}\n\n{"a":\n{"a":2}\n');
    expect(() => readJsonl(at("bad.jsonl"))).toThrowError(/bad\.jsonl line 3/);
    expect(() => readJsonl(at("absent.jsonl"))).toThrowError(expect.objectContaining({ code: "file-missing" }));
  });

  it("reads lines longer than its piece, and numbers them", () => {
    const long = "x".repeat((1 << 20) + 17);
    fs.writeFileSync(at("long.jsonl"), `${JSON.stringify(long)}\n"end"\n`);
    const lines: number[] = [];
    const torn = scanJsonl(at("long.jsonl"), (record, line) => {
      lines.push(line);
      expect(record).toBe(line === 1 ? long : "end");
    });
    expect({ lines, torn }).toEqual({ lines: [1, 2], torn: null });
  });
});

describe("a line of many megabytes", () => {
  const big = at("big.jsonl");
  afterAll(() => fs.rmSync(big));

  it.each([
    ["one text full of escapes", () => '\\"\\\\'.repeat(4e6)],
    ["a long key", () => "k".repeat(2e7)],
  ])("is read without overflow: %s", (_name, text) => {
    const inner = text();
    fs.writeFileSync(big, `{"id": "a", "deep": [{"${inner}": "${inner}"}]}\n{"id": "b"}\n`);
    const ids: unknown[] = [];
    const lengths: number[] = [];
    const onRecord = (record: unknown): void => {
      const { id, deep } = record as { id: string; deep?: Record<string, string>[] };
      ids.push(id);
      for (const [key, value] of Object.entries(deep?.[0] ?? {})) lengths.push(key.length, value.length);
    };
    expect(scanJsonl(big, onRecord, { uniqueKeys: true })).toBeNull();
    expect(ids).toEqual(["a", "b"]);
    expect(lengths).toEqual(Array(2).fill((JSON.parse(`"${inner}"`) as string).length));
  });

  it("is refused for nesting that would overflow whoever walks it", () => {
    fs.writeFileSync(big, `{"id": ${"[".repeat(1e6)}${"]".repeat(1e6)}}\n`);
    expect(() => scanJsonl(big, () => {}, { uniqueKeys: true })).toThrowError(
      expect.objectContaining({ code: "json-depth", message: expect.stringContaining("big.jsonl line 1") }),
    );
  });

  it("is joined once, not at every piece", () => {
    const { concat } = Buffer;
    let copied = 0;
    Buffer.concat = ((list: Uint8Array[]) => {
      const joined = concat(list);
      copied += joined.length;
      return joined;
    }) as typeof Buffer.concat;
    try {
      fs.writeFileSync(big, `"${"x".repeat(3e7)}"\n`);
      scanJsonl(big, () => {});
    } finally {
      Buffer.concat = concat;
    }
    expect(copied).toBeLessThan(4e7);
  });
});

describe("json", () => {
  it("refuses NaN and infinities instead of writing null", () => {
    expect(() => finiteJson({ rows: [{ loss: Number.NaN }] })).toThrowError(/for loss but received NaN/);
    expect(() => writeJsonAtomic(at("x.json"), Number.POSITIVE_INFINITY)).toThrowError(/finite/);
    expect(() => finiteJson(undefined)).toThrowError(/a JSON value/);
  });

  it("finds duplicate keys at any depth, by escape too, and only there", () => {
    for (const text of ['{"a":1,"a":2}', '{"x":[{"b":{}, "b":1}]}', '{"a":1,"\\u0061":2}', '{"a":[1,{"c":1}],"a":1}']) {
      expect(() => parseJsonStrict(text, "t")).toThrowError(expect.objectContaining({ code: "json-duplicate-key" }));
    }
    const fine = '{"a":{"a":"a"},"b":["a","a",{"a":"\\"a\\":"}],"c":"{\\"a\\":1,\\"a\\":2}"}';
    expect(parseJsonStrict(fine, "t")).toEqual(JSON.parse(fine));
    expect(() => parseJsonStrict("{", "config.json")).toThrowError(/valid JSON in config\.json/);
    for (const text of ['{"n":1.0}', '{"n":1e2}', '{"n":-1}', '{"n":9007199254740993}']) {
      expect(() => parseJsonStrict(text, "t", { wholeNumbers: true })).toThrowError(/whole numbers/);
      expect(() => parseJsonStrict(text, "t")).not.toThrow();
    }
  });

  it("hashes content, not key order", async () => {
    expect(canonicalJson({ b: [2, { d: 1, c: null }], a: "x" })).toBe('{"a":"x","b":[2,{"c":null,"d":1}]}');
    expect(contentHash({ a: 1, b: [1, 2] })).toBe(contentHash({ b: [1, 2], a: 1 }));
    expect(contentHash([1, 2])).not.toBe(contentHash([2, 1]));
    expect(sha256("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    fs.writeFileSync(at("abc"), "abc");
    expect(await sha256File(at("abc"))).toBe(sha256("abc"));
  });
});

describe("atomic writes", () => {
  it("replace the whole file and leave nothing beside it", () => {
    writeFileAtomic(at("w", "s.json"), "one");
    writeFileAtomic(at("w", "s.json"), "two");
    expect(fs.readFileSync(at("w", "s.json"), "utf8")).toBe("two");
    expect(fs.readdirSync(at("w"))).toEqual(["s.json"]);
  });

  it("keep the old file when writing fails", () => {
    fs.mkdirSync(at("taken", "inner"), { recursive: true });
    expect(() => writeFileAtomic(at("taken"), "x")).toThrow(); // a folder stands where the file should go
    expect(fs.readdirSync(folder).filter((name) => name.includes("partial"))).toEqual([]);
    expect(fs.existsSync(at("taken", "inner"))).toBe(true);
  });
});

describe("confinePath", () => {
  it("lets plain relative paths through, existing or not", () => {
    fs.mkdirSync(at("root", "sub"), { recursive: true });
    expect(confinePath(at("root"), "sub/file.bin", "entry")).toBe(
      path.join(fs.realpathSync(at("root")), "sub/file.bin"),
    );
    expect(confinePath(at("root"), "new/deep/file", "entry")).toMatch(/root\/new\/deep\/file$/);
    expect(confinePath(at("root"), "..hidden", "entry")).toMatch(/\.\.hidden$/);
  });

  it("refuses every way out by text", () => {
    for (const text of ["", "..", "../x", "a/../../x", "/etc/passwd", "a\\b", "a\0b", "C:/x", "./x", "a/.."]) {
      expect(() => confinePath(at("root"), text, "entry")).toThrowError(
        expect.objectContaining({ code: "path-escape" }),
      );
    }
  });

  it("refuses links that lead out or nowhere, and lets named homes pass", () => {
    fs.mkdirSync(at("outside"), { recursive: true });
    fs.writeFileSync(at("outside", "blob"), "x");
    fs.symlinkSync(at("outside", "blob"), at("root", "link"));
    fs.symlinkSync(at("outside"), at("root", "folderlink"));
    fs.symlinkSync(at("gone"), at("root", "dangling"));
    for (const text of ["link", "folderlink/blob", "folderlink/new", "dangling"]) {
      expect(() => confinePath(at("root"), text, "entry")).toThrowError(/link/);
    }
    expect(confinePath(at("root"), "link", "entry", { linksMayLeaveTo: [at("outside")] })).toMatch(/root\/link$/);
  });
});

describe("run folders", () => {
  const time = new Date("2026-11-22T18:05:09Z");

  it("are named by time, slug and seed, and never shared", () => {
    const one = createRunFolder({ root: at("runs"), slug: "train-strict", seed: 3, time });
    const two = createRunFolder({ root: at("runs"), slug: "train-strict", seed: 3, time });
    expect(one.id).toBe("20261122-180509-train-strict-s3");
    expect(two.id).toBe("20261122-180510-train-strict-s3");
    fs.mkdirSync(at("runs", "not-a-run"));
    expect(runFoldersBelow(at("runs")).map((run) => run.id)).toEqual([one.id, two.id]);
    expect(runFoldersBelow(at("no-runs"))).toEqual([]);
    expect(slugify("Concept sweep, 102!")).toBe("concept-sweep-102");
    expect(() => createRunFolder({ root: at("runs"), slug: "../x", seed: 1, time })).toThrowError(/slug/);
    expect(() => createRunFolder({ root: at("runs"), slug: "x", seed: -1, time })).toThrowError(/seed/);
  });

  it("carry meta and a status that tells killed from done from failed", () => {
    const run = createRunFolder({ root: at("runs"), slug: "status", seed: 0, time });
    expect(run.status()).toBe("open");
    run.writeMeta({ device: "cpu", n: 1 });
    run.writeMeta({ n: 2 });
    expect(openRunFolder(run.path).readMeta()).toEqual({ device: "cpu", n: 2 });
    run.markFailed("DeviceError out-of-memory: no room.\n");
    expect([run.status(), run.failure()]).toEqual(["failed", "DeviceError out-of-memory: no room."]);
    run.markDone();
    expect([run.status(), run.failure()]).toEqual(["done", null]);
    expect(() => openRunFolder(at("runs", "absent"))).toThrowError(
      expect.objectContaining({ code: "run-folder-missing" }),
    );
    const file = path.resolve("package.json");
    expect(() => openRunFolder(file)).toThrow(/but it is a file/);
    expect(() => openRunFolder(`${file}/run`)).toThrow(expect.objectContaining({ code: "run-folder-missing" }));
  });
});
