/**
 * The figures of one adapter, whichever run measured them: what a claim and its control are looked up in.
 *
 * Of several runs of a kind, the one asked by the protocol that trained the adapter comes first.
 */
import { findMetrics, type Metric } from "../../runs";
import { mainTier, type Protocol, type TierKind, tierViews } from "../../study";
import type { LoadedRun } from "../load";
import { trainingOf } from "../whose";

/** Looks metrics of one adapter up. */
export interface AdapterFigures {
  /** a metric of the main tier of a kind, tuned unless told otherwise; the group matches fully */
  ofTier(kind: TierKind, name: string, options?: { condition?: string; group?: Metric["group"] }): Metric | undefined;
  /** every metric of that name in the main tier of a kind, tuned */
  allOfTier(kind: TierKind, name: string): Metric[];
  /** the first metric that matches in any run */
  find(where: Parameters<typeof findMetrics>[1]): Metric | undefined;
  /** the same of a twin: another adapter, trained by this protocol with one thing changed */
  ofTwin(name: string, where: Parameters<typeof findMetrics>[1]): Metric | undefined;
}

/** An adapter among the runs of a report. */
export interface MeasuredAdapter {
  /** a run that measured it, for its name */
  run: LoadedRun;
  figures: AdapterFigures;
}

/** Every adapter that some run measured, in the order of the runs; twins of a study that is here too stand with it, not alone. */
export function measuredAdapters(runs: readonly LoadedRun[]): MeasuredAdapter[] {
  const measured = runs.filter(({ meta }) => (meta.adapterHash ?? null) !== null && meta.kind !== "train");
  const names = new Set(runs.filter(({ meta }) => meta.kind === "train").map(({ protocol }) => protocol?.name));
  const isTwin = (run: LoadedRun): boolean => {
    const parent = protocolOf(run, runs)?.twinOf?.name;
    return parent !== undefined && names.has(parent);
  };
  const studies = measured.filter((run) => !isTwin(run));
  return studies
    .filter(({ meta }, i) => studies.findIndex((other) => other.meta.adapterHash === meta.adapterHash) === i)
    .map((run) => ({ run, figures: figuresOf(run, runs) }));
}

/** What trained a run's adapter; the protocol that asked where the training is not among the runs. */
function protocolOf(run: LoadedRun, runs: readonly LoadedRun[]): Protocol | null {
  return trainingOf(run, runs)?.protocol ?? run.protocol;
}

function figuresOf(of: LoadedRun, runs: readonly LoadedRun[]): AdapterFigures {
  const own = protocolOf(of, runs)?.name;
  const mine = runs.filter(({ meta }) => meta.adapterHash === of.meta.adapterHash && meta.kind !== "train");
  const ordered = [
    ...mine.filter(({ protocol }) => protocol?.name === own),
    ...mine.filter(({ protocol }) => protocol?.name !== own),
  ];
  const inTier = (run: LoadedRun, kind: TierKind, name: string): Metric[] => {
    const asked = new Set(run.metrics.map(({ tier }) => tier));
    const views = run.protocol === null ? [] : tierViews(run.protocol).filter((view) => asked.has(view.name));
    const tier = mainTier(views, kind)?.name;
    return tier === undefined ? [] : findMetrics(run.metrics, { name, tier });
  };
  const firstOf = (from: readonly LoadedRun[], where: Parameters<typeof findMetrics>[1]): Metric | undefined =>
    from.flatMap(({ metrics }) => findMetrics(metrics, where))[0];
  return {
    ofTier: (kind, name, { condition = "tuned", group = {} } = {}) =>
      ordered.flatMap((run) => findMetrics(inTier(run, kind, name), { condition, group }))[0],
    allOfTier: (kind, name) =>
      ordered
        .map((run) => findMetrics(inTier(run, kind, name), { condition: "tuned" }))
        .find((all) => all.length > 0) ?? [],
    find: (where) => firstOf(ordered, where),
    ofTwin: (name, where) =>
      firstOf(
        runs.filter((run) => own !== undefined && protocolOf(run, runs)?.name === `${own}~${name}`),
        where,
      ),
  };
}
