// Parquet files read back by an independent reader give the records that went in.
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { afterAll, describe, expect, it } from "vitest";
import { writeParquet } from "../../../kernel-lib/src/files";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-parquet-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const file = path.join(folder, "trials.parquet");
const bytes = (): ArrayBuffer => new Uint8Array(fs.readFileSync(file)).buffer;

describe("writeParquet", () => {
  it("round-trips every kind of field, nulls and absent fields included", async () => {
    writeParquet(file, [
      { id: "a", hit: true, layer: 3, big: 2 ** 40, mass: 0.5, note: null, spans: [1, 2], mixed: 1 },
      { id: "ü☃", hit: false, layer: -4, big: 1, mass: 1, spans: { x: null }, mixed: "two", late: 7 },
    ]);
    expect(await parquetReadObjects({ file: bytes() })).toEqual([
      {
        id: "a",
        hit: true,
        layer: 3,
        big: BigInt(2 ** 40),
        mass: 0.5,
        note: null,
        spans: "[1,2]",
        mixed: "1",
        late: null,
      },
      { id: "ü☃", hit: false, layer: -4, big: 1n, mass: 1, note: null, spans: '{"x":null}', mixed: '"two"', late: 7 },
    ]);
    const types = parquetMetadata(bytes())
      .schema.slice(1)
      .map((column) => column.type);
    expect(types).toEqual([
      "BYTE_ARRAY",
      "BOOLEAN",
      "INT32",
      "INT64",
      "DOUBLE",
      "BYTE_ARRAY",
      "BYTE_ARRAY",
      "BYTE_ARRAY",
      "INT32",
    ]);
  });

  it("holds many rows, writes the same bytes again, and refuses NaN", async () => {
    const records = Array.from({ length: 5000 }, (_, i) => ({ id: `t${i}`, p: i / 5000, k: i % 7 }));
    writeParquet(file, records);
    const first = Buffer.from(bytes());
    expect(await parquetReadObjects({ file: bytes() })).toEqual(records);
    writeParquet(file, records);
    expect(Buffer.from(bytes()).equals(first)).toBe(true);
    expect(() => writeParquet(file, [{ p: Number.NaN }])).toThrowError(/finite/);
    expect(Buffer.from(bytes()).equals(first)).toBe(true);
  });
});
