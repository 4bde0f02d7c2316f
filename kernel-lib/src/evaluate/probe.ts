/**
 * Yardsticks for detection: how well do the length of the residual stream, and a linear probe on it, tell steered contexts from clean?
 *
 * An adapter that notices no more than the norm does has learnt the norm. Both look at the base model's states on the caches of the
 * held-out tier; the adapter, or the base without one, is asked on the same caches. Fitting: probe/fit.ts.
 */
import { expected, InputError } from "../base";
import type { StudyModel } from "../engine";
import { quote } from "../runs";
import {
  bindStudy,
  type BoundStudy,
  DEFAULT_BATCH,
  headlineTiers,
  type PlannedTrial,
  planTrials,
  preflight,
  prefixKey,
  type Protocol,
} from "../study";
import { askTrials, trialBatches } from "./detection/ask";
import { captureStates, fitProbe, probeLayers, type ProbeScores, trainingStates } from "./probe/fit";
import type { ProbeRecord } from "./probe/record";
import { baseAndTuned, type EvaluateOptions, type EvaluationRun, runEvaluation } from "./runner";
import type { Summary } from "./summaries";

/** Options of `evaluateProbe`. */
export interface ProbeOptions extends EvaluateOptions {
  /** blocks whose outputs are looked at; default: the last of each steered range and of the model */
  layers?: readonly number[];
  /** training contexts that the yardsticks are fitted on, half of them steered; default 2,000 */
  examples?: number;
}

const EXAMPLES = 2000;
const LEAST_EXAMPLES = 20;

/**
 * Measures both yardsticks beside the model's own answer: probe.jsonl and AUROC by strength, in a run folder.
 *
 * @returns records in plan order; metrics "auroc" of tier "yardsticks", conditions "tuned" (or "base" without adapter), "norm" and "probe", with {strength} or {}
 * @throws InputError "tier-unknown", "layer-range", "probe-examples"; DataError "run-mismatch"; AbortedError when stopped
 * @example
 * const yardsticks = await evaluateProbe(model, "strict", { adapter });
 * yardsticks.find({ condition: "norm", group: {} });
 */
export async function evaluateProbe(
  model: StudyModel,
  protocol: Protocol | string | BoundStudy,
  options: ProbeOptions,
): Promise<EvaluationRun<ProbeRecord>> {
  const study = await bindStudy(model, protocol);
  const { adapter, examples = EXAMPLES, root = "runs", signal } = options;
  const layers = [...(options.layers ?? probeLayers(study))];
  checkOptions(layers, examples, model.engine.config.num_hidden_layers);
  const { adapters } = baseAndTuned(adapter);
  const { seed } = study.protocol.evaluation;
  // Ids are those of detection: the same caches, the same questions.
  const plan = planTrials(study, { tiers: [headlineTiers(study.protocol).heldOut] })
    .filter(({ condition }) => condition === "tuned")
    .map((trial): PlannedTrial => (adapter === null ? { ...trial, condition: "base" } : trial));
  await preflight(study, plan, root, { adapter, batch: options.batch });
  let fitted: ReturnType<typeof fitProbe> | null = null;
  const ask = async (trials: readonly PlannedTrial[]): Promise<ProbeRecord[]> => {
    fitted ??= fitProbe(await trainingStates(study, layers, { examples, seed, signal }), layers.length);
    const scores = await scoresOf(study, trials, layers, fitted.scores, signal);
    const answers = await askTrials(study, trials, adapters, signal);
    return answers.map((record) => ({ ...record, ...(scores.get(record.id) as ProbeScores) }));
  };
  return runEvaluation(
    study,
    {
      kind: "probe",
      adapters,
      parts: { layers: layers.join(","), examples },
      plan,
      batch: DEFAULT_BATCH,
      batches: trialBatches,
      ask,
      describe,
    },
    options,
  );
}

function checkOptions(layers: readonly number[], examples: number, L: number): void {
  const wrong = layers.find((layer) => !Number.isInteger(layer) || layer < 0 || layer >= L);
  if (wrong !== undefined || layers.length === 0)
    throw new InputError("layer-range", expected(`block indices from 0 to ${L - 1}`, "layers", wrong ?? "none"));
  if (!Number.isInteger(examples) || examples < LEAST_EXAMPLES)
    throw new InputError("probe-examples", expected(`a whole number >= ${LEAST_EXAMPLES}`, "examples", examples));
}

/** Scores by trial; a context that several questions share is read once. */
async function scoresOf(
  study: BoundStudy,
  trials: readonly PlannedTrial[],
  layers: readonly number[],
  score: (state: Float32Array) => ProbeScores,
  signal?: AbortSignal,
): Promise<Map<string, ProbeScores>> {
  const prefixes = new Map(trials.map((trial) => [prefixKey(trial), trial]));
  const rows = [...prefixes.values()].map(({ plan, reply }) => ({
    tokens: study.contextTokens(plan.context, reply),
    steering: plan.steering,
  }));
  const states = await captureStates(study, rows, layers, signal);
  const byPrefix = new Map([...prefixes.keys()].map((key, i) => [key, score(states[i])]));
  return new Map(trials.map((trial) => [trial.id, byPrefix.get(prefixKey(trial)) as ProbeScores]));
}

function describe({ metrics }: Summary): string[] {
  const whole = metrics.filter(({ group }) => Object.keys(group).length === 0);
  return ["AUROC", ...whole.map((metric) => `${metric.condition.padEnd(8)} ${quote(metric)}`)];
}
