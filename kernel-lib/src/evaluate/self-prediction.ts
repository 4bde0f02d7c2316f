/**
 * Self-prediction: does the model know what it would itself write? Asked about a stimulus, then compared with what it does.
 *
 * Truth is each condition's own behaviour: the greedy answer (first letter, properties), and for two options the one to which
 * it gives the higher mean log-probability per token as an answer. Predictions are read from next-token probabilities, with
 * mass. Bias corrections: self-prediction/metrics.ts. Does not resample to matched entropy.
 */
import { existsSync } from "node:fs";
import { inspect } from "node:util";
import { renderChat } from "../checkpoint";
import { type Adapter, answer, type Row, type StudyModel, totalProbability } from "../engine";
import { readJsonl, writeFileAtomic } from "../files";
import { type Metric, writeSummary } from "../runs";
import { type PropertyTest, readSelfPrediction, type SelfPredictionTasks } from "../study";
import { type EvaluationPlace, inEvaluationFolder } from "./folder";
import { selfPredictionMetrics } from "./self-prediction/metrics";
import type { SelfPredictionRecord } from "./self-prediction/record";

/** Options of `evaluateSelfPrediction`. */
export interface SelfPredictionOptions extends EvaluationPlace {
  tasks?: SelfPredictionTasks;
  /** tokens of the behaviour; default 32 */
  maxTokens?: number;
}

/** Records and metrics of self-prediction. */
export class SelfPrediction {
  constructor(
    readonly folder: string,
    readonly records: readonly SelfPredictionRecord[],
    readonly metrics: readonly Metric[],
  ) {}

  [inspect.custom](): string {
    const lines = this.metrics
      .filter((metric) => metric.group.subset === "all")
      .map(
        (metric) =>
          `${metric.condition.padEnd(6)} ${String(metric.group.task).padEnd(15)} ${metric.name.padEnd(24)} ${metric.value?.toFixed(3) ?? "-"} (n ${metric.n})`,
      );
    return [`SelfPrediction in ${this.folder}`, ...lines].join("\n");
  }
}

const FILE = "self-prediction.jsonl";

/** What a property says of a text. */
export function hasProperty(text: string, test: PropertyTest): boolean {
  const words = text.match(/[\p{L}\p{N}']+/gu) ?? [];
  switch (test) {
    case "startsWithI":
      return words[0] === "I";
    case "hasQuestionMark":
      return text.includes("?");
    case "longerThan10Words":
      return words.length > 10;
    case "containsThe":
      return words.some((word) => word.toLowerCase() === "the");
  }
}

/**
 * Runs the three tasks into a run folder: self-prediction.jsonl and metrics in summary.json.
 *
 * @throws InputError "label-tokens" if the answers are not single tokens; AbortedError when stopped
 * @example
 * const result = await evaluateSelfPrediction(model, { protocol: loadProtocol("strict"), adapter });
 */
export function evaluateSelfPrediction(model: StudyModel, options: SelfPredictionOptions): Promise<SelfPrediction> {
  const { protocol, adapter, tasks = readSelfPrediction() } = options;
  const { seed } = protocol.evaluation;
  return inEvaluationFolder("self-prediction", model, options, seed, async (folder) => {
    const conditions: ["base" | "tuned", Adapter | null][] =
      adapter === null
        ? [["base", null]]
        : [
            ["base", null],
            ["tuned", adapter],
          ];
    const records: SelfPredictionRecord[] = [];
    for (const [i, [condition, bound]] of conditions.entries()) {
      const asking = new Asking(model, tasks, protocol.conversation.system, condition, bound, options);
      const behaviour = await asking.behave();
      records.push(
        ...(await asking.firstCharacter(behaviour)),
        ...(await asking.twoOptions(behaviour)),
        ...(await asking.properties(behaviour)),
      );
      options.onProgress?.(i + 1, conditions.length);
    }
    writeFileAtomic(folder.file(FILE), records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    const metrics = selfPredictionMetrics(records, seed);
    writeSummary(folder.file("summary.json"), metrics);
    return new SelfPrediction(folder.path, records, metrics);
  });
}

/** Self-prediction records of a run folder; none if it has none. */
export function readSelfPredictions(folder: string): SelfPredictionRecord[] {
  const file = `${folder}/${FILE}`;
  return existsSync(file) ? readJsonl<SelfPredictionRecord>(file).records : [];
}

/** The questions of one condition. */
class Asking {
  constructor(
    private readonly model: StudyModel,
    private readonly tasks: SelfPredictionTasks,
    private readonly system: string,
    private readonly condition: "base" | "tuned",
    private readonly adapter: Adapter | null,
    private readonly options: SelfPredictionOptions,
  ) {}

  /** Greedy answer to each stimulus. */
  async behave(): Promise<Map<string, string>> {
    const { stimuli } = this.tasks;
    const rows = stimuli.map(({ text }): Row => ({ tokens: this.tokens(text, ""), adapter: this.adapter }));
    const stopIds = [...this.model.tokenizer.controlTokens.values()];
    const generated = await this.model.engine.generate(rows, {
      maxTokens: this.options.maxTokens ?? 32,
      temperature: 0,
      seed: 0,
      stopIds,
      signal: this.options.signal,
    });
    return new Map(
      stimuli.map(({ id }, i) => [id, this.model.tokenizer.decode(generated[i].tokens, { skipControls: true }).trim()]),
    );
  }

  async firstCharacter(behaviour: ReadonlyMap<string, string>): Promise<SelfPredictionRecord[]> {
    const { template, prefix } = this.tasks.tasks.firstCharacter;
    const letters = [..."abcdefghijklmnopqrstuvwxyz"];
    const spellings = letters.flatMap((letter) =>
      [` ${letter}`, ` ${letter.toUpperCase()}`].flatMap((text) => {
        const ids = this.model.tokenizer.encode(text);
        return ids.length === 1 ? [{ letter, id: ids[0] }] : [];
      }),
    );
    if (spellings.length === 0) return []; // this tokenizer has no single-token letters: nothing can be read off
    const asked = this.tasks.stimuli.filter(({ id }) => /\p{L}/u.test((behaviour.get(id) as string).slice(0, 1)));
    const logprobs = await this.ask(
      asked.map(({ text }) => template.replaceAll("{text}", () => text)),
      prefix,
      spellings.map(({ id }) => id),
    );
    return asked.map(({ id }, i) => {
      const totals = letters.map((letter) =>
        totalProbability([...logprobs[i]].filter((_, k) => spellings[k].letter === letter)),
      );
      const text = behaviour.get(id) as string;
      return this.record({
        task: "firstCharacter",
        item: id,
        stimulus: id,
        behaviour: text,
        truth: text[0].toLowerCase(),
        prediction: letters[totals.indexOf(Math.max(...totals))],
        logOdds: null,
        mass: totalProbability(logprobs[i]),
        order: null,
      });
    });
  }

  async twoOptions(behaviour: ReadonlyMap<string, string>): Promise<SelfPredictionRecord[]> {
    const { template, prefix, labels, items } = this.tasks.tasks.twoOptions;
    const ids = this.labelIds(prefix, labels);
    const records: SelfPredictionRecord[] = [];
    for (const { id, stimulus, options } of items) {
      const text = this.stimulus(stimulus);
      const likely = await Promise.all(options.map((option) => this.meanLogprob(text, option)));
      const truth = likely[0] >= likely[1] ? "first" : "second";
      const fill = (a: string, b: string): string =>
        template
          .replaceAll("{text}", () => text)
          .replaceAll("{a}", () => a)
          .replaceAll("{b}", () => b);
      const [ab, ba] = await this.ask([fill(options[0], options[1]), fill(options[1], options[0])], prefix, ids);
      for (const [order, [first, second]] of [
        ["first-is-A", [ab[0], ab[1]]],
        ["first-is-B", [ba[1], ba[0]]],
      ] as const) {
        const { logOdds, mass } = answer(first, second);
        records.push(
          this.record({
            task: "twoOptions",
            item: id,
            stimulus,
            behaviour: behaviour.get(stimulus) as string,
            truth,
            prediction: logOdds > 0 ? "first" : "second",
            logOdds,
            mass,
            order,
          }),
        );
      }
    }
    return records;
  }

  async properties(behaviour: ReadonlyMap<string, string>): Promise<SelfPredictionRecord[]> {
    const { template, prefix, labels, properties } = this.tasks.tasks.property;
    const ids = this.labelIds(prefix, labels);
    const pairs = this.tasks.stimuli.flatMap((stimulus) => properties.map((property) => ({ stimulus, property })));
    const texts = pairs.map(({ stimulus, property }) =>
      template.replaceAll("{text}", () => stimulus.text).replaceAll("{property}", () => property.text),
    );
    const logprobs = await this.ask(texts, prefix, ids);
    return pairs.map(({ stimulus, property }, i) => {
      const text = behaviour.get(stimulus.id) as string;
      const { logOdds, mass } = answer(logprobs[i][0], logprobs[i][1]);
      return this.record({
        task: "property",
        item: `${stimulus.id} ${property.id}`,
        stimulus: stimulus.id,
        behaviour: text,
        truth: String(hasProperty(text, property.test)),
        prediction: String(logOdds > 0),
        logOdds,
        mass,
        order: null,
      });
    });
  }

  private record(fields: Omit<SelfPredictionRecord, "condition" | "adapterHash" | "modelHash">): SelfPredictionRecord {
    return {
      ...fields,
      condition: this.condition,
      adapterHash: this.adapter?.hash ?? null,
      modelHash: this.model.hash,
    };
  }

  private stimulus(id: string): string {
    return (this.tasks.stimuli.find((item) => item.id === id) as { text: string }).text;
  }

  private tokens(text: string, answerPrefix: string): Int32Array {
    const chat = renderChat(
      this.model.chatTemplate,
      [
        { role: "system", content: this.system },
        { role: "user", content: text },
      ],
      { answerPrefix },
    );
    return this.model.tokenizer.encodeParts(chat.parts).ids;
  }

  private labelIds(prefix: string, labels: readonly [string, string]): number[] {
    return this.model.tokenizer.labelTokens(prefix, labels).ids;
  }

  private async ask(texts: readonly string[], prefix: string, wanted: readonly number[]): Promise<Float64Array[]> {
    const rows = texts.map((text): Row => ({ tokens: this.tokens(text, prefix), adapter: this.adapter, wanted }));
    const results = await this.model.engine.forward(rows, { report: "last", signal: this.options.signal });
    return results.map(({ positions: [{ logprobs }] }) => logprobs);
  }

  /** Mean log-probability per token of `option` as the answer to `text`, nats. */
  private async meanLogprob(text: string, option: string): Promise<number> {
    const prompt = this.tokens(text, "");
    const tokens = this.model.tokenizer.encode(option);
    // The last prompt token and the option but its last token predict the option's tokens, one each.
    const own = Int32Array.from([prompt[prompt.length - 1], ...tokens.subarray(0, -1)]);
    const rows: Row[] = [
      { tokens: prompt.subarray(0, -1), adapter: this.adapter, report: false },
      { tokens: own, parent: 0, adapter: this.adapter, wanted: [...tokens] },
    ];
    const [, { positions }] = await this.model.engine.forward(rows, { report: "all", signal: this.options.signal });
    return positions.reduce((sum, position, i) => sum + position.logprobs[i], 0) / tokens.length;
  }
}
