// Logistic regression: known solutions, the conditions of an optimum, and more features than rows.
import { describe, expect, it } from "vitest";
import { random } from "../../../kernel-lib/src/base";
import { fitLogistic } from "../../../kernel-lib/src/stats";

describe("fitLogistic", () => {
  it("gives the log odds of a two by two table when hardly penalised", () => {
    // x = 0: 3 of 10; x = 1: 8 of 10. Intercept log(3/7), slope log(8/2) - log(3/7).
    const rows = Array.from({ length: 20 }, (_, i) => [i < 10 ? 0 : 1]);
    const labels = rows.map(([x], i) => (i % 10 < (x === 0 ? 3 : 8) ? 1 : 0));
    const fit = fitLogistic(rows, labels, 1e-5);
    expect(fit.intercept).toBeCloseTo(Math.log(3 / 7), 4);
    expect(fit.weights[0]).toBeCloseTo(Math.log(4) - Math.log(3 / 7), 4);
    expect(fit.logOdds([1])).toBeCloseTo(Math.log(4), 4);
  });

  it("solves two opposite points: w = 2 sigma(-w) / penalty, though they are separable", () => {
    const penalty = 0.5;
    const { weights, intercept } = fitLogistic([[1], [-1]], [1, 0], penalty);
    expect(weights[0]).toBeCloseTo((2 / penalty) * (1 / (1 + Math.exp(weights[0]))), 6);
    expect(intercept).toBeCloseTo(0, 8);
  });

  it("meets the conditions of an optimum with more features than rows", () => {
    const stream = random(3);
    const rows = Array.from({ length: 30 }, () => Float64Array.from({ length: 50 }, () => stream.normal()));
    const labels = rows.map((row) => (row[0] + stream.normal() > 0 ? 1 : 0));
    const penalty = 2;
    const fit = fitLogistic(rows, labels, penalty);
    const residual = rows.map((row, i) => labels[i] - 1 / (1 + Math.exp(-fit.logOdds(row))));
    for (let k = 0; k < 50; k++) {
      const slope = rows.reduce((sum, row, i) => sum + residual[i] * row[k], 0);
      expect(slope - penalty * fit.weights[k], `feature ${k}`).toBeCloseTo(0, 5);
    }
    expect(fit.weights[0]).toBe(Math.max(...fit.weights));
  });

  it("refuses one class, missing labels and no penalty", () => {
    expect(() => fitLogistic([[1], [2]], [1, 1], 1)).toThrow(expect.objectContaining({ code: "outcome" }));
    expect(() => fitLogistic([[1], [2]], [1], 1)).toThrow(expect.objectContaining({ code: "unpaired" }));
    expect(() => fitLogistic([[1], [2]], [1, 0], 0)).toThrow(expect.objectContaining({ code: "penalty" }));
  });
});
