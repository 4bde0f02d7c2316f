/** Controls in a report: the study among its twins, and the yardsticks that ask nobody. */
import { groupBy, STUDY, twinRow, type TwinRow } from "../evaluate";
import { formatNumber } from "../page";
import { findMetrics, type Metric } from "../runs";
import { mean } from "../stats";
import type { Protocol } from "../study";
import { type FigureList, paragraph, quoted, table } from "./html";
import { type LoadedRun, modelLabel } from "./load";
import { twinsFigure } from "./plots/twins";

/** One row per trained adapter whose detection and side effects are among the runs. */
export function twinRowsOf(runs: readonly LoadedRun[]): TwinRow[] {
  const all = runs.filter((run) => run.meta.kind === "train" && (run.meta.adapterHash ?? null) !== null);
  // The same training run twice is one adapter, and one point.
  const trained = [...new Map(all.map((run) => [`${run.meta.adapterHash} ${run.protocol?.name}`, run])).values()];
  const parents = new Set(trained.map(({ protocol }) => protocol?.twinOf?.name));
  return trained.flatMap((training) => {
    const { protocol, meta } = training;
    const of = (kind: string): LoadedRun | undefined =>
      runs.find(
        (run) =>
          run.meta.kind === kind && run.meta.adapterHash === meta.adapterHash && run.protocol?.name === protocol?.name,
      );
    const [detection, effects, chats] = [of("detection"), of("side-effects"), of("chats")];
    if (protocol === null || detection === undefined || effects === undefined) return [];
    const steps = training.events.reduce((most, { step }) => Math.max(most, step), 0);
    return [
      twinRow({
        twin: parents.has(protocol.name) ? STUDY : twinName(protocol),
        seed: meta.seed ?? 0,
        steps,
        validationAccuracy: training.events.filter(({ kind }) => kind === "validation").pop()?.accuracy ?? null,
        protocol,
        metrics: [...detection.metrics, ...effects.metrics, ...(chats?.metrics ?? [])],
        folders: [training, detection, effects, ...(chats === undefined ? [] : [chats])].map(({ id }) => id),
      }),
    ];
  });
}

function twinName({ name, twinOf }: Protocol): string {
  return twinOf === null ? STUDY : name.slice(twinOf.name.length + 1);
}

/**
 * Rows for a table of a notebook: every figure with its interval.
 * @returns one row per twin and seed, in the order given
 * @example
 * showTable(twinsTable(await runTwins(model, protocol, { twins: ["flipped"], seeds: [1] })));
 */
export function twinsTable(rows: readonly TwinRow[]): Record<string, string | number>[] {
  return rows.map((row) => ({
    twin: row.twin,
    seed: row.seed,
    steps: row.steps,
    "own validation": formatNumber(row.validationAccuracy),
    "balanced accuracy": quoted(row.balancedAccuracy).text,
    "hit rate": quoted(row.hitRate).text,
    "false alarms": quoted(row.falseAlarmRate).text,
    selectivity: quoted(row.selectivity).text,
    "mean |change of P(yes)|": quoted(row.shift).text,
    "KL on chats": quoted(row.chatDivergence).text,
  }));
}

/**
 * What the rows come to, in words: means over seeds, no test.
 * @returns one paragraph of plain text
 * @example
 * console.log(twinsReading(await runTwins(model, protocol, { twins: ["flipped"], seeds: [1] })));
 */
export function twinsReading(rows: readonly TwinRow[]): string {
  const twins = [...groupBy(rows, ({ twin }) => twin)].map(([twin, of]) => ({
    twin,
    seeds: of.length,
    detects: meanOf(of.map((row) => row.balancedAccuracy.value)),
    selects: meanOf(of.map((row) => row.selectivity?.value ?? null)),
    moves: meanOf(of.map((row) => row.shift.value)),
    talks: meanOf(of.map((row) => row.chatDivergence.value)),
  }));
  const study = twins.find(({ twin }) => twin === STUDY);
  if (study === undefined)
    return "The study itself is not among these runs, so its twins have nothing to stand beside.";
  const others = (holds: (other: (typeof twins)[number]) => boolean): string =>
    twins
      .filter((other) => other.twin !== STUDY && holds(other))
      .map(({ twin }) => twin)
      .join(", ") || "none";
  const least = (one: number | null, other: number | null): boolean => one !== null && other !== null && one >= other;
  const seeds = study.seeds === 1 ? "one seed" : `means of ${study.seeds} seeds`;
  return (
    `The study: balanced accuracy ${formatNumber(study.detects)}, selectivity ${formatNumber(study.selects)}, mean |change of P(yes)| ${formatNumber(study.moves)}, KL on chats ${formatNumber(study.talks)} nats a token (${seeds}). ` +
    `Twins that detect as well or better: ${others(({ detects }) => least(detects, study.detects))}. ` +
    `Twins that move other answers as much or more: ${others(({ moves }) => least(moves, study.moves))}. ` +
    `Twins that leave chats as near to the base or nearer: ${others(({ talks }) => least(study.talks, talks))}.`
  );
}

function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value): value is number => value !== null);
  return known.length === 0 ? null : mean(known).value;
}

/**
 * AUROC by strength: the model's own answer, the norm, the linear probe.
 * @returns one row per strength, each figure with its interval
 * @example
 * showTable(yardsticksTable((await evaluateProbe(model, protocol, { adapter })).metrics));
 */
export function yardsticksTable(metrics: readonly Metric[]): Record<string, string>[] {
  const all = findMetrics(metrics, { name: "auroc", tier: "yardsticks" });
  const strengths = [...new Set(all.map(({ group }) => group.strength))];
  return strengths.map((strength) => {
    const of = (...conditions: string[]): string =>
      quoted(all.find(({ condition, group }) => conditions.includes(condition) && group.strength === strength)).text;
    return {
      strength: strength === undefined ? "all" : String(strength),
      "own answer": of("tuned", "base"),
      "norm alone": of("norm"),
      "linear probe": of("probe"),
    };
  });
}

/** Sections of a report: nothing unless twins or yardsticks are among the runs. */
export function twinsSections(runs: readonly LoadedRun[], figures: FigureList): string {
  const rows = twinRowsOf(runs);
  const measured = runs.filter(({ metrics }) => findMetrics(metrics, { tier: "yardsticks" }).length > 0);
  return [
    ...(rows.some(({ twin }) => twin !== STUDY)
      ? [twinsSection(rows, figures, [...new Set(runs.map(modelLabel))].join(", "))]
      : []),
    ...measured.map(yardsticksSection),
  ].join("\n");
}

/** Figure, reading and table of a study among its twins. @param source whose numbers */
export function twinsSection(rows: readonly TwinRow[], figures: FigureList, source: string): string {
  return [
    "<h2>The study among its twins</h2>",
    paragraph(twinsReading(rows)),
    figures.add(
      twinsFigure(rows),
      "Every seed a point; the study is the star. A twin trained without the cause that detects as well shows what detection is not owed to. " +
        "The line joins means over seeds of arms that differ in the weight of retention alone: what detection costs elsewhere.",
      source,
    ),
    htmlTable(
      twinsTable(rows),
      "Same optimizer steps in every arm; 95 % intervals over new vectors and topics (changes: over questions; KL: over chats, nats a token). " +
        "Every arm is asked what the study is asked, with its own labels. Own validation: accuracy on examples of what the arm itself was taught; these share vectors and topics with training, so there is no interval.",
    ),
  ].join("\n");
}

function yardsticksSection(run: LoadedRun): string {
  return [
    "<h2>Yardsticks on the same caches</h2>",
    paragraph(
      `${modelLabel(run)}. AUROC of steered against clean contexts of held-out vectors: the answer, the length of the base model's residual stream, and a linear probe on it, both fitted on training vectors and topics alone.`,
    ),
    htmlTable(yardsticksTable(run.metrics), "By strength, each against all clean trials."),
  ].join("\n");
}

function htmlTable(rows: readonly Record<string, string | number>[], caption: string): string {
  return table(Object.keys(rows[0]), rows.map(Object.values), caption);
}
