/**
 * The fonts that pictures are drawn with: DejaVu Sans from npm, so that a machine without any font draws text too and
 * every machine draws the same. Falls back to the system's fonts where the package is absent.
 */

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** Family name that every text of a picture is set in. */
export const FONT_FAMILY = "DejaVu Sans";

/** Paths of the font files, empty if the package is not installed. */
export function fontFiles(): string[] {
  try {
    const folder = join(dirname(require.resolve("dejavu-fonts-ttf/package.json")), "ttf");
    const names = ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf"];
    return names.map((name) => join(folder, name)).filter((path) => existsSync(path));
  } catch {
    return [];
  }
}
