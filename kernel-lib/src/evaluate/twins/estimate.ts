/**
 * What the arms of a study's controls will take: a few timed training steps and one timed batch of trials, times what is left to do.
 *
 * The probe trains in a temporary folder that is removed again; what earlier runs finished is not counted.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { inspect } from "node:util";
import type { StudyModel } from "../../engine";
import { findRun } from "../../runs";
import {
  type BoundStudy,
  DEFAULT_BATCH,
  headlineTiers,
  type PlannedTrial,
  planTrials,
  type Protocol,
  protocolHash,
  readHeldOutChats,
  readSideEffectQuestions,
} from "../../study";
import { generateExamples, runTraining, stepsOf, trainConfigOf, type TrainEvent, trainingCount } from "../../train";
import { askTrials } from "../detection/ask";
import { planSideEffects } from "../side-effects/plan";

/** Steps of the probe; the first warms up and is not timed. */
const PROBE_STEPS = 3;
/** Validation examples of the probe. */
const PROBE_VALIDATION = 32;
/** JSON line and its Parquet copy, measured. */
const BYTES_PER_RECORD = 800;
/** Checkpoints that keep the optimizer's state. */
const KEPT_STATES = 2;

/** A study or twin bound to a model, by one seed. */
export interface TwinArm {
  twin: string;
  seed: number;
  study: BoundStudy;
}

/** Seconds of one unit of each kind of work, measured on this machine as it is now. */
export interface TwinRates {
  step: number;
  validationExample: number;
  trial: number;
}

/** How much of each kind of work there is. */
export interface TwinWork {
  steps: number;
  validationExamples: number;
  /** trials, side-effect questions and chat replies */
  trials: number;
}

/**
 * Time and disk of all arms; `console.log` shows a sentence, after the arms are done with what they took.
 * @example
 * await runTwins(model, protocol, { twins: ["flipped"], seeds: [1], onEstimate: (estimate) => console.log(estimate) });
 */
export class TwinEstimate {
  /** what the arms took, once they are done */
  tookSeconds: number | null = null;

  constructor(
    readonly arms: number,
    /** arms whose training is not there yet */
    readonly toTrain: number,
    /** one arm: training, and the trials that its adapter is asked */
    readonly perArm: TwinWork,
    /** all that is left to do, base trials that arms share counted once */
    readonly left: TwinWork,
    readonly rates: TwinRates,
    readonly diskBytes: number,
  ) {}

  /** of what is left, on this machine as it is now */
  get seconds(): number {
    return this.secondsOf(this.left);
  }

  private secondsOf({ steps, validationExamples, trials }: TwinWork): number {
    const { step, validationExample, trial } = this.rates;
    return steps * step + validationExamples * validationExample + trials * trial;
  }

  /** Share of an arm's time, 0..1, that some steps and trials take. */
  shareOfArm(steps: number, trials: number): number {
    const { perArm } = this;
    const whole = this.secondsOf(perArm);
    const validationExamples = perArm.steps === 0 ? 0 : (perArm.validationExamples * steps) / perArm.steps;
    return whole === 0 ? 0 : Math.min(1, this.secondsOf({ steps, validationExamples, trials }) / whole);
  }

  [inspect.custom](): string {
    const minutes = (seconds: number): number => Math.max(1, Math.ceil(seconds / 60));
    const { perArm, rates } = this;
    const took = this.tookSeconds === null ? "" : `; took ${minutes(this.tookSeconds)} min`;
    return (
      `${this.arms} arms (${this.toTrain} to train) of ${perArm.steps} steps and ${perArm.trials} trials: about ${minutes(this.seconds)} min${took}, ` +
      `${Math.ceil(this.diskBytes / 1e6)} MB on disk; measured ${rates.step.toPrecision(2)} s a step, ${rates.trial.toPrecision(2)} s a trial`
    );
  }
}

/** The runs of an arm after its training. */
const MEASURED = ["detection", "side-effects", "chats"];

/** What of an arm lies finished under `root`. */
function doneOf({ study, seed }: TwinArm, root: string): { isTrained: boolean; isMeasured: boolean } {
  const { model, protocol } = study;
  const { backend, dtype } = model.engine;
  const match = {
    protocolHash: protocolHash(protocol),
    modelHash: model.hash,
    backend: String(backend),
    dtype: String(dtype),
  };
  const training = findRun(root, { ...match, kind: "train", seed });
  if (training?.status() !== "done") return { isTrained: false, isMeasured: false };
  const adapterHash = String(training.readMeta().adapterHash);
  const isDone = (kind: string): boolean => findRun(root, { ...match, kind, adapterHash })?.status() === "done";
  return { isTrained: true, isMeasured: MEASURED.every(isDone) };
}

/** Optimizer steps of a run by a protocol. */
export function plannedSteps(protocol: Protocol): number {
  const count = trainingCount(protocol);
  return stepsOf(trainConfigOf(protocol, count, 0), count);
}

/** Trials, side-effect questions and chat replies of an arm's adapter, and the ids of what is asked of the base. */
function askedOf(study: BoundStudy): { tuned: number; base: string[]; sample: PlannedTrial[] } {
  const tiers = Object.values(headlineTiers(study.protocol)).filter((name): name is string => name !== null);
  const trials = planTrials(study, { tiers });
  const effects = planSideEffects(study, readSideEffectQuestions(), ["base", "tuned"], []);
  const all = [...trials, ...effects];
  const replies = readHeldOutChats().reduce((sum, chat) => sum + chat.replies.length, 0);
  return {
    tuned: all.filter(({ condition }) => condition === "tuned").length + replies,
    base: all.filter(({ condition }) => condition !== "tuned").map(({ id }) => id),
    sample: trials.slice(0, DEFAULT_BATCH).map((trial) => ({ ...trial, condition: "base" })),
  };
}

/** Times the first arm and multiplies. @throws whatever training and asking throw: better now than in an hour */
export async function estimateTwins(
  model: StudyModel,
  arms: readonly TwinArm[],
  { root, signal }: { root: string; signal?: AbortSignal },
): Promise<TwinEstimate> {
  const [{ study }] = arms;
  const { training } = study.protocol;
  const asked = new Map([...new Set(arms.map((arm) => arm.study))].map((one) => [one, askedOf(one)]));
  const of = (arm: TwinArm): ReturnType<typeof askedOf> => asked.get(arm.study) as ReturnType<typeof askedOf>;
  const done = arms.map((arm) => ({ arm, ...doneOf(arm, root) }));
  const toTrain = done.filter(({ isTrained }) => !isTrained).length;
  const toMeasure = done.filter(({ isMeasured }) => !isMeasured).map(({ arm }) => arm);
  const probe = toTrain === 0 ? NOTHING : await timeTraining(model, arms[0], signal);
  const { sample } = of(arms[0]);
  const start = performance.now();
  await askTrials(study, sample, {}, signal);
  const trial = (performance.now() - start) / 1000 / sample.length;
  const steps = plannedSteps(study.protocol);
  const validations = training.validateEvery === 0 ? 1 : Math.ceil(steps / training.validateEvery);
  const perTraining = { steps, validationExamples: validations * (training.examples - trainingCount(study.protocol)) };
  const base = new Set(toMeasure.flatMap((arm) => of(arm).base)).size;
  const left = {
    steps: toTrain * perTraining.steps,
    validationExamples: toTrain * perTraining.validationExamples,
    trials: base + toMeasure.reduce((sum, arm) => sum + of(arm).tuned, 0),
  };
  const checkpoints = training.checkpointEvery === 0 ? 1 : Math.ceil(steps / training.checkpointEvery);
  const bytes = (checkpoints + 1) * probe.adapterBytes + Math.min(KEPT_STATES, checkpoints) * probe.stateBytes;
  const records = toMeasure.reduce((sum, arm) => sum + of(arm).tuned + of(arm).base.length, 0);
  return new TwinEstimate(
    arms.length,
    toTrain,
    { ...perTraining, trials: of(arms[0]).tuned },
    left,
    { step: probe.step, validationExample: probe.validationExample, trial },
    toTrain * bytes + records * BYTES_PER_RECORD,
  );
}

interface TrainingProbe {
  /** seconds */
  step: number;
  validationExample: number;
  adapterBytes: number;
  stateBytes: number;
}

const NOTHING: TrainingProbe = { step: 0, validationExample: 0, adapterBytes: 0, stateBytes: 0 };

async function timeTraining(model: StudyModel, { study, seed }: TwinArm, signal?: AbortSignal): Promise<TrainingProbe> {
  const { protocol } = study;
  const set = await generateExamples(study, seed);
  const examples = set.train.slice(0, PROBE_STEPS * protocol.training.batch);
  const validation = set.validation.slice(0, PROBE_VALIDATION);
  const out = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-probe-"));
  const ends: Record<TrainEvent["kind"], number[]> = { step: [], validation: [] };
  try {
    const { adapterFolder } = await runTraining({
      engine: model.engine,
      baseModel: { name: model.name, hash: model.hash },
      examples,
      validation,
      vectors: set.vectors,
      config: { ...trainConfigOf(protocol, examples.length, seed), epochs: 1 },
      out,
      signal,
      onEvent: ({ kind }) => ends[kind].push(performance.now()),
    });
    const { step, validation: validated } = ends;
    const last = step[step.length - 1];
    const adapterBytes = bytesOf(adapterFolder);
    return {
      step: (last - step[0]) / 1000 / Math.max(1, step.length - 1),
      validationExample: validated.length === 0 ? 0 : (validated[0] - last) / 1000 / validation.length,
      adapterBytes,
      stateBytes: Math.max(0, bytesOf(path.join(out, "checkpoints")) - adapterBytes),
    };
  } finally {
    fs.rmSync(out, { recursive: true, force: true });
  }
}

function bytesOf(folder: string): number {
  const entries = fs.readdirSync(folder, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.reduce((sum, entry) => sum + fs.statSync(path.join(entry.parentPath, entry.name)).size, 0);
}
