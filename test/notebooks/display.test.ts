// Tables, figures and pictures: what a viewer gets, with and without a kernel.
import { resolve } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  declareResult,
  displayBundle,
  figureBundle,
  isFigure,
  showFigure,
  showTable,
} from "../../kernel-lib/src/notebook";
import {
  apply,
  compose,
  figureToPng,
  figureToSvg,
  formatCell,
  parseTransform,
  pathPoints,
  pointAlong,
  tableHtml,
  tableText,
  validateFigure,
} from "../../kernel-lib/src/page";

const KEY = Symbol.for("steerlab.kernel");
const holder = globalThis as { [KEY]?: unknown };
const FIGURE = {
  data: [{ type: "scatter", y: [3, 1, 2], name: "a long legend entry" }],
  layout: { title: { text: "Loss <b>by step</b>" }, yaxis: { title: { text: "nats" } } },
};
const HEATMAP = {
  data: [
    {
      type: "heatmap",
      z: [
        [0.1, 0.9],
        [null, 0.5],
      ],
      x: ["weak one", "strong one"],
      y: ["early", "late"],
    },
  ],
  layout: {},
};

afterEach(() => {
  delete holder[KEY];
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

function fakeKernel(): Array<[Record<string, unknown>, { id?: string; update?: boolean }]> {
  const sent: Array<[Record<string, unknown>, { id?: string; update?: boolean }]> = [];
  holder[KEY] = {
    formatters: [],
    display: (bundle: Record<string, unknown>, options: object) => sent.push([bundle, options]),
  };
  return sent;
}

describe("tables", () => {
  it("escape cells, column names and captions", () => {
    const html = tableHtml([{ "<c>": "<v>", n: 0.123456 }], { caption: "<t>" });
    expect(html).toContain('<th style="text-align:left">&lt;c&gt;</th>');
    expect(html).toContain('<td style="text-align:left">&lt;v&gt;</td>');
    expect(html).toContain("<caption>&lt;t&gt;</caption>");
    expect(html).toContain('<td class="number">0.1235</td>');
  });

  it("show unknown as n/a, never as 0", () => {
    expect(
      [null, undefined, 0, 3, 0.5, 1e-9, 0.0000378591, -0.000499999, Number.NaN, "x", [1, null]].map(formatCell),
    ).toEqual(["n/a", "n/a", "0", "3", "0.5", "1e-9", "3.786e-5", "-0.0005", "NaN", "x", "1, n/a"]);
  });

  it("say how many rows are not shown, and take arquero's tables", () => {
    const rows = Array.from({ length: 60 }, (_, i) => ({ i }));
    expect(tableText(rows, { limit: 2 })).toBe("i\n0\n1\n58 more rows (60 in all)");
    const arquero = {
      columnNames: () => ["i"],
      objects: ({ limit = 0 } = {}) => rows.slice(0, limit),
      numRows: () => 60,
    };
    expect(tableText(arquero, { limit: 2 })).toBe(tableText(rows, { limit: 2 }));
    expect(() => tableText(7 as never)).toThrow(/arquero/);
  });
});

describe("in plain Node", () => {
  it("text is printed", async () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    showTable([{ a: 1 }]);
    await showFigure(FIGURE);
    expect(log.mock.calls.flat()).toEqual(["a\n1", "Figure: Loss  by step (scatter, 1 traces)"]);
  });
});

describe("in a kernel", () => {
  it("a display can be updated in place", () => {
    const sent = fakeKernel();
    displayBundle({ "text/plain": "1" }).update({ "text/plain": "2" });
    expect(sent[0][1].update ?? false).toBe(false);
    expect(sent[1]).toEqual([{ "text/plain": "2" }, { id: sent[0][1].id, update: true }]);
  });

  it("a figure is an object, a picture and a text", async () => {
    const bundle = await figureBundle(FIGURE);
    expect(bundle["application/vnd.plotly.v1+json"]).toEqual({ ...FIGURE, config: {} });
    expect(Buffer.from(bundle["image/png"] as string, "base64").readUInt32BE(16)).toBe(760);
    expect(isFigure(FIGURE) && !isFigure([FIGURE]) && !isFigure({ data: [] })).toBe(true);
  });

  it("a figure under a Jupyter server has no picture, so that JupyterLab draws it at once", async () => {
    vi.stubEnv("JPY_SESSION_NAME", "try.ipynb");
    expect(Object.keys(await figureBundle(FIGURE))).toEqual(["application/vnd.plotly.v1+json", "text/plain"]);
  });

  it("a figure without a picture is shown and says why", async () => {
    const figure = { data: [{ type: "scatter", y: [1, 2, 3] }], layout: { width: 0 } };
    const bundle = await figureBundle(figure);
    expect("image/png" in bundle).toBe(false);
    expect(bundle["text/plain"]).toMatch(/^Figure: untitled \(scatter, 1 traces\)\. No picture: /);
    expect(bundle["application/vnd.plotly.v1+json"]).toMatchObject({ data: figure.data });
  });

  it("a result is declared once for people and once for the batch", () => {
    const sent = fakeKernel();
    declareResult({ numbers: { hits: 0.9, d: null }, run: "runs/a", problems: ["few trials"] });
    expect(sent[0][0]["application/vnd.steerlab.result+json"]).toEqual({
      numbers: { hits: 0.9, d: null },
      order: ["hits", "d"],
      run: resolve("runs/a"),
      beside: [],
      problems: ["few trials"],
    });
    expect(sent[0][0]["text/plain"]).toMatch(/hits\s+0\.9/);
  });
});

describe("pictures", () => {
  it("are drawn with text: hiding the text changes many pixels", async () => {
    const { layout } = FIGURE;
    const invisible = { ...FIGURE, layout: { ...layout, font: { color: "#ffffff" } } };
    const [shown, hidden] = await Promise.all([figureToPng(FIGURE), figureToPng(invisible)]);
    expect(shown.subarray(1, 4).toString()).toBe("PNG");
    expect(shown.length - hidden.length).toBeGreaterThan(2000);
  });

  it("hold tick labels, legend and axis title where a browser would put them", async () => {
    const svg = await figureToSvg({ ...FIGURE, data: [...FIGURE.data, { type: "scatter", y: [1, 1, 1], name: "b" }] });
    for (const text of ["a long legend entry", "nats", ">2.5<"]) expect(svg).toContain(text);
    expect(svg).not.toMatch(/display: ?none[^>]*>[\d.]+</);
  });

  it("of heatmaps hold the cells", async () => {
    expect(await figureToSvg(HEATMAP)).toMatch(/<image[^>]*data:image\/png;base64,[A-Za-z0-9+/]{40}/);
  });

  it("are the same bytes every time", async () => {
    expect((await figureToPng(HEATMAP)).equals(await figureToPng(HEATMAP))).toBe(true);
  });
});

describe("validateFigure", () => {
  it("accepts good figures, heatmaps included, and names what is wrong", () => {
    expect(validateFigure(FIGURE)).toEqual([]);
    expect(validateFigure(HEATMAP)).toEqual([]);
    expect(validateFigure({ data: [{ type: "scatter", y: [1], bogus: 1 }], layout: { foo: 1 } })).toEqual([
      "In data trace 0, key bogus is not part of the schema",
      "In layout, key foo is not part of the schema",
    ]);
  });
});

describe("geometry of pictures", () => {
  it("follows SVG's transforms", () => {
    const round = (point: [number, number]): number[] => point.map((value) => Math.round(value * 1e9) / 1e9);
    expect(round(apply(parseTransform("translate(10,5)rotate(-90)"), 2, 0))).toEqual([10, 3]);
    expect(round(apply(parseTransform("rotate(90,1,1)"), 2, 1))).toEqual([1, 2]);
    expect(round(apply(compose(parseTransform("scale(2)"), parseTransform("translate(1 2)")), 0, 0))).toEqual([2, 4]);
  });
  it("walks along straight paths", () => {
    expect(pointAlong(pathPoints("M0,0L3,4L3,14"), 10)).toEqual({ x: 3, y: 9 });
    expect(pointAlong(pathPoints("M0,0L3,4"), 99)).toEqual({ x: 3, y: 4 });
  });
});
