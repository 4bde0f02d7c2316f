/**
 * The run folder of one evaluation: a new one named by time, slug and seed, or one that evaluations share.
 *
 * Used by side effects, identity and self-prediction, whose records lie beside trials.jsonl under their own names.
 */
import { AbortedError } from "../base";
import type { Adapter, StudyModel } from "../engine";
import { createRunFolder, openRunFolder, type RunFolder, runMeta, slugify } from "../runs";
import { type Protocol, saveProtocol } from "../study";

/** Where an evaluation goes. */
export interface EvaluationPlace {
  /** system text and seeds come from here; written into the folder */
  protocol: Protocol;
  /** null measures the base only */
  adapter: Adapter | null;
  /** folder that holds runs; default "runs" */
  root?: string;
  /** time of the run's name; default now */
  time?: Date;
  /** use this run folder instead of a new one */
  folder?: string;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Runs `body` in its folder and leaves DONE or FAILED there; a stopped run stays open. */
export async function inEvaluationFolder<T>(
  kind: string,
  model: StudyModel,
  place: EvaluationPlace,
  seed: number,
  body: (folder: RunFolder) => Promise<T>,
): Promise<T> {
  const folder = place.folder === undefined ? create(kind, model, place, seed) : openRunFolder(place.folder);
  try {
    const result = await body(folder);
    folder.markDone();
    return result;
  } catch (error) {
    if (!(error instanceof AbortedError)) folder.markFailed(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

function create(
  kind: string,
  model: StudyModel,
  { protocol, adapter, root = "runs", time = new Date() }: EvaluationPlace,
  seed: number,
): RunFolder {
  const folder = createRunFolder({ root, slug: slugify(`${kind}-${protocol.name}`), seed, time });
  saveProtocol(protocol, folder.file("protocol.yaml"));
  folder.writeMeta({ ...runMeta(kind, model, protocol, { seed, time, norms: null, adapter }) });
  return folder;
}
