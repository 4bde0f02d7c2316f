/**
 * One runner for every evaluation: plan -> ask -> record -> metrics, in a run folder that its identity finds again.
 *
 * An evaluation says what it plans, how a batch is asked and what its records come to (`Evaluation`); everything else stands here
 * once. A record is on disk as soon as its batch is back. The same call again goes on where the first one stopped, and a finished
 * run is read, not repeated. Metrics are made from the records alone.
 */
import { inspect } from "node:util";
import { AbortedError, DataError } from "../base";
import type { Adapter } from "../engine";
import { JsonlWriter, sha256, writeParquet } from "../files";
import {
  type AimResult,
  createRunFolder,
  findMetrics,
  findRun,
  type Metric,
  openRunFolder,
  requireSameRun,
  type RunFolder,
  type RunIdentity,
  runIdentity,
  runMeta,
  slugify,
  writeSummary,
} from "../runs";
import { type BoundStudy, protocolHash, saveProtocol } from "../study";
import { summarise, type Summary } from "./summaries";
import { type EvaluationKind, RECORD_FILES, type RecordOf, readRecords } from "./records";

/** Options of every evaluation. */
export interface EvaluateOptions {
  /** what was trained; null asks the base only */
  adapter: Adapter | null;
  /** folder that holds runs; default "runs" */
  root?: string;
  /** go on in this run folder; refused if its run is of another making */
  folder?: string;
  /** start a new run even if the same one lies in `root` */
  fresh?: boolean;
  /** time of a new run's name; default now */
  time?: Date;
  /** rows of one engine call; speed and memory, never the numbers */
  batch?: number;
  signal?: AbortSignal;
  /** records made so far, of all */
  onProgress?: (done: number, total: number) => void;
}

/** One thing to ask; its record carries the same id. */
export interface Planned {
  /** unique in the run, the same in every run of the same making */
  id: string;
  /** "base", or the name of one of the evaluation's adapters */
  condition: string;
}

/** What an evaluation fills in. `P` is planned, `K` names its records. */
export interface Evaluation<K extends EvaluationKind, P extends Planned> {
  kind: K;
  /** by condition; conditions that are not named here ask the base */
  adapters: Readonly<Record<string, Adapter>>;
  /** parts of the run's identity beside protocol, seed and adapters */
  parts?: RunIdentity;
  plan: readonly P[];
  /** cuts what is missing into engine calls; default: by condition, `batch` at a time, in plan order */
  batches?(missing: readonly P[], batch: number): Iterable<readonly P[]>;
  /** records of another run: what is planned here under the same id is copied, not asked. Ids must tell all that decides a record */
  reuse?: ReadonlyMap<string, RecordOf[K]>;
  /** default rows of one engine call */
  batch: number;
  /** asks one batch; `known` holds every record so far by id */
  ask(batch: readonly P[], known: ReadonlyMap<string, RecordOf[K]>, signal?: AbortSignal): Promise<RecordOf[K][]>;
  /** puts what the run used beside its records, when its folder is made */
  furnish?(folder: RunFolder): void;
  /** lines that a notebook shows of the result */
  describe(summary: Summary): string[];
}

/**
 * A finished evaluation: where it lies, what was answered, what it comes to. A notebook shows its few main figures.
 *
 * @example
 * const [accuracy] = sweep.find({ name: "balancedAccuracy", tier: "held_out_random", condition: "tuned", group: {} });
 */
export class EvaluationRun<R> {
  constructor(
    /** run folder */
    readonly folder: string,
    readonly records: readonly R[],
    readonly metrics: readonly Metric[],
    readonly aims: readonly AimResult[],
    private readonly describe: (summary: Summary) => string[],
  ) {}

  /**
   * Metrics that match; absent fields match anything, and group: {} the whole tier only. See `findMetrics`.
   * @example
   * sweep.find({ name: "hitRate", condition: "tuned" });
   */
  find(where: Parameters<typeof findMetrics>[1]): Metric[] {
    return findMetrics(this.metrics, where);
  }

  [inspect.custom](): string {
    return [
      `${this.records.length} records in ${this.folder}`,
      ...this.describe({ metrics: this.metrics, aims: this.aims }),
    ].join("\n");
  }
}

/**
 * Runs what is not recorded yet and summarises.
 *
 * @throws DataError "run-mismatch" if `folder` holds a run of another making; AbortedError when `signal` fires (what is recorded stays)
 */
export async function runEvaluation<K extends EvaluationKind, P extends Planned>(
  study: BoundStudy,
  evaluation: Evaluation<K, P>,
  options: EvaluateOptions,
): Promise<EvaluationRun<RecordOf[K]>> {
  const folder = folderFor(study, evaluation, options);
  try {
    await recordAll(folder, evaluation, options);
    const records = readRecords(folder.path, evaluation.kind);
    writeParquet(
      folder.file(RECORD_FILES[evaluation.kind].replace(/\.jsonl$/, ".parquet")),
      records.map((record) => ({ ...(record as object) })),
    );
    const { metrics, aims } = summarise(evaluation.kind, records, study.protocol);
    writeSummary(folder.file("summary.json"), metrics, aims);
    folder.markDone();
    return new EvaluationRun(folder.path, inPlanOrder(evaluation.plan, records), metrics, aims, evaluation.describe);
  } catch (error) {
    if (!(error instanceof AbortedError)) folder.markFailed(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

/** Asks every planned item without a record, a batch at a time. */
async function recordAll<K extends EvaluationKind, P extends Planned>(
  folder: RunFolder,
  { kind, plan, ask, reuse, batch, batches = byCondition }: Evaluation<K, P>,
  options: EvaluateOptions,
): Promise<void> {
  const file = folder.file(RECORD_FILES[kind]);
  const known = new Map(readRecords(folder.path, kind).map((record) => [record.id, record]));
  const writer = new JsonlWriter(file);
  const copied = plan.flatMap(({ id }) => (known.has(id) ? [] : (reuse?.get(id) ?? [])));
  writer.appendAll(copied);
  for (const record of copied) known.set(record.id, record);
  const missing = plan.filter(({ id }) => !known.has(id));
  let done = plan.length - missing.length;
  options.onProgress?.(done, plan.length);
  const stopped = (): AbortedError =>
    new AbortedError(
      `Stopped after ${done} of ${plan.length} records, all of them kept in ${file}. Run the same again to go on.`,
    );
  try {
    for (const items of batches(missing, options.batch ?? batch)) {
      if (options.signal?.aborted === true) throw stopped();
      const records = await ask(items, known, options.signal);
      writer.appendAll(records);
      for (const record of records) known.set(record.id, record);
      done += records.length;
      options.onProgress?.(done, plan.length);
    }
  } catch (error) {
    if (options.signal?.aborted === true) throw stopped();
    throw error;
  } finally {
    writer.close();
  }
}

/** The named folder, the newest run of the same making, or a new one. */
function folderFor<K extends EvaluationKind, P extends Planned>(
  study: BoundStudy,
  evaluation: Evaluation<K, P>,
  options: EvaluateOptions,
): RunFolder {
  const { root = "runs", fresh = false, time = new Date() } = options;
  const { protocol, model, norms } = study;
  const { seed } = protocol.evaluation;
  const adapters = Object.entries(evaluation.adapters).map(([name, { hash }]) => [`adapter ${name}`, hash]);
  const identity = runIdentity(evaluation.kind, model, {
    protocol: protocolHash(protocol),
    seed,
    ...Object.fromEntries(adapters),
    ...evaluation.parts,
  });
  if (options.folder !== undefined) {
    const folder = openRunFolder(options.folder);
    requireSameRun(folder.path, (folder.readMeta().identity ?? {}) as RunIdentity, identity);
    return folder;
  }
  const earlier = fresh ? null : findRun(root, { identity });
  if (earlier !== null) return earlier;
  const { adapter } = options;
  // The seed that ends the name is the evaluation's; whose adapter was asked stands before it.
  const asked = adapter === null ? "base" : adapter.hash.slice(0, 8);
  const slug = slugify(`${evaluation.kind}-${asked}-${protocol.name}`);
  const folder = createRunFolder({ root, slug, seed, time });
  saveProtocol(protocol, folder.file("protocol.yaml"));
  evaluation.furnish?.(folder);
  folder.writeMeta({ ...runMeta(identity, model, protocol, { seed, time, norms, adapter }) });
  return folder;
}

function* byCondition<P extends Planned>(items: readonly P[], batch: number): Generator<readonly P[]> {
  for (let at = 0; at < items.length; ) {
    let end = at + 1;
    while (end < items.length && end - at < batch && items[end].condition === items[at].condition) end++;
    yield items.slice(at, end);
    at = end;
  }
}

function inPlanOrder<R extends { id: string }>(plan: readonly Planned[], records: readonly R[]): R[] {
  const byId = new Map(records.map((record) => [record.id, record]));
  return plan.flatMap(({ id }) => byId.get(id) ?? []);
}

/** Conditions of an evaluation that asks base and, where there is one, the adapter. */
export function baseAndTuned(adapter: Adapter | null): { conditions: string[]; adapters: Record<string, Adapter> } {
  return adapter === null
    ? { conditions: ["base"], adapters: {} }
    : { conditions: ["base", "tuned"], adapters: { tuned: adapter } };
}

/** Sixteen hex digits that name what is asked: a record's id. */
export function recordId(...content: (string | number)[]): string {
  return sha256(JSON.stringify(content)).slice(0, 16);
}

/** Conditions that ask the model without an adapter; "base-again" is the same in other batches, "reworded" in other words. */
const BASE_CONDITIONS: readonly string[] = ["base", "base-again", "reworded"];

/** @throws DataError "no-adapter" if a condition other than base has none */
export function adapterOf(adapters: Readonly<Record<string, Adapter>>, condition: string): Adapter | null {
  if (BASE_CONDITIONS.includes(condition)) return null;
  const adapter = adapters[condition];
  if (adapter === undefined) {
    throw new DataError(
      "no-adapter",
      `Expected an adapter for condition ${condition} but received none. Attach one, or ask the base only.`,
    );
  }
  return adapter;
}
