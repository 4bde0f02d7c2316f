// The shipped notebooks as a person meets them: opened in JupyterLab in a real browser, run, stopped, resumed, reloaded in
// the middle; and as a page, on a screen, on paper and on a phone in the dark. A small protocol keeps it short. Needs Chromium
// (apt-get install chromium); skipped by name without it.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { notebookToHtml } from "../../kernel-lib/src/notebook";
import { loadProtocol, saveProtocol, twin } from "../../kernel-lib/src/study";
import {
  command,
  content,
  errorsIn,
  figuresIn,
  kernelStatus,
  type Lab,
  openInLab,
  runAll,
  startJupyterLab,
  whenDone,
  whenOpen,
} from "../helpers/jupyterlab";
import { chromiumPath, type NotebookFile, ROOT, temporaryFolder, textOf, writeNotebook } from "../helpers/notebook";
import { expectWhole } from "../helpers/pages";

const executablePath = chromiumPath();
const SLOW = process.env.STEERLAB_SLOW === "1";
/** Limits are generous: they only cost time where something hangs, and the machine may be busy. */
const MINUTES = 60_000;

/** The strict protocol with a few steps and a few trials of the tiers that the notebooks draw. */
function smallProtocol(file: string): void {
  const strict = loadProtocol("strict");
  const drawn = ["in_distribution", "held_out_random", "concepts_102", "clean_held_out"];
  const tiers = strict.evaluation.tiers
    .filter(({ name }) => drawn.includes(name))
    .map((tier) => ({ ...tier, vectorCount: Math.min(tier.vectorCount, 4), contextsPerCell: 1, clean: 20 }));
  const changes = {
    "training.examples": 1440,
    "training.validateEvery": 20,
    "training.checkpointEvery": 20,
    "evaluation.identitySamples": 1,
    "evaluation.tiers": tiers,
    aims: [],
  };
  saveProtocol(twin(strict, changes), file);
}

/** The notebook with a cell after its parameters that sets those of `values` that it declares. */
function withParameters(file: NotebookFile, values: Record<string, unknown>): NotebookFile {
  const at = file.cells.findIndex(({ metadata }) => metadata.tags?.includes("parameters"));
  const source = textOf(file.cells[at].source);
  const lines = Object.entries(values)
    .filter(([name]) => source.includes(`let ${name}:`))
    .map(([name, value]) => `${name} = ${JSON.stringify(value)};`);
  const given = {
    id: "given",
    cell_type: "code",
    source: lines.join("\n"),
    outputs: [],
    execution_count: null,
    metadata: {},
  };
  return { ...file, cells: [...file.cells.slice(0, at + 1), given, ...file.cells.slice(at + 1)] };
}

const TRY = [
  { markdown: "# A notebook in JupyterLab" },
  { code: 'import { showFigure, showTable, withProgress } from "steerlab";\nconst magnitude: number = 0.4;' },
  { code: 'showTable([{ magnitude: magnitude, "hit rate": 0.97 }], { caption: "Detection" });' },
  {
    code: 'await showFigure({ data: [{ type: "heatmap", z: [[0.1, 0.9], [0.4, 0.5]], x: ["weak", "strong"], y: ["early", "late"] }], layout: { title: { text: "Detection rate" }, height: 320 } });',
  },
  {
    code: 'await withProgress("train", 30, async (tick) => { for (let i = 1; i <= 30; i++) { await new Promise((r) => setTimeout(r, 100)); tick(i, "loss " + (1 / i).toFixed(2)); } });',
  },
];

describe.skipIf(executablePath === null)(
  `JupyterLab in Chromium${executablePath === null ? " (no Chromium found)" : ""}`,
  () => {
    const folder = temporaryFolder();
    const runs = join(folder, "runs");
    let browser: Browser;
    let lab: Lab;
    let page: Page;

    beforeAll(async () => {
      const protocolName = join(folder, "small.yaml");
      smallProtocol(protocolName);
      // 05 reads the shipped protocols themselves: fewer steps and fewer of the strict tiers.
      const protocolChanges = {
        "training.examples": 1440,
        "training.validateEvery": 20,
        "training.checkpointEvery": 20,
      };
      const short: Record<string, object> = {
        "05-card-protocol.ipynb": { protocolChanges, strictTiers: ["held_out_replies", "clean_held_out"] },
        "07-controls.ipynb": { twins: ["no-steer"] },
      };
      const values = { batchDir: runs, protocolName, samples: 1 };
      for (const name of readdirSync(join(ROOT, "notebooks")).filter((file) => file.endsWith(".ipynb"))) {
        const file = JSON.parse(readFileSync(join(ROOT, "notebooks", name), "utf8")) as NotebookFile;
        writeFileSync(join(folder, name), JSON.stringify(withParameters(file, { ...values, ...short[name] })));
      }
      writeNotebook(folder, "try.ipynb", TRY);
      lab = await startJupyterLab(folder);
      browser = await chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
      page = await browser.newPage({ viewport: { width: 1280, height: 1100 } });
    }, 6 * MINUTES);

    afterAll(async () => {
      await browser?.close();
      lab?.stop();
    });

    async function shot(name: string, of: Page = page): Promise<void> {
      const shots = process.env.STEERLAB_SCREENSHOTS;
      if (shots === undefined) return;
      mkdirSync(shots, { recursive: true });
      await of.screenshot({ path: join(shots, `${name}.png`) });
    }

    const progressOf = (label: string): ReturnType<Page["locator"]> =>
      page.locator(".jp-OutputArea-output", { hasText: new RegExp(`${label} \\d+/\\d+ \\(`) }).first();

    /** What must hold of a notebook that ran to its end: no error, a result, every figure drawn, nothing on stderr. */
    async function expectGood(file: NotebookFile): Promise<void> {
      expect(errorsIn(file)).toEqual([]);
      const outputs = file.cells.flatMap((cell) => cell.outputs ?? []);
      expect(outputs.filter(({ name }) => name === "stderr").map(({ text }) => textOf(text))).toEqual([]);
      expect(outputs.some(({ data }) => data?.["application/vnd.steerlab.result+json"] !== undefined)).toBe(true);
      await expect
        .poll(() => page.locator(".jp-RenderedPlotly .plot-container").count(), { timeout: 3 * MINUTES })
        .toBe(figuresIn(file));
      expect(await legendsCut()).toEqual([]);
    }

    /** What the notebook holds, as a page of its own, whole wherever it is looked at. */
    async function expectPage(file: NotebookFile, name: string): Promise<void> {
      const html = join(folder, `${name}.html`);
      writeFileSync(html, notebookToHtml(file as Parameters<typeof notebookToHtml>[0]));
      await expectWhole(browser, html, figuresIn(file), (view, of) => shot(`page-${name.slice(0, 2)}-${view}`, of));
    }

    /** Texts of legends that run over the edge of their figure. */
    function legendsCut(): Promise<string[]> {
      return page.evaluate(() =>
        [...document.querySelectorAll(".jp-RenderedPlotly .legendtext")].flatMap((text) => {
          const edge = text.closest(".plot-container")?.getBoundingClientRect().right ?? 0;
          return text.getBoundingClientRect().right > edge + 1 ? [text.textContent ?? ""] : [];
        }),
      );
    }

    it("shows a table, a live figure and progress, and is busy from the first cell to the last", {
      timeout: 30 * MINUTES,
    }, async () => {
      await openInLab(page, lab, "try.ipynb");
      await runAll(page);
      await kernelStatus(page, "Busy").waitFor({ timeout: 3 * MINUTES });
      await progressOf("train").waitFor({ timeout: 3 * MINUTES });
      // Completion and other questions of the page come while the cell runs; they must not make it look idle.
      await command(page, "completer:invoke-notebook").catch(() => {});
      expect(await kernelStatus(page, "Busy").count()).toBe(1);
      expect(errorsIn(await whenDone(page, 5 * MINUTES))).toEqual([]);
      const figure = page.locator(".jp-RenderedPlotly");
      await figure
        .locator(".main-svg")
        .first()
        .waitFor({ timeout: 3 * MINUTES });
      expect(await figure.locator(".heatmaplayer image").count()).toBe(1);
      expect(await page.locator(".jp-OutputArea-output table th").allTextContents()).toEqual(["magnitude", "hit rate"]);
      expect(await page.locator(".jp-OutputArea-output", { hasText: "train 30/30" }).count()).toBe(1);
      expect(await page.locator(".jp-OutputArea-output[data-mime-type*=stderr]").count()).toBe(0);
      await shot("lab-try");
    });

    it("01-train stops at the stop button, saves and says how to go on", { timeout: 20 * MINUTES }, async () => {
      await openInLab(page, lab, "01-train.ipynb");
      await runAll(page);
      await progressOf("train").waitFor({ timeout: 10 * MINUTES });
      await command(page, "kernelmenu:interrupt");
      const stopped = await whenDone(page, 6 * MINUTES);
      await page.locator(".jp-OutputArea-output[data-mime-type*=stderr]").last().scrollIntoViewIfNeeded();
      await shot("lab-stopped");
      expect(errorsIn(stopped)).toHaveLength(1);
      const [error] = stopped.cells
        .flatMap(({ outputs }) => outputs ?? [])
        .filter(({ output_type }) => output_type === "error");
      expect([error.evalue, ...(error.traceback ?? [])].join("\n")).toMatch(/resume|run (?:it|the cell) again|go on/i);
      expect(readdirSync(runs)).toHaveLength(1);
    });

    it("01-train goes on where it stopped, stays busy through a reload, and is found finished", {
      timeout: 30 * MINUTES,
    }, async () => {
      await runAll(page);
      await kernelStatus(page, "Busy").waitFor({ timeout: 3 * MINUTES });
      await expect.poll(async () => errorsIn(await content(page)), { timeout: 3 * MINUTES }).toEqual([]);
      await progressOf("train").waitFor({ timeout: 10 * MINUTES });
      await page.reload();
      await whenOpen(page, "01-train.ipynb");
      await kernelStatus(page, "Busy").waitFor({ timeout: 3 * MINUTES });
      // A page that has just come asks the kernel several things; the answers must not make it look idle.
      await page.waitForTimeout(1500);
      expect(await kernelStatus(page, "Busy").count()).toBe(1);
      await shot("lab-reloaded");
      await kernelStatus(page, "Idle").waitFor({ timeout: 12 * MINUTES });
      await command(page, "notebook:clear-all-cell-outputs");
      await runAll(page);
      const file = await whenDone(page, 10 * MINUTES);
      await expectGood(file);
      await shot("lab-trained");
      expect(readdirSync(runs)).toHaveLength(1);
      await expectPage(file, "01-train");
    });

    it("03-side-effects runs to its end", { timeout: 12 * MINUTES }, async () => {
      await openInLab(page, lab, "03-side-effects.ipynb");
      await runAll(page);
      const file = await whenDone(page, 5 * MINUTES);
      await shot("lab-03");
      await expectGood(file);
      await expectPage(file, "03-side-effects");
    });

    const slow = [
      "00-check-machine",
      "02-concept-sweep",
      "04-self-knowledge",
      "05-card-protocol",
      "06-explore-records",
      "07-controls",
    ];
    describe.skipIf(!SLOW)(SLOW ? "the slow ones" : "the slow ones (set STEERLAB_SLOW=1)", () => {
      it.each(slow)("%s runs to its end", { timeout: 40 * MINUTES }, async (name) => {
        await openInLab(page, lab, `${name}.ipynb`);
        await runAll(page);
        const file = await whenDone(page, 35 * MINUTES);
        await shot(`lab-${name.slice(0, 2)}`);
        await expectGood(file);
        await expectPage(file, name);
      });
    });

    it("names every shipped notebook here", () => {
      const shipped = readdirSync(join(ROOT, "notebooks")).filter((file) => file.endsWith(".ipynb"));
      expect([...slow, "01-train", "03-side-effects"].sort().map((name) => `${name}.ipynb`)).toEqual(shipped.sort());
    });
  },
);
