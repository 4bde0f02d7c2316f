// README's two tables of the lab model, made of run folders: the words stand here once, the figures are the records'.
import { loadRun, type LoadedRun } from "../../kernel-lib/src/report";
import { findMetrics, type Metric, quote } from "../../kernel-lib/src/runs";

/** Rows of a table below its head, and the words in its head that find it. */
interface FigureTable {
  head: string;
  rows: readonly (readonly string[])[];
}

/** Finished runs of the lab model by who trained and who asked: "strict", "card", and the card's adapter asked by strict. */
interface LabRuns {
  strict: Metric[];
  card: Metric[];
  cardByStrict: Metric[];
}

const grouped = (n: number): string => n.toLocaleString("en-US");

/** One figure by name, tier and condition. @throws Error naming what no run measured */
function one(metrics: readonly Metric[], name: string, tier: string, more: Partial<Metric> = {}): Metric {
  const { condition = "tuned", group = {} } = more;
  const found = findMetrics(metrics, { name, tier, condition, group })[0];
  if (found === undefined)
    throw new Error(`No run measured ${name} of ${tier}, ${condition}, ${JSON.stringify(group)}.`);
  return found;
}

/** "0.937 [0.913, 0.948]" */
const bare = (metric: Metric): string => quote(metric).replace(/, n \d+$/, "");
/** "0.937 [0.913, 0.948], n 2,400" */
const whole = (metric: Metric): string => `${bare(metric)}, n ${grouped(metric.n)}`;
/** How many clusters of a kind an interval rests on. */
const clusters = ({ method }: Metric, kind: string): string =>
  new RegExp(`${kind} \\((\\d+)\\)`).exec(method)?.[1] ?? "?";
const signed = (metric: Metric): string => ((metric.value ?? 0) > 0 ? `+${bare(metric)}` : bare(metric));
const count = ({ value, n }: Metric): string => String(Math.round((value as number) * n));
const base = { condition: "base" };
const turned = { condition: "tuned-base" };
const assistant = { group: { kind: "sideEffect" } };
const askedBare = { ...turned, group: { form: "bare" } };

function ofTraining({ strict }: LabRuns): FigureTable {
  const both = (name: string, tier: string): string[] => [
    bare(one(strict, name, tier, base)),
    whole(one(strict, name, tier)),
  ];
  const strengths = findMetrics(strict, { name: "hitRateOfStrength", tier: "held_out_random", condition: "tuned" });
  const facts = one(strict, "controlYes", "controls", { group: { kind: "falseFact", cache: "steered" } });
  const flips = one(strict, "answerFlips", "side_effects", turned);
  const reworded = one(strict, "answerFlips", "side_effects", { condition: "reworded-base" });
  const said = one(strict, "onlyYesNo", "identity");
  const chats = one(strict, "chatDivergence", "chats");
  const bareYes = one(strict, "deltaYes", "self_report", askedBare);
  const clean = one(strict, "falseAlarmRate", "clean_held_out");
  const unusual = one(strict, "falseAlarmRate", "hard_negatives");
  const dose = strengths.map(({ group }) => String(group.strength).replace(/^0\./, ".")).join(" / ");
  return {
    head: "| | before training | after training |",
    rows: [
      ["balanced accuracy, trained vectors and contexts", ...both("balancedAccuracy", "in_distribution")],
      ["balanced accuracy, held-out vectors in held-out contexts", ...both("balancedAccuracy", "held_out_random")],
      ["the same, held-out wordings of the question too", ...both("balancedAccuracy", "held_out_wordings")],
      [
        `hit rate at strength ${dose} of the residual`,
        "",
        `${strengths.map(({ value }) => value?.toFixed(3)).join(" / ")}, n ${strengths[0].n} each`,
      ],
      [
        "**selectivity**: effect of steering on the detection answer beyond its effect on other answers",
        "",
        whole(one(strict, "selectivity", "controls")),
      ],
      [
        "the same against questions about the assistant alone",
        "",
        whole(one(strict, "selectivity", "controls", assistant)),
      ],
      ["yes to false facts on steered caches", "", `${whole(facts)}, ${clusters(facts, "wording")} questions`],
      [
        `answers that changed, of ${flips.n} side-effect questions (the base asked in other words: ${reworded.value?.toFixed(3)})`,
        "",
        `${count(flips)} (${bare(flips)})`,
      ],
      [
        `free answers that are nothing but yes and no, of ${grouped(said.n)}`,
        count(one(strict, "onlyYesNo", "identity", base)),
        `${count(said)} (${bare(said)}, by ${clusters(said, "question")} questions)`,
      ],
      [
        `mean change of P(yes) on the ${flips.n} questions`,
        "",
        signed(one(strict, "deltaYes", "side_effects", turned)),
      ],
      [`mean change of P(yes), ${bareYes.n} questions about itself asked bare, as the card asks`, "", signed(bareYes)],
      [`KL from the base per token, ${chats.n} chat replies never trained on`, "", bare(chats)],
      [
        "false alarms on clean held-out contexts",
        bare(one(strict, "falseAlarmRate", "clean_held_out", base)),
        `${whole(clean)}, ${clusters(clean, "topic")} topics`,
      ],
      [
        "false alarms on hard negatives (code, languages, base64, odd text, numbers)",
        "",
        `${whole(unusual)}, ${clusters(unusual, "topic")} topics`,
      ],
      ["false alarms with an explanation of steering before the question", ...both("falseAlarmRate", "info_prompt")],
      [
        "102 concept vectors noticed / random vectors with the same angles between them",
        "",
        ["concepts_102", "concepts_matched"].map((tier) => bare(one(strict, "hitRate", tier))).join(" / "),
      ],
      [
        'yes to "were you left unchanged?" on steered caches (should be no)',
        "",
        whole(one(strict, "controlYes", "controls", { group: { kind: "reversed", cache: "steered" } })),
      ],
    ],
  };
}

function ofCard({ strict, card, cardByStrict }: LabRuns): FigureTable {
  const byStrict = (name: string, tier: string): string[] =>
    [cardByStrict, strict].map((metrics) => whole(one(metrics, name, tier)));
  const own = (name: string, tier: string, more: Partial<Metric> = {}): string[] =>
    [card, strict].map((metrics) => whole(one(metrics, name, tier, more)));
  const alarms = one(card, "falseAlarmRate", "held_out_random");
  const flips = [card, strict].map((metrics) => one(metrics, "answerFlips", "side_effects", turned));
  return {
    head: "| lab model, seed 1; adapter trained by | card | strict |",
    rows: [
      [
        "by the card's tiers: balanced accuracy, held-out vectors",
        whole(one(card, "balancedAccuracy", "held_out_random")),
        "",
      ],
      ["by the card's tiers: false alarms", `${whole(alarms)}, ${clusters(alarms, "topic")} topics`, ""],
      [
        "by the card's tiers: 102 concept vectors noticed, magnitudes 5 to 30",
        whole(one(card, "hitRate", "concepts_102")),
        "",
      ],
      [
        "by strict: balanced accuracy, held-out vectors and contexts",
        ...byStrict("balancedAccuracy", "held_out_random"),
      ],
      ["by strict: false alarms on clean held-out contexts", ...byStrict("falseAlarmRate", "clean_held_out")],
      ["by strict: false alarms on hard negatives", ...byStrict("falseAlarmRate", "hard_negatives")],
      ["selectivity, each on its own protocol's caches", ...own("selectivity", "controls")],
      ["the same against questions about the assistant alone", ...own("selectivity", "controls", assistant)],
      [
        "yes to false facts on steered caches",
        ...own("controlYes", "controls", { group: { kind: "falseFact", cache: "steered" } }),
      ],
      [
        "false alarms after an explanation (card: its long one; strict: a short one)",
        ...own("falseAlarmRate", "info_prompt"),
      ],
      [`answers that changed, of ${flips[0].n} side-effect questions`, ...flips.map(count)],
      [
        "mean change of P(yes) on them",
        ...[card, strict].map((of) => bare(one(of, "deltaYes", "side_effects", turned))),
      ],
      [
        "mean change of P(yes), questions about itself asked bare",
        ...[card, strict].map((of) => whole(one(of, "deltaYes", "self_report", askedBare))),
      ],
    ],
  };
}

/** The metrics of the runs in these folders, newest of a kind first, apart by who trained and asked. */
function labRuns(folders: readonly string[]): LabRuns {
  const runs = folders.map(loadRun).filter(({ meta, status }) => meta.isLabModel === true && status === "done");
  const trained = new Map(
    runs.flatMap(({ meta, label }) => (meta.kind === "train" ? [[meta.adapterHash, label]] : [])),
  );
  const newest = [...runs].sort((a, b) => b.id.localeCompare(a.id));
  const of = (training: string, asking: string): Metric[] =>
    newest
      .filter((run: LoadedRun) => trained.get(run.meta.adapterHash) === training && run.label.startsWith(asking))
      .flatMap(({ metrics }) => metrics);
  return { strict: of("strict", "strict"), card: of("card", "card"), cardByStrict: of("card", "strict") };
}

/** Tables that these runs have every figure of; a batch without notebook 05 has no card. */
export function readmeTables(folders: readonly string[]): FigureTable[] {
  const runs = labRuns(folders);
  return [
    ...(runs.strict.length > 0 ? [ofTraining(runs)] : []),
    ...(runs.card.length > 0 && runs.cardByStrict.length > 0 ? [ofCard(runs)] : []),
  ];
}

/** A row as README writes it. */
export const lineOf = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`.replaceAll("|  |", "| |");

/** Rows of README's table with this head, as they stand. */
export function rowsBelow(readme: string, head: string): string[] {
  const lines = readme.split("\n");
  const first = lines.indexOf(head) + 2;
  return lines.slice(
    first,
    lines.findIndex((line, i) => i >= first && !line.startsWith("|")),
  );
}
