// A page of a notebook as it is met: on a wide screen, on a phone in the dark, on both sheets of paper.
import { pathToFileURL } from "node:url";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { expect } from "vitest";

/** What is left of the sheet between margins of 14 mm, in CSS pixels. */
export const SHEETS = { A4: { width: 688, height: 1017 }, Letter: { width: 710, height: 950 } };
export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

/** A generous limit: it only costs time where something hangs, and the machine may be busy. */
const DRAWN_MS = 120_000;

/** The page without a network, all of its figures drawn, if it has any. */
export async function openPage(browser: Browser, file: string, options: BrowserContextOptions): Promise<Page> {
  const page = await (await browser.newContext({ offline: true, ...options })).newPage();
  await page.goto(pathToFileURL(file).href);
  const drawn = (): boolean =>
    document.documentElement.dataset.figures === "drawn" || document.querySelector("script[data-for]") === null;
  await page.waitForFunction(drawn, null, { timeout: DRAWN_MS });
  return page;
}

/** As on a sheet: printing narrows the page without a resize event, so the window stays as it is. */
export async function ontoSheet(page: Page, { width }: { width: number }): Promise<void> {
  await page.emulateMedia({ media: "print" });
  await page.evaluate((pixels) => {
    document.body.style.width = `${pixels}px`;
  }, width);
}

/** What runs over the right edge of the page, or is taller than a sheet; texts of legends and titles that leave their figure. */
function overflowing(page: Page, width: number, height: number): Promise<string[]> {
  return page.evaluate(
    ([right, tall]) => {
      const wide = [...document.querySelectorAll(".plot .main-svg, table, img")].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.right > right + 1 || (!node.matches("table") && box.height > tall);
      });
      const cut = [...document.querySelectorAll(".plot :is(.legendtext, .gtitle)")].filter((text) => {
        const edge = text.closest(".plot")?.getBoundingClientRect().right ?? 0;
        return text.getBoundingClientRect().right > edge + 2;
      });
      return [...wide, ...cut].map((node) => `${node.tagName} ${(node.textContent ?? "").slice(0, 60)}`);
    },
    [width, height] as const,
  );
}

/** Every figure and table of a page is whole on a screen, on a phone in the dark and on A4 and Letter. */
export async function expectWhole(
  browser: Browser,
  file: string,
  figures: number,
  shot: (name: string, page: Page) => Promise<void>,
): Promise<void> {
  const views = { wide: { viewport: { width: 1280, height: 900 } }, phone: { ...PHONE, colorScheme: "dark" as const } };
  for (const [name, options] of Object.entries(views)) {
    const page = await openPage(browser, file, options);
    const { width } = options.viewport;
    expect(await page.locator(".plot:has(.main-svg)").count()).toBe(figures);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    // A wide table scrolls in its own box on a screen.
    const over = await overflowing(page, width, Number.POSITIVE_INFINITY);
    expect(over.filter((text) => !text.startsWith("TABLE"))).toEqual([]);
    await shot(name, page);
    await page.context().close();
  }
  for (const [name, sheet] of Object.entries(SHEETS)) {
    const page = await openPage(browser, file, { viewport: { width: 1280, height: sheet.height } });
    await ontoSheet(page, sheet);
    expect(await overflowing(page, sheet.width, sheet.height), name).toEqual([]);
    await shot(name, page);
    await page.context().close();
  }
}
