/**
 * Before a run: are the prompts sound, is there room, and how long will it take? Asked in seconds, not found out in hours.
 *
 * The linter asks questions clean and looks at where the probability goes: a missing suffix, a trailing space or a wrong
 * template shows as an answer mass near zero. Estimates use the token rate of that very pass.
 */
import * as fs from "node:fs";
import { inspect } from "node:util";
import { DeviceError, expected, InputError } from "../base";
import { type Adapter, estimateMemory, type Row, totalProbability } from "../engine";
import type { BoundStudy } from "./bind";
import type { PlannedTrial } from "./plan";
import { ASSUMED_ICC, clusterText, planPower, type TierPower } from "./power";
import type { StudyQuestion } from "./prompts";

/** Where the probability of one question's answer goes. */
export interface PromptLint {
  question: string;
  text: string;
  /** total probability of the two labels, the least over the contexts looked at */
  mass: number;
  /** likeliest tokens in the context with the least mass */
  top: { text: string; probability: number }[];
  passes: boolean;
}

/**
 * What a run will take; made by `preflight`. A notebook shows it as one line.
 *
 * @example
 * const { trials, tokens, seconds } = await preflight(study, planTrials(study), "runs");
 */
export class Preflight {
  constructor(
    readonly lints: readonly PromptLint[],
    readonly trials: number,
    /** tokens to compute, shared prefixes counted once */
    readonly tokens: number,
    readonly diskBytes: number,
    /** what one batch takes beside the weights; null: not known without the native engine */
    readonly memoryBytes: number | null,
    /** null when the linter's pass was too short to time */
    readonly seconds: number | null,
    /** what each tier could tell */
    readonly power: readonly TierPower[],
  ) {}

  [inspect.custom](): string {
    const worst = this.lints.reduce((least, lint) => Math.min(least, lint.mass), 1);
    const time = this.seconds === null ? "time unknown" : `about ${Math.ceil(this.seconds)} s`;
    const memory = this.memoryBytes === null ? "unknown" : `${Math.ceil(this.memoryBytes / 1e6)} MB`;
    const line = `${this.trials} trials, ${this.tokens} tokens: ${time} in all, ${Math.ceil(this.diskBytes / 1e6)} MB on disk, memory of a batch ${memory}; least answer mass ${worst.toFixed(3)}`;
    return [line, ...powerLines(this.power)].join("\n");
  }
}

const CONTEXTS_LOOKED_AT = 2;
const TOP = 5;
const BYTES_PER_RECORD = 800; // JSON line and its Parquet copy, measured
const ROWS_PER_PASS = 48;

/**
 * Asks each question clean and reports answer mass (probability of the two labels together, 0..1) and top tokens.
 *
 * @param options.questions default: every question that the protocol trains on or evaluates with
 * @returns one entry per question; `passes` says whether mass reaches the protocol's `minimumMass`
 * @throws InputError "label-tokens"; DeviceError "out-of-memory"
 * @example
 * const worst = (await lintPrompts(study)).sort((a, b) => a.mass - b.mass)[0];
 */
export async function lintPrompts(
  study: BoundStudy,
  options: { adapter?: Adapter | null; questions?: readonly StudyQuestion[] } = {},
): Promise<PromptLint[]> {
  const { protocol, model, labels } = study;
  const used = new Set([protocol.training.questions, ...protocol.evaluation.tiers.map((tier) => tier.questions)]);
  const questions = options.questions ?? protocol.questions.filter((question) => used.has(question.split));
  const contexts = study.contexts("train").slice(0, CONTEXTS_LOOKED_AT);
  const adapter = options.adapter ?? null;
  const keyOf = (question: StudyQuestion): string => `${adapter?.hash ?? "base"} ${question.id}`;
  const pairs = questions
    .filter((question) => !study.lints.has(keyOf(question)))
    .flatMap((question) => contexts.map((context) => ({ question, context })));
  const found = new Map<string, PromptLint>();
  for (let at = 0; at < pairs.length; at += ROWS_PER_PASS) {
    const slice = pairs.slice(at, at + ROWS_PER_PASS);
    const rows: Row[] = contexts.map((context) => ({
      tokens: study.contextTokens(context, 0),
      adapter,
      report: false,
    }));
    for (const { question, context } of slice) {
      rows.push({
        tokens: study.questionTokens(question),
        parent: contexts.indexOf(context),
        adapter,
        wanted: [labels.steered, labels.clean],
      });
    }
    const results = await model.engine.forward(rows, { report: "last", topK: TOP });
    for (const [i, { question }] of slice.entries()) {
      const { logprobs, top } = results[contexts.length + i].positions[0];
      const mass = totalProbability(logprobs);
      if ((found.get(question.id)?.mass ?? 2) <= mass) continue;
      const shown = top.map((entry) => ({
        text: model.tokenizer.decode([entry.token]),
        probability: Math.exp(entry.logprob),
      }));
      found.set(question.id, {
        question: question.id,
        text: question.text,
        mass,
        top: shown,
        passes: mass >= protocol.evaluation.minimumMass,
      });
    }
  }
  for (const question of questions) {
    const lint = found.get(question.id);
    if (lint !== undefined) study.lints.set(keyOf(question), lint);
  }
  return questions.flatMap((question) => study.lints.get(keyOf(question)) ?? []);
}

/**
 * Refuses questions that a model does not answer with the two labels: their probabilities would mean nothing.
 *
 * @param lints what `lintPrompts` found
 * @throws InputError "prompt-mass" naming the worst question, its mass and its top tokens
 * @example
 * requirePrompts(study, await lintPrompts(study));
 */
export function requirePrompts(study: BoundStudy, lints: readonly PromptLint[]): void {
  const failed = lints.filter((lint) => !lint.passes).sort((a, b) => a.mass - b.mass);
  if (failed.length === 0) return;
  const [worst] = failed;
  const top = worst.top.map(({ text, probability }) => `${JSON.stringify(text)} ${probability.toFixed(3)}`).join(", ");
  const { labels } = study.protocol.conversation;
  throw new InputError(
    "prompt-mass",
    `Expected answer mass >= ${study.protocol.evaluation.minimumMass} on ${JSON.stringify(labels.steered)} and ${JSON.stringify(labels.clean)} for question ${worst.question} but received ${worst.mass.toPrecision(3)} (${failed.length} of ${lints.length} questions fall short). Top tokens: ${top}. Check template, answer prefix and labels.`,
  );
}

/**
 * Lints prompts, and estimates tokens, disk, memory and time of a plan. Refuses prompts and disks that cannot do.
 *
 * @param folder where records will be written
 * @param options.batch rows of one engine call, for the memory estimate
 * @param options.clock milliseconds, for the time estimate
 * @returns tokens to compute, bytes on disk and in memory, seconds; what is not known is null
 * @throws InputError "prompt-mass"; DeviceError "disk-full"
 * @example
 * console.log(await preflight(study, planTrials(study), "runs"));
 */
export async function preflight(
  study: BoundStudy,
  trials: readonly PlannedTrial[],
  folder: string,
  options: { adapter?: Adapter | null; batch?: number; clock?: () => number } = {},
): Promise<Preflight> {
  const clock = options.clock ?? (() => performance.now());
  const asked = [...new Map(trials.map((trial) => [trial.plan.question.id, trial.plan.question])).values()];
  const start = clock();
  const lints = await lintPrompts(study, { adapter: options.adapter, questions: asked });
  const elapsed = (clock() - start) / 1000;
  requirePrompts(study, lints);
  const lintTokens = asked.reduce(
    (sum, question) => sum + CONTEXTS_LOOKED_AT * study.questionTokens(question).length,
    0,
  );
  const tokens = tokensOf(study, trials);
  const disk = trials.length * BYTES_PER_RECORD;
  checkDisk(folder, disk);
  const rows = Math.min(options.batch ?? DEFAULT_BATCH, trials.length);
  const memory = memoryOfBatch(study, rows, trials.length === 0 ? 0 : tokens / trials.length);
  return new Preflight(
    lints,
    trials.length,
    tokens,
    disk,
    memory,
    elapsed > 0.05 ? (elapsed * tokens) / lintTokens : null,
    planPower(trials),
  );
}

/** A line for each tier and class: what it could tell at best. */
function powerLines(power: readonly TierPower[]): string[] {
  const rate = (value: number | null): string => (value === null ? "-" : value.toFixed(3)).padStart(8);
  if (power.length === 0) return [];
  return [
    `${`could tell (80 % power, ICC ${ASSUMED_ICC} taken):`.padEnd(40)} difference, rate, rate if none is seen`,
    ...power.map(
      ({ tier, target, trials, clusters, unseen, smallestRate, smallestDifference }) =>
        `${`${tier}, ${target}`.padEnd(30)}${rate(smallestDifference)}${rate(smallestRate)}${rate(unseen)}  n ${trials}, ${clusterText(clusters)}`,
    ),
  ];
}

/** Bytes beside the weights; the prefixes' keys and values are kept while their questions are asked. */
function memoryOfBatch(study: BoundStudy, rows: number, tokensPerRow: number): number | null {
  const { backend, dtype, config } = study.model.engine;
  const length = Math.ceil(tokensPerRow);
  try {
    const estimate = estimateMemory(
      { backend: backend === "cuda" ? "cuda" : "cpu", dtype, config, tensors: null },
      { rows, contextTokens: length, questionTokens: 1, keptTokens: rows * length },
    );
    return estimate.total - estimate.weights;
  } catch (error) {
    if (error instanceof DeviceError && error.code === "native-missing") return null; // the ONNX engine runs without the addon
    throw error;
  }
}

/** Trials of one engine pass unless the caller says otherwise. */
export const DEFAULT_BATCH = 96;

/** Identity of the prefix that a trial asks: trials with equal keys share one prefill. */
export function prefixKey(trial: PlannedTrial): string {
  return [
    trial.condition,
    trial.context,
    trial.reply,
    trial.vector,
    trial.range,
    trial.layerStart,
    trial.layerEnd,
    trial.strength,
  ].join("|");
}

function tokensOf(study: BoundStudy, trials: readonly PlannedTrial[]): number {
  const prefixes = new Map(
    trials.map((trial) => [prefixKey(trial), study.contextTokens(trial.plan.context, trial.reply).length]),
  );
  const questions = trials.reduce(
    (sum, trial) => sum + study.questionTokens(trial.plan.question, trial.infoPrompt).length,
    0,
  );
  return [...prefixes.values()].reduce((sum, length) => sum + length, questions);
}

function checkDisk(folder: string, needed: number): void {
  const place = fs.existsSync(folder) ? folder : ".";
  const { bavail, bsize } = fs.statfsSync(place);
  if (bavail * bsize < needed) {
    throw new DeviceError(
      "disk-full",
      expected(
        `${Math.ceil(needed / 1e6)} MB free`,
        folder,
        `${Math.floor((bavail * bsize) / 1e6)} MB`,
        "Free some space or choose another folder.",
      ),
    );
  }
}
