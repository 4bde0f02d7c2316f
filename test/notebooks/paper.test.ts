// One long page on paper and on a phone, in a real browser: nothing cut, nothing in the way, nothing drawn wrong. Needs
// Chromium (apt-get install chromium); skipped by name without it.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { notebookToHtml } from "../../kernel-lib/src/notebook";
import { writeReport } from "../../kernel-lib/src/report";
import { LONG_NOTEBOOK } from "../helpers/long-notebook";
import { chromiumPath, command, ROOT, temporaryFolder } from "../helpers/notebook";
import { ontoSheet, openPage, PHONE, SHEETS } from "../helpers/pages";

/** A4 sheets; today it is 41, and fonts differ among machines. */
const MOST_PAGES = 46;
const executablePath = chromiumPath();
describe.skipIf(executablePath === null)(
  `a long page${executablePath === null ? " (no Chromium found)" : ""}`,
  { timeout: 120_000 },
  () => {
    let browser: Browser;
    let file: string;
    beforeAll(async () => {
      file = join(temporaryFolder(), "long.html");
      writeFileSync(file, notebookToHtml(LONG_NOTEBOOK));
      browser = await chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
    });
    afterAll(async () => {
      await browser?.close();
    });

    const open = (options: BrowserContextOptions): Promise<Page> => openPage(browser, file, options);

    /** A finger that moves up by 250 pixels. */
    async function swipeUp(page: Page, x: number, y: number): Promise<void> {
      const touch = await page.context().newCDPSession(page);
      const send = (
        type: "touchStart" | "touchMove" | "touchEnd",
        touchPoints: Array<{ x: number; y: number }>,
      ): Promise<unknown> => touch.send("Input.dispatchTouchEvent", { type, touchPoints });
      await send("touchStart", [{ x, y }]);
      for (let step = 1; step <= 10; step++) await send("touchMove", [{ x, y: y - 25 * step }]);
      await send("touchEnd", []);
    }

    async function shot(page: Page, name: string, fullPage = true): Promise<void> {
      const folder = process.env.STEERLAB_SCREENSHOTS;
      if (folder === undefined) return;
      mkdirSync(folder, { recursive: true });
      await page.screenshot({ path: join(folder, `${name}.png`), fullPage });
    }

    it.each(Object.entries(SHEETS))(
      "fits %s: every figure whole, every table in full; what is folded stays folded and says where it is",
      async (name, sheet) => {
        const page = await open({ viewport: { width: 1280, height: sheet.height } });
        await ontoSheet(page, sheet);
        const boxes = await page
          .locator(".plot .main-svg")
          .evaluateAll((all) => all.map((svg) => svg.getBoundingClientRect().toJSON()));
        expect(boxes.length).toBeGreaterThanOrEqual(3);
        for (const box of boxes) {
          expect(box.right).toBeLessThanOrEqual(sheet.width + 1);
          expect(box.width).toBeGreaterThan(sheet.width * 0.9);
          expect(box.height).toBeLessThanOrEqual(sheet.height);
          expect(box.height).toBeGreaterThan(100);
        }
        const tables = await page.locator("table").evaluateAll((all) =>
          all.map((table) => ({
            right: table.getBoundingClientRect().right,
            shown: table.checkVisibility(),
            height: table.clientHeight,
          })),
        );
        expect(tables).toHaveLength(3);
        expect(tables.map(({ shown }) => shown).filter((shown) => !shown)).toHaveLength(2);
        for (const table of tables.filter(({ shown }) => shown)) {
          expect(table.height).toBeGreaterThan(20);
          expect(table.right).toBeLessThanOrEqual(sheet.width + 1);
        }
        const note = await page
          .locator("details:has(table) > summary")
          .first()
          .evaluate((summary) => getComputedStyle(summary, "::after").content);
        expect(note).toContain("the page on screen has it");
        expect(await page.evaluate(() => document.body.scrollWidth)).toBeLessThanOrEqual(sheet.width + 1);
        await shot(page, `paper-${name}`);
      },
    );

    it("of a whole report, three adapters on a real model, is not a book", async () => {
      const study = join(ROOT, "data", "published", "qwen2.5-coder-0.5b");
      const runs = readdirSync(study, { withFileTypes: true }).filter((entry) => entry.isDirectory());
      const report = join(temporaryFolder(), "report.html");
      writeReport(
        runs.map(({ name }) => join(study, name)),
        { file: report },
      );
      const page = await openPage(browser, report, { viewport: { width: 1280, height: 900 } });
      // It opens with what training brought and no aim speaks of.
      expect(await page.locator("body").textContent()).toContain("Yes to false facts on steered caches: 0.983");
      const printed = await page.pdf({ format: "A4" });
      const pages = printed.toString("latin1").match(/\/Type \/Page\b(?!s)/g) ?? [];
      expect(pages.length).toBeGreaterThan(20);
      expect(pages.length).toBeLessThanOrEqual(MOST_PAGES);
      const figures = page.locator("figure.screen");
      expect(await figures.count()).toBe(5);
      await page.emulateMedia({ media: "print" });
      expect(await figures.first().locator(".plot").isVisible()).toBe(false);
      await page.emulateMedia({ media: "screen" });
      expect(await figures.first().locator(".plot").isVisible()).toBe(true);
    });

    it("is printed with its figures by --print-to-pdf", async () => {
      const pdf = join(temporaryFolder(), "long.pdf");
      const args = ["--headless", "--no-sandbox", "--disable-gpu", `--print-to-pdf=${pdf}`, pathToFileURL(file).href];
      await command(executablePath ?? "", args);
      const text = readFileSync(pdf, "latin1");
      // The heatmap is the only picture of that many rows; it is there only if plotly drew before the page counted as loaded.
      const pictures = [...text.matchAll(/\/Subtype \/Image\n?\/Width (\d+)\n?\/Height (\d+)/g)].map((match) =>
        Number(match[2]),
      );
      expect(pictures.some((height) => height > 100)).toBe(true);
    });

    it("is dark on a dark screen, in dark ink on paper, and dark again", async () => {
      const page = await open({ viewport: { width: 1000, height: 900 }, colorScheme: "dark" });
      const ink = (): Promise<string> =>
        page.locator("#figure-1 .gtitle").evaluate((node) => getComputedStyle(node).fill);
      const ground = (): Promise<string> => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      expect(await ink()).toBe("rgb(228, 232, 238)");
      expect(await ground()).toBe("rgb(20, 24, 30)");
      await shot(page, "dark");
      await page.evaluate(() => window.dispatchEvent(new Event("beforeprint")));
      await page.emulateMedia({ media: "print", colorScheme: "dark" });
      expect(await ink()).not.toBe("rgb(228, 232, 238)");
      expect(await ground()).toBe("rgb(255, 255, 255)");
      await page.evaluate(() => window.dispatchEvent(new Event("afterprint")));
      await page.emulateMedia({ media: "screen", colorScheme: "dark" });
      expect(await ink()).toBe("rgb(228, 232, 238)");
    });

    it("on a phone has no toolbar over titles, lets a swipe scroll, and keeps the page's width", async () => {
      const page = await open(PHONE);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
      expect(await page.locator(".modebar").count()).toBe(0);
      for (const title of await page.locator(".gtitle").all()) {
        const box = await title.boundingBox();
        expect(box?.x).toBeGreaterThanOrEqual(0);
        expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(390);
      }
      await page.locator("#figure-1").scrollIntoViewIfNeeded();
      await shot(page, "phone", false);
      const before = await page.evaluate(() => scrollY);
      const box = await page.locator("#figure-1 .nsewdrag").boundingBox();
      const [x, y] = [(box?.x ?? 0) + 100, (box?.y ?? 0) + (box?.height ?? 0) / 2];
      await swipeUp(page, x, y);
      await expect.poll(() => page.evaluate(() => scrollY)).toBeGreaterThan(before + 100);
      const hint = await page
        .locator(".scroll")
        .last()
        .evaluate((node) => getComputedStyle(node).backgroundImage);
      expect(hint).toContain("gradient");
      await page.locator("table").nth(1).scrollIntoViewIfNeeded();
      await shot(page, "phone-table", false);
    });

    it("has a list of contents whose links lead to its headings", async () => {
      const page = await open({});
      const links = await page
        .locator(".contents a")
        .evaluateAll((all) => all.map((link) => [link.textContent, link.getAttribute("href")]));
      expect(links.map(([text]) => text)).toEqual([
        "Loss & mass",
        "Concepts",
        "Animated",
        "Space",
        "A wide table",
        "Concepts",
      ]);
      expect(new Set(links.map(([, href]) => href)).size).toBe(6);
      for (const [text, href] of links) {
        expect(await page.locator(`h2${href}`).evaluate((node) => node.firstChild?.textContent)).toBe(text);
      }
      await page.locator(".contents a").last().click();
      expect(await page.evaluate(() => scrollY)).toBeGreaterThan(500);
      await page.evaluate(() => scrollTo(0, 0));
      await shot(page, "screen");
    });

    it("keeps frames and sliders", async () => {
      const page = await open({});
      const y = (): Promise<number[]> =>
        page
          .locator("#figure-3")
          .evaluate((node) => Array.from((node as unknown as { data: Array<{ y: number[] }> }).data[0].y));
      expect(await y()).toEqual([1, 2, 3]);
      await page.locator("#figure-3 .slider-rail-touch-rect").scrollIntoViewIfNeeded();
      const rail = await page.locator("#figure-3 .slider-rail-touch-rect").boundingBox();
      await page.mouse.click((rail?.x ?? 0) + (rail?.width ?? 0) - 4, (rail?.y ?? 0) + (rail?.height ?? 0) / 2);
      await expect.poll(y).toEqual([2, 4, 6]);
    });

    it("does not draw what its plotly would draw wrong", async () => {
      const page = await open({});
      expect(await page.locator(".plot").count()).toBe(3);
      expect(await page.locator("figcaption").textContent()).toMatch(
        /Space\. A picture: this page has no scatter3d traces/,
      );
      expect(await page.locator("figure img").evaluate((node) => (node as HTMLImageElement).naturalWidth)).toBe(1);
      expect(await page.locator(".note").textContent()).toMatch(
        /Space again\. Not drawn: this page has no scatter3d traces/,
      );
    });
  },
);
