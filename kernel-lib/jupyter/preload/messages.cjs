/**
 * The kernel's side of the protocol: one execute request after another, and a status that is true.
 *
 * "busy" is said when a cell starts (not when its request arrives) and "idle" when it ends. Whatever else is answered
 * meanwhile (completion, the questions of a page that was just reloaded) has its own busy and idle, after which the
 * running cell is announced again; clients otherwise show an idle kernel in the middle of a training.
 */
"use strict";

const { calleeAround, toCharacters, toUnits } = require("./positions.cjs");

/** After a failure: time for requests that were sent together with it to arrive, so that they are not run. */
const ABORT_MS = 25;

const delay = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const state = {
  queue: Promise.resolve(),
  waiting: new Set(),
  /** The execute request that runs now, or null. */
  running: null,
};

function reply(server, sock, msg, type, content) {
  const message = msg.createReply();
  message.header.msg_type = type;
  message.content = content;
  message.signAndSend(server.connInfo.key, sock);
}

/** Runs one execute request; `execute(content, publish)` gives the content of its reply. */
async function runRequest(server, sock, msg, execute) {
  const publish = (type, content) => reply(server, server.iopub, msg, type, content);
  const content = await execute(msg.content, publish);
  if (content.status === "error" && msg.content.stop_on_error !== false) {
    await delay(ABORT_MS);
    for (const other of state.waiting) other.aborted = true;
  }
  reply(server, sock, msg, "execute_reply", content);
}

/** @param execute (content, publish(type, content)) -> content of the reply */
function patchServer(ZmqServer, execute) {
  const publishStatus = ZmqServer.prototype.publishStatus;
  ZmqServer.prototype.publishStatus = function truthfulStatus(status, msg) {
    if (msg.header.msg_type === "execute_request") return;
    publishStatus.call(this, status, msg);
    if (status === "idle" && state.running !== null) publishStatus.call(this, "busy", state.running);
  };
  ZmqServer.prototype.handleExecute = function handleExecute(sock, msg) {
    const entry = { aborted: false };
    state.waiting.add(entry);
    const task = async () => {
      state.waiting.delete(entry);
      state.running = msg;
      publishStatus.call(this, "busy", msg);
      try {
        // No count: JupyterLab would number a cell that never ran.
        if (entry.aborted) reply(this, sock, msg, "execute_reply", { status: "aborted" });
        else await runRequest(this, sock, msg, execute);
      } finally {
        state.running = null;
        publishStatus.call(this, "idle", msg);
      }
    };
    state.queue = state.queue.then(task, task);
    return state.queue;
  };
  ZmqServer.prototype.handleCommInfoRequest = function handleCommInfoRequest(sock, msg) {
    reply(this, sock, msg, "comm_info_reply", { status: "ok", comms: {} });
  };
  guardMessages(ZmqServer);
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

/** The answers of tslab's handler that need a better question or a better answer. */
function patchHandler(JupyterHandlerImpl, ts) {
  const { handleKernel, handleInspect, handleComplete } = JupyterHandlerImpl.prototype;
  JupyterHandlerImpl.prototype.handleKernel = function kernelInfo() {
    const info = handleKernel.call(this);
    const language = { ...info.language_info, version: ts.version, pygments_lexer: "typescript" };
    return { ...info, status: "ok", banner: `TypeScript ${ts.version} (steerlab)`, language_info: language };
  };
  JupyterHandlerImpl.prototype.handleInspect = function inspect({ code, cursor_pos, ...rest }) {
    const at = toUnits(code, cursor_pos);
    const direct = handleInspect.call(this, { ...rest, code, cursor_pos: at });
    if (direct.found) return direct;
    const callee = calleeAround(ts, code, at);
    return callee === null ? direct : handleInspect.call(this, { ...rest, code, cursor_pos: callee });
  };
  JupyterHandlerImpl.prototype.handleComplete = function complete({ code, cursor_pos, ...rest }) {
    const found = handleComplete.call(this, { ...rest, code, cursor_pos: toUnits(code, cursor_pos) });
    const { cursor_start, cursor_end } = found;
    return { ...found, cursor_start: toCharacters(code, cursor_start), cursor_end: toCharacters(code, cursor_end) };
  };
}

module.exports = { patchHandler, patchServer };
