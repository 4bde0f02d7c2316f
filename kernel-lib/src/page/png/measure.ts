/**
 * Sizes of SVG text for a DOM that does no layout (jsdom), so that plotly can place legends, ticks and margins.
 *
 * Width comes from the real font through @napi-rs/canvas; height is 1.2 em per line with 0.8 em above the baseline.
 * Only what plotly asks for is answered: boxes of texts and groups of texts, and points along straight paths (arrows).
 */

import type { SKRSContext2D } from "@napi-rs/canvas";
import type { DOMWindow } from "jsdom";
import { FONT_FAMILY, fontFiles } from "./fonts";
import { apply, compose, IDENTITY, type Matrix, parseTransform } from "./transform";

/** A box in the text's own coordinates, y downwards, baseline at 0. */
export interface TextBox {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const ASCENT_EM = 0.8;
const LINE_EM = 1.2;
const DEFAULT_FONT_PX = 12;

let measureContext: SKRSContext2D | null = null;

/** Width of one line in pixels at `size` pixels. */
export function lineWidth(text: string, size: number, bold: boolean): number {
  if (measureContext === null) {
    const { createCanvas, GlobalFonts } = require("@napi-rs/canvas") as typeof import("@napi-rs/canvas");
    for (const path of fontFiles()) GlobalFonts.registerFromPath(path, FONT_FAMILY);
    measureContext = createCanvas(8, 8).getContext("2d");
  }
  measureContext.font = `${bold ? "bold " : ""}${size}px "${FONT_FAMILY}", sans-serif`;
  return measureContext.measureText(text).width;
}

function fontOf(element: Element): { size: number; bold: boolean; anchor: string } {
  let size: number | null = null;
  let weight: string | null = null;
  let anchor: string | null = null;
  for (let at: Element | null = element; at !== null && at.tagName !== "svg"; at = at.parentElement) {
    const style = (at as SVGElement).style;
    const sizeText = style?.fontSize || at.getAttribute("font-size") || "";
    if (size === null && sizeText !== "") size = Number.parseFloat(sizeText);
    weight ??= style?.fontWeight || at.getAttribute("font-weight");
    anchor ??= at.getAttribute("text-anchor") || style?.getPropertyValue("text-anchor") || null;
  }
  return { size: size ?? DEFAULT_FONT_PX, bold: weight === "bold" || Number(weight) >= 600, anchor: anchor ?? "start" };
}

/** Box of one `<text>` element, its `x`/`y` included, transforms left out. */
export function textBox(element: Element): TextBox {
  const lines = [...element.querySelectorAll("tspan.line")].map((line) => line.textContent ?? "");
  const texts = lines.length > 0 ? lines : [element.textContent ?? ""];
  const { size, bold, anchor } = fontOf(element);
  const width = Math.max(...texts.map((text) => lineWidth(text, size, bold)));
  const x = Number.parseFloat(element.getAttribute("x") ?? "0") || 0;
  const y = Number.parseFloat(element.getAttribute("y") ?? "0") || 0;
  const left = x - (anchor === "middle" ? width / 2 : anchor === "end" ? width : 0);
  const top = y - ASCENT_EM * size;
  return { left, top, right: left + width, bottom: top + LINE_EM * size * texts.length };
}

/** Product of the transforms of `element` and its ancestors up to (not including) `root`. */
function transformTo(element: Element, root: Element | null): Matrix {
  let matrix: Matrix = IDENTITY;
  for (let at: Element | null = element; at !== null && at !== root; at = at.parentElement) {
    matrix = compose(parseTransform(at.getAttribute("transform")), matrix);
  }
  return matrix;
}

function moved({ left, top, right, bottom }: TextBox, matrix: Matrix): TextBox {
  const corners = [
    apply(matrix, left, top),
    apply(matrix, right, top),
    apply(matrix, left, bottom),
    apply(matrix, right, bottom),
  ];
  const xs = corners.map(([x]) => x);
  const ys = corners.map(([, y]) => y);
  return { left: Math.min(...xs), top: Math.min(...ys), right: Math.max(...xs), bottom: Math.max(...ys) };
}

/** Box around all texts of `element`; `root` null: on the screen, else in the coordinates that `root` has inside. */
function boxOf(element: Element, root: Element | null): TextBox {
  const texts: Element[] = element.tagName === "text" ? [element] : Array.from(element.querySelectorAll("text"));
  const shown = texts.filter((text) => (text.textContent ?? "") !== "");
  if (shown.length === 0) return { left: 0, top: 0, right: 0, bottom: 0 };
  const boxes = shown.map((text) => moved(textBox(text), transformTo(text, root)));
  return {
    left: Math.min(...boxes.map(({ left }) => left)),
    top: Math.min(...boxes.map(({ top }) => top)),
    right: Math.max(...boxes.map(({ right }) => right)),
    bottom: Math.max(...boxes.map(({ bottom }) => bottom)),
  };
}

/** Corner points of a path made of straight pieces (annotation arrows are); curves count as their end points. */
export function pathPoints(d: string): Array<[number, number]> {
  return [...d.matchAll(/[MLT]\s*(-?[\d.]+(?:e-?\d+)?)[\s,]+(-?[\d.]+(?:e-?\d+)?)/gi)].map((m) => [
    Number(m[1]),
    Number(m[2]),
  ]);
}

/** Point at `length` along straight pieces, clamped to the ends. */
export function pointAlong(points: ReadonlyArray<[number, number]>, length: number): { x: number; y: number } {
  let left = Math.max(0, length);
  for (let i = 1; i < points.length; i++) {
    const [x0, y0] = points[i - 1];
    const [x1, y1] = points[i];
    const piece = Math.hypot(x1 - x0, y1 - y0);
    if (left <= piece && piece > 0) return { x: x0 + ((x1 - x0) * left) / piece, y: y0 + ((y1 - y0) * left) / piece };
    left -= piece;
  }
  const [x, y] = points[points.length - 1] ?? [0, 0];
  return { x, y };
}

function totalLength(points: ReadonlyArray<[number, number]>): number {
  return points.slice(1).reduce((sum, [x, y], i) => sum + Math.hypot(x - points[i][0], y - points[i][1]), 0);
}

/** Makes `window`'s SVG elements answer questions about their size. */
export function installTextMetrics(window: DOMWindow): void {
  const rectangle = ({ left, top, right, bottom }: TextBox): object => {
    return { left, top, right, bottom, x: left, y: top, width: right - left, height: bottom - top };
  };
  const prototype = window.SVGElement.prototype as unknown as Record<string, unknown>;
  prototype.getBoundingClientRect = function onScreen(this: Element): object {
    return rectangle(boxOf(this, null));
  };
  prototype.getBBox = function inside(this: Element): object {
    return rectangle(boxOf(this, this));
  };
  prototype.getComputedTextLength = function length(this: Element): number {
    const { left, right } = textBox(this);
    return right - left;
  };
  prototype.getTotalLength = function total(this: Element): number {
    return totalLength(pathPoints(this.getAttribute("d") ?? ""));
  };
  prototype.getPointAtLength = function point(this: Element, length: number): { x: number; y: number } {
    return pointAlong(pathPoints(this.getAttribute("d") ?? ""), length);
  };
}
