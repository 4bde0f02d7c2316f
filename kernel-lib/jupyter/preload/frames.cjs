/**
 * Stack traces that speak of cells: `at step (cell [3], line 2)` instead of a line of compiled JavaScript.
 *
 * Each compiled cell carries a script name of its own; when V8 formats a stack, the frames of those scripts are looked up
 * in the cell's source map. Every way to a stack benefits: the error message of a cell, `console.error(error)`, a log.
 */
"use strict";

const { inspect } = require("node:util");

const SCRIPT = /cell-(\d+)-(\d+)\.ts:(\d+):(\d+)/;

/** Number of a script -> { lines: of compiled code, lookup }. */
const compiled = new Map();
let scripts = 0;

/** `code` with a script name; `lookup(line, column)` says where in cell `count` a place of it comes from. */
function named(code, count, lookup) {
  scripts += 1;
  compiled.set(scripts, { lines: code.split("\n").length, lookup });
  return `${code}\n//# sourceURL=cell-${count}-${scripts}.ts`;
}

/** A frame as V8 writes it, with a place of the notebook; null: the call of the cell itself, below it is the kernel. */
function placed(frame) {
  const match = SCRIPT.exec(frame);
  if (match === null) return frame;
  const [, count, script, line, column] = match.map(Number);
  const { lines, lookup } = compiled.get(script) ?? {};
  if (line > lines) return null;
  const found = lookup?.(line, column) ?? null;
  const place = found === null ? `cell [${count}]` : `cell [${count}], line ${found.line}`;
  // Functions of earlier cells are called through tslab's proxy, which says nothing to anybody.
  return frame.replace(SCRIPT, place).replace(/^Proxy\./, "");
}

function headOf(error) {
  try {
    return String(error);
  } catch {
    return inspect(error?.message);
  }
}

/** From now on V8 formats stacks through `placed`. */
function installFrames() {
  Error.prepareStackTrace = (error, sites) => {
    const frames = sites.map((site) => placed(String(site)));
    const end = frames.indexOf(null);
    return [headOf(error), ...(end === -1 ? frames : frames.slice(0, end)).map((frame) => `    at ${frame}`)].join(
      "\n",
    );
  };
}

module.exports = { installFrames, named };
