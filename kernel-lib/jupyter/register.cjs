/**
 * Preload for tslab: `node --require register.cjs .../tslab/bin/tslab kernel --config-path=FILE`.
 *
 * tslab 1.0.22 loses output, swallows errors and cannot be interrupted; each file under preload/ cures one group of
 * those faults by replacing a method of tslab before its kernel starts. Nothing on disk is changed.
 *
 *   reads.cjs      which files a notebook of a batch reads
 *   modules.cjs    notebooks anywhere find the `steerlab` of this installation, at run time and for the type checker
 *   sockets.cjs    messages are sent one after another, none is lost
 *   cell.cjs       what one cell prints and shows; nothing after its end
 *   errors.cjs     thrown values and compiler messages as Jupyter `error` content
 *   shorthand.cjs  `({rank})` with `rank` from an earlier cell
 *   stages.cjs     an interrupt during compilation is not lost
 *   interrupt.cjs  SIGINT as an AbortSignal for long work
 *   kernel.cjs     execute requests: queue, results, rejections, shutdown
 */
"use strict";

const { hookModules } = require("./preload/modules.cjs");
const { installKernel } = require("./preload/kernel.cjs");
const { noteReads } = require("./preload/reads.cjs");

const tslab = hookModules();
installKernel(tslab);
noteReads();
