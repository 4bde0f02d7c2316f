// JupyterLab of the project's environment on a folder, driven in Chromium as a person would.
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { type NotebookFile, VENV_BIN } from "./notebook";

/** A running server; nothing of the user's own Jupyter is read or written. */
export interface Lab {
  url(notebook: string): string;
  stop(): void;
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

function whenRunning(server: ChildProcess): Promise<void> {
  let log = "";
  return new Promise((done, failed) => {
    const listen = (chunk: Buffer): void => {
      log += chunk;
      if (/is running at/.test(log)) done();
    };
    server.stdout?.on("data", listen);
    server.stderr?.on("data", listen);
    server.on("close", () => failed(new Error(`JupyterLab ended: ${log}`)));
  });
}

export async function startJupyterLab(folder: string): Promise<Lab> {
  const place = (name: string): string => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  };
  const [port, token] = [await freePort(), randomUUID()];
  const args = ["lab", "--no-browser", "--allow-root", `--port=${port}`, `--IdentityProvider.token=${token}`];
  args.push(`--ServerApp.root_dir=${folder}`, "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=");
  const env = {
    ...process.env,
    JUPYTER_PREFER_ENV_PATH: "1",
    JUPYTER_RUNTIME_DIR: place(".runtime"),
    JUPYTER_CONFIG_DIR: place(".config"),
    JUPYTER_DATA_DIR: place(".data"),
  };
  const server = spawn(join(VENV_BIN, "jupyter"), args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  await whenRunning(server);
  return {
    // Without `reset` the notebooks opened before come back, and commands may go to one of them.
    url: (notebook) => `http://127.0.0.1:${port}/lab/tree/${notebook}?reset&token=${token}`,
    stop: () => server.kill("SIGTERM"),
  };
}

interface LabWindow {
  jupyterapp: {
    commands: { execute(id: string): Promise<unknown> };
    shell: { currentWidget: { context: { path: string }; content: { model: { toJSON(): unknown } } } | null };
  };
}

/** The words of the status bar when the kernel is in `state`. */
export function kernelStatus(page: Page, state: "Idle" | "Busy"): ReturnType<Page["getByText"]> {
  return page.getByText(`TypeScript (steerlab) | ${state}`).first();
}

/** Waits until the page shows `notebook` and commands go to it. */
export async function whenOpen(page: Page, notebook: string): Promise<void> {
  await page.locator(".jp-Notebook .jp-Cell").first().waitFor({ timeout: 120_000 });
  await page.waitForFunction(
    (name) => (window as unknown as Partial<LabWindow>).jupyterapp?.shell.currentWidget?.context?.path === name,
    notebook,
    { timeout: 120_000 },
  );
}

export async function openInLab(page: Page, lab: Lab, notebook: string): Promise<void> {
  await page.goto(lab.url(notebook));
  await whenOpen(page, notebook);
  // run-all before the kernel is connected does nothing, and says nothing
  await kernelStatus(page, "Idle").waitFor({ timeout: 120_000 });
}

export function command(page: Page, id: string): Promise<void> {
  return page.evaluate(async (name) => {
    await (window as unknown as LabWindow).jupyterapp.commands.execute(name);
  }, id);
}

/** Starts all cells and does not wait for them. */
export function runAll(page: Page): Promise<void> {
  return page.evaluate(() => {
    void (window as unknown as LabWindow).jupyterapp.commands.execute("notebook:run-all-cells");
  });
}

/** The notebook as the page holds it now, outputs included. */
export function content(page: Page): Promise<NotebookFile> {
  return page.evaluate(
    () => (window as unknown as LabWindow).jupyterapp.shell.currentWidget?.content.model.toJSON() as NotebookFile,
  );
}

/** Waits until every code cell has been run and the kernel rests; an error output ends the waiting. */
export async function whenDone(page: Page, timeout: number): Promise<NotebookFile> {
  const end = Date.now() + timeout;
  for (;;) {
    const file = await content(page);
    const code = file.cells.filter(({ cell_type }) => cell_type === "code");
    if (errorsIn(file).length > 0 || code.every(({ execution_count }) => typeof execution_count === "number")) {
      await kernelStatus(page, "Idle").waitFor({ timeout: 60_000 });
      return content(page);
    }
    if (Date.now() > end)
      throw new Error(
        `${code.filter(({ execution_count }) => execution_count === null).length} cells were not run in time`,
      );
    await page.waitForTimeout(300);
  }
}

/** "name: value" of every error output. */
export function errorsIn(file: NotebookFile): string[] {
  const outputs = file.cells.flatMap(({ outputs }) => outputs ?? []);
  return outputs.filter(({ output_type }) => output_type === "error").map(({ ename, evalue }) => `${ename}: ${evalue}`);
}

/** Number of plotly figures among the outputs. */
export function figuresIn(file: NotebookFile): number {
  const outputs = file.cells.flatMap(({ outputs }) => outputs ?? []);
  return outputs.filter(({ data }) => data?.["application/vnd.plotly.v1+json"] !== undefined).length;
}
