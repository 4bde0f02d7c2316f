/**
 * Compiling and running a cell as two steps with a turn of the event loop between them.
 *
 * tslab compiles and starts a cell in one go, and Node drops a SIGINT that arrives during compilation (seconds on a busy
 * machine) when the cell's code starts. With a pause in between, the interrupt is seen and the cell is not started.
 */
"use strict";

const COMPILED = Symbol("compiled");

/** The event loop has looked for signals when this resolves. */
function turn() {
  return new Promise((resolve) => setTimeout(() => setImmediate(resolve), 1));
}

/**
 * @param converters tslab's set of converters   @returns converters whose `convert` stops after its first call for a
 * cell, by throwing COMPILED, and returns the kept result when it is called again
 */
function stagedConverters(converters) {
  let kept = null;
  const convert = (declarations, source) => {
    if (kept !== null && kept.declarations === declarations && kept.source === source) {
      const { result } = kept;
      kept = null;
      return result;
    }
    kept = { declarations, source, result: converters.node.convert(declarations, source) };
    throw COMPILED;
  };
  return {
    get node() {
      return { ...converters.node, convert };
    },
    get browser() {
      return converters.browser;
    },
    close: () => converters.close(),
  };
}

/** Runs `execute(code)` in two steps; between them `stopped()` may say that the second is not wanted. */
async function executeInStages(execute, code, stopped) {
  try {
    return await execute(code);
  } catch (error) {
    if (error !== COMPILED) throw error;
  }
  await turn();
  return stopped() ? false : execute(code);
}

module.exports = { executeInStages, stagedConverters };
