// A figure as data: what the pages' plotly draws, what it would draw wrong, and numbers that JSON does not have.
import { describe, expect, it } from "vitest";
import { declareResult, figureBundle, PLOTLY_MIME } from "../../kernel-lib/src/notebook";
import {
  DRAWN_TRACES,
  figureSlot,
  figureToPng,
  plainFigure,
  renderPage,
  tableHtml,
  tableText,
  undrawnTraces,
  validateFigure,
} from "../../kernel-lib/src/page";

const SPACE = { data: [{ type: "bar", y: [1] }, { type: "scatter3d", x: [1], y: [1], z: [1] }, { type: "sankey" }] };

/** Every trace type of the full plotly.js 3. */
const ALL_TYPES =
  `bar barpolar box candlestick carpet choropleth choroplethmap choroplethmapbox cone contour contourcarpet
  densitymap densitymapbox funnel funnelarea heatmap histogram histogram2d histogram2dcontour icicle image indicator isosurface
  mesh3d ohlc parcats parcoords pie quiver sankey scatter scatter3d scattercarpet scattergeo scattergl scattermap scattermapbox
  scatterpolar scatterpolargl scattersmith scatterternary splom streamtube sunburst surface table treemap violin volume
  waterfall`.split(/\s+/);

describe("trace types", () => {
  it("that count as drawn are those of the bundle", () => {
    const known = ALL_TYPES.filter((type) =>
      validateFigure({ data: [{ type }] }).every((said) => !said.includes("type")),
    );
    expect([...DRAWN_TRACES].sort()).toEqual(known.sort());
  });

  it("outside it are found, in frames too, and an unnamed one is a scatter", () => {
    expect(undrawnTraces(SPACE)).toEqual(["scatter3d", "sankey"]);
    expect(undrawnTraces({ data: [{ y: [1] }], frames: [{ data: [{ type: "cone" }] }] })).toEqual(["cone"]);
  });

  it("outside it are refused by picture and page, with the way out", async () => {
    const sentence = /can draw \(scatter, bar.*\) but received scatter3d, sankey\. JupyterLab draws them/;
    await expect(figureToPng(SPACE)).rejects.toMatchObject({
      code: "figure-traces",
      message: expect.stringMatching(sentence),
    });
    const page = { title: "t", bodyHtml: figureSlot("a", "A"), figures: [{ id: "a", figure: SPACE }] };
    expect(() => renderPage(page)).toThrow(sentence);
  });

  it("outside it still reach JupyterLab, with the reason why there is no picture", async () => {
    const bundle = await figureBundle(SPACE);
    expect(bundle[PLOTLY_MIME]).toMatchObject({ data: SPACE.data });
    expect(bundle["image/png"]).toBeUndefined();
    expect(bundle["text/plain"]).toMatch(/No picture: Expected trace types/);
  });
});

describe("numbers that JSON does not have", () => {
  it("become plain ones in a figure, or a gap", async () => {
    const data = [
      { type: "scatter", x: BigInt64Array.of(1n, 2n), y: Float32Array.of(0.5, Number.NaN), customdata: [7n] },
    ];
    const plain = { type: "scatter", x: [1, 2], y: [0.5, null], customdata: [7] };
    expect(plainFigure({ data }).data).toEqual([plain]);
    expect((await figureBundle({ data, frames: [{ name: "a", data: [{ y: [1n] }] }] }))[PLOTLY_MIME]).toEqual({
      data: [plain],
      layout: {},
      config: {},
      frames: [{ name: "a", data: [{ y: [1] }] }],
    });
  });

  it("are refused in a figure where a number would change them", () => {
    const figure = { data: [{ type: "scatter", y: [2n ** 60n] }] };
    expect(() => plainFigure(figure)).toThrow(/\|value\| <= 9007199254740991.*1152921504606846976/);
  });

  it("are shown in full in a table, to the right, also inside objects", () => {
    const rows = [{ id: 2n ** 60n, more: { seed: 5n } }];
    expect(tableText(rows)).toContain("1152921504606846976");
    expect(tableHtml(rows)).toMatch(/<td class="number">1152921504606846976<\/td>/);
    expect(tableText(rows)).toContain('{"seed":"5"}');
  });

  it("may stand in a declared result", () => {
    expect(() => declareResult({ numbers: { small: 3n, large: 2n ** 60n } })).not.toThrow();
  });
});
