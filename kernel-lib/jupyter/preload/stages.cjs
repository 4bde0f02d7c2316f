/**
 * Compiling and running a cell as two steps with a turn of the event loop between them, and what the first one found.
 *
 * tslab compiles and starts a cell in one go, and Node drops a SIGINT that arrives during compilation (seconds on a busy
 * machine) when the cell's code starts. With a pause in between, the interrupt is seen and the cell is not started.
 * tslab also forgets the declarations of a cell that throws; `keep` hands them to the next compilation.
 */
"use strict";

const COMPILED = Symbol("compiled");

/** The event loop has looked for signals when this resolves. */
function turn() {
  return new Promise((resolve) => setTimeout(() => setImmediate(resolve), 1));
}

/**
 * tslab's set of converters with a `convert` that stops after its first call for a cell, by throwing COMPILED, and
 * returns the kept result when it is called again.
 *
 * @param finish (result, source) -> result: what else has to be done to compiled code
 */
function stagedConverters(converters, finish) {
  let waiting = null;
  let last = null;
  let kept = null;
  /** tslab's own memory of declarations, unless a failed cell left more. */
  const known = (declarations) => kept ?? declarations;

  function convert(declarations, source) {
    if (waiting !== null && waiting.source === source) {
      const { result, effective } = waiting;
      waiting = null;
      last = { compiled: result, declarations: effective };
      return result;
    }
    const effective = known(declarations);
    const result = finish(converters.node.convert(effective, source), source);
    waiting = { source, result, effective };
    throw COMPILED;
  }

  return {
    get node() {
      const { node } = converters;
      return {
        ...node,
        convert,
        inspect: (declarations, ...rest) => node.inspect(known(declarations), ...rest),
        complete: (declarations, ...rest) => node.complete(known(declarations), ...rest),
      };
    },
    get browser() {
      return converters.browser;
    },
    close: () => converters.close(),
    /** Call before a cell. */
    begin() {
      waiting = null;
      last = null;
    },
    /** What was compiled and started since `begin`, { compiled, declarations }, or null. */
    get last() {
      return last;
    },
    /** The cell since `begin` ended well: tslab remembers its declarations itself. */
    succeeded() {
      if (last !== null) kept = null;
    },
    /** The cell since `begin` failed and leaves these declarations. */
    keep(declarations) {
      kept = declarations;
    },
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
