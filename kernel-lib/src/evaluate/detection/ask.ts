/**
 * Asks a batch of trials: each steered prefix prefilled once, its questions asked clean on it.
 *
 * Trials that ask the same steered prefix share its prefill; prefixes over the same words go into one engine call, where layers below
 * the steering are shared too.
 */
import { type Adapter, answer, type Row } from "../../engine";
import { type BoundStudy, type PlannedTrial, prefixKey, type TrialRecord } from "../../study";
import { adapterOf } from "../runner";

/** Trials that continue one prefix. */
interface PrefixGroup {
  trials: PlannedTrial[];
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

/**
 * Cuts trials into engine calls of at most `size`, shared prefixes together; a prefix with more trials is split and computed again.
 */
export function* trialBatches(trials: readonly PlannedTrial[], size: number): Generator<PlannedTrial[]> {
  let batch: PlannedTrial[] = [];
  for (const group of groupsOf(trials)) {
    for (let at = 0; at < group.trials.length; at += size) {
      const part = group.trials.slice(at, at + size);
      if (batch.length + part.length > size && batch.length > 0) {
        yield batch;
        batch = [];
      }
      batch.push(...part);
    }
  }
  if (batch.length > 0) yield batch;
}

/** One engine call: each prefix prefilled with its steering, its questions asked clean as children. Equal questions once. */
export async function askTrials(
  study: BoundStudy,
  trials: readonly PlannedTrial[],
  adapters: Readonly<Record<string, Adapter>>,
  signal?: AbortSignal,
): Promise<TrialRecord[]> {
  const { model, labels } = study;
  const groups = groupsOf(trials);
  const wanted = [labels.steered, labels.clean];
  const prefixes: Row[] = groups.map(({ trials: [trial] }) => ({
    tokens: study.contextTokens(trial.plan.context, trial.reply),
    steering: trial.plan.steering,
    adapter: adapterOf(adapters, trial.condition),
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
    recordOf(trial, results[row].positions[0].logprobs, model.hash, adapterOf(adapters, trial.condition)),
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
