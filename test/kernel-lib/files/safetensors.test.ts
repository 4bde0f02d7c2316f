// The strict reader against the reference library's files and against every kind of damage; the writer byte for byte.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import {
  bfloatToFloat,
  floatToBfloat,
  floatToHalf,
  halfToFloat,
  MAX_HEADER_BYTES,
  parseSafetensorsHeader,
  readSafetensorsHeader,
  readTensor,
  type SafetensorsDType,
  tensorEntry,
  type TensorToWrite,
  writeSafetensors,
} from "../../../kernel-lib/src/files";

const fixtures = path.join(__dirname, "..", "..", "fixtures", "safetensors");
const expectedValues = JSON.parse(fs.readFileSync(path.join(fixtures, "expected.json"), "utf8")) as Record<
  string,
  { shape: number[]; values: number[] }
>;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-safetensors-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => path.join(folder, name);

/** A file image with any header text and any number of data bytes. */
function image(header: string | Buffer, dataBytes: number, declared?: bigint): Buffer {
  const body = Buffer.isBuffer(header) ? header : Buffer.from(header, "utf8");
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(declared ?? BigInt(body.length));
  return Buffer.concat([prefix, body, Buffer.alloc(dataBytes)]);
}

function codeOf(bytes: Buffer): string {
  const file = at("case.safetensors");
  fs.writeFileSync(file, bytes);
  try {
    readSafetensorsHeader(file);
    return "accepted";
  } catch (error) {
    return (error as { code?: string }).code ?? `uncoded ${String(error)}`;
  }
}

const entry = (dtype: string, shape: string, start: number | string, end: number | string): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${start},${end}]}`;

describe("reading what the reference library wrote", () => {
  it("gives every element type's values", async () => {
    const table = readSafetensorsHeader(path.join(fixtures, "mixed.safetensors"));
    expect(table.metadata).toEqual({ format: "pt" });
    expect([...table.tensors.keys()].sort()).toEqual(Object.keys(expectedValues).sort());
    for (const [name, { shape, values }] of Object.entries(expectedValues)) {
      expect(tensorEntry(table, name).shape).toEqual(shape);
      expect([...(await readTensor(table, name))]).toEqual(values.map(Math.fround));
    }
  });

  it("reads rows of the first dimension alone, and refuses ranges outside", async () => {
    const table = readSafetensorsHeader(path.join(fixtures, "mixed.safetensors"));
    const whole = await readTensor(table, "b.bf16");
    expect([...(await readTensor(table, "b.bf16", [1, 3]))]).toEqual([...whole.subarray(3, 9)]);
    expect((await readTensor(table, "b.bf16", [2, 2])).length).toBe(0);
    await expect(readTensor(table, "b.bf16", [0, 6])).rejects.toThrowError(/\[0, 5\) for b\.bf16/);
    await expect(readTensor(table, "nope")).rejects.toThrowError(/Expected tensor "nope".*holds 12/);
  });
});

describe("writing", () => {
  it("gives the reference library's bytes for the same contents", () => {
    const types: Record<string, SafetensorsDType> = {
      "z.f64": "F64",
      "a.f32": "F32",
      "b.bf16": "BF16",
      "c.f16": "F16",
      "d.i64": "I64",
      "e.i32": "I32",
      "f.u8": "U8",
      "g.empty": "F32",
      "h.scalar": "F32",
    };
    const tensors: Record<string, TensorToWrite> = {};
    for (const [name, dtype] of Object.entries(types)) {
      tensors[name] = { dtype, shape: expectedValues[name].shape, data: expectedValues[name].values };
    }
    writeSafetensors(at("plain.safetensors"), tensors, { format: "pt" });
    expect(
      fs.readFileSync(at("plain.safetensors")).equals(fs.readFileSync(path.join(fixtures, "plain.safetensors"))),
    ).toBe(true);
    const shuffled = Object.fromEntries(Object.entries(tensors).reverse());
    writeSafetensors(at("again.safetensors"), shuffled, { format: "pt" });
    expect(fs.readFileSync(at("again.safetensors")).equals(fs.readFileSync(at("plain.safetensors")))).toBe(true);
  });

  it("round-trips float arrays, views included, and names like numbers", async () => {
    const rng = random(4);
    const backing = Float32Array.from({ length: 1000 }, () => rng.normal());
    const data = backing.subarray(7, 907);
    writeSafetensors(at("v.safetensors"), {
      "10": { dtype: "F32", shape: [30, 30], data },
      "9": { dtype: "BF16", shape: [900], data },
    });
    const table = readSafetensorsHeader(at("v.safetensors"));
    expect(await readTensor(table, "10")).toEqual(Float32Array.from(data));
    const rounded = await readTensor(table, "9");
    for (const [i, value] of rounded.entries()) {
      expect(Math.abs(value - data[i])).toBeLessThanOrEqual(Math.abs(data[i]) * 2 ** -8);
    }
  });

  it("refuses what it cannot write, and leaves nothing behind", () => {
    const data = new Float32Array(4);
    expect(() => writeSafetensors(at("no"), { a: { dtype: "F32", shape: [5], data } })).toThrowError(
      /shape of 4 values/,
    );
    expect(() => writeSafetensors(at("no"), { a: { dtype: "F32", shape: [-2, -2], data } })).toThrowError(/shape/);
    expect(() => writeSafetensors(at("no"), { a: { dtype: "F8_E4M3", shape: [4], data } })).toThrowError(
      /dtype to write/,
    );
    expect(() => writeSafetensors(at("no"), { __metadata__: { dtype: "F32", shape: [4], data } })).toThrowError(
      /tensor name/,
    );
    expect(fs.readdirSync(folder).filter((name) => name.startsWith("no"))).toEqual([]);
  });
});

describe("16-bit floats", () => {
  it("every pattern decodes and encodes to itself", () => {
    for (let bits = 0; bits < 65536; bits++) {
      const half = halfToFloat(bits);
      if (!Number.isNaN(half)) expect(floatToHalf(half)).toBe(bits);
      const brain = bfloatToFloat(bits);
      if (!Number.isNaN(brain)) expect(floatToBfloat(brain)).toBe(bits);
    }
    expect(halfToFloat(floatToHalf(Number.NaN))).toBeNaN();
    expect(bfloatToFloat(floatToBfloat(Number.NaN))).toBeNaN();
  });

  it("halfway values go to the even neighbour, others to the nearest", () => {
    for (let bits = 0; bits < 0x7bff; bits += 7) {
      const low = halfToFloat(bits);
      const high = halfToFloat(bits + 1);
      expect(floatToHalf((low + high) / 2)).toBe(bits % 2 === 0 ? bits : bits + 1);
      expect(floatToHalf(low + (high - low) * 0.49)).toBe(bits);
      expect(floatToHalf(low + (high - low) * 0.51)).toBe(bits + 1);
    }
    for (let bits = 0x100; bits < 0x7f00; bits += 11) {
      const low = bfloatToFloat(bits);
      const high = bfloatToFloat(bits + 1);
      expect(floatToBfloat((low + high) / 2)).toBe(bits % 2 === 0 ? bits : bits + 1);
    }
    expect(floatToHalf(65519.9)).toBe(0x7bff);
    expect(floatToHalf(65520)).toBe(0x7c00);
  });
});

describe("damage", () => {
  it("a good file cut at every byte is refused with a code, never accepted", () => {
    const whole = fs.readFileSync(path.join(fixtures, "mixed.safetensors"));
    expect(codeOf(whole)).toBe("accepted");
    const codes = new Map<string, number>();
    for (let cut = 0; cut < whole.length; cut++) {
      const code = codeOf(whole.subarray(0, cut));
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    expect([...codes.keys()].sort()).toEqual(["safetensors-header", "safetensors-layout"]);
    expect(codeOf(Buffer.concat([whole, Buffer.alloc(1)]))).toBe("safetensors-layout");
  });

  it("a header length beyond the file, the limit or 63 bits allocates nothing", () => {
    const before = process.memoryUsage().arrayBuffers;
    for (const declared of [
      0n,
      1n,
      9n,
      BigInt(MAX_HEADER_BYTES),
      BigInt(MAX_HEADER_BYTES) + 1n,
      2n ** 53n,
      2n ** 64n - 1n,
    ]) {
      expect(codeOf(image("{}", 0, declared))).toBe("safetensors-header");
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  });

  const cases: [string, string, number, string][] = [
    ["empty file body", "{}", 0, "accepted"],
    ["trailing spaces", "{}      ", 0, "accepted"],
    ["leading space", " {}", 0, "safetensors-header"],
    ["array root", "[]", 0, "safetensors-header"],
    ["not JSON", "{oops}", 0, "json-syntax"],
    ["half a header", '{"a":', 0, "json-syntax"],
    ["one good tensor", `{"a":${entry("F32", "[2,3]", 0, 24)}}`, 24, "accepted"],
    ["duplicate tensor", `{"a":${entry("U8", "[1]", 0, 1)},"a":${entry("U8", "[1]", 0, 1)}}`, 1, "json-duplicate-key"],
    [
      "duplicate by escape",
      `{"a":${entry("U8", "[1]", 0, 1)},"\\u0061":${entry("U8", "[1]", 1, 2)}}`,
      2,
      "json-duplicate-key",
    ],
    ["duplicate field", '{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1, "json-duplicate-key"],
    ["unknown dtype", `{"a":${entry("F4", "[2]", 0, 1)}}`, 1, "safetensors-tensor"],
    ["dtype from the prototype", `{"a":${entry("toString", "[2]", 0, 1)}}`, 1, "safetensors-tensor"],
    ["dtype not a string", '{"a":{"dtype":4,"shape":[1],"data_offsets":[0,1]}}', 1, "safetensors-tensor"],
    ["negative shape", `{"a":${entry("U8", "[-1,-4]", 0, 4)}}`, 4, "json-number"],
    ["float shape", `{"a":${entry("U8", "[4.0]", 0, 4)}}`, 4, "json-number"],
    ["exponent shape", `{"a":${entry("U8", "[4e0]", 0, 4)}}`, 4, "json-number"],
    ["string shape", `{"a":${entry("U8", '["4"]', 0, 4)}}`, 4, "safetensors-tensor"],
    ["shape not a list", `{"a":${entry("U8", "4", 0, 4)}}`, 4, "safetensors-tensor"],
    ["shape product overflow", `{"a":${entry("F32", "[4294967296,4294967296,4]", 0, 0)}}`, 0, "safetensors-tensor"],
    ["overflow hidden by a zero", `{"a":${entry("F32", "[4294967296,4294967296,0]", 0, 0)}}`, 0, "safetensors-tensor"],
    ["dimension past 2^53", `{"a":${entry("U8", "[9007199254740993]", 0, 1)}}`, 1, "json-number"],
    ["range shorter than shape", `{"a":${entry("F32", "[2]", 0, 7)}}`, 7, "safetensors-tensor"],
    ["range longer than shape", `{"a":${entry("F32", "[2]", 0, 9)}}`, 9, "safetensors-tensor"],
    ["reversed range", `{"a":${entry("U8", "[2]", 2, 0)}}`, 2, "safetensors-tensor"],
    ["one offset", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}', 1, "safetensors-tensor"],
    ["missing shape", '{"a":{"dtype":"U8","data_offsets":[0,1]}}', 1, "safetensors-tensor"],
    ["extra field", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":1}}', 1, "safetensors-tensor"],
    ["tensor is null", '{"a":null}', 0, "safetensors-tensor"],
    ["overlap", `{"a":${entry("U8", "[4]", 0, 4)},"b":${entry("U8", "[4]", 2, 6)}}`, 6, "safetensors-layout"],
    ["same range twice", `{"a":${entry("U8", "[4]", 0, 4)},"b":${entry("U8", "[4]", 0, 4)}}`, 4, "safetensors-layout"],
    ["hole", `{"a":${entry("U8", "[4]", 0, 4)},"b":${entry("U8", "[4]", 5, 9)}}`, 9, "safetensors-layout"],
    ["hole at the start", `{"a":${entry("U8", "[4]", 1, 5)}}`, 5, "safetensors-layout"],
    ["data after the last", `{"a":${entry("U8", "[4]", 0, 4)}}`, 5, "safetensors-layout"],
    ["data cut off", `{"a":${entry("U8", "[4]", 0, 4)}}`, 3, "safetensors-layout"],
    [
      "empty tensors share an offset",
      `{"b":${entry("U8", "[0]", 4, 4)},"a":${entry("U8", "[4]", 0, 4)},"c":${entry("U8", "[2,0]", 0, 0)}}`,
      4,
      "accepted",
    ],
    ["metadata of numbers", '{"__metadata__":{"n":1}}', 0, "safetensors-header"],
    ["metadata a list", '{"__metadata__":["a"]}', 0, "safetensors-header"],
    ["tensor named __proto__", `{"__proto__":${entry("U8", "[1]", 0, 1)}}`, 1, "accepted"],
    ["absurd nesting", `{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}`, 0, "json-depth"],
  ];
  it.each(cases)("%s", (_name, header, dataBytes, code) => {
    expect(codeOf(image(header, dataBytes))).toBe(code);
  });

  it("invalid UTF-8 and a byte-order mark are refused", () => {
    expect(codeOf(image(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 0))).toBe("safetensors-header");
    expect(codeOf(image(Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from("{}")]), 0))).toBe(
      "safetensors-header",
    );
  });

  it.each([
    ["GGUF", Buffer.concat([Buffer.from("GGUF"), Buffer.alloc(60)])],
    ["PyTorch pickle", Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(60)])],
    ["Git LFS pointer", Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")],
  ])("names a %s given in its place", (name, bytes) => {
    const file = path.join(folder, "other.safetensors");
    fs.writeFileSync(file, bytes);
    expect(() => readSafetensorsHeader(file)).toThrowError(new RegExp(`received a .*${name}`));
  });

  it("names the missing file", () => {
    expect(() => readSafetensorsHeader(at("absent"))).toThrowError(expect.objectContaining({ code: "file-missing" }));
  });

  it("3,000 random single-byte changes of a good header: accepted only if the table is still a partition of the file", () => {
    const whole = fs.readFileSync(path.join(fixtures, "mixed.safetensors"));
    const headerBytes = Number(whole.readBigUInt64LE(0));
    const rng = random(21);
    let refused = 0;
    for (let i = 0; i < 3000; i++) {
      const header = Uint8Array.from(whole.subarray(8, 8 + headerBytes));
      header[rng.integer(headerBytes)] = rng.integer(256);
      try {
        const { tensors } = parseSafetensorsHeader(header, whole.length, "mutant");
        let end = 8 + headerBytes;
        for (const tensor of tensors.values()) {
          expect(tensor.byteOffset).toBe(end);
          end += tensor.byteLength;
        }
        expect(end).toBe(whole.length);
      } catch (error) {
        expect((error as { code?: string }).code).toMatch(/^(safetensors|json)-/);
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });
});
