/**
 * The execute request, done properly: one at a time, with `execute_input`, `execute_result` and `error` messages, a
 * truthful reply, and failures that cannot hide (a promise that rejects with nobody listening fails the cell it falls
 * into, or the next one). Replaces ZmqServer.handleExecute of tslab and wraps its executor; the rest of tslab stays.
 */
"use strict";

const { inspect } = require("node:util");
const { Cell, captureStreams, receiver, runningCell } = require("./cell.cjs");
const { diagnosticContent, interruptContent, rejectionContent, thrownContent } = require("./errors.cjs");
const { createInterrupts } = require("./interrupt.cjs");
const { expandShorthand } = require("./shorthand.cjs");
const { serialiseServer } = require("./sockets.cjs");
const { executeInStages, stagedConverters } = require("./stages.cjs");

/** After a cell's last statement: time for a rejection that is already on its way to be seen as this cell's. */
const SETTLE_MS = 25;
/** After a failure: time for requests that were sent together with it to arrive, so that they are not run. */
const ABORT_MS = 25;
/** A silent request with this code waits, then fails if a promise rejected after its cell had ended. */
const SETTLE_CODE = "/* steerlab: settle */";
const FINAL_SETTLE_MS = 500;
/** At shutdown: time for work that listens to the interrupt to save. */
const SHUTDOWN_MS = 3000;

const delay = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const state = {
  executor: null,
  interrupts: null,
  count: 0,
  queue: Promise.resolve(),
  waiting: new Set(),
  /** Rejections that fell between cells: promise -> reason. */
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

function wrapExecutor(executorModule, ts) {
  const create = executorModule.createExecutor;
  executorModule.createExecutor = (rootDir, converters) => {
    const executor = create(rootDir, stagedConverters(converters), {
      log: (value) => runningCell()?.results.push(value),
      error: (...args) => noteProblem(args),
    });
    const execute = executor.execute;
    const stopped = () => state.interrupts.requested;
    const run = (code) => executeInStages(execute, expandShorthand(ts, code), stopped);
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

function installProcessListeners() {
  for (const event of ["SIGINT", "uncaughtException", "unhandledRejection"]) process.removeAllListeners(event);
  process.on("SIGINT", () => {
    const patient = state.interrupts.request();
    const cell = runningCell();
    if (patient && cell !== null) {
      cell.write("stderr", "Stopping: the step in hand is finished and saved first. Interrupt again to end at once.\n");
    }
  });
  const note = (reason, key) => {
    const cell = runningCell();
    (cell === null ? state.orphans : cell.rejections).set(key, reason);
    const line = `Nobody handles this failure: ${thrownContent(reason).traceback[0]}\n`;
    if (cell === null) process.stderr.write(line);
    else cell.write("stderr", line);
  };
  process.on("unhandledRejection", note);
  process.on("uncaughtException", (error) => note(error, {}));
  process.on("rejectionHandled", (promise) => {
    state.orphans.delete(promise);
    runningCell()?.rejections.delete(promise);
  });
}

/** Error content of the cell, or null if all went well. */
function failureOf(cell, code) {
  const diagnostics = cell.problems.flatMap(({ diagnostic }) => (diagnostic === undefined ? [] : [diagnostic]));
  if (diagnostics.length > 0) return diagnosticContent(diagnostics, code);
  const thrown = cell.problems.find((problem) => "value" in problem);
  const aborted = thrown?.value?.code === "aborted";
  if (thrown !== undefined && (aborted || !state.interrupts.requested)) return thrownContent(thrown.value);
  if (state.interrupts.requested) return interruptContent(thrown?.value);
  if (cell.rejections.size === 0) return null;
  return rejectionContent([...cell.rejections.values()], "A promise of this cell rejected and nobody awaited it.");
}

function takeOrphans(consequence) {
  if (state.orphans.size === 0) return null;
  const reasons = [...state.orphans.values()];
  state.orphans.clear();
  return rejectionContent(reasons, `A promise of an earlier cell rejected and nobody awaited it${consequence}.`);
}

async function runCell(cell, code, formatters) {
  const orphaned = takeOrphans("; this cell was not run");
  if (orphaned !== null) return orphaned;
  try {
    const done = await state.executor.execute(code);
    if (!done && cell.problems.length === 0 && !state.interrupts.requested) {
      cell.problems.push({ value: new Error("The cell failed without saying why.") });
    }
    // Leave time for rejections, then see whether the last value can be shown.
    await delay(SETTLE_MS);
    if (cell.problems.length === 0 && cell.rejections.size === 0) {
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

function reply(server, sock, msg, type, content) {
  const message = msg.createReply();
  message.header.msg_type = type;
  message.content = content;
  message.signAndSend(server.connInfo.key, sock);
}

function patchServer(ZmqServer, formatters) {
  ZmqServer.prototype.handleExecute = function handleExecute(sock, msg) {
    const entry = { aborted: false };
    state.waiting.add(entry);
    const task = async () => {
      state.waiting.delete(entry);
      if (entry.aborted) {
        // No count: JupyterLab would number a cell that never ran.
        reply(this, sock, msg, "execute_reply", { status: "aborted" });
        return;
      }
      const publish = (type, content) => reply(this, this.iopub, msg, type, content);
      const content = await execute(msg.content, publish, formatters);
      if (content.status === "error" && msg.content.stop_on_error !== false) {
        await delay(ABORT_MS);
        for (const other of state.waiting) other.aborted = true;
      }
      reply(this, sock, msg, "execute_reply", content);
    };
    state.queue = state.queue.then(task, task);
    return state.queue;
  };
  ZmqServer.prototype.handleCommInfoRequest = function handleCommInfoRequest(sock, msg) {
    reply(this, sock, msg, "comm_info_reply", { status: "ok", comms: {} });
  };
  guardMessages(ZmqServer);
  patchShutdown(ZmqServer);
}

const EMPTY_REPLIES = {
  handleComplete: ["complete_reply", { matches: [], cursor_start: 0, cursor_end: 0 }],
  handleInspect: ["inspect_reply", { found: false, data: {} }],
};

/** A failing completion or an unknown message must not count as a failed cell, nor print into one. */
function guardMessages(ZmqServer) {
  const handle = ZmqServer.prototype.handleShellMessage;
  const silentTypes = new Set(["comm_open", "comm_msg", "comm_close", "debug_request"]);
  ZmqServer.prototype.handleShellMessage = async function handleShellMessage(sock, ...frames) {
    try {
      const delimiter = frames.findIndex((frame) => frame.toString() === "<IDS|MSG>");
      const type = JSON.parse(frames[delimiter + 2].toString()).msg_type;
      if (silentTypes.has(type)) return;
      await handle.call(this, sock, ...frames);
    } catch (error) {
      process._rawDebug(`steerlab kernel: a message could not be handled: ${error?.stack ?? error}`);
    }
  };
  for (const name of Object.keys(EMPTY_REPLIES)) {
    const original = ZmqServer.prototype[name];
    ZmqServer.prototype[name] = function guarded(sock, msg) {
      try {
        original.call(this, sock, msg);
      } catch {
        const [type, content] = EMPTY_REPLIES[name];
        reply(this, sock, msg, type, { status: "ok", metadata: {}, ...content });
      }
    };
  }
}

/** Shutdown: stop work, send what is queued, leave. A cell cannot end the process by accident. */
function patchShutdown(ZmqServer) {
  const exit = process.exit.bind(process);
  process.exit = (code) => {
    throw new Error(
      `process.exit(${code ?? ""}) would end the kernel and lose every variable. Throw an error instead.`,
    );
  };
  const close = ZmqServer.prototype.close;
  ZmqServer.prototype.close = async function closeServer() {
    const waitUntil = state.interrupts.abortAll() ? Date.now() + SHUTDOWN_MS : 0;
    while (runningCell() !== null && Date.now() < waitUntil) await delay(20);
    await Promise.all([this.iopub.drained(), this.shell.drained(), this.control.drained()]);
    close.call(this);
    setTimeout(() => exit(0), 100);
  };
  const init = ZmqServer.prototype.init;
  ZmqServer.prototype.init = async function initServer() {
    try {
      await init.call(this);
    } catch (error) {
      process._rawDebug(`steerlab kernel: could not start: ${error?.stack ?? error}`);
      exit(1);
    }
  };
  watchParent(exit);
}

/** Jupyter killed outright leaves its kernels running; a kernel whose parent has changed has no one to work for. */
function watchParent(exit) {
  if (process.env.JPY_PARENT_PID === undefined) return;
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) exit(1);
  }, 2000).unref();
}

function patchHandler(JupyterHandlerImpl, ts) {
  const handleKernel = JupyterHandlerImpl.prototype.handleKernel;
  JupyterHandlerImpl.prototype.handleKernel = function kernelInfo() {
    const info = handleKernel.call(this);
    const language = { ...info.language_info, version: ts.version, pygments_lexer: "typescript" };
    return { ...info, status: "ok", banner: `TypeScript ${ts.version} (steerlab)`, language_info: language };
  };
}

/** Replaces the faulty parts of tslab's modules; call before its main is loaded. */
function installKernel({ jupyter, executor, ts }) {
  const formatters = [];
  serialiseServer(jupyter.ZmqServer);
  wrapExecutor(executor, ts);
  patchServer(jupyter.ZmqServer, formatters);
  patchHandler(jupyter.JupyterHandlerImpl, ts);
  captureStreams();
  const display = (data, options) => receiver()?.display(data, options);
  Object.defineProperty(globalThis, Symbol.for("steerlab.kernel"), { value: { display, formatters } });
  // `display` of the tslab package goes through this variable.
  jupyter.lastWriteDisplayData = ({ data, metadata, transient }, update) =>
    display(data, { metadata, id: transient?.display_id, update });
}

module.exports = { SETTLE_CODE, installKernel };
