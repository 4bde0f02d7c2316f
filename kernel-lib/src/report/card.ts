/**
 * Model card of an adapter, generated from records: what it is, how it was trained, what was measured, where it falls short.
 *
 * Written beside the PEFT files as README.md. A card with a missing number or a placeholder is refused, not published: values
 * come from the run's own metrics, and an unmeasured part is said to be unmeasured.
 */
import * as path from "node:path";
import { DataError, expected, InputError } from "../base";
import { writeFileAtomic } from "../files";
import { formatEstimate, formatNumber } from "../page";
import { findMetrics, type Metric } from "../runs";
import { renderProtocol } from "../study";
import { choiceText } from "../train";
import { usageText } from "./card/usage";
import { fewQuestions } from "./html";
import { limitsOf } from "./limits";
import { type LoadedRun, loadRun, modelLabel, titleOfTier } from "./load";
import { tierNumbers } from "./tables";

/** Texts that must not stand in a card. */
const PLACEHOLDER =
  /\b(TBD|TODO|FIXME|XXX|lorem ipsum)\b|\?\?\?|\[(?:insert|your)[^\]]*\]|<(?:insert|your)[^>]*>|\bNaN\b|\bundefined\b/i;

/** Names that only the one who publishes knows. */
export interface CardNames {
  /** the base model's name on a hub; default: as the training named it, which front matter takes only if it is a hub name */
  baseModel?: string;
  /** where the adapter will be found; default: this folder */
  repo?: string;
  /** the protocol's file, seen from the card; default: where a run folder has it */
  protocol?: string;
}

/**
 * Text of the card.
 *
 * @param training run folder of the training
 * @param evaluations run folders that measured the adapter
 * @throws InputError "card-runs" if a run is unfinished or measured another adapter's model; DataError "card-placeholder"
 * @example
 * const text = adapterCard("runs/20300102-030000-train-strict-s1", ["runs/20300102-030405-detect-strict-s7"]);
 */
export function adapterCard(training: string, evaluations: readonly string[], names: CardNames = {}): string {
  return cardOfRuns(loadRun(training), evaluations.map(loadRun), names);
}

/** Text of the card of runs that are loaded already. @throws as `adapterCard` */
export function cardOfRuns(trained: LoadedRun, measured: readonly LoadedRun[], names: CardNames = {}): string {
  for (const run of [trained, ...measured]) checkRun(run, trained);
  const text = [
    frontMatter(trained, names),
    `# ${trained.protocol?.title ?? "Steering detection"}: LoRA adapter for ${modelLabel(trained)}`,
    intro(trained),
    ...usage(trained, names),
    "## Trained on which weights",
    weightsText(trained, names),
    "## Training",
    trainingText(trained),
    "## Measured",
    ...measured.flatMap(measuredText),
    "## Limits",
    limitsOf([...measured, trained])
      .map((line) => `- ${line}`)
      .join("\n"),
    "## Protocol",
    renderProtocol(trained.protocol as NonNullable<LoadedRun["protocol"]>, 2),
  ].join("\n\n");
  refusePlaceholders(text);
  return `${text.trim()}\n`;
}

/**
 * Writes the card into the training run's adapter folder.
 *
 * @param training run folder of the training   @param evaluations run folders that measured the adapter
 * @throws as the card itself: InputError "card-runs" where a run is unfinished, DataError "card-placeholder"
 * @returns the file's path
 * @example
 * writeAdapterCard(run.folder, [sweep.folder]);
 */
export function writeAdapterCard(training: string, evaluations: readonly string[]): string {
  const file = path.join(training, "adapter", "README.md");
  writeFileAtomic(file, adapterCard(training, evaluations));
  return file;
}

/** @throws DataError "card-placeholder" naming the first placeholder and its line */
export function refusePlaceholders(text: string): void {
  const lines = text.split("\n");
  const at = lines.findIndex((line) => PLACEHOLDER.test(line));
  if (at === -1) return;
  throw new DataError(
    "card-placeholder",
    expected(
      "no placeholder",
      `line ${at + 1} of the card`,
      lines[at].trim().slice(0, 80),
      "Measure it, or leave it out.",
    ),
  );
}

function checkRun(run: LoadedRun, trained: LoadedRun): void {
  if (run.status !== "done")
    throw new InputError("card-runs", expected("finished runs", "card", `${run.id} (${run.status})`));
  if (run.protocol === null) throw new InputError("card-runs", expected("a run with a protocol", "card", run.id));
  if (run.meta.modelHash !== trained.meta.modelHash)
    throw new InputError(
      "card-runs",
      expected("runs of one base model", "card", run.id, `${trained.id} trained another.`),
    );
}

const HUB_NAME = /^[\w.-]+\/[\w.-]+$/;

/** A hub refuses a base model that is not one of its names, such as a folder's or a file's. */
function frontMatter({ meta }: LoadedRun, { baseModel = meta.model ?? "" }: CardNames): string {
  return [
    "---",
    "library_name: peft",
    ...(HUB_NAME.test(baseModel) ? [`base_model: ${baseModel}`] : []),
    "pipeline_tag: text-generation",
    "tags: [lora, steering, introspection, steerlab]",
    "---",
  ].join("\n");
}

/** Nothing for a run of an older version, which does not tell how long a push is. */
function usage({ meta, protocol }: LoadedRun, names: CardNames): string[] {
  const { residualNorms = null, model = "" } = meta;
  if (residualNorms === null || protocol === null) return [];
  const { baseModel: base = model, repo: adapter = ".", protocol: file = "../protocol.yaml" } = names;
  const local = HUB_NAME.test(base) ? [] : [localBase(base, meta)];
  return ["## Usage", ...local, usageText(protocol, residualNorms, { base, adapter, protocol: file })];
}

/** A name of the training's machine opens nothing elsewhere. */
function localBase(base: string, { isLabModel, modelHash }: LoadedRun["meta"]): string {
  const whence =
    isLabModel === true
      ? "is the lab model that ships with steerlab"
      : `is a model of the machine that trained the adapter, weights \`${modelHash ?? "unknown"}\``;
  return `The base model ${JSON.stringify(base)} ${whence}; no hub has it by that name. Put the folder where you have it in its place below.`;
}

/** "model.gguf (Q4_K_M, sha256 0123456789ab)", as runs on a GGUF file name it. */
const QUANTISED = /^(.*) \((\w+), sha256 [0-9a-f]+\)$/;

function weightsText({ meta }: LoadedRun, { baseModel }: CardNames): string {
  const name = meta.model ?? "unknown";
  const [, file, quantisation] = QUANTISED.exec(name) ?? [];
  const hash = `\`${meta.modelHash ?? "unknown"}\` (config and weights)`;
  const rows = [
    ...(baseModel === undefined ? [] : [["name on the hub", baseModel]]),
    ["opened as", file ?? name],
    ["hash", hash],
    ["quantisation", quantisation ?? "none"],
    ["computed in", `${meta.dtype ?? "unknown"} on ${meta.backend ?? "unknown"}`],
    ["shape", `${meta.layers ?? "unknown"} layers x ${meta.hiddenSize ?? "unknown"}`],
  ];
  const note =
    quantisation === undefined
      ? "Figures hold for these weights."
      : "Figures hold for these weights: the same model unquantised, or quantised otherwise, is another base.";
  return ["| base model | |", "|---|---|", ...rows.map((row) => `| ${row.join(" | ")} |`), "", note].join("\n");
}

function intro(run: LoadedRun): string {
  const lab =
    run.meta.isLabModel === true
      ? " The base is the small lab model of the steerlab project; its figures are not those of a large model."
      : "";
  return `This adapter was trained to answer whether activations were steered while the first turns of a conversation were read. Base weights ${run.meta.modelHash?.slice(0, 12)}, protocol ${run.label} (${run.meta.protocolHash?.slice(0, 12)}), seed ${run.meta.seed}.${lab}`;
}

function trainingText({ events, meta, choice, protocol }: LoadedRun): string {
  const steps = events.filter((event) => event.kind === "step");
  // That of the weights that are published, which a run that stopped early did not take last.
  const kept = choice?.step ?? Number.POSITIVE_INFINITY;
  const validation = [...events].reverse().find((event) => event.kind === "validation" && event.step <= kept);
  const rule = protocol?.training.earlyStop ?? null;
  const ended = choice === null || rule === null ? "" : ` ${choiceText(choice, rule)}`;
  const checked =
    validation === undefined || validation.kind !== "validation"
      ? "No validation examples were kept."
      : `Validation at step ${validation.step} (n ${validation.n}): accuracy ${formatNumber(validation.accuracy)}, loss ${formatNumber(validation.loss)}, answer mass ${formatNumber(validation.mass)}.`;
  return `${steps.length} optimizer steps on ${meta.device}, ${meta.dtype}.${ended} ${checked}`;
}

function measuredText(run: LoadedRun): string[] {
  const rows = tierNumbers(run.metrics).map((numbers) => {
    const { balancedAccuracy, hitRate, falseAlarmRate, mass } = numbers;
    const cells = [balancedAccuracy, hitRate, falseAlarmRate, mass].map((metric: Metric | null) =>
      formatEstimate(metric),
    );
    return `| ${[titleOfTier(run, numbers.tier), numbers.condition, ...cells].join(" | ")} |`;
  });
  const detection =
    rows.length === 0
      ? []
      : [
          [
            "| tier | condition | balanced accuracy | hit rate | false-alarm rate | mass |",
            "|---|---|---|---|---|---|",
            ...rows,
          ].join("\n"),
        ];
  const shifts = findMetrics(run.metrics, { name: "deltaYes", condition: "tuned-base" }).filter(
    (metric) => "category" in metric.group && !("question" in metric.group),
  );
  const effects =
    shifts.length === 0
      ? []
      : [
          [
            "| side effect: category | change of P(Yes) |",
            "|---|---|",
            ...shifts.map((metric) => `| ${metric.group.category} | ${formatEstimate(metric)} |`),
          ].join("\n"),
          ...[fewQuestions(shifts)].filter((sentence) => sentence !== ""),
        ];
  return [...detection, ...effects];
}
