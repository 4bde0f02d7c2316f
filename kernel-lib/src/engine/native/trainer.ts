/**
 * The native LoRA trainer behind the `Trainer` interface: examples -> packed batches; parameters stay on the device.
 */
import type { NativeBatchResult, NativeBinding, NativeTrainBatch, TrainerHandle } from "@steerlab/native";
import { createHash } from "node:crypto";
import { expected, InputError } from "../../base";
import type { ModelConfig } from "../../checkpoint";
import { checkedToken, checkedTokens } from "../checks";
import type { Adapter, BatchResult, Trainer, TrainerState, TrainerTensor, TrainingExample, TrainRun } from "../types";
import { translated } from "./binding";
import { adapterHandle, NativeAdapter } from "./handles";
import { abortable } from "./job";
import { concatenate } from "./pack";
import { SteeringTable } from "./steering-table";

export class NativeTrainer implements Trainer {
  private snapshots = 0;

  constructor(
    private readonly binding: NativeBinding,
    private readonly owner: object,
    private readonly handle: TrainerHandle,
    private readonly config: ModelConfig,
    readonly layout: readonly TrainerTensor[],
  ) {}

  step(
    examples: readonly TrainingExample[],
    step: number,
    lr: number,
    run: TrainRun = {},
  ): Promise<BatchResult & { gradNorm: number }> {
    return abortable(run, async (job) => {
      const result = await this.binding.trainStep(this.handle, this.pack(examples, run), step, lr, job);
      return { ...batchResult(result), gradNorm: result.gradNorm };
    });
  }

  evaluate(examples: readonly TrainingExample[], run: TrainRun = {}): Promise<BatchResult> {
    return abortable(run, async (job) =>
      batchResult(await this.binding.evaluate(this.handle, this.pack(examples, run), job)),
    );
  }

  /** @param run.contextAdapter prefills the contexts instead of the present parameters: holds them constant in gradient checks */
  gradients(
    examples: readonly TrainingExample[],
    step: number,
    run: TrainRun & { contextAdapter?: Adapter } = {},
  ): Promise<BatchResult & { gradients: Float32Array | Float64Array }> {
    return abortable(run, async (job) => {
      const contextAdapter = run.contextAdapter
        ? adapterHandle(run.contextAdapter, this.owner, "contextAdapter")
        : null;
      const result = await this.binding.gradients(
        this.handle,
        { ...this.pack(examples, run), contextAdapter },
        step,
        job,
      );
      return { ...batchResult(result), gradients: result.gradients };
    });
  }

  state(): Promise<TrainerState> {
    return abortable({}, () => this.binding.trainerState(this.handle));
  }

  setState(state: TrainerState): Promise<void> {
    return abortable({}, () => this.binding.setTrainerState(this.handle, state));
  }

  /** A snapshot: later steps do not change it. Its hash names the snapshot of this process, not its bytes. */
  adapter(name: string): Adapter {
    const handle = translated(() => this.binding.trainerAdapter(this.handle));
    const hash = createHash("sha256")
      .update(`trainer snapshot ${name} ${this.snapshots++}`)
      .digest("hex");
    return new NativeAdapter(this.binding, this.owner, handle, name, hash);
  }

  dispose(): void {
    translated(() => this.binding.disposeTrainer(this.handle));
  }

  private pack(examples: readonly TrainingExample[], run: TrainRun): NativeTrainBatch {
    const { config } = this;
    if (examples.length === 0) throw new InputError("empty-batch", expected("at least one example", "batch", 0));
    const microBatch = run.microBatch ?? examples.length;
    if (!Number.isSafeInteger(microBatch) || microBatch < 1)
      throw new InputError("micro-batch", expected("an integer >= 1", "microBatch", microBatch));
    const steering = new SteeringTable(config);
    const contexts = examples.map((e, i) => contextTokens(e, i, config));
    const questions = examples.map((e, i) => checkedTokens(e.question, `question of example ${i}`, config));
    examples.forEach((e, i) => {
      steering.add(i, e.steering, contexts[i].length, `steering of example ${i}`);
      checkLoss(e, i, config);
    });
    const context = concatenate(contexts);
    const question = concatenate(questions);
    return {
      contextTokens: context.values,
      contextOffsets: context.offsets,
      questionTokens: question.values,
      questionOffsets: question.offsets,
      labels: Int32Array.from(examples.flatMap((e) => ("positions" in e ? [0, 0] : [...e.labels]))),
      targets: Int32Array.from(examples, (e) => ("positions" in e ? 0 : e.target)),
      matchPositions: Int32Array.from(examples, (e) => ("positions" in e ? e.positions : 0)),
      weights: Float64Array.from(examples, (e) => e.weight ?? 1),
      steering: steering.build(),
      microBatch,
    };
  }
}

/** A bare question has no context; nothing can steer it then. */
function contextTokens(example: TrainingExample, index: number, config: ModelConfig): Int32Array {
  const name = `context of example ${index}`;
  if (example.context.length > 0) return checkedTokens(example.context, name, config);
  if ((example.steering?.length ?? 0) > 0)
    throw new InputError("empty-row", expected("at least one token to steer", name, 0, "Ask a bare question clean."));
  return new Int32Array(0);
}

function checkLoss(example: TrainingExample, index: number, config: ModelConfig): void {
  const { weight = 1, question } = example;
  if (!Number.isFinite(weight) || weight < 0)
    throw new InputError("weight", expected("a finite number >= 0", `weight of example ${index}`, weight));
  if ("positions" in example) {
    const { positions } = example;
    if (!Number.isSafeInteger(positions) || positions < 1 || positions > question.length)
      throw new InputError(
        "positions",
        expected(
          `an integer in [1, ${question.length}] (tokens of the question)`,
          `positions of example ${index}`,
          positions,
        ),
      );
    return;
  }
  const name = `labels of example ${index}`;
  for (const id of example.labels) checkedToken(id, name, config);
  if (example.labels.length !== 2 || example.labels[0] === example.labels[1]) {
    throw new InputError("labels", expected("two different token ids", name, `[${example.labels.join(", ")}]`));
  }
  if (example.target !== 0 && example.target !== 1)
    throw new InputError("target", expected("0 or 1", `target of example ${index}`, example.target));
}

function batchResult({ loss, logprob, logmass }: NativeBatchResult): BatchResult {
  return { loss, logprob, logmass };
}
