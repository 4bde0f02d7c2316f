// A real browser with the network off: pages open, plots are drawn, nothing is refused by the policy, and a script
// that slips into a body does not run. Needs Chromium (apt-get install chromium); skipped by name without it.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { notebookToHtml } from "../../kernel-lib/src/notebook";
import { escapeHtml, figureSlot, renderPage } from "../../kernel-lib/src/page";
import { chromiumPath, temporaryFolder } from "../helpers/notebook";

const executablePath = chromiumPath();
const NAME = "a page in Chromium";
const HEATMAP = {
  data: [
    {
      type: "heatmap",
      z: [
        [0.1, 0.9],
        [0.4, 0.5],
      ],
      x: ["weak", "strong"],
      y: ["early", "late"],
    },
  ],
  layout: { title: { text: "Detection rate" } },
};
const LINE = {
  data: [{ type: "scatter", y: [3, 1, 2], name: "</script><script>window.hit=1</script>" }],
  layout: { title: { text: "Loss" } },
};

describe.skipIf(executablePath === null)(
  `${NAME}${executablePath === null ? " (no Chromium found)" : ""}`,
  { timeout: 180_000 },
  () => {
    let browser: Browser;
    beforeAll(async () => {
      browser = await chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
    });
    afterAll(async () => {
      await browser?.close();
    });

    /** Opens `html` from disk, offline, and returns the page with everything the browser complained about. */
    async function open(
      html: string,
      options: object = {},
    ): Promise<{ page: Page; complaints: string[]; requests: string[] }> {
      const path = join(temporaryFolder(), "page.html");
      writeFileSync(path, html);
      const context = await browser.newContext({ offline: true, ...options });
      const page = await context.newPage();
      const complaints: string[] = [];
      const requests: string[] = [];
      page.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
      });
      page.on("pageerror", (error) => complaints.push(String(error)));
      page.on("request", (request) => {
        if (
          !request.url().startsWith("data:") &&
          !request.url().startsWith("file:") &&
          !request.url().startsWith("blob:")
        )
          requests.push(request.url());
      });
      await page.goto(pathToFileURL(path).href);
      return { page, complaints, requests };
    }

    const html = (): string =>
      renderPage({
        title: "Offline page",
        bodyHtml: `<h1>Offline page</h1>${figureSlot("a", "Detection rate")}${figureSlot("b", "Loss")}<div class="scroll"><table><tr>${"<td>wide cell</td>".repeat(40)}</tr></table></div>`,
        figures: [
          { id: "a", figure: HEATMAP },
          { id: "b", figure: LINE },
        ],
      });

    it("draws every plot, asks for nothing and complains about nothing", async () => {
      const { page, complaints, requests } = await open(html());
      await page.waitForFunction(() => document.documentElement.dataset.figures === "drawn", null, { timeout: 30_000 });
      expect(await page.locator(".plot .main-svg").count()).toBeGreaterThanOrEqual(2);
      expect(await page.locator("#a .heatmaplayer image").count()).toBe(1);
      expect(await page.locator("#b .scatterlayer path.js-line").count()).toBe(1);
      expect(await page.evaluate(() => (window as { hit?: number }).hit)).toBeUndefined();
      expect(complaints).toEqual([]);
      expect(requests).toEqual([]);
    });

    it("fits a phone, and the dark page has dark plots", async () => {
      const { page } = await open(html(), { viewport: { width: 360, height: 740 }, colorScheme: "dark" });
      await page.waitForFunction(() => document.documentElement.dataset.figures === "drawn", null, { timeout: 30_000 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
      const fill = await page.locator("#a .gtitle").evaluate((node) => getComputedStyle(node).fill);
      expect(fill).toBe("rgb(228, 232, 238)");
      const folder = process.env.STEERLAB_SCREENSHOTS;
      if (folder !== undefined) {
        mkdirSync(folder, { recursive: true });
        await page.screenshot({ path: join(folder, "phone-dark.png"), fullPage: true });
      }
    });

    it("does not run a script that slipped into a body, nor an inline handler", async () => {
      const bad = renderPage({
        title: "t",
        bodyHtml: `${escapeHtml("safe")}<script>window.hit = 1</script><img src="data:," onerror="window.hit = 2"><a id="l" href="javascript:window.hit=3">x</a>${figureSlot("a", "A")}`,
        figures: [{ id: "a", figure: LINE }],
      });
      const { page, complaints } = await open(bad);
      await page.waitForFunction(() => document.documentElement.dataset.figures === "drawn", null, { timeout: 30_000 });
      await page.locator("#l").click();
      expect(await page.evaluate(() => (window as { hit?: number }).hit)).toBeUndefined();
      expect(complaints.join("\n")).toMatch(/Content Security Policy/);
    });

    it("shows an executed notebook", async () => {
      const outputs = [
        { output_type: "display_data", data: { "application/vnd.plotly.v1+json": HEATMAP, "text/plain": "Figure: x" } },
      ];
      const file = {
        cells: [
          { cell_type: "markdown", source: "# T" },
          { cell_type: "code", source: "plot()", execution_count: 1, outputs },
        ],
        metadata: {},
      };
      const { page, complaints } = await open(notebookToHtml(file));
      await page.waitForFunction(() => document.documentElement.dataset.figures === "drawn", null, { timeout: 30_000 });
      expect(await page.locator("summary", { hasText: "Code [1]" }).isVisible()).toBe(true);
      expect(complaints).toEqual([]);
    });
  },
);
