/**
 * Running one cell: `execute_input`, `execute_result` and `error` messages, a truthful reply, and failures that cannot
 * hide (a promise that rejects with nobody listening fails the cell it falls into, or the next one). Wraps tslab's
 * executor; messages.cjs decides when a cell runs.
 */
"use strict";

const { inspect } = require("node:util");
const { Cell, captureStreams, receiver, runningCell } = require("./cell.cjs");
const { hasForAwait } = require("./compiler.cjs");
const { diagnosticContent, interruptContent, thrownContent, unhandledContent } = require("./errors.cjs");
const { installFrames, named } = require("./frames.cjs");
const { createInterrupts } = require("./interrupt.cjs");
const { patchLifecycle } = require("./lifecycle.cjs");
const { patchHandler, patchServer } = require("./messages.cjs");
const { expandShorthand } = require("./shorthand.cjs");
const { serialiseServer } = require("./sockets.cjs");
const { executeInStages, stagedConverters } = require("./stages.cjs");
const { leftBehind, leftBehindText } = require("./variables.cjs");

/** After a cell's last statement: time for a rejection that is already on its way to be seen as this cell's. */
const SETTLE_MS = 25;
/** A silent request with this code waits, then fails if a promise rejected after its cell had ended. */
const SETTLE_CODE = "/* steerlab: settle */";
const FINAL_SETTLE_MS = 500;

const PROMISE_HINT = "Promise: not a value yet. Write `await` in front of it to wait for the value.";

const delay = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const state = {
  /** `execute(code)` of tslab, in two steps, and its variables. */
  executor: null,
  stages: null,
  interrupts: null,
  count: 0,
  ts: null,
  /** What the compiler said about the cell compiled last (compiler.cjs). */
  latest: null,
  /** Failures that fell between cells: promise or object -> { reason, kind }. */
  orphans: new Map(),
};

/** Value of the last expression -> MIME bundle: its own method (null: show nothing), then formatters, then text. */
async function resultBundle(value, formatters) {
  const own = value?.[Symbol.for("Jupyter.display")];
  if (typeof own === "function") return (await own.call(value)) ?? null;
  for (const format of formatters) {
    const bundle = await format(value);
    if (bundle !== null && bundle !== undefined) return bundle;
  }
  if (value instanceof Promise) return { "text/plain": PROMISE_HINT };
  return { "text/plain": typeof value === "string" ? value : inspect(value) };
}

/** tslab reports a thrown value as one argument, a compiler message as a format with four. */
function noteProblem(args) {
  const cell = runningCell();
  if (cell === null) return;
  if (args[0] === "%s%d:%d - %s") {
    const [, file, line, column, text] = args;
    cell.problems.push({ diagnostic: { file, line, column, text } });
    return;
  }
  const value = args[0];
  if (value?.code === "ERR_SCRIPT_EXECUTION_INTERRUPTED") state.interrupts.noteSynchronous();
  cell.problems.push({ value });
}

/** Compiled code gets a script name for its stack traces, and `for await` at the top makes it async. */
function finishCompiled(result, source) {
  if (!result.output) return result;
  const output = named(result.output, state.count, state.latest.lookup);
  return { ...result, output, hasToplevelAwait: result.hasToplevelAwait || hasForAwait(state.ts, source) };
}

function wrapExecutor(executorModule) {
  const create = executorModule.createExecutor;
  executorModule.createExecutor = (rootDir, converters) => {
    state.stages = stagedConverters(converters, finishCompiled);
    const executor = create(rootDir, state.stages, {
      log: (value) => runningCell()?.results.push(value),
      error: (...args) => noteProblem(args),
    });
    const execute = executor.execute;
    const stopped = () => state.interrupts.requested;
    const run = (code) => executeInStages(execute, expandShorthand(state.ts, code), stopped);
    state.executor = { ...executor, execute: run };
    state.interrupts = createInterrupts(() => {
      const cell = runningCell();
      if (cell === null) return;
      cell.interrupted = true;
      executor.interrupt();
    });
    // tslab adds its own process listeners right after this call; ours replace them.
    setImmediate(installProcessListeners);
    return executor;
  };
}

/** Runs `code`; a cell that fails leaves the variables it had assigned. */
async function executeKeeping(cell, code) {
  const { executor, stages } = state;
  const earlier = { ...executor.locals };
  state.latest.floating = [];
  stages.begin();
  const done = await executor.execute(code);
  const { last } = stages;
  if (done) stages.succeeded();
  else if (last?.compiled.output !== undefined && cell.problems.every(({ diagnostic }) => diagnostic === undefined)) {
    const left = leftBehind(state.ts, { locals: executor.locals, earlier, ...last });
    stages.keep(left.declarations);
    cell.leftBehind = leftBehindText(left);
  }
  return done;
}

/** Says which calls of the cell nobody waits for; the last expression says so itself, as its result. */
function hintFloating(cell) {
  const shown = cell.results.some((value) => value instanceof Promise);
  const floating = shown ? state.latest.floating.slice(0, -1) : state.latest.floating;
  for (const { line, text } of floating) {
    cell.write(
      "stderr",
      `Line ${line}: nobody waits for \`${text}\`. Write \`await\` in front of it, or \`void\` if that is meant.\n`,
    );
  }
}

function installProcessListeners() {
  for (const event of ["SIGINT", "uncaughtException", "unhandledRejection"]) process.removeAllListeners(event);
  process.on("SIGINT", () => {
    const patient = state.interrupts.request();
    const cell = runningCell();
    if (patient && cell !== null) {
      cell.write("stderr", "Stopping: the step in hand is finished and saved first. Interrupt again to end at once.\n");
    }
  });
  const note = (reason, key, kind) => {
    const cell = runningCell();
    (cell === null ? state.orphans : cell.rejections).set(key, { reason, kind });
    const line = `Nobody handles this failure: ${thrownContent(reason).traceback[0]}\n`;
    if (cell === null) process.stderr.write(line);
    else cell.write("stderr", line);
  };
  process.on("unhandledRejection", (reason, promise) => note(reason, promise, "promise"));
  process.on("uncaughtException", (error) => note(error, {}, "callback"));
  process.on("rejectionHandled", (promise) => {
    state.orphans.delete(promise);
    runningCell()?.rejections.delete(promise);
  });
}

/** Error content of the cell, or null if all went well. */
function failureOf(cell, code) {
  const content = failureContent(cell, code);
  if (content === null || cell.leftBehind === null) return content;
  return { ...content, traceback: [...content.traceback, cell.leftBehind] };
}

function failureContent(cell, code) {
  const diagnostics = cell.problems.flatMap(({ diagnostic }) => (diagnostic === undefined ? [] : [diagnostic]));
  if (diagnostics.length > 0) return diagnosticContent(diagnostics, code);
  const thrown = cell.problems.find((problem) => "value" in problem);
  const aborted = thrown?.value?.code === "aborted";
  if (thrown !== undefined && (aborted || !state.interrupts.requested)) return thrownContent(thrown.value);
  if (state.interrupts.requested) return interruptContent(thrown?.value);
  if (cell.rejections.size === 0) return null;
  return unhandledContent([...cell.rejections.values()], "of this cell", "");
}

function takeOrphans(consequence) {
  if (state.orphans.size === 0) return null;
  const failures = [...state.orphans.values()];
  state.orphans.clear();
  return unhandledContent(failures, "of an earlier cell", consequence);
}

async function runCell(cell, code, formatters) {
  const orphaned = takeOrphans("; this cell was not run");
  if (orphaned !== null) return orphaned;
  try {
    const done = await executeKeeping(cell, code);
    if (!done && cell.problems.length === 0 && !state.interrupts.requested) {
      cell.problems.push({ value: new Error("The cell failed without saying why.") });
    }
    // Leave time for rejections, then see whether the last value can be shown.
    await delay(SETTLE_MS);
    if (cell.problems.length === 0 && cell.rejections.size === 0) {
      hintFloating(cell);
      for (const value of cell.results) {
        const data = await resultBundle(value, formatters);
        if (data !== null) cell.send("execute_result", { execution_count: cell.count, data, metadata: {} });
      }
    }
  } catch (error) {
    cell.problems.push({ value: error });
  }
  return failureOf(cell, code);
}

async function settle() {
  await delay(FINAL_SETTLE_MS);
  return takeOrphans("");
}

/** Runs one execute request and returns the content of its reply. */
async function execute(content, publish, formatters) {
  const silent = content.silent === true;
  if (!silent) state.count += 1;
  const cell = new Cell(publish, state.count);
  if (!silent) cell.send("execute_input", { code: content.code, execution_count: state.count });
  state.interrupts.nextCell();
  const isSettle = silent && content.code === SETTLE_CODE;
  const failure = isSettle ? await settle() : await cell.run(() => runCell(cell, content.code, formatters));
  state.interrupts.cellEnded();
  if (failure !== null) cell.send("error", failure);
  cell.interrupted ||= state.interrupts.requested;
  cell.end();
  if (failure === null) return { status: "ok", execution_count: state.count, payload: [], user_expressions: {} };
  return { status: "error", execution_count: state.count, ...failure };
}

/** Replaces the faulty parts of tslab's modules; call before its main is loaded. */
function installKernel({ jupyter, executor, ts, latest }) {
  const formatters = [];
  Object.assign(state, { ts, latest });
  installFrames();
  serialiseServer(jupyter.ZmqServer);
  wrapExecutor(executor);
  patchServer(jupyter.ZmqServer, (content, publish) => execute(content, publish, formatters));
  patchLifecycle(jupyter.ZmqServer, () => state.interrupts.abortAll());
  patchHandler(jupyter.JupyterHandlerImpl, ts);
  captureStreams();
  const display = (data, options) => receiver()?.display(data, options);
  Object.defineProperty(globalThis, Symbol.for("steerlab.kernel"), { value: { display, formatters } });
  // `display` of the tslab package goes through this variable.
  jupyter.lastWriteDisplayData = ({ data, metadata, transient }, update) =>
    display(data, { metadata, id: transient?.display_id, update });
}

module.exports = { SETTLE_CODE, installKernel };
