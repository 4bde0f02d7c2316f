/**
 * plotly.js running in jsdom: made once per process, on first use (about one second).
 *
 * jsdom lacks what plotly needs for pictures: a canvas (heatmap cells; @napi-rs/canvas draws them), text sizes
 * (measure.ts) and a few browser functions that only have to exist. Nothing is fetched: no resources, no page scripts.
 * Packages are loaded on first use, because `import "steerlab"` should not wait for a browser's DOM.
 */

import { readFileSync } from "node:fs";
import type { Canvas } from "@napi-rs/canvas";
import type { DOMWindow } from "jsdom";
import { installTextMetrics } from "./measure";

/** One finding of plotly's own validator. */
export interface PlotlyFinding {
  code: string;
  container: string;
  trace: number | null;
  path: unknown;
  msg: string;
}

/** The few functions of plotly.js that are used here. */
export interface PlotlyModule {
  validate(data: unknown, layout: unknown): PlotlyFinding[] | undefined;
  toImage(figure: object, options: { format: "svg"; width: number; height: number }): Promise<string>;
}

let loaded: PlotlyModule | null = null;

/** plotly.js in a window of its own; the same object every time. */
export function plotlyInDom(): PlotlyModule {
  if (loaded !== null) return loaded;
  const { JSDOM, VirtualConsole } = require("jsdom") as typeof import("jsdom");
  const { window } = new JSDOM("<!DOCTYPE html><body></body>", {
    runScripts: "outside-only",
    pretendToBeVisual: false,
    virtualConsole: new VirtualConsole(),
  });
  installBrowserParts(window);
  installCanvas(window);
  installTextMetrics(window);
  window.eval(readFileSync(require.resolve("plotly.js-cartesian-dist-min"), "utf8"));
  loaded = (window as unknown as { Plotly: PlotlyModule }).Plotly;
  return loaded;
}

function installBrowserParts(window: DOMWindow): void {
  const nothing = (): void => {};
  const query = { matches: false, addListener: nothing, removeListener: nothing, addEventListener: nothing };
  Object.assign(window, { matchMedia: () => query });
  Object.assign(window.URL, { createObjectURL: () => "", revokeObjectURL: nothing });
}

/** Hands every `<canvas>` to @napi-rs/canvas; one drawing surface per element, remade when its size changes. */
function installCanvas(window: DOMWindow): void {
  const { createCanvas } = require("@napi-rs/canvas") as typeof import("@napi-rs/canvas");
  const surfaces = new WeakMap<object, Canvas>();
  const surfaceOf = (element: HTMLCanvasElement): Canvas => {
    const known = surfaces.get(element);
    if (known !== undefined && known.width === element.width && known.height === element.height) return known;
    const made = createCanvas(Math.max(1, element.width), Math.max(1, element.height));
    surfaces.set(element, made);
    return made;
  };
  const prototype = window.HTMLCanvasElement.prototype as unknown as Record<string, unknown>;
  prototype.getContext = function getContext(this: HTMLCanvasElement, kind: string): unknown {
    return kind === "2d" ? surfaceOf(this).getContext("2d") : null;
  };
  prototype.toDataURL = function toDataURL(this: HTMLCanvasElement): string {
    return surfaceOf(this).toDataURL("image/png");
  };
}
