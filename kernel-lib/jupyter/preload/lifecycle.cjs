/**
 * Start and end of the kernel process: shutdown stops work, sends what is queued and leaves; a cell cannot end the
 * process by accident; a kernel whose Jupyter has gone goes too. Paths in the project's notebooks are relative to the project.
 */
"use strict";

const path = require("node:path");
const { runningCell } = require("./cell.cjs");

/** At shutdown: time for work that listens to the interrupt to save. */
const SHUTDOWN_MS = 3000;

const delay = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** @param abortAll tells all work to stop and says whether somebody listens */
function patchLifecycle(ZmqServer, abortAll) {
  const exit = process.exit.bind(process);
  process.exit = (code) => {
    throw new Error(
      `process.exit(${code ?? ""}) would end the kernel and lose every variable. Throw an error instead.`,
    );
  };
  const close = ZmqServer.prototype.close;
  ZmqServer.prototype.close = async function closeServer() {
    const waitUntil = abortAll() ? Date.now() + SHUTDOWN_MS : 0;
    while (runningCell() !== null && Date.now() < waitUntil) await delay(20);
    await Promise.all([this.iopub.drained(), this.shell.drained(), this.control.drained()]);
    close.call(this);
    setTimeout(() => exit(0), 100);
  };
  const init = ZmqServer.prototype.init;
  ZmqServer.prototype.init = async function initServer() {
    workInProject();
    try {
      await init.call(this);
    } catch (error) {
      process._rawDebug(`steerlab kernel: could not start: ${error?.stack ?? error}`);
      exit(1);
    }
  };
  watchParent(exit);
}

/** The checkout or installation that this kernel belongs to. */
const PROJECT = path.resolve(__dirname, "..", "..", "..");

/**
 * Jupyter starts a kernel in its notebook's folder, the command line works in the project's: "runs/mine" must be one folder
 * for both. tslab has taken the notebook's folder for imports by now, so modules beside a notebook are found as before.
 */
function workInProject() {
  if (process.cwd().startsWith(PROJECT + path.sep)) process.chdir(PROJECT);
}

/** Jupyter killed outright leaves its kernels running; a kernel whose parent has changed has no one to work for. */
function watchParent(exit) {
  if (process.env.JPY_PARENT_PID === undefined) return;
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) exit(1);
  }, 2000).unref();
}

/**
 * `jupyter run --kernel steerlab file.ts --flag` hands its own arguments on to the kernel, and tslab refuses to start
 * with an argument it does not know; what comes after the connection file is not meant for it.
 */
function dropForeignArguments(argv) {
  const last = argv.findIndex((argument) => argument.startsWith("--config-path="));
  if (last !== -1) argv.splice(last + 1);
}

module.exports = { dropForeignArguments, patchLifecycle };
