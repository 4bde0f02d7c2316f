/** Controls in a report: the study among its twins, and the yardsticks that ask nobody. */
import { isDeepStrictEqual } from "node:util";
import { groupBy, STUDY, twinRow, type TwinRow } from "../evaluate";
import { escapeHtml, formatNumber } from "../page";
import { findMetrics, type Metric } from "../runs";
import { mean } from "../stats";
import { type Protocol, TWINS } from "../study";
import { type FigureList, paragraph, quoted, table } from "./html";
import { type LoadedRun, modelLabel } from "./load";
import { twinsFigure } from "./plots/twins";

/** A study with its twins: rows of one model and one parent protocol. */
export interface TwinStudy {
  /** the parent protocol's name */
  study: string;
  model: string;
  rows: TwinRow[];
}

/**
 * The studies among runs, each with its twins; a row per trained adapter whose detection and side effects are there. Protocols that are
 * no twins of one another, such as card and strict, are studies of their own.
 */
export function twinStudiesOf(runs: readonly LoadedRun[]): TwinStudy[] {
  const all = runs.filter((run) => run.meta.kind === "train" && (run.meta.adapterHash ?? null) !== null);
  // The same training run twice is one adapter, and one point.
  const trained = [...new Map(all.map((run) => [`${run.meta.adapterHash} ${run.protocol?.name}`, run])).values()];
  const parents = new Set(trained.map(({ protocol }) => protocol?.twinOf?.name));
  const studies = new Map<string, TwinStudy>();
  for (const training of trained) {
    const { protocol } = training;
    if (protocol === null) continue;
    const study = parents.has(protocol.name) ? protocol.name : (protocol.twinOf?.name ?? protocol.name);
    const row = rowOf(training, protocol, study, runs);
    if (row === null) continue;
    const model = modelLabel(training);
    const found = studies.get(`${model} ${study}`) ?? { study, model, rows: [] };
    found.rows.push(row);
    studies.set(`${model} ${study}`, found);
  }
  return [...studies.values()];
}

function rowOf(training: LoadedRun, protocol: Protocol, study: string, runs: readonly LoadedRun[]): TwinRow | null {
  const { meta, events } = training;
  const of = (kind: string): LoadedRun | undefined =>
    runs.find(
      (run) =>
        run.meta.kind === kind && run.meta.adapterHash === meta.adapterHash && run.protocol?.name === protocol.name,
    );
  const [detection, effects, chats] = [of("detection"), of("side-effects"), of("chats")];
  if (detection === undefined || effects === undefined) return null;
  return twinRow({
    twin: protocol.name === study ? STUDY : twinName(protocol, study),
    seed: meta.seed ?? 0,
    steps: events.reduce((most, { step }) => Math.max(most, step), 0),
    validationAccuracy: events.filter(({ kind }) => kind === "validation").pop()?.accuracy ?? null,
    protocol,
    metrics: [...detection.metrics, ...effects.metrics, ...(chats?.metrics ?? [])],
    folders: [training, detection, effects, ...(chats === undefined ? [] : [chats])].map(({ id }) => id),
  });
}

/** A twin's own name; what was changed by path has a hash for one, and is called by the control it is, or by its changes. */
function twinName({ name, twinOf }: Protocol, study: string): string {
  const own = name.slice(study.length + 1);
  if (twinOf === null || !/^[0-9a-f]{8}$/.test(own)) return own;
  const control = Object.entries(TWINS).find(([, fields]) => isDeepStrictEqual(fields, twinOf.changes));
  return (
    control?.[0] ??
    Object.entries(twinOf.changes)
      .map(([field, value]) => `${field} ${JSON.stringify(value)}`)
      .join(", ")
  );
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
    `Twins that select as well or better: ${others(({ selects }) => least(selects, study.selects))}. ` +
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
  const measured = runs.filter(({ metrics }) => findMetrics(metrics, { tier: "yardsticks" }).length > 0);
  const studies = twinStudiesOf(runs).filter(({ rows }) => rows.some(({ twin }) => twin !== STUDY));
  return [
    ...studies.map(({ study, model, rows }) =>
      twinsSection(rows, figures, model, studies.length > 1 ? `: ${study}` : ""),
    ),
    ...measured.map((run) => yardsticksSection(run.metrics, modelLabel(run))),
  ].join("\n");
}

/** Figure, reading and table of a study among its twins. @param source whose numbers */
export function twinsSection(rows: readonly TwinRow[], figures: FigureList, source: string, which = ""): string {
  const steps =
    new Set(rows.map((row) => row.steps)).size === 1
      ? "Same optimizer steps in every arm"
      : "Arms differ in steps, so that they are no controls of one another";
  return [
    `<h2>The study among its twins${escapeHtml(which)}</h2>`,
    paragraph(twinsReading(rows)),
    figures.add(
      twinsFigure(rows),
      "Every seed a point; the study is the star. A twin trained without the cause that detects as well shows what detection is not owed to. " +
        "The line joins means over seeds of arms that differ in the weight of retention alone: what detection costs elsewhere.",
      source,
    ),
    htmlTable(
      twinsTable(rows),
      `${steps}; 95 % intervals over new vectors and topics (changes: over questions; KL: over chats, nats a token). ` +
        "Every arm is asked what the study is asked, with its own labels; a band steers its own layers alone, so its caches are others. " +
        "Own validation: accuracy on examples of what the arm itself was taught; these share vectors and topics with training, so there is no interval.",
    ),
  ].join("\n");
}

/** The study's answer beside norm and probe, by strength. @param source whose numbers */
export function yardsticksSection(metrics: readonly Metric[], source: string): string {
  return [
    "<h2>Yardsticks on the same caches</h2>",
    paragraph(
      `${source}. AUROC of steered against clean contexts of held-out vectors: the answer, the length of the base model's residual stream, and a linear probe on it, both fitted on training vectors and topics alone. The probe sees fewer contexts than the adapter's training did.`,
    ),
    htmlTable(yardsticksTable(metrics), "By strength, each against all clean trials."),
  ].join("\n");
}

function htmlTable(rows: readonly Record<string, string | number>[], caption: string): string {
  return table(Object.keys(rows[0]), rows.map(Object.values), caption);
}
