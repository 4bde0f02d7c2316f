/**
 * The single checks of `steerlab doctor`: each looks at one thing and answers with one fact and, if needed, a remedy.
 *
 * No check changes anything or throws; what cannot be found out is said so. doctor.ts puts them in order.
 */

import { PROJECT_FOLDER } from "../../base";
import { type NativeInfo, nativeInfo } from "../../engine";
import { venvEnvironment, venvFolder, venvProgram } from "../../notebook";
import { fontFiles } from "../../page";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statfsSync } from "node:fs";
import { cpus, freemem, totalmem } from "node:os";
import { join } from "node:path";

/** "good"; "note": works, but worth knowing; "bad": something will not work. */
export type FindingLevel = "good" | "note" | "bad";

/** One line of the doctor's report. */
export interface Finding {
  name: string;
  level: FindingLevel;
  /** What was seen. */
  fact: string;
  /** The command or step that mends it; "" if nothing needs mending. */
  remedy: string;
}

const GIB = 1024 ** 3;
const MIN_NODE = [20, 19];
const MIN_DISK_GIB = 3;
const MIN_MEMORY_GIB = 2;

function finding(name: string, level: FindingLevel, fact: string, remedy = ""): Finding {
  return { name, level, fact, remedy };
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}

/** True if version `text` ("v20.20.2") is at least `wanted`. */
export function atLeast(text: string, [major, minor]: readonly number[]): boolean {
  const match = /(\d+)\.(\d+)/.exec(text);
  if (match === null) return false;
  return Number(match[1]) > major || (Number(match[1]) === major && Number(match[2]) >= minor);
}

export function checkNode(version: string = process.version): Finding {
  if (atLeast(version, MIN_NODE)) return finding("node", "good", version);
  return finding("node", "bad", `${version}, older than ${MIN_NODE.join(".")}`, "Install Node 20.19 or newer.");
}

export function checkEngine(): Finding {
  try {
    const { isas, cores, compiler } = nativeInfo();
    return finding("engine", "good", `loaded, kernels ${isas.join(", ")}, ${cores} cores, built by ${compiler}`);
  } catch (error) {
    return finding("engine", "bad", firstLine(error), "npm run build (needs a C++20 compiler and CMake)");
  }
}

/** Library, driver, device and source of matrix products, and why the device is not used if it is not. */
export function cudaFinding(cuda: NativeInfo["cuda"]): Finding {
  const free = cuda.memoryFreeBytes === null ? "" : ` (${(cuda.memoryFreeBytes / GIB).toFixed(0)} free)`;
  const memory = cuda.memoryBytes === null ? "" : `, ${(cuda.memoryBytes / GIB).toFixed(0)} GiB${free}`;
  const seen = [
    cuda.device === null ? "" : `device ${cuda.device}${memory}`,
    cuda.library === null ? "" : `library ${cuda.library}${cuda.runtime === null ? "" : ` (CUDA ${cuda.runtime})`}`,
    cuda.runtime === null ? "" : cuda.driver === null ? "no driver" : `driver for CUDA ${cuda.driver}`,
    cuda.gemm === null ? "" : `matrix products: ${cuda.gemm}`,
  ].filter((part) => part !== "");
  if (cuda.available) return finding("cuda", "good", seen.join("; "));
  return finding("cuda", "note", [`not used: ${cuda.reason}`, ...seen].join("; "));
}

export function checkCuda(): Finding {
  try {
    return cudaFinding(nativeInfo().cuda);
  } catch {
    return finding("cuda", "note", "unknown, because the engine is not loaded");
  }
}

export function checkCompiler(): Finding {
  const missing = ["cmake", process.env.CXX ?? "c++"].filter((tool) => spawnSync(tool, ["--version"]).status !== 0);
  if (missing.length === 0) return finding("compiler", "good", "C++ compiler and CMake found");
  return finding(
    "compiler",
    "note",
    `${missing.join(" and ")} not found`,
    "apt-get install g++ cmake (to build the engine)",
  );
}

export function checkPython(command: string = process.env.STEERLAB_PYTHON || "python3"): Finding {
  const script = "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])";
  const { status, stdout, stderr, error } = spawnSync(command, ["-c", script], { encoding: "utf8" });
  const remedy = "apt-get install python3 python3-venv, or set STEERLAB_PYTHON";
  if (error !== undefined) return finding("python", "bad", `${command} not found`, remedy);
  if (status !== 0) return finding("python", "bad", `${command}: ${stderr.trim().split("\n").at(-1) ?? ""}`, remedy);
  const version = stdout.trim();
  if (!atLeast(version, [3, 11])) return finding("python", "bad", `${version}, older than 3.11`, remedy);
  return finding("python", "good", `${version} with venv`);
}

export function checkEnvironment(): Finding {
  const stamp = join(venvFolder(), "steerlab-setup.json");
  if (!existsSync(stamp)) return finding(".venv", "bad", "not set up", "npm run setup");
  const { root } = JSON.parse(readFileSync(stamp, "utf8")) as { root?: string };
  if (root !== PROJECT_FOLDER) return finding(".venv", "bad", `was made in ${root}`, "npm run setup");
  return finding(".venv", "good", "JupyterLab, papermill and the TypeScript plugin are installed");
}

/** The kernelspec must exist, name files that exist, and use the Node that runs now. */
export function checkKernelspec(
  file: string = join(venvFolder(), "share", "jupyter", "kernels", "steerlab", "kernel.json"),
): Finding {
  if (!existsSync(file)) return finding("kernelspec", "bad", "not written", "npm run setup");
  const { argv } = JSON.parse(readFileSync(file, "utf8")) as { argv: string[] };
  const gone = argv.filter((word) => word.startsWith("/") && !existsSync(word));
  if (gone.length > 0) return finding("kernelspec", "bad", `names ${gone.join(", ")}, not there`, "npm run setup");
  if (argv[0] !== process.execPath) {
    return finding("kernelspec", "note", `starts ${argv[0]}, this is ${process.execPath}`, "npm run setup");
  }
  return finding("kernelspec", "good", "TypeScript (steerlab)");
}

const RUN_ONE_CELL = `
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="steerlab", startup_timeout=60)
try:
    reply = client.execute_interactive("const answer: number = 6 * 7; answer", timeout=60, output_hook=lambda m: None)
    print(reply["content"]["status"])
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
`;

/** Starts the kernel and runs one cell on it; a few seconds. */
export function checkKernelRuns(): Finding {
  try {
    const python = venvProgram("python");
    const options = { encoding: "utf8", env: venvEnvironment(), timeout: 120_000 } as const;
    const { stdout, stderr } = spawnSync(python, ["-c", RUN_ONE_CELL], options);
    if (stdout.trim() === "ok") return finding("kernel", "good", "starts and runs a cell");
    const said = stderr.trim().split("\n").at(-1) ?? "";
    return finding("kernel", "bad", `does not run a cell: ${said}`, "npm ci && npm run setup");
  } catch (error) {
    return finding("kernel", "bad", firstLine(error), "npm run setup");
  }
}

export function checkLabModel(folder: string = join(PROJECT_FOLDER, "data", "lab-model")): Finding {
  if (existsSync(join(folder, "config.json"))) return finding("lab model", "good", "data/lab-model");
  return finding("lab model", "bad", "data/lab-model has no config.json", "Check the project out again.");
}

export function checkFonts(): Finding {
  if (fontFiles().length > 0) return finding("fonts", "good", "DejaVu Sans, from npm");
  return finding("fonts", "note", "the font package is missing; pictures use the system's fonts", "npm ci");
}

export function checkDisk(): Finding {
  const { bavail, bsize } = statfsSync(PROJECT_FOLDER);
  const free = (bavail * bsize) / GIB;
  if (free >= MIN_DISK_GIB) return finding("disk", "good", `${free.toFixed(1)} GiB free`);
  return finding(
    "disk",
    "note",
    `${free.toFixed(1)} GiB free`,
    `Runs of larger models want ${MIN_DISK_GIB} GiB and more.`,
  );
}

export function checkMemory(): Finding {
  const [free, total] = [freemem() / GIB, totalmem() / GIB];
  const fact = `${free.toFixed(1)} of ${total.toFixed(1)} GiB free, ${cpus().length} cores`;
  if (free >= MIN_MEMORY_GIB) return finding("memory", "good", fact);
  return finding("memory", "note", fact, "Close something before opening a large model.");
}
