/**
 * The kernelspec "TypeScript (steerlab)": how Jupyter starts our kernel. One place, used by setup.mjs and by
 * `steerlab kernel install`. Paths are absolute, because Jupyter starts kernels from the notebook's folder.
 */
"use strict";

const { mkdirSync, renameSync, writeFileSync } = require("node:fs");
const path = require("node:path");

/** Name of the kernel in notebook metadata. */
const KERNEL_NAME = "steerlab";
/** Name of the kernel in JupyterLab's launcher. */
const DISPLAY_NAME = "TypeScript (steerlab)";

/** Content of kernel.json for this installation and the Node that runs now. */
function kernelspec() {
  const tslab = path.join(path.dirname(require.resolve("tslab/package.json")), "bin", "tslab");
  return {
    argv: [
      process.execPath,
      "--require",
      path.join(__dirname, "register.cjs"),
      tslab,
      "kernel",
      "--config-path={connection_file}",
    ],
    display_name: DISPLAY_NAME,
    language: "typescript",
    interrupt_mode: "signal",
    metadata: { debugger: false },
  };
}

/** Writes kernel.json into `folder` (made if needed), through a temporary file. */
function writeKernelspec(folder) {
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, "kernel.json");
  const text = `${JSON.stringify(kernelspec(), null, 2)}\n`;
  writeFileSync(`${file}.part`, text);
  renameSync(`${file}.part`, file);
  return file;
}

module.exports = { DISPLAY_NAME, KERNEL_NAME, kernelspec, writeKernelspec };
