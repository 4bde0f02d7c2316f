/** First part of a report: whose numbers these are, aims, and card, strict and this run side by side with what each holds out. */
import { AIM_WORDS, isOnlyYesNo } from "../evaluate";
import { escapeHtml } from "../page";
import { findMetrics, type Metric } from "../runs";
import { wilson } from "../stats";
import { type Protocol, strengthScale, type TierSpec } from "../study";
import { type Cell, type FigureList, number, paragraph, quoted, rate, table } from "./html";
import { type LoadedRun, modelLabel, shortModel, trainedBy } from "./load";
import { sideBySideBars } from "./plots/published";
import { type PublishedCard, publishedEstimates } from "./published";

/** Banner, aims and side-by-side. */
export function overviewSection(runs: readonly LoadedRun[], published: PublishedCard, figures: FigureList): string {
  const detection = runs.filter((run) => run.records.length > 0);
  return [
    banner(runs),
    ...inShort(runs),
    "<h2>Against the aims</h2>",
    aims(detection, runs),
    "<h2>Side by side</h2>",
    paragraph(
      "The published card, and what was measured here. Each row names its model; figures of different models are no replication of each other.",
    ),
    ...(detection.length === 0
      ? []
      : [
          figures.add(
            sideBySideBars(
              published,
              detection.map((run) => ({ name: barName(run, runs), metrics: run.metrics })),
            ),
            "Published card (hatched, another model) and the runs of this report, by tier; 95 % intervals. Tiers of one name ask alike, but contexts, strengths and the number of clean trials are each protocol's own: see the table.",
          ),
        ]),
    sideBySide(detection, runs, published),
    missing(detection, runs),
    "<h2>How strong a push is</h2>",
    pushes(runs),
    "<h2>What is held out</h2>",
    heldOut(runs),
  ].join("\n");
}

/** Whose numbers: protocol of the questions, and of the adapter's training where that is another. */
function seriesName(run: LoadedRun, runs: readonly LoadedRun[]): string {
  const protocol = run.protocol?.name ?? run.id;
  const trained = trainedBy(run, runs);
  const other = trained === null || trained === protocol ? "" : `, adapter trained by ${trained}`;
  return `${modelLabel(run)}: protocol ${protocol}${other}`;
}

/** The same in the few words that a legend has room for on a phone. */
function barName(run: LoadedRun, runs: readonly LoadedRun[]): string {
  const [trained, asked] = [trainedBy(run, runs), run.protocol?.name ?? "?"];
  const adapter = trained === null ? "" : trained === asked ? "trained and " : `trained by ${trained}, `;
  return `${shortModel(run.meta.model ?? "?")}: ${adapter}asked by ${asked}`;
}

/** The findings of each adapter in sentences made of its numbers; nothing that was not measured is mentioned. */
function inShort(runs: readonly LoadedRun[]): string[] {
  const found = new Map<string, string[]>();
  for (const run of runs) {
    const said = [...detectionInShort(run), ...effectsInShort(run), ...speechInShort(run)];
    const name = seriesName(run, runs);
    if (said.length > 0) found.set(name, [...(found.get(name) ?? []), ...said]);
  }
  const items = [...found].map(([name, said]) => `<h3>${escapeHtml(name)}</h3>${list(said)}`);
  return items.length === 0 ? [] : ["<h2>In short</h2>", ...items];
}

const list = (sentences: readonly string[]): string =>
  `<ul>${sentences.map((sentence) => `<li>${escapeHtml(sentence)}</li>`).join("\n")}</ul>`;

function detectionInShort({ metrics }: LoadedRun): string[] {
  const get = (name: string, tier: string, condition = "tuned"): Metric | undefined =>
    findMetrics(metrics, { name, tier, condition, group: {} })[0];
  const said = (metric: Metric | undefined): string => quoted(metric).text;
  const balanced = get("balancedAccuracy", "held_out_random");
  const before = get("balancedAccuracy", "held_out_random", "base");
  const strengths = findMetrics(metrics, { name: "hitRateOfStrength", tier: "held_out_random", condition: "tuned" });
  const [weak, strong] = [strengths[0], strengths[strengths.length - 1]];
  const alarms = (
    [
      ["held_out_random", "the clean trials of held_out_random"],
      ["clean_held_out", "clean held-out contexts"],
      ["hard_negatives", "hard negatives (code, other languages, odd text)"],
      ["info_prompt", "clean trials with an explanation of steering before the question"],
    ] as const
  ).flatMap(([tier, words]) => {
    const found = get("falseAlarmRate", tier);
    return found === undefined ? [] : [`${said(found)} on ${words}`];
  });
  const concepts = get("hitRate", "concepts_102");
  return [
    ...(balanced === undefined
      ? []
      : [
          `Held-out vectors (held_out_random): balanced accuracy ${said(balanced)}${before === undefined ? "" : `; before training ${said(before)}`}.`,
        ]),
    ...(weak === undefined || weak === strong
      ? []
      : [
          `Weakest push, strength ${weak.group.strength}: noticed ${said(weak)}; strongest, ${strong.group.strength}: ${said(strong)}.`,
        ]),
    ...(concepts === undefined ? [] : [`102 concept vectors: noticed ${said(concepts)}.`]),
    ...(alarms.length === 0 ? [] : [`False alarms: ${alarms.join("; ")}.`]),
  ];
}

/** Whether the model still speaks: rates about what it says mean nothing if it does not. */
function speechInShort({ identity }: LoadedRun): string[] {
  const said = (condition: string): string => {
    const of = identity.filter((record) => record.condition === condition);
    return quoted(wilson(of.filter(({ text }) => isOnlyYesNo(text)).length, of.length)).text;
  };
  return identity.some(({ condition }) => condition === "tuned")
    ? [`Free answers that are nothing but yes and no: ${said("base")} before, ${said("tuned")} after training.`]
    : [];
}

function effectsInShort({ metrics }: LoadedRun): string[] {
  const shift = findMetrics(metrics, { name: "deltaYes", condition: "tuned-base", group: {} })[0];
  if (shift === undefined) return [];
  const right = (condition: string): string =>
    quoted(findMetrics(metrics, { name: "factualAccuracy", condition, group: {} })[0]).text;
  return [
    `Side effects: P(Yes) changes by ${quoted(shift).text}, averaged over the side-effect questions.`,
    `Questions with a settled answer, right: ${right("base")} before, ${right("tuned")} after training.`,
  ];
}

function banner(runs: readonly LoadedRun[]): string {
  const models = [...new Set(runs.map(modelLabel))];
  const isLab = runs.some((run) => run.meta.isLabModel === true);
  const text = isLab
    ? `These figures are of ${models.join(" and ")}: a small model that ships with the project so that the whole study runs on a laptop. They are not figures of a 32B model and say nothing about one.`
    : `These figures are of ${models.join(" and ")}.`;
  const failed = runs
    .filter((run) => run.status !== "done")
    .map(
      (run) =>
        `Run ${run.id} is ${run.status === "failed" ? `failed: ${run.failure}` : "unfinished"}; what it recorded is shown.`,
    );
  return [
    `<div class="note">${paragraph(text)}</div>`,
    ...failed.map((line) => `<div class="error">${paragraph(line)}</div>`),
  ].join("\n");
}

function aims(detection: readonly LoadedRun[], runs: readonly LoadedRun[]): string {
  const rows = detection.flatMap((run) => {
    const of = run.aims.map((aim) => {
      const verdict: Cell =
        aim.reached === null
          ? { text: "not measured", badge: "warn" }
          : aim.reached
            ? { text: "reached", badge: "good" }
            : { text: "falls short", badge: "bad" };
      const wanted = [aim.least === null ? "" : `\u2265 ${aim.least}`, aim.most === null ? "" : `\u2264 ${aim.most}`]
        .filter((text) => text !== "")
        .join(", ");
      return [
        AIM_WORDS[aim.metric] ?? aim.metric,
        aim.tier,
        { text: wanted, isName: true },
        quoted({ ...aim, method: aim.text }),
        verdict,
      ];
    });
    return of.length === 0 ? [] : [{ heading: seriesName(run, runs) }, ...of];
  });
  return rows.length === 0
    ? paragraph("No protocol of these runs states aims.")
    : table(["metric", "tier", "aim", "measured", ""], rows);
}

const COLUMNS = [
  "model",
  "tier",
  "steered : clean",
  "balanced accuracy",
  "hit rate",
  "false-alarm rate",
  "d'",
  "AUROC",
  "mass",
];

function sideBySide(detection: readonly LoadedRun[], runs: readonly LoadedRun[], published: PublishedCard): string {
  const fromCard = published.tiers.map((tier) => {
    const estimates = publishedEstimates(tier);
    return [
      { text: shortModel(published.model), isName: true },
      tier.tier,
      `${tier.audit.steered} : ${tier.audit.unsteered}`,
      rate(estimates.balancedAccuracy),
      rate(estimates.hitRate),
      rate(estimates.falseAlarmRate),
      number(tier.d_prime),
      "\u2013",
      "\u2013",
    ];
  });
  const explained = [
    { text: shortModel(published.model), isName: true },
    "info_prompt",
    "not stated",
    "\u2013",
    "\u2013",
    { text: number(published.info_prompt.fine_tuned_fpr), detail: "n not stated" },
    ...["\u2013", "\u2013", "\u2013"],
  ];
  const tuned = detection.flatMap((run) => [{ heading: groupHeading(run, runs, "") }, ...tierRows(run, "tuned")]);
  const base = detection.flatMap((run) => {
    const rows = tierRows(run, "base");
    return rows.length === 0 ? [] : [{ heading: groupHeading(run, runs, ", before training") }, ...rows];
  });
  const head = { heading: `${published.model} (published, another model): the card's adapter and protocol` };
  return [
    table(
      COLUMNS,
      [head, ...fromCard, explained, ...tuned],
      "After training. Small: 95 % interval; hover over a number for its method. Published counts: Wilson and Clopper-Pearson on the card's totals, as if its trials were independent. d' log-linear for runs here, rates clipped to [0.01, 0.99] in the card.",
    ),
    ...(base.length === 0
      ? []
      : [
          table(
            COLUMNS,
            base,
            `The same trials before training. The card states a plain accuracy of ${published.baseline_accuracy} before training; always answering no earns 50 of 650 = 0.077 on its 600 : 50 trials.`,
          ),
        ]),
  ].join("\n");
}

function groupHeading(run: LoadedRun, runs: readonly LoadedRun[], when: string): string {
  const trained = trainedBy(run, runs);
  const adapter = trained === null || when !== "" ? "" : `adapter trained by ${trained}, `;
  return `${modelLabel(run)}: ${adapter}asked by protocol ${run.protocol?.name ?? "?"}${when}`;
}

function tierRows(run: LoadedRun, condition: string): (Cell | string)[][] {
  const tiers = new Set(
    run.metrics
      .filter((metric) => metric.name === "mass" && metric.tier !== "side_effects" && metric.condition === condition)
      .map((metric) => metric.tier),
  );
  return [...tiers].map((tier) => {
    const get = (name: string): Metric | undefined => findMetrics(run.metrics, { name, tier, condition, group: {} })[0];
    return [
      { text: shortModel(run.meta.model ?? "?"), isName: true },
      tier,
      `${get("hitRate")?.n ?? 0} : ${get("falseAlarmRate")?.n ?? 0}`,
      rate(get("balancedAccuracy")),
      rate(get("hitRate")),
      rate(get("falseAlarmRate")),
      number(get("dPrime")?.value),
      number(get("auroc")?.value),
      number(get("mass")?.value),
    ];
  });
}

/** What is not side by side yet, and the command that measures it. */
function missing(detection: readonly LoadedRun[], runs: readonly LoadedRun[]): string {
  const trained = new Set(detection.map((run) => trainedBy(run, runs)));
  if (detection.length === 0 || (trained.has("card") && trained.has("strict"))) return "";
  const command = trained.has("card") ? "npx steerlab batch" : "npx steerlab batch --notebook 05-card-protocol";
  const absent = trained.has("card") ? "strict" : "card";
  return `<p class="soft">Not measured here: an adapter trained by the protocol ${absent} on this model. <code>${command}</code> trains and measures one and writes this page again with both.</p>`;
}

/** Strengths as lengths and as shares of the residual stream: one magnitude is another push on another model. */
function pushes(runs: readonly LoadedRun[]): string {
  const scaled = new Map(
    runs.flatMap((run) =>
      run.protocol === null || !Array.isArray(run.meta.residualNorms)
        ? []
        : [[`${modelLabel(run)}: protocol ${run.protocol.name}`, run] as const],
    ),
  );
  const tables = [...scaled].map(([name, run]) => {
    const protocol = run.protocol as Protocol;
    const { unit, magnitudes } = protocol.steering;
    const scale = strengthScale(protocol, run.meta.residualNorms as number[]);
    const ranges = [...new Set(scale.map(({ range }) => range))];
    const rows = ranges.map((range) => {
      const of = scale.filter((item) => item.range === range);
      const [{ start, end, residualNorm }] = of;
      const cells = of.map(({ relative, magnitude }) => ({
        text: `${number(100 * relative, 0)} %`,
        detail: `length ${number(magnitude, 1)}`,
      }));
      return [range, `${start} to ${end - 1}`, number(residualNorm, 1), ...cells];
    });
    const strengths = magnitudes.map((strength) => `${unit === "absolute" ? "magnitude" : "strength"} ${strength}`);
    return table(["layer range", "blocks", "residual norm", ...strengths], rows, name);
  });
  const absolute = [...scaled.values()].some((run) => run.protocol?.steering.unit === "absolute");
  return [
    paragraph(
      "Share of the layer's mean residual norm (clean training contexts) that is added at every layer and token of a range, and its L2 length.",
    ),
    ...(absolute
      ? [
          paragraph(
            "The card's magnitudes are absolute and taken over unchanged; its ranges, thirds of 64 layers, are thirds of this model's depth. What share of the residual stream they were on the published model is not stated, so equal magnitudes of two models are not equal pushes.",
          ),
        ]
      : []),
    ...(tables.length === 0 ? [paragraph("No run of this report recorded residual norms.")] : tables),
  ].join("\n");
}

function heldOut(runs: readonly LoadedRun[]): string {
  const protocols = new Map(
    runs.flatMap((run): [string, Protocol][] => (run.protocol === null ? [] : [[run.protocol.name, run.protocol]])),
  );
  const mark = (isHeld: boolean): Cell => (isHeld ? { text: "held out", badge: "good" } : { text: "trained on" });
  const rows = [...protocols.values()].flatMap((protocol) => [
    { heading: `protocol ${protocol.name}` },
    ...protocol.evaluation.tiers.map((tier: TierSpec) => [
      tier.name,
      tier.vectors === null ? "clean only" : mark(tier.vectors !== "train"),
      mark(tier.contexts !== "train"),
      mark(tier.contexts !== "train" || (tier.replies === "heldOut" && protocol.training.trainReplies < 5)),
      mark(tier.questions !== protocol.training.questions || tier.infoPrompt),
      tier.vectors === null ? "\u2013" : mark(tier.magnitudes === "heldOut"),
      tier.vectors === null ? "\u2013" : mark(tier.ranges === "halves"),
      { text: tier.about, isSentence: true },
    ]),
  ]);
  return table(
    ["tier", "vectors", "topics", "replies", "question", "strengths", "ranges", "about"],
    rows,
    "Against what the protocol itself trains on; an adapter trained by another protocol has seen other things.",
  );
}
