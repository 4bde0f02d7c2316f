/**
 * One output of a code cell as HTML: the richest of its MIME types that a report can show safely.
 *
 * Order: plotly figure (drawn by the page), HTML (sanitised), Markdown (no HTML in it), picture, text. SVG becomes a
 * picture, in which no script runs. Text has terminal colours removed and carriage returns carried out.
 */

import { escapeHtml, type FigureCollector, type FigureJson, renderMarkdown, undrawnTraces } from "../../page";
import { joined, type NotebookOutput } from "./file";
import { sanitiseHtml } from "./sanitise";

const PLOTLY = "application/vnd.plotly.v1+json";
// ESC [ ... letter: what programs write to colour a terminal or to move its cursor.
const ANSI = /\u001b\[[0-9;?]*[A-Za-z]/g;

/** What a terminal would show: colours removed, a carriage return starts the line again. */
export function terminalText(text: string): string {
  const lines = text.replace(ANSI, "").replace(/\r\n/g, "\n").split("\n");
  return lines.map((line) => line.slice(line.replace(/\r+$/, "").lastIndexOf("\r") + 1).replace(/\r/g, "")).join("\n");
}

function richHtml(data: Record<string, unknown>, figures: FigureCollector): string {
  const text = (type: string): string => joined(data[type] as string | string[] | undefined);
  const plain = text("text/plain");
  const figure = data[PLOTLY] as FigureJson | undefined;
  if (figure !== undefined && Array.isArray(figure.data)) {
    const undrawn = undrawnTraces(figure);
    if (undrawn.length === 0) return figures.slot(figure, plain.split("\n")[0] || "Figure");
    return undrawnHtml(undrawn, data, plain);
  }
  if (data["text/html"] !== undefined) return sanitiseHtml(text("text/html"));
  if (data["text/markdown"] !== undefined) return renderMarkdown(text("text/markdown"));
  const raster = rasterHtml(data, plain);
  if (raster !== null) return raster;
  if (data["image/svg+xml"] !== undefined) {
    const svg = Buffer.from(text("image/svg+xml"), "utf8").toString("base64");
    return picture(`data:image/svg+xml;base64,${svg}`, plain);
  }
  if (data["text/plain"] === undefined && data["application/json"] !== undefined) {
    return `<pre>${escapeHtml(JSON.stringify(data["application/json"], null, 2))}</pre>`;
  }
  return plain === "" ? "" : `<pre>${escapeHtml(terminalText(plain))}</pre>`;
}

/** The PNG or JPEG of an output, or null. */
function rasterHtml(data: Record<string, unknown>, label: string): string | null {
  const type = ["image/png", "image/jpeg"].find((name) => data[name] !== undefined);
  if (type === undefined) return null;
  return picture(`data:${type};base64,${joined(data[type] as string | string[]).replace(/\s/g, "")}`, label);
}

/** A figure that the page's plotly would draw wrong: the picture beside it, or a sentence. */
function undrawnHtml(types: readonly string[], data: Record<string, unknown>, plain: string): string {
  const label = plain.split("\n")[0] || "Figure";
  const raster = rasterHtml(data, plain);
  const kinds = escapeHtml(types.join(", "));
  if (raster === null) {
    return `<p class="note">${escapeHtml(label)}. Not drawn: this page has no ${kinds} traces and the output no picture. JupyterLab draws it.</p>`;
  }
  return `<figure>${raster}<figcaption>${escapeHtml(label)}. A picture: this page has no ${kinds} traces; JupyterLab draws it live.</figcaption></figure>`;
}

function picture(uri: string, label: string): string {
  return `<img src="${escapeHtml(uri)}" alt="${escapeHtml(label.slice(0, 200))}">`;
}

/** HTML of one output; "" if there is nothing to show. */
export function outputHtml(output: NotebookOutput, figures: FigureCollector): string {
  if (output.output_type === "stream") {
    const kind = output.name === "stderr" ? ' class="stderr"' : "";
    return `<pre${kind}>${escapeHtml(terminalText(joined(output.text)))}</pre>`;
  }
  if (output.output_type === "error") {
    const head = `${output.ename ?? "Error"}: ${output.evalue ?? ""}`;
    const lines = (output.traceback ?? []).map(terminalText);
    const rest = lines[0] === head ? lines.slice(1) : lines;
    const trace = escapeHtml(rest.join("\n"));
    return `<div class="error"><strong>${escapeHtml(head)}</strong>${trace === "" ? "" : `<pre>${trace}</pre>`}</div>`;
  }
  return richHtml(output.data ?? {}, figures);
}

/** Stream outputs of the same name that follow each other, joined into one. */
export function joinStreams(outputs: ReadonlyArray<NotebookOutput>): NotebookOutput[] {
  const result: NotebookOutput[] = [];
  for (const output of outputs) {
    const last = result.at(-1);
    if (output.output_type === "stream" && last?.output_type === "stream" && last.name === output.name) {
      result[result.length - 1] = { ...last, text: joined(last.text) + joined(output.text) };
    } else {
      result.push(output);
    }
  }
  return result;
}
