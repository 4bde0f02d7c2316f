import type { FigureJson } from "./figure";
import { figureSlot, type PageFigure } from "./page";

/** Collects the figures of a page and numbers them. */
export class FigureCollector {
  readonly figures: PageFigure[] = [];

  /** The slot for `figure`, to be put into the body. */
  slot(figure: FigureJson, label: string): string {
    const id = `figure-${this.figures.length + 1}`;
    this.figures.push({ id, figure });
    const height = (figure.layout as { height?: unknown } | undefined)?.height;
    return figureSlot(id, label, typeof height === "number" ? height : undefined);
  }
}
