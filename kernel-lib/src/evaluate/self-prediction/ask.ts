/**
 * The questions of self-prediction: first what a condition does (greedy), then what it says it would do.
 */
import { type Adapter, type Answer, answer, type Row, type StudyModel, totalProbability } from "../../engine";
import type { PropertyTest, SelfPredictionTasks } from "../../study";
import { adapterOf, type Planned, recordId } from "../runner";
import type { SelfPredictionRecord } from "./record";

/** One record to make. */
export interface PlannedPrediction extends Planned {
  condition: SelfPredictionRecord["condition"];
  task: SelfPredictionRecord["task"];
  item: string;
  stimulus: string;
  order: SelfPredictionRecord["order"];
}

/** What is asked, of which model, with which adapters. */
export interface PredictionStudy {
  model: StudyModel;
  tasks: SelfPredictionTasks;
  system: string;
  /** tokens of the behaviour */
  maxTokens: number;
  adapters: Readonly<Record<string, Adapter>>;
}

type Known = ReadonlyMap<string, SelfPredictionRecord>;

/** Behaviour first, then the three tasks, condition by condition. */
export function planPredictions({ tasks, model }: PredictionStudy, conditions: readonly string[]): PlannedPrediction[] {
  const { stimuli } = tasks;
  const { twoOptions, knowledge, property } = tasks.tasks;
  const orders = ["first-is-A", "first-is-B"] as const;
  return (conditions as SelfPredictionRecord["condition"][]).flatMap((condition) => {
    const planned = (
      task: SelfPredictionRecord["task"],
      item: string,
      stimulus: string,
      order: SelfPredictionRecord["order"] = null,
    ): PlannedPrediction => ({ id: idOf(condition, task, item, order), condition, task, item, stimulus, order });
    return [
      ...stimuli.map(({ id }) => planned("behaviour", id, id)),
      ...(letterTokens(model).length === 0 ? [] : stimuli.map(({ id }) => planned("firstCharacter", id, id))),
      ...twoOptions.items.flatMap(({ id, stimulus }) =>
        orders.map((order) => planned("twoOptions", id, stimulus, order)),
      ),
      ...knowledge.items.flatMap(({ id }) => orders.map((order) => planned("knowledge", id, id, order))),
      ...stimuli.flatMap(({ id }) => property.properties.map((test) => planned("property", `${id} ${test.id}`, id))),
    ];
  });
}

function idOf(condition: string, task: string, item: string, order: string | null): string {
  return recordId(condition, task, item, order ?? "");
}

/** One condition and task at a time: predictions need the behaviour before them. */
export function* predictionBatches(
  missing: readonly PlannedPrediction[],
  batch: number,
): Generator<readonly PlannedPrediction[]> {
  for (const key of new Set(missing.map(({ condition, task }) => `${condition} ${task}`))) {
    const items = missing.filter(({ condition, task }) => `${condition} ${task}` === key);
    for (let at = 0; at < items.length; at += batch) yield items.slice(at, at + batch);
  }
}

/** Asks items of one condition and task. */
export function askPredictions(
  study: PredictionStudy,
  items: readonly PlannedPrediction[],
  known: Known,
  signal?: AbortSignal,
): Promise<SelfPredictionRecord[]> {
  const asking = { behaviour: behave, firstCharacter, twoOptions, knowledge, property: properties }[items[0].task];
  return asking(study, items, known, signal);
}

type Ask = (
  study: PredictionStudy,
  items: readonly PlannedPrediction[],
  known: Known,
  signal?: AbortSignal,
) => Promise<SelfPredictionRecord[]>;

/** Greedy answer to each stimulus. */
const behave: Ask = async (study, items, _, signal) => {
  const { model, maxTokens } = study;
  const rows = items.map(
    (item): Row => ({ tokens: tokensOf(study, textOf(study, item), ""), adapter: bound(study, item) }),
  );
  const generated = await model.engine.generate(rows, {
    maxTokens,
    temperature: 0,
    seed: 0,
    stopIds: model.stopIds,
    signal,
  });
  return items.map((item, i) => {
    const text = model.tokenizer.decode(generated[i].tokens, { skipControls: true }).trim();
    return recordOf(study, item, { behaviour: text, truth: null, prediction: null, logOdds: null, mass: null });
  });
};

/** A letter's spellings that are one token. */
function letterTokens({ tokenizer }: StudyModel): { letter: string; id: number }[] {
  return [..."abcdefghijklmnopqrstuvwxyz"].flatMap((letter) =>
    [` ${letter}`, ` ${letter.toUpperCase()}`].flatMap((text) => {
      const ids = tokenizer.encode(text);
      return ids.length === 1 ? [{ letter, id: ids[0] }] : [];
    }),
  );
}

const firstCharacter: Ask = async (study, items, known, signal) => {
  const { template, prefix } = study.tasks.tasks.firstCharacter;
  const tokens = letterTokens(study.model);
  const letters = [...new Set(tokens.map(({ letter }) => letter))];
  const texts = items.map((item) => template.replaceAll("{text}", () => textOf(study, item)));
  const logprobs = await ask(
    study,
    items,
    texts,
    prefix,
    tokens.map(({ id }) => id),
    signal,
  );
  return items.map((item, i) => {
    const totals = letters.map((letter) =>
      totalProbability([...logprobs[i]].filter((_, k) => tokens[k].letter === letter)),
    );
    const behaviour = behaviourOf(known, item);
    const first = behaviour.slice(0, 1);
    return recordOf(study, item, {
      behaviour,
      truth: /\p{L}/u.test(first) ? first.toLowerCase() : null,
      prediction: letters[totals.indexOf(Math.max(...totals))],
      logOdds: null,
      mass: totalProbability(logprobs[i]),
    });
  });
};

const twoOptions: Ask = async (study, items, known, signal) => {
  const { template, prefix, labels, items: pairs } = study.tasks.tasks.twoOptions;
  const { ids } = study.model.tokenizer.labelTokens(prefix, labels);
  const optionsOf = (item: PlannedPrediction) =>
    (pairs.find(({ id }) => id === item.item) as (typeof pairs)[number]).options;
  const texts = items.map((item) => {
    const options = optionsOf(item);
    const [a, b] = item.order === "first-is-A" ? options : [options[1], options[0]];
    return template
      .replaceAll("{text}", () => textOf(study, item))
      .replaceAll("{a}", () => a)
      .replaceAll("{b}", () => b);
  });
  const logprobs = await ask(study, items, texts, prefix, ids, signal);
  const truths = new Map<string, "first" | "second">();
  for (const item of items) {
    if (truths.has(item.item)) continue;
    const likely: number[] = [];
    for (const option of optionsOf(item)) likely.push(await meanLogprob(study, item, option, signal));
    truths.set(item.item, likely[0] >= likely[1] ? "first" : "second");
  }
  return items.map((item, i) => {
    const [a, b] = logprobs[i];
    const { logOdds, mass } = item.order === "first-is-A" ? answer(a, b) : answer(b, a);
    return recordOf(study, item, {
      behaviour: behaviourOf(known, item),
      truth: truths.get(item.item) as string,
      prediction: logOdds > 0 ? "first" : "second",
      logOdds,
      mass,
    });
  });
};

/** What it says that it would choose, and as the truth what it then chooses: each in both orders, so that a letter can't decide. */
const knowledge: Ask = async (study, items, _, signal) => {
  const { template, hypothetical, prefix, labels, items: questions } = study.tasks.tasks.knowledge;
  const { ids } = study.model.tokenizer.labelTokens(prefix, labels);
  const optionOdds = async (form: string, asked: readonly PlannedPrediction[]): Promise<Answer[]> => {
    const texts = asked.map(({ item, order }) => {
      const { question, options } = questions.find(({ id }) => id === item) as (typeof questions)[number];
      const [a, b] = order === "first-is-A" ? options : [options[1], options[0]];
      const filled = form.replaceAll("{question}", () => question);
      return filled.replaceAll("{a}", () => a).replaceAll("{b}", () => b);
    });
    const logprobs = await ask(study, asked, texts, prefix, ids, signal);
    return logprobs.map(([a, b], i) => (asked[i].order === "first-is-A" ? answer(a, b) : answer(b, a)));
  };
  const said = await optionOdds(hypothetical, items);
  const both = items.flatMap((item): PlannedPrediction[] =>
    (["first-is-A", "first-is-B"] as const).map((order) => ({ ...item, order })),
  );
  const chosen = await optionOdds(template, both);
  return items.map((item, i) => {
    const { options } = questions.find(({ id }) => id === item.item) as (typeof questions)[number];
    const isFirst = chosen[2 * i].logOdds + chosen[2 * i + 1].logOdds > 0;
    return recordOf(study, item, {
      behaviour: options[isFirst ? 0 : 1],
      truth: isFirst ? "first" : "second",
      prediction: said[i].logOdds > 0 ? "first" : "second",
      logOdds: said[i].logOdds,
      mass: said[i].mass,
    });
  });
};

const properties: Ask = async (study, items, known, signal) => {
  const { template, prefix, labels, properties: tests } = study.tasks.tasks.property;
  const { ids } = study.model.tokenizer.labelTokens(prefix, labels);
  const testOf = (item: PlannedPrediction) =>
    tests.find(({ id }) => item.item === `${item.stimulus} ${id}`) as (typeof tests)[number];
  const texts = items.map((item) =>
    template.replaceAll("{text}", () => textOf(study, item)).replaceAll("{property}", () => testOf(item).text),
  );
  const logprobs = await ask(study, items, texts, prefix, ids, signal);
  return items.map((item, i) => {
    const behaviour = behaviourOf(known, item);
    const { logOdds, mass } = answer(logprobs[i][0], logprobs[i][1]);
    return recordOf(study, item, {
      behaviour,
      truth: String(hasProperty(behaviour, testOf(item).test)),
      prediction: String(logOdds > 0),
      logOdds,
      mass,
    });
  });
};

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

function recordOf(
  { model, adapters }: PredictionStudy,
  { id, task, item, stimulus, condition, order }: PlannedPrediction,
  fields: Pick<SelfPredictionRecord, "behaviour" | "truth" | "prediction" | "logOdds" | "mass">,
): SelfPredictionRecord {
  const adapterHash = adapterOf(adapters, condition)?.hash ?? null;
  return { id, task, item, stimulus, condition, ...fields, order, adapterHash, modelHash: model.hash };
}

function behaviourOf(known: Known, { condition, stimulus }: PlannedPrediction): string {
  return (known.get(idOf(condition, "behaviour", stimulus, null)) as SelfPredictionRecord).behaviour;
}

function textOf({ tasks }: PredictionStudy, { stimulus }: PlannedPrediction): string {
  return (tasks.stimuli.find(({ id }) => id === stimulus) as { text: string }).text;
}

function bound({ adapters }: PredictionStudy, { condition }: PlannedPrediction): Adapter | null {
  return adapterOf(adapters, condition);
}

function tokensOf({ model, system }: PredictionStudy, content: string, answerPrefix: string): Int32Array {
  const turns = [
    { role: "system", content: system },
    { role: "user", content },
  ] as const;
  return model.encodeChat(turns, { answerPrefix }).ids;
}

/** Log-probabilities of `wanted` as the token after `prefix`, one array per item. */
async function ask(
  study: PredictionStudy,
  items: readonly PlannedPrediction[],
  texts: readonly string[],
  prefix: string,
  wanted: readonly number[],
  signal?: AbortSignal,
): Promise<Float64Array[]> {
  const rows = texts.map(
    (text, i): Row => ({ tokens: tokensOf(study, text, prefix), adapter: bound(study, items[i]), wanted }),
  );
  const results = await study.model.engine.forward(rows, { report: "last", signal });
  return results.map(({ positions: [{ logprobs }] }) => logprobs);
}

/** Mean log-probability per token of `option` as the answer to the item's stimulus, nats. */
async function meanLogprob(
  study: PredictionStudy,
  item: PlannedPrediction,
  option: string,
  signal?: AbortSignal,
): Promise<number> {
  const adapter = bound(study, item);
  const prompt = tokensOf(study, textOf(study, item), "");
  const tokens = study.model.tokenizer.encode(option);
  // The last prompt token and the option but its last token predict the option's tokens, one each.
  const own = Int32Array.from([prompt[prompt.length - 1], ...tokens.subarray(0, -1)]);
  const rows: Row[] = [
    { tokens: prompt.subarray(0, -1), adapter, report: false },
    { tokens: own, parent: 0, adapter, wanted: [...tokens] },
  ];
  const [, { positions }] = await study.model.engine.forward(rows, { report: "all", signal });
  return positions.reduce((sum, position, i) => sum + position.logprobs[i], 0) / tokens.length;
}
