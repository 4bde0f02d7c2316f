/**
 * The notebook kernel as an installed thing: where its specification is written and how JupyterLab is started.
 *
 * The kernel itself is jupyter/register.cjs on top of tslab; kernelspec.cjs says how Jupyter starts it. The project's
 * own environment (.venv, made by `npm run setup`) always has it; `kernelInstall` adds it to the user's Jupyter.
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { DeviceError, expected, InputError, LIBRARY_FOLDER, PROJECT_FOLDER } from "../base";

interface KernelspecModule {
  KERNEL_NAME: string;
  kernelspec(): { argv: string[]; display_name: string; language: string };
  writeKernelspec(folder: string): string;
}

/** Where to install: the user's own Jupyter, or an environment. */
export type KernelPlace = { user: true } | { prefix: string };

/** The project's Python environment; may not exist yet. */
export function venvFolder(): string {
  return join(PROJECT_FOLDER, ".venv");
}

/**
 * Path of a program of the project's environment, such as "papermill".
 *
 * @throws DeviceError "environment" if `npm run setup` has not been run
 */
export function venvProgram(name: string): string {
  const windows = process.platform === "win32";
  const path = join(venvFolder(), windows ? "Scripts" : "bin", windows ? `${name}.exe` : name);
  if (existsSync(path)) return path;
  throw new DeviceError("environment", `Expected ${name} in .venv but there is none. Run: npm run setup`);
}

/** Environment for programs of .venv: its kernels come before the user's, its runtime files stay in .venv. */
export function venvEnvironment(): NodeJS.ProcessEnv {
  const runtime = join(venvFolder(), "runtime");
  // Set in kernels of a Jupyter server; what is started from there has no such server in front of it.
  const { JPY_SESSION_NAME: _session, JPY_PARENT_PID: _parent, ...inherited } = process.env;
  return { ...inherited, JUPYTER_PREFER_ENV_PATH: "1", JUPYTER_RUNTIME_DIR: runtime, PYTHONDONTWRITEBYTECODE: "1" };
}

function specModule(): KernelspecModule {
  return require(join(LIBRARY_FOLDER, "jupyter", "kernelspec.cjs")) as KernelspecModule;
}

/** Folder in which Jupyter looks for the user's own kernels (JUPYTER_DATA_DIR, else the platform's place). */
export function userKernelFolder(): string {
  const { JUPYTER_DATA_DIR, XDG_DATA_HOME, APPDATA } = process.env;
  if (JUPYTER_DATA_DIR) return join(JUPYTER_DATA_DIR, "kernels");
  if (process.platform === "darwin") return join(homedir(), "Library", "Jupyter", "kernels");
  if (process.platform === "win32") return join(APPDATA ?? homedir(), "jupyter", "kernels");
  return join(XDG_DATA_HOME || join(homedir(), ".local", "share"), "jupyter", "kernels");
}

/**
 * Writes the kernelspec "TypeScript (steerlab)" where another Jupyter finds it. Paths in it are absolute: install again
 * after moving the project or changing Node.
 *
 * @param place `{ user: true }`, or `{ prefix }` such as a conda environment's folder
 * @returns path of the kernel.json written
 * @throws InputError "kernel-place" if the prefix is not a folder
 */
export function kernelInstall(place: KernelPlace): string {
  const { KERNEL_NAME, writeKernelspec } = specModule();
  if ("user" in place) return writeKernelspec(join(userKernelFolder(), KERNEL_NAME));
  if (!existsSync(place.prefix)) {
    const remedy = "Pass the folder of a Python environment, such as $CONDA_PREFIX.";
    throw new InputError("kernel-place", expected("an existing folder", "--prefix", place.prefix, remedy));
  }
  return writeKernelspec(join(resolve(place.prefix), "share", "jupyter", "kernels", KERNEL_NAME));
}

/**
 * Starts the project's JupyterLab in the foreground, opened on `notebooks/`.
 *
 * @param args passed on to `jupyter lab`, such as `["--no-browser", "--port", "8890"]`
 * @param signal when it fires, JupyterLab is asked to close, kernels included
 * @returns its exit code when it ends
 * @throws DeviceError "environment" if `npm run setup` has not been run
 */
export function startLab(args: ReadonlyArray<string> = [], signal?: AbortSignal): Promise<number> {
  const program = venvProgram("jupyter");
  const root = process.getuid?.() === 0 ? ["--allow-root"] : [];
  const all = [
    "lab",
    `--ServerApp.root_dir=${PROJECT_FOLDER}`,
    "--LabApp.default_url=/lab/tree/notebooks",
    ...root,
    ...args,
  ];
  return new Promise((done, failed) => {
    const child = spawn(program, all, { cwd: PROJECT_FOLDER, env: venvEnvironment(), stdio: "inherit" });
    const close = (): void => void child.kill("SIGTERM");
    signal?.addEventListener("abort", close, { once: true });
    child.on("error", failed);
    child.on("close", (code) => {
      signal?.removeEventListener("abort", close);
      done(code ?? 1);
    });
  });
}
