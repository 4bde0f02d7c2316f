/** Last part of a report: limits computed from what is there, methods rendered from the protocols, and where numbers come from. */
import { renderMarkdown, UNKNOWN } from "../page";
import { startedAt } from "../runs";
import { renderProtocol } from "../study";
import { shortfalls } from "./findings";
import { fold, list, paragraph, table } from "./html";
import { type LoadedRun, modelLabel } from "./load";
import { heldOut, pushes } from "./setting";
import { trainedBy } from "./whose";

/** Limits first, then methods and provenance. */
export function closingSections(runs: readonly LoadedRun[]): string {
  return [
    "<h2>Limits</h2>",
    paragraph("What was measured and fell short opens this report. Beyond that:"),
    list(unmeasured(runs)),
    "<h2>What is held out</h2>",
    heldOut(runs),
    "<h2>How strong a push is</h2>",
    pushes(runs),
    "<h2>Methods</h2>",
    methods(runs),
    "<h2>Where the numbers come from</h2>",
    provenance(runs),
  ].join("\n");
}

/** Sentences that follow from the records: short falls, missing parts, thin spots. */
export function limitsOf(runs: readonly LoadedRun[]): string[] {
  const short = runs.flatMap((run) => {
    const trained = trainedBy(run, runs);
    const whose = trained === null || trained === run.label ? "" : `Adapter trained by ${trained}: `;
    return shortfalls(run).map((sentence) => `${whose}${sentence}`);
  });
  return [...new Set([...short, ...unmeasured(runs)])];
}

/** What these runs cannot say: missing parts, and what no run of this kind measures. */
function unmeasured(runs: readonly LoadedRun[]): string[] {
  const limits: string[] = [];
  const adapters = new Map<string, Set<string>>();
  for (const run of runs) {
    const { adapterHash } = run.meta;
    if (run.records.length === 0 || adapterHash === undefined || adapterHash === null) continue;
    const protocol = trainedBy(run, runs) as string;
    adapters.set(protocol, (adapters.get(protocol) ?? new Set()).add(adapterHash));
  }
  if (adapters.size > 0 && [...adapters.values()].every((of) => of.size === 1))
    limits.push("One adapter and training seed of each protocol: differences between seeds are not measured.");
  if (!runs.some((run) => run.protocol?.twinOf?.changes !== undefined && run.records.length > 0))
    limits.push("No control twin (neutral wording, flipped, no-steer, ...) was trained and measured beside this one.");
  if (!runs.some((run) => run.sideEffects.length > 0)) limits.push("Side effects were not measured.");
  if (!runs.some((run) => run.identity.length > 0)) limits.push("Identity and awareness answers were not sampled.");
  if (runs.some((run) => run.meta.isLabModel === true))
    limits.push(
      "The lab model is small and was pretrained on template language; nothing here carries over to a large model unmeasured.",
    );
  limits.push("Self-prediction is not resampled to matched entropy; contexts are of one to four sentences.");
  return limits;
}

function methods(runs: readonly LoadedRun[]): string {
  const protocols = new Map(runs.flatMap((run) => (run.protocol === null ? [] : [[run.label, run.protocol] as const])));
  return [...protocols]
    .map(([label, protocol]) =>
      fold(`Protocol ${label}, in full`, `<div class="scroll">${renderMarkdown(renderProtocol(protocol, 4))}</div>`),
    )
    .join("\n");
}

const sizedFor = ({ protocol }: LoadedRun): string[] =>
  protocol === null || protocol.sizing === null ? [] : [`sized for ${protocol.sizing.name}`];

function provenance(runs: readonly LoadedRun[]): string {
  const short = (hash: string | null | undefined): string =>
    hash === null || hash === undefined ? UNKNOWN : hash.slice(0, 12);
  const rows = runs.map((run) => {
    const { meta } = run;
    return [
      run.id,
      run.status,
      modelLabel(run),
      short(meta.modelHash),
      short(meta.adapterHash),
      `${run.label} (${[short(meta.protocolHash), ...sizedFor(run)].join(", ")})`,
      `${meta.backend ?? "unknown"} ${meta.dtype ?? "unknown"}, ${meta.device ?? "unknown"}`,
      `${meta.kind === "train" ? "training" : "evaluation"} seed ${meta.seed ?? "unknown"}`,
      startedAt(meta),
      `${meta.library ?? "unknown"}, commit ${short(meta.commit)}`,
    ];
  });
  return [
    table(["run", "state", "model", "weights", "adapter", "protocol", "device", "seed", "started", "steerlab"], rows),
    paragraph("Every number is recomputed from the trial records of these runs when this page is made.", "soft"),
  ].join("\n");
}
