/**
 * Detection: does the model say that it was steered when it was, and only then? All tiers of a protocol, base and tuned.
 *
 * Plans trials, lints the prompts, and hands them to the runner; detection/ask.ts asks, detection/summary.ts summarises.
 */
import type { StudyModel } from "../engine";
import { findMetrics, type Metric, type RunFolder } from "../runs";
import { type DirectionSet, directionSetHash, namedDirections, randomDirectionSet, writeDirections } from "../steering";
import {
  bindStudy,
  type BoundStudy,
  DEFAULT_BATCH,
  planTrials,
  preflight,
  type Protocol,
  type TrialRecord,
} from "../study";
import { askTrials, trialBatches } from "./detection/ask";
import { baseAndTuned, type EvaluateOptions, type EvaluationRun, runEvaluation } from "./runner";
import type { Summary } from "./summaries";

/** Options of `evaluateDetection`. */
export interface DetectionOptions extends EvaluateOptions {
  /** directions of the concept tiers (`conceptVectors`); without them those tiers are left out */
  concepts?: DirectionSet;
  /** names of tiers; default all that can be run. Tiers asked for later go on in the same run */
  tiers?: readonly string[];
  /** records of another run; what is planned here under the same id (the same tokens, steering and condition) is not asked again */
  reuse?: ReadonlyMap<string, TrialRecord>;
}

/** Directions that a detection run used, in its folder: with protocol.yaml they repeat it. */
export const VECTOR_FILES = { random: "vectors/random.safetensors", concepts: "vectors/concepts.safetensors" } as const;

/**
 * Runs a protocol's tiers on a model: trials.jsonl (and .parquet), summary.json, the protocol and the vectors used, in a run folder.
 *
 * @param protocol resolved protocol, the name of a shipped one, or a bound study
 * @returns one record per trial, in plan order, with every metric and aim
 * @throws InputError "prompt-mass", "tier-unknown"; DataError "run-mismatch"; DeviceError "disk-full"; AbortedError when stopped
 * @example
 * const sweep = await evaluateDetection(model, "strict", { adapter, concepts: await conceptVectors(model) });
 * sweep.find({ name: "balancedAccuracy", condition: "tuned", group: {} });
 */
export async function evaluateDetection(
  model: StudyModel,
  protocol: Protocol | string | BoundStudy,
  options: DetectionOptions,
): Promise<EvaluationRun<TrialRecord>> {
  const study = await bindStudy(model, protocol);
  const { adapter, concepts, root = "runs" } = options;
  const tiers = options.tiers ?? runnableTiers(study.protocol, concepts !== undefined);
  const { conditions, adapters } = baseAndTuned(adapter);
  const named = concepts === undefined ? undefined : namedDirections(concepts);
  const plan = planTrials(study, { concepts: named, tiers }).filter(({ condition }) => conditions.includes(condition));
  await preflight(study, plan, root, { adapter, batch: options.batch });
  return runEvaluation(
    study,
    {
      kind: "detection",
      adapters,
      parts: { concepts: concepts === undefined ? null : directionSetHash(concepts) },
      plan,
      reuse: options.reuse,
      batch: DEFAULT_BATCH,
      batches: trialBatches,
      ask: (trials, _, signal) => askTrials(study, trials, adapters, signal),
      furnish: (folder) => keepVectors(folder, study, concepts),
      describe,
    },
    options,
  );
}

function runnableTiers({ evaluation }: Protocol, hasConcepts: boolean): string[] {
  return evaluation.tiers.filter((tier) => tier.vectors !== "concepts" || hasConcepts).map((tier) => tier.name);
}

function keepVectors(folder: RunFolder, { protocol, model }: BoundStudy, concepts?: DirectionSet): void {
  const { train, heldOut, seed } = protocol.steering.vectors;
  const width = model.engine.config.hidden_size;
  writeDirections(folder.file(VECTOR_FILES.random), randomDirectionSet(train + heldOut, width, seed));
  if (concepts !== undefined) writeDirections(folder.file(VECTOR_FILES.concepts), concepts);
}

const SHOWN = ["balancedAccuracy", "hitRate", "falseAlarmRate", "auroc", "mass"];

function describe({ metrics, aims }: Summary): string[] {
  const whole = findMetrics(metrics, { group: {} });
  const number = (metric: Metric | undefined): string =>
    (metric === undefined || metric.value === null ? "-" : metric.value.toFixed(3)).padStart(7);
  const rows = [...new Set(whole.map((metric) => `${metric.tier} ${metric.condition}`))].map((key) => {
    const of = (name: string): Metric | undefined =>
      whole.find((metric) => metric.name === name && `${metric.tier} ${metric.condition}` === key);
    return `${key.padEnd(28)}${SHOWN.map((name) => number(of(name))).join("")}`;
  });
  return [`${"".padEnd(28)}bal.acc   hits  false  auroc   mass`, ...rows, ...aims.map((aim) => aim.text)];
}
