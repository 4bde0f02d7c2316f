// Known answers of Philox, laws of the stream, and the distribution of what it gives out. Each distribution bound states
// the odds that a *correct* generator with a fresh seed would miss it; the seeds here are fixed, so the tests never flicker.
import { describe, expect, it } from "vitest";
import { philox4x32, random, restoreRandom } from "../../../kernel-lib/src/base";

function block(counter: number[], key: number[]): string[] {
  const out = new Uint32Array(4);
  philox4x32(counter, key, out);
  return [...out].map((word) => word.toString(16).padStart(8, "0"));
}

describe("philox4x32-10", () => {
  it("gives the published known answers", () => {
    expect(block([0, 0, 0, 0], [0, 0])).toEqual(["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]);
    const ones = 0xffffffff;
    expect(block([ones, ones, ones, ones], [ones, ones])).toEqual(["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]);
    expect(block([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      "d16cfe09",
      "94fdcceb",
      "5001e420",
      "24126ea1",
    ]);
  });
});

describe("random", () => {
  it("repeats for the same seed and differs for another", () => {
    const take = (seed: number): number[] =>
      Array.from(
        { length: 20 },
        (
          (rng) => () =>
            rng.uniform()
        )(random(seed)),
      );
    expect(take(5)).toEqual(take(5));
    expect(take(5)).not.toEqual(take(6));
    expect(take(2 ** 32)).not.toEqual(take(0)); // the high half of the seed counts
  });

  it("forks by label only: draws of the parent move nothing, labels and types differ", () => {
    const fresh = random(3);
    const used = random(3);
    for (let i = 0; i < 11; i++) used.normal();
    expect(used.fork("a").uniform()).toBe(fresh.fork("a").uniform());
    const firsts = [fresh.fork("a"), fresh.fork("b"), fresh.fork(1), fresh.fork("1"), fresh.fork("a").fork("a")];
    expect(new Set(firsts.map((rng) => rng.uniform())).size).toBe(5);
    expect(fresh.uniform()).toBe(random(3).uniform());
  });

  it("resumes anywhere from its state", () => {
    const rng = random(9);
    for (let i = 0; i < 7; i++) rng.integer(10);
    const copy = restoreRandom(JSON.parse(JSON.stringify(rng.state())));
    expect([copy.uniform(), copy.normal(), copy.integer(1000)]).toEqual([
      rng.uniform(),
      rng.normal(),
      rng.integer(1000),
    ]);
    expect(() => restoreRandom({ key: "xyz", position: 0 })).toThrowError(/16 hex digits/);
    expect(() => restoreRandom({ key: "0".repeat(16), position: -1 })).toThrowError(/position/);
  });

  it("refuses seeds and ranges that are not what they should be", () => {
    for (const seed of [-1, 1.5, Number.NaN, 2 ** 53]) expect(() => random(seed)).toThrowError(/for seed but received/);
    for (const n of [0, -3, 2.5, 2 ** 33]) expect(() => random(1).integer(n)).toThrowError(/integer\(n\)/);
    expect(() => random(1).pick([])).toThrowError(/at least 1 value/);
  });

  it("uniform: 50,000 draws in 50 bins, chi-square(49) < 120 (odds of false alarm 7e-8), range [0, 1)", () => {
    const rng = random(11);
    const counts = new Array<number>(50).fill(0);
    for (let i = 0; i < 50_000; i++) {
      const u = rng.uniform();
      expect(u >= 0 && u < 1).toBe(true);
      counts[Math.floor(u * 50)] += 1;
    }
    expect(counts.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0)).toBeLessThan(120);
  });

  it("normal: moments of 100,000 draws within 5 standard errors (odds of false alarm 6e-7 each)", () => {
    const rng = random(12);
    const n = 100_000;
    const draws = Array.from({ length: n }, () => rng.normal());
    const moment = (power: number): number => draws.reduce((sum, x) => sum + x ** power, 0) / n;
    const bound = (variance: number): number => 5 * Math.sqrt(variance / n);
    expect(Math.abs(moment(1))).toBeLessThan(bound(1));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(bound(2)); // var(x^2) = 2
    expect(Math.abs(moment(3))).toBeLessThan(bound(15)); // var(x^3) = 15
    expect(Math.abs(moment(4) - 3)).toBeLessThan(bound(96)); // var(x^4) = 96
    const lag = draws.slice(1).reduce((sum, x, i) => sum + x * draws[i], 0) / (n - 1);
    expect(Math.abs(lag)).toBeLessThan(bound(1));
  });

  it("integer: 3 values, and a range that rejection must handle, are even (5 sigma, odds 6e-7 per value)", () => {
    const rng = random(13);
    const n = 30_000;
    const counts = [0, 0, 0];
    for (let i = 0; i < n; i++) counts[rng.integer(3)] += 1;
    for (const count of counts) expect(Math.abs(count - n / 3)).toBeLessThan(5 * Math.sqrt((n * 2) / 9));
    // For n = 3 * 2^30 plain modulo would put half of all draws below 2^30 instead of a third.
    let low = 0;
    for (let i = 0; i < n; i++) if (rng.integer(3 * 2 ** 30) < 2 ** 30) low += 1;
    expect(Math.abs(low - n / 3)).toBeLessThan(5 * Math.sqrt((n * 2) / 9));
  });

  it("shuffle: all 24 orders of 4 items even, chi-square(23) < 95 (odds 1e-10); input untouched", () => {
    const rng = random(14);
    const counts = new Map<string, number>();
    const input = Object.freeze([0, 1, 2, 3]);
    for (let i = 0; i < 24_000; i++) {
      const key = rng.shuffle(input).join("");
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    expect([...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0)).toBeLessThan(95);
  });

  it("forks are uncorrelated with the parent and each other (5 sigma over 20,000 pairs, odds 6e-7 each)", () => {
    const n = 20_000;
    const streams = [random(15), random(15).fork("x"), random(15).fork("y"), random(16)];
    const draws = streams.map((rng) => Array.from({ length: n }, () => rng.normal()));
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j < i; j++) {
        const dot = draws[i].reduce((sum, x, k) => sum + x * draws[j][k], 0);
        expect(Math.abs(dot)).toBeLessThan(5 * Math.sqrt(n));
      }
    }
  });
});
