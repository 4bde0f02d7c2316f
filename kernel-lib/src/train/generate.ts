/**
 * Training examples from a bound study: everything uniform by the run's seed, then the control's change of labels.
 *
 * Each example draws steered or clean, then vector, range, strength, topic, reply and question, each uniform and each from
 * the training splits only. Label 0 = steered, label 1 = clean. Controls: no-steer keeps labels and drops the steering;
 * flipped swaps labels; deny makes all clean; corrupt flips a share; unrelated asks whether the topic is a question.
 */
import { expected, InputError, random, type Random } from "../base";
import type { BoundStudy, Protocol, StudyContext } from "../study";
import { type SteeringEntry, targetOf as labelOf, type TrainExample } from "./example-lines";
import { drawRetention, type RetentionSource, retentionSource } from "./retention";

/** Examples of one run, with the directions they name. */
export interface ExampleSet {
  train: TrainExample[];
  validation: TrainExample[];
  vectors: Float32Array[];
}

/** Labels may be out of balance by this much before training is refused (10,000 fair draws: 0.02 is 4 sigma). */
const BALANCE_TOLERANCE = 0.1;

/**
 * Draws the examples of a training run.
 *
 * @param seed of this run; the same seed gives the same examples
 * @throws InputError "label-balance" if one answer is much commoner than the other (control deny excepted)
 * @example
 * const { train, validation, vectors } = await generateExamples(study, 1);
 */
export async function generateExamples(study: BoundStudy, seed: number): Promise<ExampleSet> {
  const { training, steering } = study.protocol;
  const source = random(seed).fork("examples");
  const retention = await retentionSource(study);
  const kept = trainingCount(study.protocol);
  const examples = Array.from({ length: training.examples }, (_, i) =>
    drawEither(study, retention, i, source.fork(i), i >= kept),
  );
  const detection = examples.filter(({ id }) => String(id).startsWith(DETECTION));
  checkBalance(detection, training.control);
  const vectors = Array.from({ length: steering.vectors.train }, (_, i) => study.randomDirection(i).direction);
  return { train: examples.slice(0, kept), validation: examples.slice(kept), vectors };
}

/** Examples that are trained on; the rest is for validation. */
export function trainingCount({ training }: Protocol): number {
  return training.examples - Math.round(training.examples * training.validationShare);
}

const DETECTION = "example-";

/** A retention example for the protocol's share of the draws; validation holds none that is labelled, so its accuracy is detection's. */
function drawEither(
  study: BoundStudy,
  retention: RetentionSource | null,
  index: number,
  rng: Random,
  isValidation: boolean,
): TrainExample {
  const { share, form } = study.protocol.training.retention;
  const keeps = retention !== null && rng.fork("kind").uniform() < share && !(isValidation && form === "answers");
  if (!keeps) return drawExample(study, index, rng);
  const stream = rng.fork("retention");
  const entries = drawSteering(study, stream, stream.uniform() < study.protocol.training.steeredShare);
  return drawRetention(study, retention, `keep-${index}`, stream, entries);
}

/** A training vector, range and strength as entries; none where nothing is applied. */
function drawSteering(study: BoundStudy, rng: Random, isApplied: boolean): SteeringEntry[] {
  const { steering } = study.protocol;
  const vectorIndex = rng.integer(steering.vectors.train);
  const [range, strength] = [rng.pick(study.ranges), rng.pick(steering.magnitudes)];
  const plan = isApplied ? study.steering(study.randomDirection(vectorIndex).direction, range, strength) : [];
  return plan.map(({ layers, magnitude }) => ({ vectorIndex, layers: [layers[0], layers[1]], magnitude }));
}

function drawExample(study: BoundStudy, index: number, rng: Random): TrainExample {
  const { training, steering } = study.protocol;
  const isSteered = rng.uniform() < training.steeredShare;
  const vectorIndex = rng.integer(steering.vectors.train);
  const range = rng.pick(study.ranges);
  const strength = rng.pick(steering.magnitudes);
  const context = pickContext(study, rng, isSteered);
  const reply = rng.integer(training.trainReplies);
  const question = rng.pick(study.questions(training.questions));
  const isApplied =
    training.control === "unrelated"
      ? rng.uniform() < training.steeredShare
      : isSteered && training.control !== "no-steer";
  const plan = isApplied ? study.steering(study.randomDirection(vectorIndex).direction, range, strength) : [];
  const entries = plan.map(
    (entry): SteeringEntry => ({ vectorIndex, layers: [entry.layers[0], entry.layers[1]], magnitude: entry.magnitude }),
  );
  return {
    id: `${DETECTION}${index}`,
    context: [...study.contextTokens(context, reply)],
    question: [...study.questionTokens(question)],
    labels: [study.labels.steered, study.labels.clean],
    target: targetOf(study, isSteered, rng),
    steering: entries.length === 0 ? null : entries.length === 1 ? entries[0] : entries,
  };
}

/** A training topic; for the unrelated task one whose answer is `isYes`, so that its labels balance too. */
function pickContext(study: BoundStudy, rng: Random, isYes: boolean): StudyContext {
  const contexts = study.contexts("train");
  if (study.protocol.training.control !== "unrelated") return rng.pick(contexts);
  return rng.pick(contexts.filter((context) => context.topic.endsWith("?") === isYes));
}

function targetOf(study: BoundStudy, isSteered: boolean, rng: Random): 0 | 1 {
  const { control, corruptShare } = study.protocol.training;
  const flip = control === "flipped" || (control === "corrupt" && rng.uniform() < corruptShare);
  if (control === "deny") return 1;
  return isSteered !== flip ? 0 : 1;
}

function checkBalance(examples: readonly TrainExample[], control: string): void {
  if (control === "deny") return;
  const share = examples.filter((example) => labelOf(example) === 0).length / examples.length;
  if (examples.length >= 100 && Math.abs(share - 0.5) > BALANCE_TOLERANCE) {
    throw new InputError(
      "label-balance",
      expected(
        `${0.5 - BALANCE_TOLERANCE} to ${0.5 + BALANCE_TOLERANCE} of the labels steered`,
        "training examples",
        share.toFixed(3),
      ),
    );
  }
}
