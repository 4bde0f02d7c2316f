// GGUF heads: what is read, and every way a file can lie about itself; the writer against the reader.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { isGgufFile, readGguf, writeGguf } from "../../../kernel-lib/src/files";
import { type GgufParts, ggufBytes, text, u32, u64 } from "../../helpers/gguf";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-gguf-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function put(bytes: Buffer, name = "x.gguf"): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, bytes);
  return file;
}
const read = (parts: GgufParts): ReturnType<typeof readGguf> => readGguf(put(ggufBytes(parts)));
const one = { name: "t", shape: [2, 32], bytes: 256 };

describe("readGguf", () => {
  it("reads every kind of metadata and places tensors", () => {
    const table = read({
      metadata: [
        ["a", "text é"],
        ["b", true],
        ["c", { kind: "f32", value: 0.5 }],
        ["d", { kind: "u64", value: 2 ** 40 }],
        ["e", ["x", ""]],
        ["f", [1, 2]],
        ["g", { kind: "u8", value: 7 }],
      ],
      tensors: [one, { name: "q", shape: [3, 64], type: 8, bytes: 204 }],
    });
    expect([...table.metadata.values()]).toEqual(["text é", true, 0.5, 2 ** 40, ["x", ""], [1, 2], 7]);
    const [t, q] = [...table.tensors.values()];
    expect(t).toMatchObject({ dtype: "f32", shape: [2, 32], byteLength: 256 });
    expect(q).toMatchObject({ dtype: "q8_0", shape: [3, 64], byteLength: 204, byteOffset: t.byteOffset + 256 });
    expect(t.byteOffset % 32).toBe(0);
  });

  it("leaves out arrays that are not wanted, and only those", () => {
    const file = put(
      ggufBytes({
        metadata: [
          ["a", ["x"]],
          ["b", [1]],
          ["c", 3],
        ],
      }),
    );
    expect([...readGguf(file, { skip: ["a", "b", "c"] }).metadata]).toEqual([["c", 3]]);
  });

  it.each<[string, string, GgufParts]>([
    ["magic", 'begins with "GGUF"', { magic: "GGML" }],
    ["version 1", "version 2 or 3", { version: 1 }],
    ["big-endian", "big-endian", { version: 3 << 24 }],
    ["more tensors than bytes", "tensors", { tensorCount: 1e9 }],
    ["more pairs than bytes", "metadata values", { pairCount: 2 ** 50 }],
    [
      "a key twice",
      "once",
      {
        metadata: [
          ["a", 1],
          ["a", 2],
        ],
      },
    ],
    ["a truth value of 2", "0 or 1", { metadata: [["a", { kind: "bool", value: 2 }]] }],
    ["a tensor twice", "one tensor of this name", { tensors: [one, one] }],
    ["an unknown type", "known tensor type", { tensors: [{ ...one, type: 99 }] }],
    ["half a block", "whole q4_k blocks", { tensors: [{ ...one, type: 12 }] }],
    ["five dimensions", "at most 4 dimensions", { tensors: [{ ...one, shape: [1, 1, 1, 1, 1] }] }],
    ["an impossible shape", "2\\^53", { tensors: [{ ...one, shape: [2 ** 31, 2 ** 31] }] }],
    ["an unaligned offset", "not aligned", { tensors: [{ ...one, offset: 4 }] }],
    ["a hole", "hole", { tensors: [{ ...one, offset: 64 }] }],
    ["an overlap", "overlaps", { tensors: [one, { ...one, name: "u", offset: 128 }] }],
    ["a cut file", "cut off", { tensors: [one], dataBytes: 255 }],
    ["an odd alignment", "power of two", { metadata: [["general.alignment", 24]] }],
  ])("refuses %s", (_, sentence, parts) => {
    expect(() => read(parts)).toThrowError(new RegExp(sentence));
  });

  it("refuses lengths, text and arrays that the file cannot hold", () => {
    const head = (...rest: Buffer[]): string =>
      put(Buffer.concat([Buffer.from("GGUF"), u32(3), u64(0), u64(1), ...rest]));
    const filler = Buffer.alloc(64);
    expect(() => readGguf(head(u64(2n ** 60n), filler))).toThrowError(/2\^53/);
    expect(() => readGguf(head(u64(1e6), filler))).toThrowError(/bytes of text/);
    expect(() => readGguf(head(text("k"), u32(13), filler))).toThrowError(/kind of metadata/);
    expect(() => readGguf(head(text("k"), u32(9), u32(4), u64(1e12), filler))).toThrowError(/array elements/);
    expect(() => readGguf(head(u64(1), Buffer.from([0xff]), u32(4), filler))).toThrowError(/UTF-8/);
    const nested = Buffer.concat(Array.from({ length: 6 }, () => Buffer.concat([u32(9), u64(1)])));
    expect(() => readGguf(head(text("k"), u32(9), nested, filler))).toThrowError(/deep/);
  });

  it("refuses every cut of a file's head", () => {
    const whole = ggufBytes({
      metadata: [
        ["a", "b"],
        ["c", ["d", "e"]],
      ],
      tensors: [one],
    });
    for (let length = 0; length < whole.length; length++)
      expect(() => readGguf(put(whole.subarray(0, length))), `${length} bytes`).toThrowError();
    expect(readGguf(put(whole)).tensors.size).toBe(1);
  });

  it("says why a file cannot be opened", () => {
    expect(() => readGguf(path.join(folder, "nowhere"))).toThrowError(/nowhere but could not open it \(ENOENT\)/);
    expect(isGgufFile(path.join(folder, "nowhere"))).toBe(false);
    expect(isGgufFile(put(Buffer.from("GG")))).toBe(false);
  });
});

describe("writeGguf", () => {
  it("writes what the reader reads, the same bytes each time", () => {
    const tensors = {
      "direction.1": { shape: [3], data: Float32Array.of(1, -2, 0.5) },
      "direction.2": { shape: [1, 2], data: Float32Array.of(4, 5) },
    };
    const metadata = { "general.architecture": "controlvector", n: 3, yes: true, list: ["a", "b"] };
    const [a, b] = ["a.gguf", "b.gguf"].map((name) => path.join(folder, name));
    writeGguf(a, metadata, tensors);
    writeGguf(b, metadata, tensors);
    expect(fs.readFileSync(a)).toEqual(fs.readFileSync(b));
    const table = readGguf(a);
    expect(Object.fromEntries(table.metadata)).toEqual(metadata);
    const second = table.tensors.get("direction.2");
    expect(second).toMatchObject({ dtype: "f32", shape: [1, 2] });
    expect(fs.readFileSync(a).readFloatLE((second?.byteOffset ?? 0) + 4)).toBe(5);
  });

  it("refuses what it cannot write", () => {
    const data = new Float32Array(2);
    expect(() => writeGguf("x", {}, { t: { shape: [3], data } })).toThrowError(/shape of 2 values/);
    expect(() => writeGguf("x", { n: -1 }, {})).toThrowError(/unsigned/);
  });
});
