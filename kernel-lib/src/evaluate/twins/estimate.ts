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
import { type BoundStudy, DEFAULT_BATCH, planTrials, type Protocol, protocolHash } from "../../study";
import { generateExamples, runTraining, stepsOf, trainConfigOf, trainingCount } from "../../train";
import { askTrials } from "../detection/ask";
import type { TwinTiers } from "./row";

/** Steps of the probe; the first warms up and is not timed. */
const PROBE_STEPS = 3;
/** JSON line and its Parquet copy, measured. */
const BYTES_PER_RECORD = 800;
/** 75 questions, asked of base, base again and tuned. */
const SIDE_EFFECT_ROWS = 225;
/** Checkpoints that keep the optimizer's state. */
const KEPT_STATES = 2;

/** A study or twin bound to a model, by one seed. */
export interface TwinArm {
  twin: string;
  seed: number;
  study: BoundStudy;
}

/**
 * Time and disk of all arms; `console.log` shows a sentence.
 * @example
 * await runTwins(model, protocol, { twins: ["flipped"], seeds: [1], onEstimate: (estimate) => console.log(estimate) });
 */
export class TwinEstimate {
  constructor(
    readonly arms: number,
    /** arms whose training is not there yet */
    readonly toTrain: number,
    /** optimizer steps of one arm */
    readonly steps: number,
    /** trials and questions of one arm */
    readonly trials: number,
    readonly secondsPerStep: number,
    readonly secondsPerTrial: number,
    readonly diskBytes: number,
  ) {}

  /** all of it on this machine as it is now; what is evaluated already costs less */
  get seconds(): number {
    return this.toTrain * this.steps * this.secondsPerStep + this.arms * this.trials * this.secondsPerTrial;
  }

  /** Share of an arm's time, 0..1, that some steps and trials take. */
  shareOfArm(steps: number, trials: number): number {
    const seconds = (s: number, t: number): number => s * this.secondsPerStep + t * this.secondsPerTrial;
    const whole = seconds(this.steps, this.trials);
    return whole === 0 ? 0 : Math.min(1, seconds(steps, trials) / whole);
  }

  [inspect.custom](): string {
    const minutes = Math.max(1, Math.ceil(this.seconds / 60));
    return (
      `${this.arms} arms (${this.toTrain} to train) of ${this.steps} steps and ${this.trials} trials: about ${minutes} min, ` +
      `${Math.ceil(this.diskBytes / 1e6)} MB on disk; measured ${this.secondsPerStep.toPrecision(2)} s a step, ${this.secondsPerTrial.toPrecision(2)} s a trial`
    );
  }
}

/** The finished training run of an arm under `root`, if there is one. */
export function isTrained({ study, seed }: TwinArm, root: string): boolean {
  const { model, protocol } = study;
  const { backend, dtype } = model.engine;
  const match = {
    kind: "train",
    protocolHash: protocolHash(protocol),
    seed,
    modelHash: model.hash,
    backend: String(backend),
    dtype: String(dtype),
  };
  return findRun(root, match)?.status() === "done";
}

/** Optimizer steps of a run by a protocol. */
export function plannedSteps(protocol: Protocol): number {
  const count = trainingCount(protocol);
  return stepsOf(trainConfigOf(protocol, count, 0), count);
}

/** Times the first arm and multiplies. @throws whatever training and asking throw: better now than in an hour */
export async function estimateTwins(
  model: StudyModel,
  arms: readonly TwinArm[],
  tiers: TwinTiers,
  { root, signal }: { root: string; signal?: AbortSignal },
): Promise<TwinEstimate> {
  const [{ study }] = arms;
  const { training } = study.protocol;
  const steps = plannedSteps(study.protocol);
  const toTrain = arms.filter((arm) => !isTrained(arm, root)).length;
  const probe =
    toTrain === 0 ? { secondsPerStep: 0, adapterBytes: 0, stateBytes: 0 } : await timeTraining(model, arms[0], signal);
  const plan = planTrials(study, { tiers: Object.values(tiers).filter((name): name is string => name !== null) });
  const batch = plan.filter(({ condition }) => condition === "base").slice(0, DEFAULT_BATCH);
  const asked =
    batch.length > 0 ? batch : plan.slice(0, DEFAULT_BATCH).map((trial) => ({ ...trial, condition: "base" as const }));
  const start = performance.now();
  await askTrials(study, asked, {}, signal);
  const secondsPerTrial = (performance.now() - start) / 1000 / asked.length;
  const trials = plan.length + SIDE_EFFECT_ROWS;
  const checkpoints = training.checkpointEvery === 0 ? 1 : Math.ceil(steps / training.checkpointEvery);
  const perTraining = (checkpoints + 1) * probe.adapterBytes + Math.min(KEPT_STATES, checkpoints) * probe.stateBytes;
  const disk = toTrain * perTraining + arms.length * trials * BYTES_PER_RECORD;
  return new TwinEstimate(arms.length, toTrain, steps, trials, probe.secondsPerStep, secondsPerTrial, disk);
}

async function timeTraining(
  model: StudyModel,
  { study, seed }: TwinArm,
  signal?: AbortSignal,
): Promise<{ secondsPerStep: number; adapterBytes: number; stateBytes: number }> {
  const { protocol } = study;
  const set = await generateExamples(study, seed);
  const examples = set.train.slice(0, PROBE_STEPS * protocol.training.batch);
  const out = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-probe-"));
  const ends: number[] = [];
  try {
    const { adapterFolder } = await runTraining({
      engine: model.engine,
      baseModel: { name: model.name, hash: model.hash },
      examples,
      vectors: set.vectors,
      config: { ...trainConfigOf(protocol, examples.length, seed), epochs: 1 },
      out,
      signal,
      onEvent: () => ends.push(performance.now()),
    });
    const timed = Math.max(1, ends.length - 1);
    const adapterBytes = bytesOf(adapterFolder);
    return {
      secondsPerStep: (ends[ends.length - 1] - ends[0]) / 1000 / timed,
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
