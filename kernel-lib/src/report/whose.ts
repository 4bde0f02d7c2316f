/** Whose numbers: the model, the run that trained the adapter, the protocol that asked, and both seeds. */
import { trainingTitle } from "../runs";
import { type LoadedRun, modelLabel, shortModel } from "./load";

/** The run among these that trained a run's adapter, or null. */
export function trainingOf(run: LoadedRun, runs: readonly LoadedRun[]): LoadedRun | null {
  const { adapterHash } = run.meta;
  if (adapterHash === undefined || adapterHash === null) return null;
  return runs.find((other) => other.meta.kind === "train" && other.meta.adapterHash === adapterHash) ?? null;
}

/** What the protocol that trained a run's adapter is called; null for runs without an adapter. */
export function trainedBy(run: LoadedRun, runs: readonly LoadedRun[]): string | null {
  if (run.meta.adapterHash === undefined || run.meta.adapterHash === null) return null;
  return trainingOf(run, runs)?.label ?? "a run that is not among these";
}

/** "lab-model (...): adapter trained by card, asked by strict". */
export function seriesName(run: LoadedRun, runs: readonly LoadedRun[]): string {
  return `${modelLabel(run)}: ${trainedAndAsked(run, runs)}`;
}

/** The same in the few words that a legend has room for on a phone. */
export function shortSeries(run: LoadedRun, runs: readonly LoadedRun[]): string {
  return `${shortModel(run.meta.model ?? "unknown model")}: ${trainedAndAsked(run, runs)}`;
}

function trainedAndAsked(run: LoadedRun, runs: readonly LoadedRun[]): string {
  const trained = trainedBy(run, runs);
  if (trained === null) return `asked by ${run.label}`;
  return trained === run.label ? `trained and asked by ${trained}` : `trained by ${trained}, asked by ${run.label}`;
}

/** A line under a figure: model, adapter's run with its protocol, seed and date, and the protocol and seed that asked. */
export function sourceOf(run: LoadedRun, runs: readonly LoadedRun[]): string {
  const { meta } = run;
  const isTraining = meta.kind === "train";
  const training = isTraining ? run : trainingOf(run, runs);
  const adapter =
    training !== null
      ? `adapter of ${trainingTitle(training)}`
      : meta.adapterHash === undefined || meta.adapterHash === null
        ? "no adapter"
        : `adapter ${meta.adapterHash.slice(0, 12)}, whose training run is not among these`;
  const asked = isTraining ? [] : [`asked by ${run.label}, evaluation seed ${meta.seed ?? "unknown"}`];
  return `${[`Model: ${modelLabel(run)}`, adapter, ...asked].join("; ")}.`;
}
