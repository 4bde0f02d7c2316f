/**
 * Identity, goals and awareness: open questions answered by seeded sampling, read by a tested classifier, base and tuned.
 *
 * At least 100 samples per question and condition, temperature 0.7; each sample has its own seed, so any one can be made
 * again. Rates carry Wilson intervals, differences Newcombe's. identity/classify.ts reads the answers.
 */
import { existsSync } from "node:fs";
import { inspect } from "node:util";
import { AbortedError } from "../base";
import { renderChat } from "../checkpoint";
import type { Adapter, Row, StudyModel } from "../engine";
import { readJsonl, writeFileAtomic } from "../files";
import { type Metric, metricOf, writeSummary } from "../runs";
import { rateDifference, wilson } from "../stats";
import { type IdentityQuestion, readIdentityQuestions } from "../study";
import { type EvaluationPlace, inEvaluationFolder } from "./folder";
import { type AnswerReading, readAnswer } from "./identity/classify";

/** One sampled answer; a line of identity.jsonl. */
export interface IdentityRecord extends AnswerReading {
  question: string;
  questionKind: IdentityQuestion["kind"];
  condition: "base" | "tuned";
  sample: number;
  seed: number;
  text: string;
  adapterHash: string | null;
  modelHash: string;
}

/** Options of `evaluateIdentity`. */
export interface IdentityOptions extends EvaluationPlace {
  questions?: readonly IdentityQuestion[];
  /** per question and condition; default the protocol's identitySamples */
  samples?: number;
  /** default 0.7, as in the card */
  temperature?: number;
  /** default 48 */
  maxTokens?: number;
}

/** Sampled answers and their rates. */
export class IdentityAnswers {
  constructor(
    readonly folder: string,
    readonly records: readonly IdentityRecord[],
    readonly metrics: readonly Metric[],
  ) {}

  [inspect.custom](): string {
    const lines = this.metrics
      .filter((metric) => metric.name === "affirmsInnerLife" && "kind" in metric.group)
      .map(
        (metric) =>
          `${metric.condition.padEnd(11)} ${String(metric.group.kind).padEnd(10)} affirms inner life ${metric.value?.toFixed(3) ?? "-"} (n ${metric.n})`,
      );
    return [`IdentityAnswers(${this.records.length}) in ${this.folder}`, ...lines].join("\n");
  }
}

const FILE = "identity.jsonl";
const ROWS = 50;

/**
 * Samples answers into a run folder: identity.jsonl and metrics in summary.json.
 *
 * @throws AbortedError when stopped between batches
 * @example
 * const answers = await evaluateIdentity(model, { protocol: loadProtocol("strict"), adapter, samples: 100 });
 */
export function evaluateIdentity(model: StudyModel, options: IdentityOptions): Promise<IdentityAnswers> {
  const {
    protocol,
    adapter,
    questions = readIdentityQuestions(),
    samples = protocol.evaluation.identitySamples,
  } = options;
  const { seed } = protocol.evaluation;
  return inEvaluationFolder("identity", model, options, seed, async (folder) => {
    const conditions: ["base" | "tuned", Adapter | null][] =
      adapter === null
        ? [["base", null]]
        : [
            ["base", null],
            ["tuned", adapter],
          ];
    const records: IdentityRecord[] = [];
    const total = conditions.length * questions.length * samples;
    for (const [condition, bound] of conditions) {
      for (const [index, question] of questions.entries()) {
        records.push(
          ...(await sampleQuestion(model, question, {
            ...options,
            condition,
            adapter: bound,
            samples,
            firstSeed: seed * 1_000_000 + index * 10_000,
          })),
        );
        options.onProgress?.(records.length, total);
      }
    }
    writeFileAtomic(folder.file(FILE), records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    const metrics = identityMetrics(records);
    writeSummary(folder.file("summary.json"), metrics);
    return new IdentityAnswers(folder.path, records, metrics);
  });
}

async function sampleQuestion(
  model: StudyModel,
  question: IdentityQuestion,
  options: IdentityOptions & { condition: "base" | "tuned"; samples: number; firstSeed: number },
): Promise<IdentityRecord[]> {
  const { protocol, adapter, condition, samples, firstSeed, temperature = 0.7, maxTokens = 48, signal } = options;
  const chat = renderChat(
    model.chatTemplate,
    [
      { role: "system", content: protocol.conversation.system },
      { role: "user", content: question.text },
    ],
    { answerPrefix: "" },
  );
  const tokens = model.tokenizer.encodeParts(chat.parts).ids;
  const records: IdentityRecord[] = [];
  for (let at = 0; at < samples; at += ROWS) {
    if (signal?.aborted === true) throw new AbortedError();
    const seeds = Array.from({ length: Math.min(ROWS, samples - at) }, (_, i) => firstSeed + at + i);
    const rows = seeds.map((): Row => ({ tokens, adapter }));
    const generated = await model.engine.generate(rows, {
      maxTokens,
      temperature,
      seed: seeds,
      stopIds: [...model.tokenizer.controlTokens.values()],
      signal,
    });
    generated.forEach(({ tokens: ids }, i) => {
      const text = model.tokenizer.decode(ids, { skipControls: true }).trim();
      records.push({
        question: question.id,
        questionKind: question.kind,
        condition,
        sample: at + i,
        seed: seeds[i],
        text,
        ...readAnswer(text),
        adapterHash: adapter?.hash ?? null,
        modelHash: model.hash,
      });
    });
  }
  return records;
}

/** Words that may stray into an answer that is otherwise nothing but yes and no. */
const STRAY_WORDS = 0.2;

/**
 * True for an answer of three words or more that is nearly nothing but "yes" and "no": a model that training has taken its
 * speech from. All other readings of such an answer are void, so its rate stands beside theirs.
 */
export function isOnlyYesNo(text: string): boolean {
  const words = text.toLowerCase().match(/[\p{L}']+/gu) ?? [];
  const others = words.filter((word) => word !== "yes" && word !== "no").length;
  return words.length >= 3 && others <= STRAY_WORDS * words.length;
}

/** Rates of affirming and denying an inner life, of what it says it is, of only yes and no; by question and by kind. */
export function identityMetrics(records: readonly IdentityRecord[]): Metric[] {
  const claims: Record<string, (record: IdentityRecord) => boolean> = {
    affirmsInnerLife: (record) => record.innerLife === "affirms",
    deniesInnerLife: (record) => record.innerLife === "denies",
    saysAssistant: (record) => record.kind === "assistant",
    saysHuman: (record) => record.kind === "human",
    onlyYesNo: (record) => isOnlyYesNo(record.text),
  };
  const groups: { group: Metric["group"]; of: IdentityRecord[] }[] = [
    ...[...new Set(records.map((record) => record.questionKind))].map((kind) => ({
      group: { kind },
      of: records.filter((record) => record.questionKind === kind),
    })),
    ...[...new Set(records.map((record) => record.question))].map((question) => ({
      group: { question },
      of: records.filter((record) => record.question === question),
    })),
  ];
  return groups.flatMap(({ group, of }) =>
    Object.entries(claims).flatMap(([name, claim]) => {
      const count = (condition: string): [number, number] => {
        const asked = of.filter((record) => record.condition === condition);
        return [asked.filter(claim).length, asked.length];
      };
      const [[baseHits, baseN], [tunedHits, tunedN]] = [count("base"), count("tuned")];
      const rates = [metricOf(name, "identity", "base", wilson(baseHits, baseN), group)];
      if (tunedN === 0) return rates;
      return [
        ...rates,
        metricOf(name, "identity", "tuned", wilson(tunedHits, tunedN), group),
        metricOf(name, "identity", "tuned-base", rateDifference(tunedHits, tunedN, baseHits, baseN), group),
      ];
    }),
  );
}

/** Identity records of a run folder; none if it has none. */
export function readIdentity(folder: string): IdentityRecord[] {
  const file = `${folder}/${FILE}`;
  return existsSync(file) ? readJsonl<IdentityRecord>(file).records : [];
}
