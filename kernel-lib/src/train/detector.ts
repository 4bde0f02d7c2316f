/**
 * Training: a protocol and a model in, a run folder with a LoRA adapter out; or examples and settings in, for scripts.
 *
 * `trainDetector` binds the protocol, generates examples, lints the prompts, trains and marks the run DONE or FAILED.
 * `runTraining` (train/run.ts) is the loop alone. Checkpoints resume to the same bytes; an interrupt finishes the step and
 * saves. The published card's training is `loadProtocol("card")`.
 */
import { inspect } from "node:util";
import { AbortedError } from "../base";
import { readAdapter } from "../checkpoint";
import type { StudyModel } from "../engine";
import {
  createRunFolder,
  findRun,
  openRunFolder,
  requireSameRun,
  type RunFolder,
  type RunIdentity,
  runIdentity,
  runMeta,
  slugify,
} from "../runs";
import {
  bindStudy,
  type BoundStudy,
  lintPrompts,
  type Protocol,
  protocolHash,
  requirePrompts,
  saveProtocol,
} from "../study";
import type { TrainConfig } from "./config";
import { choiceText, type StepChoice } from "./early-stop";
import type { TrainEvent, ValidationEvent } from "./events";
import { generateExamples } from "./generate";
import { runTraining } from "./run";

/** Options of `trainDetector`. */
export interface TrainDetectorOptions {
  /** decides examples, initial weights, order and dropout */
  seed: number;
  /** folder that holds runs; default "runs" */
  root?: string;
  /** go on in this run folder; refused if its run is of another making */
  folder?: string;
  /** start a new run even if the same one lies in `root` */
  fresh?: boolean;
  /** time of a new run's name; default now */
  time?: Date;
  signal?: AbortSignal;
  onEvent?: (event: TrainEvent, totalSteps: number) => void;
  /** examples per engine pass; memory and speed, never the numbers */
  microBatch?: number;
}

/**
 * A finished training run; made by `trainDetector`. A notebook shows steps, validation accuracy and mass.
 *
 * @example
 * const adapter = await model.attach(run.adapterFolder);
 */
export class DetectorTraining {
  constructor(
    /** run folder */
    readonly folder: string,
    /** PEFT files of the adapter */
    readonly adapterFolder: string,
    readonly protocol: Protocol,
    readonly steps: number,
    readonly events: readonly TrainEvent[],
    readonly validation: ValidationEvent | null,
    /** whose weights the adapter has where the protocol has a rule to stop early; null: those of the last step */
    readonly choice: StepChoice | null,
  ) {}

  [inspect.custom](): string {
    const v = this.validation;
    const figures =
      v === null
        ? "no validation"
        : `validation (n ${v.n}): accuracy ${v.accuracy?.toFixed(3) ?? "-"}, mass ${v.mass?.toFixed(3) ?? "-"}`;
    const rule = this.protocol.training.earlyStop;
    const end = this.choice === null || rule === null ? "" : `\n${choiceText(this.choice, rule)}`;
    return `Trained by protocol ${this.protocol.name}: ${this.steps} steps, ${figures}${end}\nin ${this.folder}`;
  }
}

/** The run's settings as the loop takes them, with the schedule in steps. */
export function trainConfigOf(protocol: Protocol, examples: number, seed: number): TrainConfig {
  const { training } = protocol;
  const perEpoch = Math.ceil(examples / training.batch);
  return {
    lora: training.lora,
    optimizer: training.optimizer,
    schedule: { warmupSteps: training.warmupSteps, totalSteps: Math.round(perEpoch * training.scheduleEpochs) },
    batch: training.batch,
    epochs: training.epochs,
    order: "shuffled",
    loss: training.loss,
    massWeight: training.massWeight,
    seed,
    ...(training.earlyStop === null ? {} : { earlyStop: training.earlyStop }),
  };
}

/**
 * Trains a detection adapter by a protocol: in a new run folder, or on in the newest one of the same making under `root`.
 *
 * @param protocol resolved protocol, the name of a shipped one, or a bound study
 * @returns the run: folder, adapter folder, events; a finished run is read, not repeated
 * @throws InputError "protocol-*", "label-tokens", "prompt-mass"; DataError "run-mismatch", "mass-collapse", "loss-not-finite";
 *   AbortedError "aborted" when `signal` fires: the step is finished and saved, the message says how to go on
 * @example
 * const model = await openModel("data/lab-model");
 * const run = await trainDetector(model, "strict", { seed: 1 });
 */
export async function trainDetector(
  model: StudyModel,
  protocol: Protocol | string | BoundStudy,
  options: TrainDetectorOptions,
): Promise<DetectorTraining> {
  const study = await bindStudy(model, protocol);
  requirePrompts(study, await lintPrompts(study, { questions: study.questions(study.protocol.training.questions) }));
  const folder = folderFor(study, options);
  try {
    return await train(study, folder, options);
  } catch (error) {
    // A stopped run is open, not failed: it goes on when it is run again.
    if (!(error instanceof AbortedError)) folder.markFailed(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

async function train(study: BoundStudy, folder: RunFolder, options: TrainDetectorOptions): Promise<DetectorTraining> {
  const { protocol, model } = study;
  const { training, conversation } = protocol;
  const set = await generateExamples(study, options.seed);
  const result = await runTraining({
    engine: model.engine,
    baseModel: { name: model.name, hash: model.hash },
    examples: set.train,
    validation: set.validation,
    vectors: set.vectors,
    config: trainConfigOf(protocol, set.train.length, options.seed),
    out: folder.path,
    resume: true,
    asked: {
      questions: study.questions(training.questions).map((question) => question.text),
      labels: [conversation.labels.steered, conversation.labels.clean],
      answerPrefix: conversation.assistantPrefix,
      protocolHash: protocolHash(protocol),
    },
    validateEvery: training.validateEvery,
    checkpointEvery: training.checkpointEvery,
    massGuard: training.massGuard,
    microBatch: options.microBatch,
    signal: options.signal,
    onEvent: options.onEvent,
  });
  const { hash } = await readAdapter(
    result.adapterFolder,
    { config: model.engine.config, name: null },
    { otherBase: "accept" },
  );
  const { choice } = result;
  folder.writeMeta({ adapter: "adapter", adapterHash: hash, ...(choice === null ? {} : { choice }) });
  folder.markDone();
  return new DetectorTraining(
    folder.path,
    result.adapterFolder,
    protocol,
    result.steps,
    result.events,
    result.validation,
    choice,
  );
}

/** The named folder, the newest run of the same making, or a new one. */
function folderFor(study: BoundStudy, options: TrainDetectorOptions): RunFolder {
  const { seed, root = "runs", fresh = false, time = new Date() } = options;
  const { protocol, model, norms } = study;
  const identity = runIdentity("train", model, { protocol: protocolHash(protocol), seed });
  if (options.folder !== undefined) {
    const folder = openRunFolder(options.folder);
    requireSameRun(folder.path, (folder.readMeta().identity ?? {}) as RunIdentity, identity);
    return folder;
  }
  const earlier = fresh ? null : findRun(root, { identity });
  if (earlier !== null) return earlier;
  const folder = createRunFolder({ root, slug: slugify(`train-${protocol.name}`), seed, time });
  saveProtocol(protocol, folder.file("protocol.yaml"));
  folder.writeMeta({ ...runMeta(identity, model, protocol, { seed, time, norms }) });
  return folder;
}
