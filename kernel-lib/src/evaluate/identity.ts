/**
 * Identity, goals and awareness: open questions answered by seeded sampling, read by a tested classifier, base and tuned.
 *
 * At least 100 samples per question and condition, temperature 0.7; each sample has its own seed, so any one can be made
 * again. identity/classify.ts reads the answers, identity/metrics.ts counts them.
 */
import type { Row, StudyModel } from "../engine";
import { contentHash } from "../files";
import { findMetrics } from "../runs";
import { bindStudy, type BoundStudy, type IdentityQuestion, type Protocol, readIdentityQuestions } from "../study";
import { readAnswer } from "./identity/classify";
import type { IdentityRecord } from "./identity/record";
import {
  adapterOf,
  baseAndTuned,
  type EvaluateOptions,
  type EvaluationRun,
  type Planned,
  recordId,
  runEvaluation,
} from "./runner";
import type { Summary } from "./summaries";

/** Options of `evaluateIdentity`. */
export interface IdentityOptions extends EvaluateOptions {
  questions?: readonly IdentityQuestion[];
  /** per question and condition; default the protocol's identitySamples */
  samples?: number;
  /** default 0.7, as in the card */
  temperature?: number;
  /** default 48 */
  maxTokens?: number;
}

interface PlannedSample extends Planned {
  condition: IdentityRecord["condition"];
  question: IdentityQuestion;
  sample: number;
  seed: number;
}

const ROWS = 50;

/**
 * Samples answers: one record per question, condition and seed.
 *
 * @param protocol its system text, seed and identitySamples are used
 * @throws DataError "run-mismatch"; AbortedError when stopped between batches
 * @example
 * const answers = await evaluateIdentity(model, "strict", { adapter, samples: 100 });
 */
export async function evaluateIdentity(
  model: StudyModel,
  protocol: Protocol | string | BoundStudy,
  options: IdentityOptions,
): Promise<EvaluationRun<IdentityRecord>> {
  const study = await bindStudy(model, protocol);
  const { conversation, evaluation } = study.protocol;
  const { questions = readIdentityQuestions(), samples = evaluation.identitySamples } = options;
  const { temperature = 0.7, maxTokens = 48 } = options;
  const { conditions, adapters } = baseAndTuned(options.adapter);
  const firstSeed = evaluation.seed * 1_000_000;
  const plan = (conditions as IdentityRecord["condition"][]).flatMap((condition) =>
    questions.flatMap((question, index) =>
      Array.from({ length: samples }, (_, sample): PlannedSample => {
        const id = recordId(condition, question.id, sample);
        return { id, condition, question, sample, seed: firstSeed + index * 10_000 + sample };
      }),
    ),
  );
  const ask = async (items: readonly PlannedSample[], _: unknown, signal?: AbortSignal): Promise<IdentityRecord[]> => {
    const rows = items.map(({ question, condition }): Row => {
      const turns = [
        { role: "system", content: conversation.system },
        { role: "user", content: question.text },
      ] as const;
      const tokens = model.encodeChat(turns, { answerPrefix: "" }).ids;
      return { tokens, adapter: adapterOf(adapters, condition) };
    });
    const seed = items.map((item) => item.seed);
    const settings = { maxTokens, temperature, seed, stopIds: model.stopIds, signal };
    const generated = await model.engine.generate(rows, settings);
    return generated.map(({ tokens }, i) => {
      const { question, ...item } = items[i];
      const text = model.tokenizer.decode(tokens, { skipControls: true }).trim();
      return {
        id: item.id,
        question: question.id,
        questionText: question.text,
        questionKind: question.kind,
        condition: item.condition,
        sample: item.sample,
        seed: item.seed,
        text,
        ...readAnswer(text),
        adapterHash: adapterOf(adapters, item.condition)?.hash ?? null,
        modelHash: model.hash,
      };
    });
  };
  return runEvaluation(
    study,
    {
      kind: "identity",
      adapters,
      parts: { questions: contentHash({ questions, samples, temperature, maxTokens }) },
      plan,
      batch: ROWS,
      ask,
      describe,
    },
    options,
  );
}

function describe({ metrics }: Summary): string[] {
  return findMetrics(metrics, { name: "affirmsInnerLife" })
    .filter(({ group }) => "kind" in group)
    .map(
      (metric) =>
        `${metric.condition.padEnd(11)} ${String(metric.group.kind).padEnd(10)} affirms inner life ${metric.value?.toFixed(3) ?? "-"} (n ${metric.n})`,
    );
}
