/**
 * The training loop: examples, vectors and settings in; PEFT adapter, events and checkpoints out; resumable to the same bytes.
 *
 * Each step: batch k of the epoch's order -> engine step (prefill steered, ask clean, AdamW) -> event line. Order of epoch e is
 * random(seed).fork("order").fork(e).shuffle. LoRA starts as in PEFT: A uniform in +-1/sqrt(in) (kaiming, a = sqrt 5), B = 0,
 * from the run's own seed. Loss and schedule: config.ts. Knows nothing of protocols; detector.ts builds on it.
 */
import * as path from "node:path";
import { AbortedError, DataError, expected, InputError, random } from "../base";
import { type AdapterManifest, type AdapterPart, loraParameterCount } from "../checkpoint";
import type { Engine, Trainer, TrainerTensor, TrainingExample } from "../engine";
import { contentHash, JsonlWriter, sha256 } from "../files";
import { type RunIdentity, runIdentity } from "../runs";
import { copyLora, newestCheckpoint, readState, saveCheckpoint, writeLora } from "./checkpoints";
import { flatFromParts } from "./flat-parameters";
import { learningRate, stepsOf, type TrainConfig, trainerOptions } from "./config";
import { cutEvents, figuresOf, readEvents, type StepEvent, type TrainEvent, type ValidationEvent } from "./events";
import { choiceOf, isBest, isOver, type StepChoice } from "./early-stop";
import { engineExample, targetOf, type TrainExample } from "./example-lines";
import { claimRun, type RunLock } from "./run-lock";

/** What `runTraining` takes. */
export interface TrainingRun {
  engine: Engine;
  /** who is trained, for adapter_config.json and the manifest */
  baseModel: { name: string | null; hash: string | null };
  examples: readonly TrainExample[];
  /** measured every `validateEvery` steps and at the end, never trained on */
  validation?: readonly TrainExample[];
  /** directions that examples name by index, each (C) */
  vectors: readonly Float32Array[];
  config: TrainConfig;
  /** run folder; made if absent */
  out: string;
  /** start from these instead of a fresh LoRA */
  initial?: readonly AdapterPart[] | null;
  /** go on from the newest checkpoint in `out`; without one, start */
  resume?: boolean;
  /** `out`, claimed by the caller, who releases it; default: claimed for the length of the call */
  lock?: RunLock;
  /** what was asked, to travel with the adapter */
  asked?: Pick<AdapterManifest, "questions" | "labels" | "answerPrefix" | "protocolHash"> | null;
  /** 0 = never */
  validateEvery?: number;
  /** 0 = only at the end and when stopped */
  checkpointEvery?: number;
  /** stop with an error when the mean mass of `GUARD_STEPS` steps falls below; 0 = no guard */
  massGuard?: number;
  /** examples per engine pass; memory and speed, never the numbers */
  microBatch?: number;
  /** when it fires, the step under way is finished and saved */
  signal?: AbortSignal;
  onEvent?: (event: TrainEvent, totalSteps: number) => void;
}

/** What a finished run leaves. */
export interface TrainingResult {
  /** run folder */
  out: string;
  adapterFolder: string;
  /** optimizer steps taken */
  steps: number;
  /** whose weights the adapter has where a rule stopped early or could have; null: those of the last step */
  choice: StepChoice | null;
  events: TrainEvent[];
  /** the last validation, or null without validation examples */
  validation: ValidationEvent | null;
}

/** Steps over which the mass guard averages. */
export const GUARD_STEPS = 20;
const VALIDATION_BATCH = 64;

/**
 * Trains a LoRA adapter; writes `adapter/`, `events.jsonl` and `checkpoints/` into the run folder.
 *
 * @returns where the adapter lies and every event
 * @throws InputError "run-exists" (folder has a run and resume is off), "run-busy", "no-examples", "adapter-parts";
 *   DataError "loss-not-finite", "mass-collapse", "run-mismatch"; AbortedError "aborted" after saving
 * @example
 * const result = await runTraining({ engine, baseModel: { name: "lab", hash: null }, examples, vectors, config, out: "runs/x" });
 */
export async function runTraining(run: TrainingRun): Promise<TrainingResult> {
  checkRun(run);
  const lock = run.lock ?? claimRun(run.out, run.resume === true);
  try {
    return await trainIn(run);
  } finally {
    if (run.lock === undefined) lock.release();
  }
}

async function trainIn(run: TrainingRun): Promise<TrainingResult> {
  const { engine, config, out } = run;
  const total = stepsOf(config, run.examples.length);
  const identity = identityOf(run);
  const found = run.resume === true ? newestCheckpoint(out, identity) : null;
  const trainer = await startTrainer(run, found?.folder ?? null);
  const eventsFile = path.join(out, "events.jsonl");
  cutEvents(eventsFile, found?.position.step ?? 0);
  const events = readEvents(eventsFile);
  const writer = new JsonlWriter(eventsFile);
  const record = (event: TrainEvent): void => {
    events.push(event);
    writer.append(event);
    run.onEvent?.(event, total);
  };
  const save = async (step: number): Promise<void> => {
    writer.flush();
    const state = await trainer.state();
    const manifest = manifestAt(run, step, events);
    const position = { format: 2 as const, step, identity, metrics: manifest.metrics };
    saveCheckpoint(out, {
      position,
      state,
      layout: trainer.layout,
      config,
      model: engine.config,
      manifest,
      baseModel: run.baseModel.name,
    });
  };
  // Listening tells the notebook's kernel that this work stops by itself, so that the cell is left the time to save.
  let isStopped = run.signal?.aborted === true;
  const stop = (): void => {
    isStopped = true;
  };
  run.signal?.addEventListener("abort", stop);
  try {
    const rows = run.examples.map((example) => engineExample(example, run.vectors));
    const rule = config.earlyStop ?? null;
    let step = found?.position.step ?? 0;
    const isFinished = (): boolean => step >= total || isOver(rule, events);
    while (!isFinished()) {
      step++;
      const batch = batchOf(run, rows, step);
      record(await oneStep(run, trainer, batch, step, events));
      if ((step === total || isDue(step, run.validateEvery)) && (run.validation?.length ?? 0) > 0)
        record(await validate(run, trainer, step));
      const last = isFinished();
      const stopped = isStopped && !last;
      if (last || stopped || isDue(step, run.checkpointEvery) || isBest(rule, events, step)) await save(step);
      if (stopped)
        throw new AbortedError(
          `Stopped after step ${step} of ${total}; everything is saved in ${out}. Run the cell again to go on; in a script, pass that folder as resume (--resume).`,
        );
    }
    const adapterFolder = path.join(out, "adapter");
    const choice = rule === null ? null : choiceOf(rule, events, { stoppedStep: step, plannedSteps: total });
    const content = { config, model: engine.config, baseModel: run.baseModel.name };
    const manifest = manifestAt(run, choice?.step ?? step, events, choice);
    if (choice === null) {
      const { params } = await trainer.state();
      writeLora(adapterFolder, { ...content, params, layout: trainer.layout, manifest });
    } else await copyLora(out, choice.step, adapterFolder, { ...content, manifest });
    return { out, adapterFolder, steps: step, choice, events, validation: lastValidation(events) };
  } finally {
    run.signal?.removeEventListener("abort", stop);
    writer.close();
    trainer.dispose();
  }
}

function isDue(step: number, every: number | undefined): boolean {
  return every !== undefined && every > 0 && step % every === 0;
}

function checkRun({ examples, config, initial }: TrainingRun): void {
  if (examples.length === 0) throw new InputError("no-examples", expected("at least one example", "examples", "none"));
  if (initial !== undefined && initial !== null) checkInitial(initial, config);
}

/** @throws InputError "adapter-parts" if an initial adapter is of another rank or alpha than the settings, or has biases */
export function checkInitial(initial: readonly AdapterPart[], config: TrainConfig): void {
  const wrong = initial.find(
    (part) =>
      part.r !== config.lora.r ||
      Math.abs(part.scaling - config.lora.alpha / config.lora.r) > 1e-12 ||
      part.bias !== undefined,
  );
  if (wrong !== undefined) {
    throw new InputError(
      "adapter-parts",
      expected(
        `r ${config.lora.r} and alpha ${config.lora.alpha} (lora of the configuration)`,
        "the initial adapter",
        `r ${wrong.r}, alpha ${wrong.scaling * wrong.r}${wrong.bias === undefined ? "" : " and a bias"}`,
      ),
    );
  }
}

/** Everything that decides the bytes of the result, each part by its hash or name. */
function identityOf({ engine, examples, vectors, config, baseModel, initial }: TrainingRun): RunIdentity {
  const bytes = (values: Float32Array): string =>
    sha256(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  const parts = initial?.map((part) => [part.layer, part.module, bytes(part.a), bytes(part.b)]);
  return runIdentity(
    "train",
    { engine, hash: baseModel.hash },
    {
      config: contentHash(config),
      examples: sha256(JSON.stringify(examples)),
      vectors: contentHash(vectors.map(bytes)),
      "initial adapter": parts === undefined ? null : contentHash(parts),
    },
  );
}

/** Initial parameters as in PEFT: A kaiming-uniform with a = sqrt(5), which is U(-1/sqrt(in), 1/sqrt(in)); B = 0. */
export function initialLora(layout: readonly TrainerTensor[], seed: number): Float32Array {
  const end = layout.reduce((most, tensor) => Math.max(most, tensor.offset + tensor.shape[0] * tensor.shape[1]), 0);
  const params = new Float32Array(end);
  const source = random(seed).fork("lora-init");
  for (const { name, which, shape, offset } of layout) {
    if (which === "B") continue;
    const bound = 1 / Math.sqrt(shape[1]);
    const stream = source.fork(name);
    for (let i = 0; i < shape[0] * shape[1]; i++) params[offset + i] = (2 * stream.uniform() - 1) * bound;
  }
  return params;
}

/** A trainer at the checkpoint, at the given adapter, or fresh. The layout is the trainer's own, so it is made first. */
async function startTrainer(run: TrainingRun, checkpoint: string | null): Promise<Trainer> {
  const { engine, config, initial } = run;
  const count = loraParameterCount(engine.config, config.lora.r, config.lora.targetModules);
  const wide = engine.dtype === "f64";
  const blank = (): Float32Array | Float64Array => (wide ? new Float64Array(count) : new Float32Array(count));
  const trainer = engine.createTrainer(trainerOptions(config), blank());
  try {
    if (checkpoint !== null) {
      await trainer.setState(await readState(checkpoint, count));
      return trainer;
    }
    const start =
      initial === undefined || initial === null
        ? initialLora(trainer.layout, config.seed)
        : flatFromParts(trainer.layout, initial);
    await trainer.setState({ params: wide ? Float64Array.from(start) : start, m: blank(), v: blank() });
    return trainer;
  } catch (error) {
    trainer.dispose();
    throw error;
  }
}

interface Batch {
  rows: TrainingExample[];
  /** right labels; null where an example has none */
  targets: (0 | 1 | null)[];
  epoch: number;
}

/** Batch of 1-based `step`: a pure function of (seed, step), so resuming needs no stored position. */
function batchOf({ config, examples }: TrainingRun, rows: readonly TrainingExample[], step: number): Batch {
  const perEpoch = Math.ceil(examples.length / config.batch);
  const epoch = Math.floor((step - 1) / perEpoch);
  const at = ((step - 1) % perEpoch) * config.batch;
  const order = epochOrder(config, examples.length, epoch).slice(at, at + config.batch);
  return {
    rows: order.map((i) => rows[i]),
    targets: order.map((i) => targetOf(examples[i])),
    epoch: epoch + (at + order.length) / examples.length,
  };
}

const orders = new WeakMap<TrainConfig, { count: number; epoch: number; order: number[] }>();

function epochOrder(config: TrainConfig, count: number, epoch: number): number[] {
  const held = orders.get(config);
  if (held?.count === count && held.epoch === epoch) return held.order;
  const given = Array.from({ length: count }, (_, i) => i);
  const order = config.order === "given" ? given : random(config.seed).fork("order").fork(epoch).shuffle(given);
  orders.set(config, { count, epoch, order });
  return order;
}

async function oneStep(
  run: TrainingRun,
  trainer: Trainer,
  batch: Batch,
  step: number,
  events: readonly TrainEvent[],
): Promise<StepEvent> {
  const lr = learningRate(run.config, step);
  const start = performance.now();
  const result = await trainer.step(batch.rows, step, lr, { microBatch: run.microBatch });
  const seconds = (performance.now() - start) / 1000;
  const figures = figuresOf(result, batch.targets);
  if (!result.loss.every(Number.isFinite) || !Number.isFinite(result.gradNorm)) {
    throw new DataError(
      "loss-not-finite",
      `Expected a finite loss and gradient at step ${step} but received loss ${result.loss.find((loss) => !Number.isFinite(loss)) ?? figures.loss}, gradient norm ${result.gradNorm}. Lower the learning rate or the magnitudes.`,
    );
  }
  const rate = seconds > 0 ? Math.round((10 * batch.rows.length) / seconds) / 10 : null;
  const event: StepEvent = {
    kind: "step",
    step,
    epoch: batch.epoch,
    ...figures,
    lr,
    gradNorm: result.gradNorm,
    examplesPerSecond: rate,
  };
  guardMass(run, event, events);
  return event;
}

function guardMass({ massGuard = 0 }: TrainingRun, event: StepEvent, events: readonly TrainEvent[]): void {
  if (massGuard <= 0 || event.step < GUARD_STEPS) return;
  const recent = [...events.filter((item) => item.kind === "step").slice(1 - GUARD_STEPS), event].flatMap(({ mass }) =>
    mass === null ? [] : [mass],
  );
  const mean = recent.reduce((sum, mass) => sum + mass, 0) / recent.length;
  if (mean >= massGuard) return;
  throw new DataError(
    "mass-collapse",
    `Expected a mean answer mass >= ${massGuard} at step ${event.step} but received ${mean.toPrecision(3)}. The labels are losing all probability; use loss pair+mass or full.`,
  );
}

async function validate(run: TrainingRun, trainer: Trainer, step: number): Promise<ValidationEvent> {
  const validation = run.validation as readonly TrainExample[];
  const loss: number[] = [];
  const logprob: number[] = [];
  const logmass: number[] = [];
  for (let at = 0; at < validation.length; at += VALIDATION_BATCH) {
    const rows = validation.slice(at, at + VALIDATION_BATCH).map((example) => engineExample(example, run.vectors));
    const result = await trainer.evaluate(rows, { microBatch: run.microBatch });
    loss.push(...result.loss);
    logprob.push(...result.logprob);
    logmass.push(...result.logmass);
  }
  const all = {
    loss: Float64Array.from(loss),
    logprob: Float64Array.from(logprob),
    logmass: Float64Array.from(logmass),
  };
  const saysFirst = (target: 0 | 1): number | null => {
    const of = validation.flatMap((example, i) =>
      targetOf(example) === target ? [logprob[2 * i] > logprob[2 * i + 1]] : [],
    );
    return of.length === 0 ? null : of.filter(Boolean).length / of.length;
  };
  const figures = figuresOf(all, validation.map(targetOf));
  return {
    kind: "validation",
    step,
    n: validation.length,
    ...figures,
    hitRate: saysFirst(0),
    falseAlarmRate: saysFirst(1),
  };
}

function lastValidation(events: readonly TrainEvent[]): ValidationEvent | null {
  for (let i = events.length - 1; i >= 0; i--) {
    const event = events[i];
    if (event.kind === "validation") return event;
  }
  return null;
}

/** What travels with the weights of `step`. */
function manifestAt(
  run: TrainingRun,
  step: number,
  all: readonly TrainEvent[],
  choice: StepChoice | null = null,
): AdapterManifest {
  const events = all.filter((event) => event.step <= step);
  const validation = lastValidation(events);
  const figures: Record<string, number | null> = { trainLoss: null, trainAccuracy: null, trainMass: null };
  const latest = [...events].reverse().find((event) => event.kind === "step");
  if (latest !== undefined)
    Object.assign(figures, { trainLoss: latest.loss, trainAccuracy: latest.accuracy, trainMass: latest.mass });
  if (validation !== null)
    Object.assign(figures, {
      validationStep: validation.step,
      validationLoss: validation.loss,
      validationAccuracy: validation.accuracy,
      validationMass: validation.mass,
    });
  if (choice !== null) Object.assign(figures, { stoppedStep: choice.stoppedStep, plannedSteps: choice.plannedSteps });
  const asked = run.asked ?? { questions: [], labels: null, answerPrefix: null, protocolHash: null };
  const labelled = run.examples.find((example) => !("positions" in example));
  const [first, second] = labelled === undefined || "positions" in labelled ? ["none", "none"] : labelled.labels;
  return {
    format: 1,
    questions: asked.questions,
    labels: asked.labels ?? [`token ${first}`, `token ${second}`],
    answerPrefix: asked.answerPrefix,
    protocolHash: asked.protocolHash,
    baseModelHash: run.baseModel.hash,
    step,
    metrics: figures,
    seed: run.config.seed,
  };
}
