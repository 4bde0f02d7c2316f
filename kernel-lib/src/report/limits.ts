/** Last part of a report: methods rendered from the protocols, limits computed from what is there, and where numbers come from. */
import MarkdownIt from "markdown-it";
import { escapeHtml } from "../page";
import { findMetrics } from "../runs";
import { renderProtocol } from "../study";
import { number, paragraph, table } from "./html";
import { type LoadedRun, modelLabel, trainedBy } from "./load";

/** Limits first, then methods and provenance. */
export function closingSections(runs: readonly LoadedRun[]): string {
  return [
    "<h2>Limits</h2>",
    `<ul>${limitsOf(runs)
      .map((text) => `<li>${escapeHtml(text)}</li>`)
      .join("\n")}</ul>`,
    "<h2>Methods</h2>",
    methods(runs),
    "<h2>Where the numbers come from</h2>",
    provenance(runs),
  ].join("\n");
}

/** Sentences that follow from the records: short falls, missing parts, thin spots. */
export function limitsOf(runs: readonly LoadedRun[]): string[] {
  const limits = runs.flatMap((run) => {
    const trained = trainedBy(run, runs);
    const whose = trained === null || trained === run.protocol?.name ? "" : `Adapter trained by ${trained}: `;
    return run.aims.filter((aim) => aim.reached !== true).map((aim) => `${whose}${aim.text}`);
  });
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
  for (const run of runs) {
    const thin = findMetrics(run.metrics, { name: "leastMass", condition: "tuned", group: {} }).filter(
      (metric) => metric.value !== null && metric.value < 0.5,
    );
    limits.push(
      ...thin.map(
        (metric) =>
          `${metric.tier}: some answers stand on a mass of only ${number(metric.value)}; their probabilities say little.`,
      ),
    );
  }
  if (runs.some((run) => run.meta.isLabModel === true))
    limits.push(
      "The lab model is small and was pretrained on template language; nothing here carries over to a large model unmeasured.",
    );
  limits.push("Self-prediction is not resampled to matched entropy; contexts are of one to four sentences.");
  return [...new Set(limits)];
}

function methods(runs: readonly LoadedRun[]): string {
  const markdown = new MarkdownIt({ html: false, linkify: false });
  const protocols = new Map(
    runs.flatMap((run) => (run.protocol === null ? [] : [[run.protocol.name, run.protocol] as const])),
  );
  return [...protocols.values()]
    .map(
      (protocol) =>
        `<details open><summary>Protocol ${escapeHtml(protocol.name)}</summary><div class="scroll">${markdown.render(renderProtocol(protocol, 3))}</div></details>`,
    )
    .join("\n");
}

function provenance(runs: readonly LoadedRun[]): string {
  const short = (hash: string | null | undefined): string =>
    hash === null || hash === undefined ? "\u2013" : hash.slice(0, 12);
  const rows = runs.map((run) => {
    const { meta } = run;
    return [
      run.id,
      run.status,
      modelLabel(run),
      short(meta.modelHash),
      short(meta.adapterHash),
      `${run.protocol?.name ?? "?"} ${short(meta.protocolHash)}`,
      `${meta.backend ?? "?"} ${meta.dtype ?? "?"}, ${meta.device ?? "?"}`,
      `seed ${meta.seed ?? "?"}`,
      `${meta.library ?? "?"}, commit ${short(meta.commit)}`,
    ];
  });
  return [
    table(["run", "state", "model", "weights", "adapter", "protocol", "device", "seed", "steerlab"], rows),
    paragraph("Every number is recomputed from the trial records of these runs when this page is made.", "soft"),
  ].join("\n");
}
