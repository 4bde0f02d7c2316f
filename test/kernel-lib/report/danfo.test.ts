/** Tables as frames of the real danfojs: every column right, whatever its first values are. */
import { describe, expect, it } from "vitest";
import { fromDanfo, tableOf, toDanfo } from "../../../kernel-lib/src/report";

const SLOW = 180_000; // danfojs takes a second to load, and the machine may be busy

describe("toDanfo", () => {
  const rows = [
    { share: 1, seed: 3_000_000_001, word: null, said: true, count: 1, gap: null, big: 7n },
    { share: 2, seed: 2 ** 40, word: "late", said: false, count: 2, gap: false, big: 8n },
    { share: 0.5, seed: 2 ** 53 - 1, word: "late", said: true, count: -3, gap: true, big: 9n },
  ];

  it(
    "keeps fractions after whole numbers, numbers beyond 32 bits, text after null and small BigInts",
    async () => {
      const frame = await toDanfo(tableOf(rows));
      expect(frame.dtypes).toEqual(["float32", "float32", "string", "boolean", "int32", "float32", "int32"]);
      expect(frame.column("share").values).toEqual([1, 2, 0.5]);
      expect(frame.column("seed").values).toEqual([3_000_000_001, 2 ** 40, 2 ** 53 - 1]);
      expect(frame.column("word").values).toEqual([null, "late", "late"]);
      expect(frame.column("gap").values).toEqual([Number.NaN, 0, 1]);
      expect(frame.column("big").values).toEqual([7, 8, 9]);
      expect(frame.column("share").mean()).toBeCloseTo(3.5 / 3, 12);
    },
    SLOW,
  );

  it(
    "describes, groups and comes back as a table with the numbers that the records have",
    async () => {
      const frame = await toDanfo(tableOf(rows).select("share", "seed", "word"));
      const described = fromDanfo(frame.describe());
      expect(described.columnNames()).toEqual(["index", "share", "seed"]);
      const mean = described.objects().find(({ index }) => index === "mean");
      expect(mean?.share).toBeCloseTo(3.5 / 3, 12);
      const late = await toDanfo(tableOf(rows.slice(1)));
      expect(fromDanfo(late.groupby(["word"]).agg({ share: "mean" })).objects()).toEqual([
        { word: "late", share_mean: 1.25 },
      ]);
    },
    SLOW,
  );

  it(
    "takes a table without rows, and one column that is all null",
    async () => {
      expect((await toDanfo(tableOf([{ a: 1 }]).filter("d => d.a > 1"))).shape).toEqual([0, 1]);
      expect((await toDanfo(tableOf([{ a: null }, { a: null }]))).column("a").values).toEqual([null, null]);
    },
    SLOW,
  );

  it("refuses by name what a column cannot hold", async () => {
    await expect(toDanfo(tableOf([{ a: 1 }, { a: "x" }]))).rejects.toThrow(/column "a" .*number and string/);
    await expect(toDanfo(tableOf([{ seed: 2n ** 60n }]))).rejects.toThrow(
      /whole numbers within .*column "seed" .*1152921504606846976n/,
    );
  });
});
