/** Whose numbers a notebook's run holds, and how it stands against its protocol's aims: read from the run folder alone. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { AIM_WORDS, subjectOf } from "../../evaluate";
import {
  aimBounds,
  aimMeasured,
  aimVerdict,
  openRunFolder,
  readSummary,
  runOrigin,
  startedAt,
  trainingRunOf,
  trainingTitle,
} from "../../runs";
import { loadProtocol, tierViews } from "../../study";

/** An aim and what came of it, in words. */
export interface Verdict {
  what: string;
  aim: string;
  measured: string;
  verdict: string;
}

/** What an index says about a run. */
export interface Provenance {
  model: string;
  /** what the protocol is called, changes included */
  protocol: string;
  /** the run that trained the adapter, with its protocol, seed and date; "" where there is none */
  adapter: string;
  /** of the evaluation, or of the training where the run is one */
  seed: string;
  started: string;
  verdicts: Verdict[];
}

/** Read from a run folder; null where it is missing, has no meta.json or cannot be read: the index shows what it can. */
export function provenanceOf(run: string | null): Provenance | null {
  if (run === null || !existsSync(run)) return null;
  try {
    return read(run);
  } catch {
    return null; // of another version, or half written; the notebook's own page says what is wrong
  }
}

function read(run: string): Provenance | null {
  const folder = openRunFolder(run);
  const origin = runOrigin(folder);
  const { meta, label } = origin;
  if (meta.kind === undefined) return null;
  const isTraining = meta.kind === "train";
  const hash = meta.adapterHash ?? null;
  const trained = isTraining || hash === null ? null : trainingRunOf(dirname(folder.path), hash);
  const other = hash === null ? "no adapter" : `adapter ${hash.slice(0, 12)}, trained elsewhere`;
  return {
    model: meta.model ?? "unknown model",
    protocol: label,
    adapter: isTraining ? trainingTitle(origin) : trained === null ? other : trainingTitle(runOrigin(trained)),
    seed: `${isTraining ? "training" : "evaluation"} seed ${meta.seed ?? "unknown"}`,
    started: startedAt(meta),
    verdicts: verdictsOf(folder.file("summary.json"), folder.file("protocol.yaml")),
  };
}

function verdictsOf(summary: string, protocol: string): Verdict[] {
  if (!existsSync(summary)) return [];
  const views = existsSync(protocol) ? tierViews(loadProtocol(protocol)) : [];
  return readSummary(summary).aims.map((aim) => ({
    what: `${AIM_WORDS[aim.metric] ?? aim.metric}, ${subjectOf(aim.tier, views)}`,
    aim: aimBounds(aim),
    measured: aimMeasured(aim),
    verdict: aimVerdict(aim),
  }));
}
