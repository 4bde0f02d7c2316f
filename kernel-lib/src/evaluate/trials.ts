/**
 * Runs a trial plan: steer, remove, ask, for thousands of trials, one JSON line each, resumable at any point.
 *
 * Trials that ask the same steered prefix share its prefill; prefixes over the same words go into one engine call, where
 * layers below the steering are shared too. A record is written as soon as its batch is back; a later call with the same
 * file skips what is recorded. Reads planTrials, gives records to detection, tables and plots.
 */
import { existsSync } from "node:fs";
import { AbortedError, DataError } from "../base";
import { type Adapter, answer, type Row } from "../engine";
import { JsonlWriter, readJsonl } from "../files";
import { type BoundStudy, DEFAULT_BATCH, type PlannedTrial, prefixKey, type TrialRecord } from "../study";

/** What `runTrials` takes. */
export interface TrialRunOptions {
  /** active on tuned trials, context and question; null only if the plan has none */
  adapter: Adapter | null;
  /** trials.jsonl; made, or gone on with */
  file: string;
  /** trials per engine call; speed and memory, never the numbers */
  batch?: number;
  signal?: AbortSignal;
  /** trials recorded so far, of all */
  onProgress?: (done: number, total: number) => void;
}

/** Trials that continue one prefix. */
interface PrefixGroup {
  trials: PlannedTrial[];
}

/**
 * Runs the trials that are not recorded yet.
 *
 * @param plan from `planTrials`
 * @returns one record per trial, in plan order
 * @throws DataError "no-adapter" for tuned trials without one, "trials-mismatch" if the file holds another model's or adapter's
 *   records; AbortedError "aborted" when `signal` fires (what is recorded stays)
 * @example
 * const records = await runTrials(study, planTrials(study), { adapter, file: "runs/x/trials.jsonl" });
 */
export async function runTrials(
  study: BoundStudy,
  plan: readonly PlannedTrial[],
  options: TrialRunOptions,
): Promise<TrialRecord[]> {
  const { adapter, file } = options;
  if (adapter === null && plan.some((trial) => trial.condition === "tuned")) {
    throw new DataError(
      "no-adapter",
      "Expected an adapter for tuned trials but received none. Attach one, or plan base trials only.",
    );
  }
  const known = new Map(readTrials(file).map((record) => [record.id, record]));
  checkSameRun(study, adapter, known, file);
  const missing = plan.filter((trial) => !known.has(trial.id));
  const writer = new JsonlWriter(file);
  let done = plan.length - missing.length;
  options.onProgress?.(done, plan.length);
  try {
    for (const batch of batches(groupsOf(missing), options.batch ?? DEFAULT_BATCH)) {
      if (options.signal?.aborted === true) throw stopped(done, plan.length, file);
      const records = await askBatch(study, batch, adapter, options.signal);
      writer.appendAll(records);
      for (const record of records) known.set(record.id, record);
      done += records.length;
      options.onProgress?.(done, plan.length);
    }
  } catch (error) {
    if (options.signal?.aborted === true) throw stopped(done, plan.length, file);
    throw error;
  } finally {
    writer.close();
  }
  return plan.map((trial) => known.get(trial.id) as TrialRecord);
}

function stopped(done: number, total: number, file: string): AbortedError {
  return new AbortedError(
    `Stopped after ${done} of ${total} trials, all of them recorded in ${file}. Run the same again to go on.`,
  );
}

/** Records of a file; none if it is absent; an unfinished last line is left out. */
export function readTrials(file: string): TrialRecord[] {
  return existsSync(file) ? readJsonl<TrialRecord>(file).records : [];
}

function checkSameRun(
  study: BoundStudy,
  adapter: Adapter | null,
  known: ReadonlyMap<string, TrialRecord>,
  file: string,
): void {
  for (const record of known.values()) {
    const sameModel = record.modelHash === study.model.hash;
    const sameAdapter = record.condition === "base" || adapter === null || record.adapterHash === adapter.hash;
    if (!sameModel || !sameAdapter) {
      throw new DataError(
        "trials-mismatch",
        `Expected records of this ${sameModel ? "adapter" : "model"} in ${file} but record ${record.id} is of another. Choose another run folder.`,
      );
    }
  }
}

/** Groups by prefix; neighbours share their words and start of steering, so that the engine can share layers. */
function groupsOf(trials: readonly PlannedTrial[]): PrefixGroup[] {
  const groups = new Map<string, PrefixGroup>();
  for (const trial of trials) {
    const key = prefixKey(trial);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { trials: [trial] });
    else group.trials.push(trial);
  }
  const place = ({ trials: [trial] }: PrefixGroup): string => `${trial.condition} ${trial.context} ${trial.reply}`;
  const order = [...groups.values()].map((group, i) => ({
    group,
    place: place(group),
    start: group.trials[0].layerStart ?? Number.MAX_SAFE_INTEGER,
    i,
  }));
  order.sort((a, b) => (a.place < b.place ? -1 : a.place > b.place ? 1 : a.start - b.start || a.i - b.i));
  return order.map(({ group }) => group);
}

/** Cuts groups into batches of at most `size` trials; a larger group is split and its prefix computed again. */
function* batches(groups: readonly PrefixGroup[], size: number): Generator<PrefixGroup[]> {
  let batch: PrefixGroup[] = [];
  let count = 0;
  for (const group of groups) {
    for (let at = 0; at < group.trials.length; at += size) {
      const part = { trials: group.trials.slice(at, at + size) };
      if (count + part.trials.length > size && batch.length > 0) {
        yield batch;
        batch = [];
        count = 0;
      }
      batch.push(part);
      count += part.trials.length;
    }
  }
  if (batch.length > 0) yield batch;
}

/** One engine call: each prefix prefilled with its steering, its questions asked clean as children. Equal questions once. */
async function askBatch(
  study: BoundStudy,
  groups: readonly PrefixGroup[],
  adapter: Adapter | null,
  signal?: AbortSignal,
): Promise<TrialRecord[]> {
  const { model, labels } = study;
  const wanted = [labels.steered, labels.clean];
  const prefixes: Row[] = groups.map(({ trials: [trial] }) => ({
    tokens: study.contextTokens(trial.plan.context, trial.reply),
    steering: trial.plan.steering,
    adapter: trial.condition === "tuned" ? adapter : null,
    report: false,
  }));
  const rows = [...prefixes];
  const asked: { trial: PlannedTrial; row: number }[] = [];
  for (const [parent, group] of groups.entries()) {
    const rowOf = new Map<string, number>();
    for (const trial of group.trials) {
      const key = `${trial.question} ${trial.infoPrompt}`;
      let row = rowOf.get(key);
      if (row === undefined) {
        row =
          rows.push({
            tokens: study.questionTokens(trial.plan.question, trial.infoPrompt),
            parent,
            adapter: prefixes[parent].adapter,
            wanted,
          }) - 1;
        rowOf.set(key, row);
      }
      asked.push({ trial, row });
    }
  }
  const results = await model.engine.forward(rows, { report: "last", signal });
  return asked.map(({ trial, row }) =>
    recordOf(trial, results[row].positions[0].logprobs, model.hash, trial.condition === "tuned" ? adapter : null),
  );
}

function recordOf(
  { plan: _, ...trial }: PlannedTrial,
  logprobs: Float64Array,
  modelHash: string,
  adapter: Adapter | null,
): TrialRecord {
  const [logprobSteered, logprobClean] = logprobs;
  const { probability, mass, logOdds } = answer(logprobSteered, logprobClean);
  return {
    ...trial,
    logprobSteered,
    logprobClean,
    probability,
    mass,
    logOdds,
    saysSteered: logOdds > 0,
    adapter: adapter?.name ?? null,
    adapterHash: adapter?.hash ?? null,
    modelHash,
  };
}
