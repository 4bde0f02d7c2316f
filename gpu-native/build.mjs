/**
 * Builds the native engine: build/steerlab.node (always tried) and build/libsteerlab_cuda.so (where nvcc is).
 *
 * Never fails the surrounding `npm` command: without a compiler it prints one warning naming the remedy and exits 0, and opening a
 * model then says the same. A stamp of all sources skips what is up to date. STEERLAB_CUDA=0 skips the CUDA part,
 * STEERLAB_BUILD_JOBS sets the number of parallel compilers, --force rebuilds.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { delimiter, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const out = join(root, "build");
const require = createRequire(import.meta.url);
const force = process.argv.includes("--force");
const jobs = process.env.STEERLAB_BUILD_JOBS ?? String(availableParallelism());

const say = (text) => console.log(`[native] ${text}`);
const warn = (text) => console.warn(`[native] warning: ${text}`);

/** Files under `folder` (recursively) whose names end in one of `endings`, sorted. */
function sources(folder, endings) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function stampOf(files, extra) {
  const hash = createHash("sha256");
  for (const part of extra) hash.update(`${part}\0`);
  for (const file of files) hash.update(relative(root, file)).update("\0").update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}

function findProgram(name, folders = []) {
  const all = [...folders, ...(process.env.PATH ?? "").split(delimiter)];
  return all.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}

function run(command, args) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: 1 << 28,
  });
  const text = `${result.stdout ?? ""}${result.stderr ?? ""}${result.error ? String(result.error.message) : ""}`;
  return { ok: result.status === 0, text };
}

/** Configures and builds one part in its own folder, then moves the artefact into place. */
function buildPart(part, artefact, stamp, defines) {
  const stampFile = join(out, `${part}.stamp`);
  const finished = join(out, artefact);
  if (!force && existsSync(finished) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) {
    say(`${artefact} is up to date`);
    return true;
  }
  const folder = join(out, part);
  mkdirSync(folder, { recursive: true });
  const started = Date.now();
  say(`building ${artefact} ...`);
  const configure = ["-S", root, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", `-DSTEERLAB_PART=${part}`, ...defines];
  let result = run("cmake", configure);
  if (!result.ok && existsSync(join(folder, "CMakeCache.txt"))) {
    // A cache from another compiler or another folder: once more from nothing.
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    result = run("cmake", configure);
  }
  if (result.ok) result = run("cmake", ["--build", folder, "--parallel", jobs]);
  if (!result.ok) {
    const log = join(out, `${part}.log`);
    writeFileSync(log, result.text);
    const errors = result.text.split("\n").filter((line) => /error|not found|No such file/i.test(line));
    warn(`${artefact} could not be built; the whole output is in ${relative(process.cwd(), log)}`);
    for (const line of errors.slice(0, 8)) warn(`  ${line.trim()}`);
    return false;
  }
  // Renamed over the old one, so that a process that has it open keeps the old file.
  copyFileSync(join(folder, artefact), `${finished}.next`);
  renameSync(`${finished}.next`, finished);
  writeFileSync(stampFile, stamp);
  say(`built ${artefact} in ${((Date.now() - started) / 1000).toFixed(0)} s`);
  return true;
}

function buildAddon() {
  const compiler = process.env.CXX ?? ["c++", "g++", "clang++"].map((name) => findProgram(name)).find(Boolean);
  if (!compiler || !findProgram("cmake")) {
    warn(`no ${compiler ? "CMake" : "C++ compiler"} found: models cannot be opened on the native engine.`);
    warn(
      "install a C++20 compiler and CMake >= 3.18 (Debian: apt-get install g++ cmake make), then run: npm run build",
    );
    return false;
  }
  const addonApi = require("node-addon-api").include_dir;
  const headers = require("node-api-headers").include_dir;
  const files = [
    ...sources(join(root, "src"), [".h", ".cpp"]).filter(
      (file) => !file.includes(`${join("src", "cuda")}`) || file.endsWith("cuda_api.h"),
    ),
    join(root, "CMakeLists.txt"),
  ];
  const version = run(compiler, ["--version"]).text.split("\n")[0];
  const stamp = stampOf(files, [version, process.arch, process.platform]);
  // include_dir may be relative to the caller's folder
  const absolute = (path) => (path.startsWith("/") ? path : join(process.cwd(), path));
  return buildPart("addon", "steerlab.node", stamp, [
    `-DNODE_ADDON_API_DIR=${absolute(addonApi).replace(/^"|"$/g, "")}`,
    `-DNODE_API_HEADERS_DIR=${absolute(headers).replace(/^"|"$/g, "")}`,
    ...(process.env.CXX ? [`-DCMAKE_CXX_COMPILER=${process.env.CXX}`] : []),
  ]);
}

function buildCuda() {
  const kernels = sources(join(root, "src", "cuda"), [".cu"]);
  if (process.env.STEERLAB_CUDA === "0") return say("CUDA part skipped (STEERLAB_CUDA=0)");
  if (kernels.length === 0) return;
  const home = process.env.CUDA_HOME ?? process.env.CUDA_PATH;
  const nvcc = findProgram("nvcc", [...(home ? [join(home, "bin")] : []), "/usr/local/cuda/bin"]);
  if (!nvcc || !findProgram("cmake"))
    return say('no CUDA compiler (nvcc): the CUDA part is not built; backend "cpu" is not affected');
  const shared = readdirSync(join(root, "src"))
    .filter((name) => name.endsWith(".h"))
    .sort()
    .map((name) => join(root, "src", name));
  const kernelFiles = sources(join(root, "src", "cuda"), [".cu", ".cpp", ".h", ".cuh"]);
  const files = [...kernelFiles, ...shared, join(root, "CMakeLists.txt")];
  const stamp = stampOf(files, [run(nvcc, ["--version"]).text]);
  buildPart("cuda", "libsteerlab_cuda.so", stamp, [`-DCMAKE_CUDA_COMPILER=${nvcc}`]);
}

mkdirSync(out, { recursive: true });
try {
  buildAddon();
  buildCuda();
} catch (error) {
  warn(`the native build stopped: ${error instanceof Error ? error.message : String(error)}`);
}
