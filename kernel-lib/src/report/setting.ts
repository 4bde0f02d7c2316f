/** What the numbers of a report rest on: what each tier holds out, and how strong a push is on this model. */
import { formatNumber, UNKNOWN } from "../page";
import { type Protocol, strengthScale, tierViews } from "../study";
import { type Cell, paragraph, table } from "./html";
import { type LoadedRun, modelLabel } from "./load";

/** Runs of different protocols, each once, by the protocol's label. */
function perProtocol(runs: readonly LoadedRun[]): Map<string, LoadedRun & { protocol: Protocol }> {
  return new Map(
    runs.flatMap((run) =>
      run.protocol === null ? [] : [[run.label, run as LoadedRun & { protocol: Protocol }] as const],
    ),
  );
}

/** Strengths as lengths and as shares of the residual stream: one magnitude is another push on another model. */
export function pushes(runs: readonly LoadedRun[]): string {
  const scaled = [...perProtocol(runs.filter(({ meta }) => Array.isArray(meta.residualNorms)))];
  const tables = scaled.map(([label, run]) => {
    const { unit, magnitudes } = run.protocol.steering;
    const scale = strengthScale(run.protocol, run.meta.residualNorms as number[]);
    const rows = [...new Set(scale.map(({ range }) => range))].map((range) => {
      const of = scale.filter((item) => item.range === range);
      const [{ start, end, residualNorm }] = of;
      const cells = of.map(({ relative, magnitude }) => ({
        text: `${formatNumber(100 * relative, 0)} %`,
        detail: `length ${formatNumber(magnitude, 1)}`,
      }));
      return [range, `${start} to ${end - 1}`, formatNumber(residualNorm, 1), ...cells];
    });
    const strengths = magnitudes.map((strength) => `${unit === "absolute" ? "magnitude" : "strength"} ${strength}`);
    return table(["layer range", "blocks", "residual norm", ...strengths], rows, `${modelLabel(run)}: ${label}`);
  });
  const isAbsolute = scaled.some(([, { protocol }]) => protocol.steering.unit === "absolute");
  const absolute = isAbsolute
    ? " A protocol whose magnitudes are absolute and taken over unchanged pushes this model as hard as the shares say; what share they were on the published model is not known."
    : "";
  const about = `Share of the layer's mean residual norm (clean training contexts) that is added at every layer and token of a range, and its L2 length.${absolute}`;
  return [paragraph(about), ...tables].join("\n");
}

/** Every tier of every protocol and the axes on which it leaves what was trained on. */
export function heldOut(runs: readonly LoadedRun[]): string {
  const mark = (value: boolean | null): Cell | string =>
    value === null ? UNKNOWN : value ? { text: "held out", badge: "good" } : "as trained";
  const rows = [...perProtocol(runs)].flatMap(([label, { protocol }]) => [
    { heading: label },
    ...tierViews(protocol).map(({ title, heldOut: axes, spec, name }) => [
      { text: title, isSentence: true },
      mark(axes.vectors),
      mark(axes.topics),
      mark(axes.replies),
      spec.infoPrompt ? "explained first" : mark(axes.question),
      mark(axes.strengths),
      mark(axes.ranges),
      { text: name, isName: true },
    ]),
  ]);
  return table(
    ["tier", "vectors", "topics", "replies", "question", "strengths", "ranges", "name in records"],
    rows,
    "Against what the protocol itself trains on; an adapter trained by another protocol has seen other things.",
  );
}
