/** Small multiples: equal panels in rows and columns, each with its own title, so that many tiers stand in one figure. */

/** Panels side by side; three are still readable on a page of 960 pixels. */
const COLUMNS = 3;
const GAP = 0.07;
const ROW_HEIGHT = 250;

/** Where panel `i` of a figure stands. */
export interface Panel {
  /** axis names as traces and layouts want them */
  x: { trace: string; layout: string; domain: [number, number] };
  y: { trace: string; layout: string; domain: [number, number] };
  isLeft: boolean;
}

/** The panels of a figure, by rows. */
export function panelsFor(count: number): Panel[] {
  const columns = Math.min(COLUMNS, Math.max(1, count));
  const rows = Math.max(1, Math.ceil(count / columns));
  const width = (1 - GAP * (columns - 1)) / columns;
  // Titles stand between the rows.
  const height = (1 - panelGap(rows) * (rows - 1)) / rows;
  return Array.from({ length: count }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const left = column * (width + GAP);
    const top = 1 - row * (height + panelGap(rows));
    const suffix = i === 0 ? "" : String(i + 1);
    return {
      x: { trace: `x${suffix}`, layout: `xaxis${suffix}`, domain: [left, Math.min(1, left + width)] },
      y: { trace: `y${suffix}`, layout: `yaxis${suffix}`, domain: [Math.max(0, top - height), top] },
      isLeft: column === 0,
    };
  });
}

const panelGap = (rows: number): number => (rows === 1 ? 0 : 0.36 / rows);

/** Height of a figure of so many panels, CSS pixels. */
export function panelsHeight(count: number): number {
  return 130 + ROW_HEIGHT * Math.ceil(count / COLUMNS);
}

/** The title that all horizontal axes share, below the lowest row. */
export function sharedAxisTitle(text: string): object {
  const place = { xref: "paper", yref: "paper", x: 0.5, y: 0, xanchor: "center", yanchor: "top", yshift: -40 };
  return { text, ...place, showarrow: false };
}

/** A panel's title above it; long ones in two lines. */
export function panelTitle({ x, y }: Panel, text: string): object {
  const at = text.length > 32 ? text.lastIndexOf(" ", Math.ceil(text.length / 2) + 4) : -1;
  const broken = at === -1 ? text : `${text.slice(0, at)}<br>${text.slice(at + 1)}`;
  return {
    text: broken,
    xref: "paper",
    yref: "paper",
    x: (x.domain[0] + x.domain[1]) / 2,
    y: y.domain[1],
    xanchor: "center",
    yanchor: "bottom",
    showarrow: false,
    font: { size: 12 },
  };
}
