/**
 * Preload for tslab: `node --require register.cjs .../tslab/bin/tslab kernel --config-path=FILE`.
 *
 * tslab 1.0.22 loses output, swallows errors and cannot be interrupted; each file under preload/ cures one group of
 * those faults by replacing a method of tslab before its kernel starts. Nothing on disk is changed.
 *
 *   reads.cjs      which files a notebook of a batch reads
 *   modules.cjs    notebooks anywhere find the `steerlab` of this installation, at run time and for the type checker
 *   compiler.cjs   source maps, `for await` at the top, promises that nobody awaits
 *   sockets.cjs    messages are sent one after another, none is lost
 *   cell.cjs       what one cell prints and shows; nothing after its end
 *   errors.cjs     thrown values and compiler messages as Jupyter `error` content
 *   frames.cjs     stack traces with the cell's own lines
 *   variables.cjs  what a failed cell leaves behind
 *   shorthand.cjs  `({rank})` with `rank` from an earlier cell
 *   stages.cjs     an interrupt during compilation is not lost
 *   interrupt.cjs  SIGINT as an AbortSignal for long work
 *   kernel.cjs     one cell: results, rejections, failures
 *   messages.cjs   the queue of cells, busy and idle, completion and inspection
 *   positions.cjs  places in a cell
 *   lifecycle.cjs  start, shutdown, arguments that are not ours
 */
"use strict";

const { hookModules } = require("./preload/modules.cjs");
const { installKernel } = require("./preload/kernel.cjs");
const { dropForeignArguments } = require("./preload/lifecycle.cjs");
const { noteReads } = require("./preload/reads.cjs");

dropForeignArguments(process.argv);
const tslab = hookModules();
installKernel(tslab);
noteReads();
