// JupyterLab of the project's environment in a real browser: a notebook opens with our kernel, runs, and its figure is
// drawn by the plotly extension. Needs Chromium (apt-get install chromium); skipped by name without it.
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chromiumPath, temporaryFolder, VENV_BIN, writeNotebook } from "../helpers/notebook";

const executablePath = chromiumPath();
const CELLS = [
  { markdown: "# A notebook in JupyterLab" },
  { code: 'import { showFigure, showTable, withProgress } from "steerlab";\nconst magnitude: number = 0.4;' },
  { code: 'showTable([{ magnitude: magnitude, "hit rate": 0.97 }], { caption: "Detection" });' },
  {
    code: 'await showFigure({ data: [{ type: "heatmap", z: [[0.1, 0.9], [0.4, 0.5]], x: ["weak", "strong"], y: ["early", "late"] }], layout: { title: { text: "Detection rate" }, height: 320 } });',
  },
  {
    code: 'await withProgress("train", 30, async (tick) => { for (let i = 1; i <= 30; i++) { await new Promise((r) => setTimeout(r, 100)); tick(i, "loss " + (1 / i).toFixed(2)); } });',
  },
  { code: 'console.log("all " + "done");' },
];

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

describe.skipIf(executablePath === null)(
  `JupyterLab in Chromium${executablePath === null ? " (no Chromium found)" : ""}`,
  () => {
    let browser: Browser;
    let server: ChildProcess;
    let page: Page;
    let log = "";

    beforeAll(async () => {
      const folder = temporaryFolder();
      const place = (name: string): string => {
        mkdirSync(join(folder, name));
        return join(folder, name);
      };
      writeNotebook(folder, "try.ipynb", CELLS);
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
      server = spawn(join(VENV_BIN, "jupyter"), args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
      const ready = new Promise<void>((done, failed) => {
        const listen = (chunk: Buffer): void => {
          log += chunk;
          if (/is running at/.test(log)) done();
        };
        server.stdout?.on("data", listen);
        server.stderr?.on("data", listen);
        server.on("close", () => failed(new Error(`JupyterLab ended: ${log}`)));
      });
      await ready;
      browser = await chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
      page = await browser.newPage({ viewport: { width: 1280, height: 1100 } });
      await page.goto(`http://127.0.0.1:${port}/lab/tree/try.ipynb?token=${token}`);
    }, 120_000);

    afterAll(async () => {
      await browser?.close();
      server?.kill("SIGTERM");
    });

    it("opens a notebook with our kernel, runs it and draws the figure", { timeout: 180_000 }, async () => {
      await page.locator(".jp-Notebook .jp-Cell").first().waitFor({ timeout: 60_000 });
      await page.getByText("TypeScript (steerlab)").first().waitFor({ timeout: 60_000 });
      await page.waitForFunction(() => "jupyterapp" in window);
      // run-all before the kernel is connected does nothing, and says nothing
      await page.getByText("TypeScript (steerlab) | Idle").waitFor({ timeout: 60_000 });
      await page.evaluate(async () => {
        const { commands } = (
          window as unknown as { jupyterapp: { commands: { execute(id: string): Promise<unknown> } } }
        ).jupyterapp;
        await commands.execute("notebook:run-all-cells");
      });
      await page.locator(".jp-OutputArea-output", { hasText: "all done" }).waitFor({ timeout: 90_000 });
      const figure = page.locator(".jp-RenderedPlotly");
      await figure.locator(".main-svg").first().waitFor({ timeout: 30_000 });
      expect(await figure.locator(".heatmaplayer image").count()).toBe(1);
      expect(await page.locator(".jp-OutputArea-output table th").allTextContents()).toEqual(["magnitude", "hit rate"]);
      expect(await page.locator(".jp-OutputArea-output", { hasText: "train 30/30" }).count()).toBe(1);
      const shots = process.env.STEERLAB_SCREENSHOTS;
      if (shots !== undefined) {
        mkdirSync(shots, { recursive: true });
        await page.screenshot({ path: join(shots, "jupyterlab.png") });
      }
      expect(await page.locator(".jp-OutputArea-output", { hasText: "update" }).count()).toBe(0);
      expect(await page.locator(".jp-OutputArea-output[data-mime-type*=stderr]").count()).toBe(0);
    });
  },
);
