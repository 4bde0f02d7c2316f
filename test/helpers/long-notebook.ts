// An executed notebook with everything a page has to cope with: figures wide and tall, an animation, traces outside the
// bundle, wide tables (one folded away), long lines.
import { tableHtml } from "../../kernel-lib/src/page";
import { PLOTLY_MIME } from "../../kernel-lib/src/notebook";
import type { NotebookFile } from "../../kernel-lib/src/notebook";

const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const LINES = {
  data: [
    { type: "scatter", y: [3, 1, 2, 5, 4], name: "loss" },
    { type: "scatter", y: [1, 2, 3, 3, 2], name: "mass" },
  ],
  layout: { title: { text: "Loss and answer mass by step" }, width: 1100, height: 420 },
};
const TALL = {
  data: [{ type: "heatmap", z: Array.from({ length: 102 }, (_, i) => Array.from({ length: 12 }, (_v, j) => i * j)) }],
  layout: { title: { text: "102 concepts by cell, under a title that is rather long for a phone" }, height: 1700 },
};
const ANIMATED = {
  data: [{ type: "scatter", x: [1, 2, 3], y: [1, 2, 3] }],
  layout: {
    title: { text: "A slider" },
    sliders: [
      {
        steps: [0, 1, 2].map((i) => ({
          label: `s${i}`,
          method: "animate",
          args: [[`f${i}`], { mode: "immediate", frame: { duration: 0 } }],
        })),
      },
    ],
  },
  frames: [0, 1, 2].map((i) => ({ name: `f${i}`, data: [{ y: [i, 2 * i, 3 * i] }] })),
};
const SPACE = { data: [{ type: "scatter3d", x: [1, 2], y: [1, 2], z: [1, 2] }], layout: { title: { text: "Space" } } };

const ROWS = Array.from({ length: 60 }, (_, i) =>
  Object.fromEntries(
    Array.from({ length: 14 }, (_v, j) => [
      j === 0 ? "question" : `column ${j}`,
      j === 0 ? `Is question ${i} about you?` : i * j,
    ]),
  ),
);

const prose = (source: string) => ({ cell_type: "markdown", source });
const shown = (data: Record<string, unknown>) => ({
  cell_type: "code",
  source: "show()",
  execution_count: 1,
  outputs: [{ output_type: "display_data", data }],
});

export const LONG_NOTEBOOK: NotebookFile = {
  cells: [
    prose("# A long notebook\n\nIntroduction."),
    prose("## Loss & mass"),
    shown({ [PLOTLY_MIME]: LINES, "text/plain": "Figure: Loss" }),
    prose("## Concepts"),
    shown({ [PLOTLY_MIME]: TALL, "text/plain": "Figure: Concepts" }),
    prose("## Animated"),
    shown({ [PLOTLY_MIME]: ANIMATED, "text/plain": "Figure: A slider" }),
    prose("## Space"),
    shown({ [PLOTLY_MIME]: SPACE, "image/png": PIXEL, "text/plain": "Figure: Space" }),
    shown({ [PLOTLY_MIME]: SPACE, "text/plain": "Figure: Space again" }),
    prose("## A wide table"),
    shown({ "text/html": tableHtml(ROWS, { limit: 60, caption: "Every question" }) }),
    shown({ "text/html": `<details><summary>More</summary>${tableHtml(ROWS.slice(0, 3))}</details>` }),
    prose("## Concepts"),
    {
      cell_type: "code",
      source: "1",
      execution_count: 2,
      outputs: [{ output_type: "stream", name: "stdout", text: "a long line ".repeat(60) }],
    },
  ],
  metadata: { papermill: { duration: 80, parameters: { seed: 1 } } },
};
