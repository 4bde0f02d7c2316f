/**
 * Notes which files a notebook reads, one path a line, where a batch asks for it (STEERLAB_READS_FILE): whether a notebook
 * must run again depends on every file that it read, and only the process that reads them knows which.
 *
 * Node's own functions are wrapped, so that readers of any package are seen. A file that is opened to write is not noted.
 * Weights are mapped by native code, but their headers are read from here first.
 */
"use strict";

const fs = require("node:fs");
const path = require("node:path");

/** Starts to note; does nothing outside a batch. */
function noteReads(notes = process.env.STEERLAB_READS_FILE) {
  if (!notes) return;
  const append = fs.appendFileSync.bind(fs);
  const seen = new Set();
  const note = (file, flags) => {
    if (typeof file !== "string" && !(file instanceof URL)) return; // a handle was opened, and noted, before
    if (typeof flags === "string" && !/^rs?\+?$/.test(flags)) return;
    if (typeof flags === "number" && (flags & (fs.constants.O_WRONLY | fs.constants.O_CREAT)) !== 0) return;
    const full = path.resolve(file instanceof URL ? require("node:url").fileURLToPath(file) : file);
    if (full === notes || seen.has(full)) return;
    seen.add(full);
    append(notes, `${full}\n`);
  };
  const wrap = (owner, name, flagsOf) => {
    const original = owner[name];
    owner[name] = function noted(file, ...rest) {
      note(file, flagsOf(...rest));
      return original.call(this, file, ...rest);
    };
  };
  const flag = (options) =>
    typeof options === "object" && options !== null ? (options.flag ?? options.flags) : undefined;
  for (const owner of [fs, fs.promises]) {
    wrap(owner, "open", (flags) => (typeof flags === "function" ? undefined : flags));
    wrap(owner, "readFile", flag);
  }
  wrap(fs, "openSync", (flags) => flags);
  wrap(fs, "readFileSync", flag);
  wrap(fs, "createReadStream", flag);
}

module.exports = { noteReads };
