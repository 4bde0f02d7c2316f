/**
 * The main figures of executed notebooks, as the pictures that stand in them: what an index shows at a glance.
 *
 * Nothing is drawn here: a notebook keeps a PNG beside each plotly figure. Figures taller than a screen are tables in disguise
 * and stay in their notebook.
 */
import { type NotebookCell, type NotebookFile, PLOTLY_MIME } from "../../notebook";

/** Figures of one notebook that are shown. */
const MOST = 3;
/** CSS pixels; the tallest figure that still reads as a thumbnail. */
const TALLEST = 760;

/** A picture with its title. */
export interface GalleryPicture {
  title: string;
  /** PNG, base64 */
  png: string;
}

interface PlotlyLayout {
  height?: number;
  title?: string | { text?: string };
}

/** The first pictures of a notebook that are no taller than a screen, in its order. */
export function mainPictures(file: NotebookFile): GalleryPicture[] {
  const outputs = file.cells.flatMap(({ outputs: of }: NotebookCell) => of ?? []);
  const pictures = outputs.flatMap(({ data }) => {
    const figure = data?.[PLOTLY_MIME] as { layout?: PlotlyLayout } | undefined;
    const png = data?.["image/png"] as string | string[] | undefined;
    if (figure === undefined || png === undefined || (figure.layout?.height ?? 0) > TALLEST) return [];
    const title = figure.layout?.title;
    const text = typeof title === "string" ? title : (title?.text ?? "Figure");
    return [{ title: text, png: [png].flat().join("").replace(/\s/g, "") }];
  });
  return pictures.slice(0, MOST);
}
