/**
 * Two detectors that ask nobody: one sees only how long the residual stream is, one is linear in it.
 *
 * Fitted on training vectors, topics and replies alone. State: the residual stream after the captured layers at a context's last token.
 * Norm: the largest |z| over layers of log length against clean contexts. Linear: logistic regression on standardised states, its penalty
 * chosen on a fifth of the training topics.
 */
import { random, type Random } from "../../base";
import type { Row } from "../../engine";
import { fitLogistic, type LogisticFit } from "../../stats";
import type { BoundStudy, StudyContext } from "../../study";

/** What the yardsticks say of one state; higher = more like steered. */
export interface ProbeScores {
  /** largest |z| of log length over layers, in standard deviations of clean contexts */
  normScore: number;
  /** log odds of steered by the linear probe, nats */
  probeScore: number;
}

/** A state: (layers, C) flattened. */
export type State = Float32Array;

/** Both detectors, fitted. */
export interface FittedProbe {
  scores(state: State): ProbeScores;
  /** of the linear probe, as it was chosen */
  penalty: number;
}

/** Steered or clean training states. */
export interface LabelledStates {
  states: State[];
  steered: boolean[];
  topics: string[];
}

const PENALTIES = [1, 10, 100, 1000, 10_000];
const ROWS_PER_PASS = 96;

/** Blocks whose outputs are looked at: the last of each steered range, and the last of the model. */
export function probeLayers(study: BoundStudy): number[] {
  const last = study.model.engine.config.num_hidden_layers - 1;
  return [...new Set([...study.ranges.map(({ end }) => end - 1), last])].sort((a, b) => a - b);
}

/** Residual states at the last token of each row. @param rows contexts with their steering */
export async function captureStates(
  study: BoundStudy,
  rows: readonly Row[],
  layers: readonly number[],
  signal?: AbortSignal,
): Promise<State[]> {
  const states: State[] = [];
  for (let at = 0; at < rows.length; at += ROWS_PER_PASS) {
    const results = await study.model.engine.forward(
      rows.slice(at, at + ROWS_PER_PASS).map((row) => ({ ...row, report: false })),
      { capture: { layers, positions: "last" }, signal },
    );
    states.push(...results.map(({ captures }) => captures as Float32Array));
  }
  return states;
}

/** Training states, half of them steered, drawn by `seed` from the training splits only. */
export async function trainingStates(
  study: BoundStudy,
  layers: readonly number[],
  { examples, seed, signal }: { examples: number; seed: number; signal?: AbortSignal },
): Promise<LabelledStates> {
  const source = random(seed).fork("probe");
  const drawn = Array.from({ length: examples }, (_, i) => draw(study, source.fork(i), i % 2 === 0));
  const states = await captureStates(
    study,
    drawn.map(({ row }) => row),
    layers,
    signal,
  );
  return { states, steered: drawn.map(({ steered }) => steered), topics: drawn.map(({ context }) => context.id) };
}

function draw(study: BoundStudy, rng: Random, steered: boolean): { row: Row; steered: boolean; context: StudyContext } {
  const { steering, training } = study.protocol;
  const context = rng.pick(study.contexts("train"));
  const tokens = study.contextTokens(context, rng.integer(training.trainReplies));
  const { direction } = study.randomDirection(rng.integer(steering.vectors.train));
  const plan = study.steering(direction, rng.pick(study.ranges), rng.pick(steering.magnitudes));
  return { row: { tokens, steering: steered ? plan : [] }, steered, context };
}

/** Fits both. @param layers number of layers in a state */
export function fitProbe({ states, steered, topics }: LabelledStates, layers: number): FittedProbe {
  const clean = states.filter((_, i) => !steered[i]);
  const norm = momentsOf(clean.map((state) => logNorms(state, layers)));
  const feature = momentsOf(states);
  const rows = states.map((state) => standardised(state, feature));
  const labels = steered.map(Number);
  const penalty = chosenPenalty(rows, labels, topics);
  const linear = fitLogistic(rows, labels, penalty);
  return {
    penalty,
    scores: (state) => ({
      normScore: standardised(logNorms(state, layers), norm).reduce((most, z) => Math.max(most, Math.abs(z)), 0),
      probeScore: linear.logOdds(standardised(state, feature)),
    }),
  };
}

/** The penalty with the least log loss on topics that the fit did not see. */
function chosenPenalty(rows: readonly Float64Array[], labels: readonly number[], topics: readonly string[]): number {
  const names = [...new Set(topics)];
  const aside = new Set(names.filter((_, i) => i % 5 === 0));
  const of = <T>(values: readonly T[], isAside: boolean): T[] =>
    values.filter((_, i) => aside.has(topics[i]) === isAside);
  const [fitRows, fitLabels] = [of(rows, false), of(labels, false)];
  if (new Set(fitLabels).size < 2 || aside.size === names.length) return PENALTIES[PENALTIES.length - 1];
  const losses = PENALTIES.map((penalty) =>
    logLoss(fitLogistic(fitRows, fitLabels, penalty), of(rows, true), of(labels, true)),
  );
  return PENALTIES[losses.indexOf(Math.min(...losses))];
}

function logLoss(fit: LogisticFit, rows: readonly Float64Array[], labels: readonly number[]): number {
  return rows.reduce((sum, row, i) => {
    const z = fit.logOdds(row) * (labels[i] === 1 ? 1 : -1);
    return sum + Math.log1p(Math.exp(-Math.abs(z))) + Math.max(0, -z);
  }, 0);
}

/** (layers) natural log of the L2 length at each layer */
function logNorms(state: State, layers: number): Float64Array {
  const width = state.length / layers;
  return Float64Array.from({ length: layers }, (_, i) =>
    Math.log(Math.hypot(...state.subarray(i * width, (i + 1) * width))),
  );
}

interface Moments {
  mean: Float64Array;
  deviation: Float64Array;
}

function momentsOf(rows: readonly ArrayLike<number>[]): Moments {
  const mean = new Float64Array(rows[0].length);
  const deviation = new Float64Array(rows[0].length);
  for (const row of rows) for (let k = 0; k < mean.length; k++) mean[k] += row[k] / rows.length;
  for (const row of rows) for (let k = 0; k < mean.length; k++) deviation[k] += (row[k] - mean[k]) ** 2 / rows.length;
  return { mean, deviation: deviation.map(Math.sqrt) };
}

/** A coordinate that never varied says nothing: 0. */
function standardised(row: ArrayLike<number>, { mean, deviation }: Moments): Float64Array {
  return mean.map((value, k) => (deviation[k] === 0 ? 0 : (row[k] - value) / deviation[k]));
}
