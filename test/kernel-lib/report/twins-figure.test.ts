// The figure of a study among its twins has panels, and a title, for what its protocol asks and none for what it does not.
import { describe, expect, it } from "vitest";
import type { TwinRow } from "../../../kernel-lib/src/evaluate";
import { twinsFigure } from "../../../kernel-lib/src/report";

const estimate = (value: number | null) => ({ value, low: null, high: null, n: 10, method: "none" });
const row = (twin: string, selectivity: number | null): TwinRow => ({
  twin,
  seed: 1,
  steps: 2,
  validationAccuracy: 0.9,
  balancedAccuracy: estimate(0.9),
  hitRate: estimate(0.9),
  falseAlarmRate: estimate(0.1),
  selectivity: selectivity === null ? null : estimate(selectivity),
  shift: estimate(0.2),
  chatDivergence: estimate(null),
  retentionWeight: 0,
  folders: [],
});

interface Drawn {
  data: { mode: string; xaxis: string }[];
  layout: { title: { text: string }; xaxis: { domain: number[] }; yaxis2?: object };
}
const drawn = (rows: TwinRow[]): Drawn => twinsFigure(rows) as unknown as Drawn;

describe("twinsFigure", () => {
  it("draws detection and selectivity where control questions were asked", () => {
    const { layout } = drawn([row("study", 0.7), row("flipped", null)]);
    expect(layout.yaxis2).toBeDefined();
    expect(layout.title.text).toBe("Detection and selectivity against side effects");
  });

  it("draws detection alone, over the whole width, where none were", () => {
    const { data, layout } = drawn([row("study", null), row("flipped", null)]);
    expect(new Set(data.map(({ xaxis }) => xaxis))).toEqual(new Set(["x"]));
    expect(layout.yaxis2).toBeUndefined();
    expect(layout.xaxis.domain).toEqual([0, 1]);
    expect(layout.title.text).toBe("Detection against side effects");
  });

  it("has costs on a logarithmic axis, unless one is nothing", () => {
    const scale = (rows: TwinRow[]) => (drawn(rows).layout.xaxis as { type?: string }).type;
    expect(scale([row("study", 0.7)])).toBe("log");
    expect(scale([row("study", 0.7), { ...row("flipped", 0.1), shift: estimate(0) }])).toBeUndefined();
  });
});
