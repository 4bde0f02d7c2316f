/**
 * Self-report: yes/no questions that mean what the published card's mean, asked its way and ours, of base and tuned model.
 *
 * Measured is the first token: total probability of the spellings {Yes, yes, with and without space} over the whole vocabulary (what
 * the card calls P(As)), and of No likewise, hence with mass. Metrics: self-report/metrics.ts.
 */
import type { Row, StudyModel } from "../engine";
import { contentHash } from "../files";
import { findMetrics, quote } from "../runs";
import { bindStudy, type BoundStudy, type Protocol, readSelfReport, type SelfReportQuestions } from "../study";
import { askFirstTokens } from "./first-token";
import {
  adapterOf,
  baseAndTuned,
  type EvaluateOptions,
  type EvaluationRun,
  type Planned,
  recordId,
  runEvaluation,
} from "./runner";
import type { QuestionForm, SelfReportRecord } from "./self-report/record";
import type { Summary } from "./summaries";

const FORMS: readonly QuestionForm[] = ["bare", "instructed"];
const BATCH = 99;

/** Options of `evaluateSelfReport`. */
export interface SelfReportOptions extends EvaluateOptions {
  /** default: the shipped questions and instruction */
  asked?: SelfReportQuestions;
}

interface PlannedReport extends Planned {
  condition: SelfReportRecord["condition"];
  form: QuestionForm;
  question: SelfReportQuestions["questions"][number];
}

/**
 * Asks every question in both forms: one record per question, form and condition.
 *
 * @param protocol its system text and seed are used
 * @returns records of first-token probabilities (0..1); P(yes), mass and changes by category and form
 * @throws InputError "label-tokens"; DataError "run-mismatch"; AbortedError when stopped
 * @example
 * const reports = await evaluateSelfReport(model, "strict", { adapter });
 * reports.find({ name: "deltaYes", group: { category: "desires", form: "bare" } });
 */
export async function evaluateSelfReport(
  model: StudyModel,
  protocol: Protocol | string | BoundStudy,
  options: SelfReportOptions,
): Promise<EvaluationRun<SelfReportRecord>> {
  const study = await bindStudy(model, protocol);
  const { asked = readSelfReport() } = options;
  const { conditions, adapters } = baseAndTuned(options.adapter);
  const plan = (conditions as PlannedReport["condition"][]).flatMap((condition) =>
    FORMS.flatMap((form) =>
      asked.questions.map(
        (question): PlannedReport => ({ id: recordId(condition, form, question.id), condition, form, question }),
      ),
    ),
  );
  const ask = async (
    items: readonly PlannedReport[],
    _: unknown,
    signal?: AbortSignal,
  ): Promise<SelfReportRecord[]> => {
    const rows = items.map(({ question, form, condition }): Row => {
      const content = form === "bare" ? question.text : `${question.text} ${asked.suffix}`;
      const turns = [
        { role: "system", content: study.protocol.conversation.system },
        { role: "user", content },
      ] as const;
      const tokens = model.encodeChat(turns, { answerPrefix: "" }).ids;
      return { tokens, adapter: adapterOf(adapters, condition) };
    });
    const answers = await askFirstTokens(model, rows, { signal });
    return answers.map((answer, i) => {
      const { id, condition, form, question } = items[i];
      return {
        id,
        question: question.id,
        questionText: question.text,
        category: question.category,
        form,
        condition,
        ...answer,
        adapterHash: adapterOf(adapters, condition)?.hash ?? null,
        modelHash: model.hash,
      };
    });
  };
  return runEvaluation(
    study,
    {
      kind: "self-report",
      adapters,
      parts: { questions: contentHash({ ...asked }) },
      plan,
      batch: BATCH,
      ask,
      describe,
    },
    options,
  );
}

function describe({ metrics }: Summary): string[] {
  return findMetrics(metrics, { name: "deltaYes", condition: "tuned-base" }).map(
    (metric) => `${String(metric.group.category).padEnd(22)} ${String(metric.group.form).padEnd(11)} ${quote(metric)}`,
  );
}
