/**
 * `npm run setup`: the Python side of the notebooks, inside the repository and nowhere else.
 *
 * Makes `.venv`, installs the pinned packages of requirements.txt and our papermill plugin, and writes the kernelspec
 * "TypeScript (steerlab)" into `.venv/share/jupyter/kernels/steerlab`. A stamp (hash of everything that matters) makes
 * a second run return at once. Plain Node, no dependencies: it runs before anything is built.
 * For your own Jupyter use `npx steerlab kernel install`, which asks where to write.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(HERE, "..", "..");
const VENV = join(ROOT, ".venv");
const BIN = join(VENV, process.platform === "win32" ? "Scripts" : "bin");
const PLUGIN = join(HERE, "papermill_steerlab");
const STAMP = join(VENV, "steerlab-setup.json");
const { writeKernelspec } = createRequire(import.meta.url)("./kernelspec.cjs");

function fail(message) {
  process.stderr.write(`steerlab setup: ${message}\n`);
  process.exit(1);
}

/** Every file of a folder, caches left out, in a fixed order. */
function filesUnder(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .filter(({ name }) => name !== "__pycache__" && name !== "build" && name !== "dist")
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() ? filesUnder(join(folder, entry.name)) : [join(folder, entry.name)]));
}

function hashOf(files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(relative(HERE, file)).update("\0").update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}

/** What the set-up depends on; an environment cannot be moved, so its place counts too. */
function wanted() {
  return {
    root: ROOT,
    node: process.execPath,
    packages: hashOf([join(HERE, "requirements.txt")]),
    plugin: hashOf(filesUnder(PLUGIN)),
  };
}

function readStamp() {
  try {
    return JSON.parse(readFileSync(STAMP, "utf8"));
  } catch {
    return {};
  }
}

/** The first Python >= 3.11 on the path, or a sentence that says what to install. */
function findPython() {
  const candidates = [process.env.STEERLAB_PYTHON, "python3", "python3.13", "python3.12", "python3.11", "python"];
  const seen = [];
  for (const command of candidates.filter((name) => name !== undefined && name !== "")) {
    const probe = spawnSync(command, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"], { encoding: "utf8" });
    if (probe.status !== 0) continue;
    const [major, minor] = probe.stdout.trim().split(".").map(Number);
    if (major === 3 && minor >= 11) return command;
    seen.push(`${command} is ${probe.stdout.trim()}`);
  }
  const found = seen.length === 0 ? "none was found" : seen.join(", ");
  return fail(
    `Expected Python >= 3.11 but ${found}. Install it (Debian: apt-get install python3 python3-venv) or set STEERLAB_PYTHON to its path.`,
  );
}

function run(what, command, args) {
  process.stdout.write(`steerlab setup: ${what}\n`);
  const start = Date.now();
  const result = spawnSync(command, args, { encoding: "utf8", cwd: ROOT, maxBuffer: 1 << 28 });
  if (result.status !== 0) {
    const said = `${result.error?.message ?? ""}\n${result.stdout ?? ""}\n${result.stderr ?? ""}`.trim();
    return fail(`${what} failed.\n${said.split("\n").slice(-15).join("\n")}`);
  }
  process.stdout.write(`steerlab setup: done in ${((Date.now() - start) / 1000).toFixed(1)} s\n`);
}

function makeVenv(python) {
  const probe = spawnSync(python, ["-c", "import venv, ensurepip"], { encoding: "utf8" });
  if (probe.status !== 0) {
    fail(`Expected Python's venv and ensurepip but ${python} has none. On Debian: apt-get install python3-venv.`);
  }
  rmSync(VENV, { recursive: true, force: true });
  run("making .venv", python, ["-m", "venv", VENV]);
}

/** JupyterLab should not ask the network for news, nor the user whether it may. */
function writeLabSettings() {
  const folder = join(VENV, "share", "jupyter", "lab", "settings");
  mkdirSync(folder, { recursive: true });
  const quiet = { "@jupyterlab/apputils-extension:notification": { checkForUpdates: false, fetchNews: "false" } };
  writeFileSync(join(folder, "overrides.json"), `${JSON.stringify(quiet, null, 2)}\n`);
}

function main() {
  const now = wanted();
  const before = readStamp();
  const python = join(BIN, process.platform === "win32" ? "python.exe" : "python");
  const pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"];
  const freshVenv = before.root !== now.root || before.packages !== now.packages || !existsSync(python);
  rmSync(STAMP, { force: true });
  if (freshVenv) {
    makeVenv(findPython());
    const what = "installing JupyterLab, papermill and what they need (about 100 MB, once)";
    run(what, python, [...pip, "--requirement", join(HERE, "requirements.txt")]);
  }
  if (freshVenv || before.plugin !== now.plugin) {
    run("installing the TypeScript plugin for papermill", python, [...pip, "--force-reinstall", "--no-deps", PLUGIN]);
  }
  writeKernelspec(join(VENV, "share", "jupyter", "kernels", "steerlab"));
  writeLabSettings();
  writeFileSync(STAMP, `${JSON.stringify(now)}\n`);
  const same = JSON.stringify(now) === JSON.stringify(before);
  process.stdout.write(
    same
      ? "steerlab setup: .venv is up to date\n"
      : 'steerlab setup: the kernel "TypeScript (steerlab)" is ready in .venv\n',
  );
}

main();
