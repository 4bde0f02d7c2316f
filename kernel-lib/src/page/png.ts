/**
 * A plotly figure as a PNG, and the check that a figure is one, both without a browser.
 *
 * Figure JSON -> SVG by plotly.js in jsdom -> pixels by resvg. The picture stands beside the interactive figure in a
 * notebook's output, so that GitHub and e-mail show something; the HTML report draws the figure itself.
 * Cartesian traces only (figure.ts lists them), as in the bundle that reports inline. Of an animation the first state.
 */

import { DataError } from "../base";
import { type FigureJson, plainFigure, requireDrawn } from "./figure";
import { FONT_FAMILY, fontFiles } from "./png/fonts";
import { plotlyInDom } from "./png/plotly-dom";

/** Size of a picture in CSS pixels and how many pixels each of them gets. */
export interface PngOptions {
  /** Default: the figure's own width, else 760. */
  width?: number;
  /** Default: the figure's own height, else 440. */
  height?: number;
  /** Pixels per CSS pixel, default 1.5. */
  scale?: number;
}

/**
 * What plotly's own validator objects to: unknown attributes, values outside their range. Empty if nothing.
 *
 * @param figure traces and layout as plain JSON
 * @returns one sentence per objection, in plotly's words
 * @example
 * validateFigure({ data: [{ type: "scatter", y: [1, 2] }] }); // []
 */
export function validateFigure(figure: FigureJson): string[] {
  const plain = plainFigure(figure);
  const findings = plotlyInDom().validate(plain.data, plain.layout ?? {}) ?? [];
  return findings.map(({ msg }) => msg);
}

/**
 * The figure as SVG text, all text in one font family.
 *
 * @throws DataError "figure-traces" for trace types outside the bundle, "figure" if plotly fails
 */
export async function figureToSvg(figure: FigureJson, options: PngOptions = {}): Promise<string> {
  requireDrawn(figure, "a picture");
  const plain = plainFigure(figure);
  const layout = (plain.layout ?? {}) as { width?: number; height?: number; font?: object };
  const width = options.width ?? layout.width ?? 760;
  const height = options.height ?? layout.height ?? 440;
  const font = { ...layout.font, family: FONT_FAMILY };
  const white = { paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff" };
  const sized = { data: plain.data, layout: { ...white, ...layout, font, width, height } };
  try {
    const uri = await plotlyInDom().toImage(sized, { format: "svg", width, height });
    return decodeURIComponent(uri.slice(uri.indexOf(",") + 1));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DataError("figure", `Expected a figure that plotly can draw but it failed: ${reason}.`, { cause });
  }
}

/**
 * The figure as PNG bytes on a white ground.
 *
 * @returns a new Buffer; (width * scale) x (height * scale) pixels
 * @throws DataError "figure-traces" for trace types outside the bundle, "figure" if plotly fails
 * @example
 * await writeFile("loss.png", await figureToPng({ data: [{ type: "scatter", y: [3, 2, 1] }] }));
 */
export async function figureToPng(figure: FigureJson, options: PngOptions = {}): Promise<Buffer> {
  const svg = await figureToSvg(figure, options);
  const { Resvg } = require("@resvg/resvg-js") as typeof import("@resvg/resvg-js");
  const files = fontFiles();
  const picture = new Resvg(svg, {
    background: "#ffffff",
    // Heatmap cells are pixels of a small image that must stay squares.
    imageRendering: 1,
    fitTo: { mode: "zoom", value: options.scale ?? 1.5 },
    font: {
      fontFiles: files,
      // Reading every font of the machine costs a second and makes pictures differ between machines.
      loadSystemFonts: files.length === 0,
      defaultFontFamily: FONT_FAMILY,
      sansSerifFamily: FONT_FAMILY,
    },
  });
  return picture.render().asPng();
}
