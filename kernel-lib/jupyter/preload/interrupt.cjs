/**
 * SIGINT (the stop button, `papermill` being stopped) as an AbortSignal.
 *
 * `globalThis[Symbol.for("steerlab.interrupt")].signal` is the signal of the running cell; every cell gets a fresh one.
 * If somebody listens to it, the cell is given time to finish its step, save and say how to resume; a second interrupt,
 * or GRACE_MS, ends the cell at once. Work started by earlier cells that still listens is stopped as well.
 */
"use strict";

const { getEventListeners, setMaxListeners } = require("node:events");

/** How long listening work may take to stop by itself before the cell is ended over its head. */
const GRACE_MS = 30_000;

function listens(controller) {
  return !controller.signal.aborted && getEventListeners(controller.signal, "abort").length > 0;
}

/** `endCell()` must make the running cell fail at once. */
function createInterrupts(endCell, graceMs = GRACE_MS) {
  let current = fresh();
  let earlier = [];
  let timer = null;
  const registry = {
    get signal() {
      return current.signal;
    },
  };
  Object.defineProperty(globalThis, Symbol.for("steerlab.interrupt"), { value: registry });

  function fresh() {
    const controller = new AbortController();
    setMaxListeners(0, controller.signal);
    return controller;
  }

  return {
    get requested() {
      return current.signal.aborted;
    },
    /** Call when a cell starts. */
    nextCell() {
      clearTimeout(timer);
      earlier = [...earlier, current].filter(listens);
      current = fresh();
    },
    /** Call when a cell has ended: no timer of it may fire into the next one. */
    cellEnded() {
      clearTimeout(timer);
    },
    /** Call at SIGINT; returns true if the cell is left some time to stop by itself. */
    request() {
      const again = current.signal.aborted;
      const patient = listens(current);
      for (const controller of [current, ...earlier]) controller.abort();
      if (again || !patient) {
        endCell();
        return false;
      }
      timer = setTimeout(endCell, graceMs);
      return true;
    },
    /** Call when synchronous code was cut short by SIGINT, which does not reach the process's listeners. */
    noteSynchronous() {
      for (const controller of [current, ...earlier]) controller.abort();
    },
    /** Aborts everything and says whether somebody was listening. */
    abortAll() {
      const busy = [current, ...earlier].some(listens);
      for (const controller of [current, ...earlier]) controller.abort();
      return busy;
    },
  };
}

module.exports = { GRACE_MS, createInterrupts };
