/**
 * What went wrong in a cell, as the content of a Jupyter `error` message: ename, evalue, traceback.
 *
 * Three sources: a thrown value, messages of the TypeScript compiler (the cell never ran), an interrupt.
 * Stack frames of tslab and of Node's own loader say nothing to the reader of a notebook and are left out.
 */
"use strict";

const { inspect } = require("node:util");

/** Frames up to the first one that belongs to the kernel. */
function readableFrames(stack) {
  const lines = stack.split("\n").filter((line) => /^\s+at /.test(line));
  const end = lines.findIndex((line) => /[\\/]tslab[\\/]dist[\\/]|node:vm:|[\\/]jupyter[\\/]preload[\\/]/.test(line));
  const kept = end === -1 ? lines : lines.slice(0, end);
  return kept.filter((line) => !/node:internal\/|\(<anonymous>\)$/.test(line));
}

/** steerlab's own errors say fact, value and remedy; where in the library they were thrown helps nobody mend them. */
const SPEAKS_FOR_ITSELF = new Set(["InputError", "DataError", "DeviceError", "AbortedError"]);

/** Error content for a thrown value of any kind, causes included. */
function thrownContent(value) {
  if (!(value instanceof Error) && typeof value?.stack !== "string") {
    const shown = typeof value === "string" ? value : inspect(value);
    return { ename: "Thrown", evalue: shown, traceback: [`Thrown: ${shown}`] };
  }
  const ename = value.name || "Error";
  const evalue = String(value.message);
  const code = typeof value.code === "string" ? ` [${value.code}]` : "";
  const frames = code !== "" && SPEAKS_FOR_ITSELF.has(ename) ? [] : readableFrames(String(value.stack));
  const traceback = [`${ename}${code}: ${evalue}`, ...frames];
  for (let cause = value.cause, depth = 0; cause !== undefined && depth < 5; cause = cause?.cause, depth += 1) {
    traceback.push(`caused by ${cause?.name ?? "value"}: ${cause?.message ?? inspect(cause)}`);
  }
  return { ename, evalue, traceback };
}

/** A promise taken for its value: nearly always an `await` that was forgotten. */
const PROMISE_MISUSE = /(?:on type|Type|of type) 'Promise</;
const AWAIT_HINT = "This is a promise, not its value: write `await` before the call that made it.";

/** Error content for compiler diagnostics given as tslab prints them: file, line, column, message. */
function diagnosticContent(diagnostics, code) {
  const source = code.split("\n");
  const traceback = [];
  for (const { file, line, column, text } of diagnostics) {
    traceback.push(`${file}${line}:${column} - ${text}`);
    if (file === "" && source[line - 1] !== undefined) {
      traceback.push(`    ${source[line - 1]}`, `    ${" ".repeat(Math.max(0, column - 1))}^`);
    }
  }
  const [first] = diagnostics;
  if (diagnostics.some(({ text }) => PROMISE_MISUSE.test(text))) traceback.push(AWAIT_HINT);
  return { ename: "TypeScriptError", evalue: `${first.line}:${first.column} - ${first.text}`, traceback };
}

/** Error content of a cell that the user interrupted; `thrown` is what its work threw on the way out, if anything. */
function interruptContent(thrown) {
  const evalue = "The cell was stopped by an interrupt.";
  const own =
    thrown instanceof Error && !/^Interrupted asynchronously|^Script execution was interrupted/.test(thrown.message);
  const traceback = [`Interrupted: ${evalue}`, ...(own ? thrownContent(thrown).traceback : [])];
  return { ename: "Interrupted", evalue, traceback };
}

/**
 * Error content for failures that nobody handled: promises that rejected, callbacks (timers, events) that threw.
 *
 * @param failures [{ reason, kind: "promise" | "callback" }]
 * @param origin `of this cell` or `of an earlier cell`   @param consequence what that means for the cell, or ""
 */
function unhandledContent(failures, origin, consequence) {
  const [{ reason, kind }] = failures;
  const first = thrownContent(reason);
  const what =
    kind === "callback"
      ? `A callback ${origin} (a timer or an event) threw and nothing caught it`
      : `A promise ${origin} rejected and nobody awaited it`;
  const ename = kind === "callback" ? "UncaughtException" : "UnhandledRejection";
  const evalue = `${what}${consequence}. ${first.ename}: ${first.evalue}`;
  const rest = failures.slice(1).map((failure) => thrownContent(failure.reason).traceback[0]);
  return { ename, evalue, traceback: [`${ename}: ${evalue}`, ...first.traceback, ...rest] };
}

module.exports = { diagnosticContent, interruptContent, readableFrames, thrownContent, unhandledContent };
