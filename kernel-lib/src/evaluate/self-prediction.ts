/**
 * Self-prediction: does the model know what it would itself write? Asked about a stimulus, then compared with what it does.
 *
 * Truth is each condition's own behaviour: the greedy answer (first letter, properties), and for two options the one to which
 * it gives the higher mean log-probability per token as an answer. Predictions are read from next-token probabilities, with
 * mass. Bias corrections: self-prediction/metrics.ts. Does not resample to matched entropy.
 */
import type { StudyModel } from "../engine";
import { contentHash } from "../files";
import { bindStudy, type BoundStudy, type Protocol, readSelfPrediction, type SelfPredictionTasks } from "../study";
import { baseAndTuned, type EvaluateOptions, type EvaluationRun, runEvaluation } from "./runner";
import { askPredictions, planPredictions, predictionBatches } from "./self-prediction/ask";
import type { SelfPredictionRecord } from "./self-prediction/record";
import type { Summary } from "./summaries";

/** Options of `evaluateSelfPrediction`. */
export interface SelfPredictionOptions extends EvaluateOptions {
  tasks?: SelfPredictionTasks;
  /** tokens of the behaviour; default 32 */
  maxTokens?: number;
}

const ROWS = 64;

/**
 * Runs the three tasks, base and tuned: one record per question, behaviours first.
 *
 * @param protocol its system text and seed are used
 * @returns records, and rates by task and subset with intervals
 * @throws InputError "label-tokens" if the answers are not single tokens; DataError "run-mismatch"; AbortedError when stopped
 * @example
 * const result = await evaluateSelfPrediction(model, "strict", { adapter });
 */
export async function evaluateSelfPrediction(
  model: StudyModel,
  protocol: Protocol | string | BoundStudy,
  options: SelfPredictionOptions,
): Promise<EvaluationRun<SelfPredictionRecord>> {
  const study = await bindStudy(model, protocol);
  const { tasks = readSelfPrediction(), maxTokens = 32 } = options;
  const { conditions, adapters } = baseAndTuned(options.adapter);
  const asked = { model, tasks, system: study.protocol.conversation.system, maxTokens, adapters };
  return runEvaluation(
    study,
    {
      kind: "self-prediction",
      adapters,
      parts: { tasks: contentHash({ tasks, maxTokens }) },
      plan: planPredictions(asked, conditions),
      batch: ROWS,
      batches: predictionBatches,
      ask: (items, known, signal) => askPredictions(asked, items, known, signal),
      describe,
    },
    options,
  );
}

function describe({ metrics }: Summary): string[] {
  return metrics
    .filter((metric) => metric.group.subset === "all")
    .map(
      (metric) =>
        `${metric.condition.padEnd(6)} ${String(metric.group.task).padEnd(15)} ${metric.name.padEnd(24)} ${metric.value?.toFixed(3) ?? "-"} (n ${metric.n})`,
    );
}
