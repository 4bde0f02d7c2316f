/**
 * A handful of trials by hand, for the first minutes with a model: facts, steer-remove-ask, one dose series.
 *
 * What notebooks 00 and 01 show. Anecdotes with every intermediate number visible; the evaluations (detection, side effects) do
 * the same at scale with intervals. Returns plain records for tables.
 */
import { random } from "../base";
import { renderChat } from "../checkpoint";
import { type Adapter, answer, type Row, type StudyModel } from "../engine";
import type { BoundStudy } from "../study";

/** A yes/no question and its truth. */
export interface Fact {
  question: string;
  truth: boolean;
}

/** Four things that every sentence-reading model should know. */
export const EASY_FACTS: readonly Fact[] = [
  { question: "Is bread a kind of food?", truth: true },
  { question: "Is a dog a kind of plant?", truth: false },
  { question: "Is the piano an instrument?", truth: true },
  { question: "Is iron a kind of fruit?", truth: false },
];

/** What a model answered to one fact; probabilities in 0..1. */
export interface FactAnswer {
  question: string;
  truth: string;
  pYes: number;
  mass: number;
  right: boolean;
}

/**
 * Asks yes/no facts, each ending in an instruction to answer with just yes or no, after the prefix "The answer is".
 * @param facts default: four that every sentence-reading model should know
 * @returns P(" yes") over the two labels, their mass, and whether the likelier label is the truth
 * @throws InputError "label-tokens" where " yes" and " no" are not single tokens
 * @example
 * const rows = await askFacts(model);
 */
export async function askFacts(model: StudyModel, facts: readonly Fact[] = EASY_FACTS): Promise<FactAnswer[]> {
  const chats = facts.map(({ question }) =>
    renderChat(model.chatTemplate, [{ role: "user", content: `${question} Answer with just yes or no.` }], {
      answerPrefix: "The answer is",
    }),
  );
  const [yes, no] = model.tokenizer.labelTokens(chats[0].parts, [" yes", " no"]).ids;
  const rows = chats.map((chat): Row => ({ tokens: model.tokenizer.encodeParts(chat.parts).ids, wanted: [yes, no] }));
  const results = await model.engine.forward(rows, { report: "last" });
  return results.map(({ positions: [{ logprobs }] }, i) => {
    const { probability, mass } = answer(logprobs[0], logprobs[1]);
    const { question, truth } = facts[i];
    return { question, truth: truth ? "yes" : "no", pYes: probability, mass, right: probability > 0.5 === truth };
  });
}

/** One trial computed three ways. */
export interface SteerRemoveAskCheck {
  rows: { way: string; logprob: number; difference: number }[];
  /** largest absolute difference between the ways, nats; 0 means equal to the last bit */
  largestDifference: number;
}

/**
 * Steer, remove, ask by three ways that must agree bit for bit: on a kept cache; in one packed pass with the steering on the
 * context alone; and on the same cache again after other questions were asked of it.
 * @param options.seed decides direction and tokens
 * @returns one row per way: log-probability of the same token, and its difference from the first, nats
 * @throws InputError "disposed"
 * @example
 * const { largestDifference } = await checkSteerRemoveAsk(model, { seed: 1 }); // 0
 */
export async function checkSteerRemoveAsk(model: StudyModel, options: { seed: number }): Promise<SteerRemoveAskCheck> {
  const { engine } = model;
  const { hidden_size: C, num_hidden_layers: L, vocab_size: V } = engine.config;
  const rng = random(options.seed).fork("first-look");
  const ids = (count: number): number[] => Array.from({ length: count }, () => rng.integer(V));
  const direction = Float32Array.from({ length: C }, () => rng.normal() / Math.sqrt(C));
  const [context, question, other] = [ids(24), ids(9), ids(9)];
  const steering = [{ direction, layers: [1, Math.max(2, Math.floor(L / 2))] as const, magnitude: 5 }];
  const wanted = [question[0]];
  const [{ cache }] = await engine.forward([{ tokens: context, steering, keepCache: true }]);
  const ask = async (rows: Row[]): Promise<number> =>
    (await engine.forward(rows, { report: "last" }))[rows.length - 1].positions[0].logprobs[0];
  const first = await ask([{ tokens: question, cache, wanted }]);
  const packed = await ask([
    { tokens: context, steering, report: false },
    { tokens: question, parent: 0, wanted },
  ]);
  await ask([{ tokens: other, cache, wanted }]);
  const again = await ask([{ tokens: question, cache, wanted }]);
  cache?.dispose();
  const ways: [string, number][] = [
    ["asked on the kept cache", first],
    ["one packed pass", packed],
    ["the cache again, after another question", again],
  ];
  const rows = ways.map(([way, logprob]) => ({ way, logprob, difference: logprob - first }));
  return { rows, largestDifference: Math.max(...rows.map(({ difference }) => Math.abs(difference))) };
}

/** One cell of `doseByHand`; probabilities in 0..1. */
export interface DoseRow {
  strength: number;
  range: string;
  /** P(steered label) with the adapter, and the mass of both labels */
  tuned: number;
  tunedMass: number;
  /** the same without the adapter */
  base: number;
  baseMass: number;
}

/**
 * One held-out context, one held-out vector, every range and strength (0 first): P(steered label) with and without the adapter.
 * @param study from `bindStudy`   @param adapter from `model.attach`
 * @returns one row per cell; one trial each, so an anecdote without an interval
 * @throws InputError "disposed", "vector-index" where the protocol holds out no vector
 * @example
 * showTable(await doseByHand(study, adapter));
 */
export async function doseByHand(study: BoundStudy, adapter: Adapter): Promise<DoseRow[]> {
  const { protocol, labels } = study;
  const context = study.contextTokens(study.contexts("heldOut")[0] ?? protocol.contexts[0], 0);
  const question = study.questionTokens(study.questions("train")[0]);
  const { direction } = study.randomDirection(protocol.steering.vectors.train);
  const cells = [
    { range: study.ranges[0], strength: 0 },
    ...study.ranges.flatMap((range) => protocol.steering.magnitudes.map((strength) => ({ range, strength }))),
  ];
  const asked = async (bound: Adapter | null): Promise<{ probability: number; mass: number }[]> => {
    const rows: Row[] = cells.map(({ range, strength }) => ({
      tokens: context,
      steering: study.steering(direction, range, strength),
      adapter: bound,
      report: false,
    }));
    cells.forEach(
      (_, i) => void rows.push({ tokens: question, parent: i, adapter: bound, wanted: [labels.steered, labels.clean] }),
    );
    const results = await study.model.engine.forward(rows, { report: "last" });
    return results.slice(cells.length).map(({ positions: [{ logprobs }] }) => answer(logprobs[0], logprobs[1]));
  };
  const [tuned, base] = [await asked(adapter), await asked(null)];
  return cells.map(({ range, strength }, i) => ({
    strength,
    range: strength === 0 ? "none" : range.name,
    tuned: tuned[i].probability,
    tunedMass: tuned[i].mass,
    base: base[i].probability,
    baseMass: base[i].mass,
  }));
}
