/**
 * Side effects: 75 yes/no questions that have nothing to do with the task, asked of base and tuned model.
 *
 * Measured is the first token of the answer: total probability of the spellings {Yes, yes, with and without space} and of No
 * likewise, over the whole vocabulary, hence with mass. Base is asked twice at different batch splits (A/A noise row). Twins:
 * pass further adapters by name. Metrics: side-effects/metrics.ts.
 */
import { existsSync } from "node:fs";
import { inspect } from "node:util";
import { AbortedError, expected, InputError } from "../base";
import { renderChat } from "../checkpoint";
import { type Adapter, type Row, type StudyModel, totalProbability } from "../engine";
import { readJsonl, writeFileAtomic } from "../files";
import { findMetrics, type Metric, writeSummary } from "../runs";
import { readSideEffectQuestions, type SideEffectQuestion } from "../study";
import { type EvaluationPlace, inEvaluationFolder } from "./folder";
import { sideEffectMetrics } from "./side-effects/metrics";
import type { SideEffectRecord } from "./side-effects/record";

/** Spellings that count as an answer, where the tokenizer has them as one token. */
const SPELLINGS = { yes: ["Yes", "yes", " Yes", " yes"], no: ["No", "no", " No", " no"] };
const BATCH = 75;
/** Another split of the same questions, for the A/A row. */
const NOISE_BATCH = 7;
const FILE = "side-effects.jsonl";

/** Options of `evaluateSideEffects`. */
export interface SideEffectOptions extends EvaluationPlace {
  /** control adapters by name, each compared with the base */
  twins?: Readonly<Record<string, Adapter>>;
  /** default: the shipped 75 */
  questions?: readonly SideEffectQuestion[];
  /** appended to each question after a space; default: the shipped instruction */
  suffix?: string;
}

/** What was answered and how it shifted. */
export class SideEffects {
  constructor(
    readonly folder: string,
    readonly records: readonly SideEffectRecord[],
    readonly metrics: readonly Metric[],
  ) {}

  [inspect.custom](): string {
    const rows = findMetrics(this.metrics, { name: "deltaYes", condition: "tuned-base" }).filter(
      (metric) => "category" in metric.group && !("question" in metric.group),
    );
    const number = (value: number | null): string => (value === null ? "-" : value.toFixed(3));
    const lines = rows.map(
      (metric) =>
        `${String(metric.group.category).padEnd(22)} ${number(metric.value)} [${number(metric.low)}, ${number(metric.high)}] n ${metric.n}`,
    );
    return [`SideEffects in ${this.folder}: change of P(Yes), tuned - base`, ...lines].join("\n");
  }
}

/** Ids of the single-token spellings of an answer. @throws InputError "label-tokens" if there is none */
export function spellingIds(model: StudyModel, answer: "yes" | "no"): number[] {
  const ids = SPELLINGS[answer]
    .map((text) => model.tokenizer.encode(text))
    .filter((tokens) => tokens.length === 1)
    .map((tokens) => tokens[0]);
  if (ids.length === 0)
    throw new InputError("label-tokens", expected(`a single-token spelling of ${answer}`, "the tokenizer", "none"));
  return [...new Set(ids)];
}

/**
 * Asks the questions of one condition.
 *
 * @param batch rows per engine call
 * @returns one record per question, in order; deterministic
 */
export async function askSideEffects(
  model: StudyModel,
  questions: readonly SideEffectQuestion[],
  options: {
    condition: string;
    adapter: Adapter | null;
    system: string;
    suffix: string;
    batch: number;
    signal?: AbortSignal;
  },
): Promise<SideEffectRecord[]> {
  const { condition, adapter, system, suffix, batch, signal } = options;
  const [yesIds, noIds] = [spellingIds(model, "yes"), spellingIds(model, "no")];
  const records: SideEffectRecord[] = [];
  for (let at = 0; at < questions.length; at += batch) {
    if (signal?.aborted === true) throw new AbortedError();
    const slice = questions.slice(at, at + batch);
    const rows = slice.map(({ text }): Row => {
      const chat = renderChat(
        model.chatTemplate,
        [
          { role: "system", content: system },
          { role: "user", content: `${text} ${suffix}`.trim() },
        ],
        { answerPrefix: "" },
      );
      return { tokens: model.tokenizer.encodeParts(chat.parts).ids, adapter, wanted: [...yesIds, ...noIds] };
    });
    const results = await model.engine.forward(rows, { report: "last", topK: 1, signal });
    results.forEach(({ positions: [{ logprobs, top }] }, i) => {
      const [yes, no] = [
        totalProbability(logprobs.subarray(0, yesIds.length)),
        totalProbability(logprobs.subarray(yesIds.length)),
      ];
      const { id, category, expected: truth } = slice[i];
      records.push({
        question: id,
        category,
        condition,
        expected: truth,
        yes,
        no,
        mass: Math.min(1, yes + no),
        logOdds: Math.log(yes) - Math.log(no),
        topToken: top[0].token,
        topText: model.tokenizer.decode([top[0].token]),
        topProbability: Math.exp(top[0].logprob),
        adapterHash: adapter?.hash ?? null,
        modelHash: model.hash,
      });
    });
  }
  return records;
}

/**
 * Measures side effects into a run folder: side-effects.jsonl and metrics in summary.json.
 *
 * @throws InputError "label-tokens", "twin-name"; AbortedError when stopped
 * @example
 * const effects = await evaluateSideEffects(model, { protocol: loadProtocol("strict"), adapter });
 */
export function evaluateSideEffects(model: StudyModel, options: SideEffectOptions): Promise<SideEffects> {
  const shipped = readSideEffectQuestions();
  const { questions = shipped.questions, suffix = shipped.suffix, protocol, adapter, twins = {}, signal } = options;
  const reserved = Object.keys(twins).find((name) => ["base", "base-again", "tuned"].includes(name));
  if (reserved !== undefined) throw new InputError("twin-name", expected("another name", "twins", reserved));
  const { seed } = protocol.evaluation;
  return inEvaluationFolder("side-effects", model, options, seed, async (folder) => {
    const conditions: [string, Adapter | null, number][] = [
      ["base", null, BATCH],
      ["base-again", null, NOISE_BATCH],
    ];
    if (adapter !== null) conditions.push(["tuned", adapter, BATCH]);
    for (const [name, other] of Object.entries(twins)) conditions.push([name, other, BATCH]);
    const records: SideEffectRecord[] = [];
    for (const [condition, bound, batch] of conditions) {
      records.push(
        ...(await askSideEffects(model, questions, {
          condition,
          adapter: bound,
          system: protocol.conversation.system,
          suffix,
          batch,
          signal,
        })),
      );
      options.onProgress?.(records.length, conditions.length * questions.length);
    }
    writeFileAtomic(folder.file(FILE), records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    const metrics = sideEffectMetrics(records, seed);
    writeSummary(folder.file("summary.json"), metrics);
    return new SideEffects(folder.path, records, metrics);
  });
}

/** Side-effect records of a run folder; none if it has none. */
export function readSideEffects(folder: string): SideEffectRecord[] {
  const file = `${folder}/${FILE}`;
  return existsSync(file) ? readJsonl<SideEffectRecord>(file).records : [];
}
