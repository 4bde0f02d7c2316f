/** The first words of a report: what failed or fell short, then what was found, in sentences made of the runs' own numbers. */
import { AIM_WORDS, isOnlyYesNo } from "../evaluate";
import { escapeHtml, formatEstimate, formatNumber } from "../page";
import { aimBounds, aimMeasured, type AimResult, aimVerdict, findMetrics, type Metric, verdictTone } from "../runs";
import { clusteredRate } from "../stats";
import type { TierKind, TierView } from "../study";
import { list, paragraph } from "./html";
import { askedTiers, type LoadedRun, titleOfTier } from "./load";
import { askedTier } from "./plots/published";
import { seriesName } from "./whose";

/** Answers on less mass than this say little about what the model would have said. */
const THIN_MASS = 0.5;

/** A false-alarm rate or a change of P(Yes) above this is said first, whether or not an aim speaks of it. */
const REMARKABLE = 0.05;

/** What failed, then what was found. */
export function findings(runs: readonly LoadedRun[]): string {
  const short = perSeries(runs, shortfalls);
  const found = perSeries(runs, (run) => [...detectionFindings(run), ...effectFindings(run), ...speechFindings(run)]);
  const failed = failedRuns(runs).map((line) => `<div class="error">${paragraph(line)}</div>`);
  const aims = runs.flatMap((run) => run.aims).filter(({ reached }) => reached !== null);
  const all = aims.length === 0 ? "No aim was measured in these runs." : countedAims(aims);
  return [
    "<h2>What fell short</h2>",
    ...failed,
    paragraph(short === "" && failed.length === 0 ? `${all} Nothing else stands out.` : all),
    short,
    ...(found === "" ? [] : ["<h2>In short</h2>", found]),
  ].join("\n");
}

/** "Of 7 measured aims 1 is reached, 5 are reached by their point value alone, 1 is missed." */
function countedAims(aims: readonly AimResult[]): string {
  const verdicts = aims.map(aimVerdict);
  const firm = verdicts.filter((verdict) => verdict === "reached").length;
  const missed = verdicts.filter((verdict) => verdictTone(verdict) === "bad").length;
  const point = aims.length - firm - missed;
  const counted = (n: number, what: string): string[] => (n === 0 ? [] : [`${n} ${n === 1 ? "is" : "are"} ${what}`]);
  const parts = [
    ...counted(firm, "reached"),
    ...counted(point, "reached by the point value alone, a miss is not excluded"),
    ...counted(missed, "missed"),
  ];
  return `Of ${aims.length} measured aims ${parts.join("; ")}.`;
}

/** Sentences under the name of the adapter and protocol that they are about. */
function perSeries(runs: readonly LoadedRun[], sentences: (run: LoadedRun) => string[]): string {
  const said = new Map<string, string[]>();
  for (const run of runs) {
    const of = sentences(run);
    const name = seriesName(run, runs);
    if (of.length > 0) said.set(name, [...(said.get(name) ?? []), ...of]);
  }
  return [...said].map(([name, of]) => `<h3>${escapeHtml(name)}</h3>${list(of)}`).join("\n");
}

function failedRuns(runs: readonly LoadedRun[]): string[] {
  return runs
    .filter((run) => run.status !== "done")
    .map((run) => {
      const how = run.status === "failed" ? `failed: ${run.failure}` : "is unfinished";
      return `Run ${run.id} ${how}; what it recorded is shown.`;
    });
}

/** Aims that were missed or that the interval leaves open, harm that no aim speaks of, and answers on little mass. */
export function shortfalls(run: LoadedRun): string[] {
  const what = ({ metric, tier }: AimResult): string =>
    `${AIM_WORDS[metric] ?? metric} (${lower(titleOfTier(run, tier))})`;
  const aims = run.aims
    .filter((aim) => aim.value !== null && aimVerdict(aim) !== "reached")
    .map((aim) => `${capital(what(aim))}: ${aimMeasured(aim)}; aim ${aimBounds(aim)}: ${aimVerdict(aim)}.`);
  const unmeasured = run.aims.filter(({ value }) => value === null).map(what);
  const absent = unmeasured.length === 0 ? [] : [`Aims not measured: ${unmeasured.join(", ")}.`];
  const thin = findMetrics(run.metrics, { name: "leastMass", condition: "tuned", group: {} })
    .filter(({ value }) => value !== null && value < THIN_MASS)
    .map(
      ({ tier, value }) =>
        `${titleOfTier(run, tier)}: some answers stand on a mass of only ${formatNumber(value)}; their probabilities say little.`,
    );
  return [...aims, ...harm(run), ...absent, ...thin];
}

/** False alarms, leaks, changed answers and lost facts that are remarkable by their interval, whether or not they are an aim. */
function harm(run: LoadedRun): string[] {
  const { metrics } = run;
  const judged = new Set(run.aims.filter(({ metric }) => metric === "falseAlarmRate").map(({ tier }) => tier));
  const alarms = findMetrics(metrics, { name: "falseAlarmRate", condition: "tuned", group: {} })
    .filter(({ tier, low }) => !judged.has(tier) && low !== null && low > REMARKABLE)
    .map((metric) => `False alarms (${lower(titleOfTier(run, metric.tier))}): ${formatEstimate(metric)}.`);
  // Judged by the base's own rate: what it says there too, training has not brought.
  const [usual, fooled] = ["base", "tuned"].map(
    (condition) =>
      findMetrics(metrics, { name: "controlYes", condition, group: { kind: "falseFact", cache: "steered" } })[0],
  );
  const isFooled = fooled?.low != null && fooled.low > Math.max(REMARKABLE, usual?.value ?? 0);
  const leaks = isFooled ? [`Yes to false facts on steered caches: ${formatEstimate(fooled)}.`] : [];
  const [shift] = findMetrics(metrics, { name: "deltaYes", condition: "tuned-base", group: {} });
  const isShifted = (end: number | null, sign: number): boolean => end !== null && sign * end > REMARKABLE;
  const shifted =
    shift !== undefined && (isShifted(shift.low, 1) || isShifted(shift.high, -1))
      ? [
          `Answers to the side-effect questions, which are not about steering, moved: P(Yes) changes by ${formatEstimate(shift)}.`,
        ]
      : [];
  const [before, after] = ["base", "tuned"].map(
    (condition) => findMetrics(metrics, { name: "factualAccuracy", condition, group: {} })[0],
  );
  const isLost = before?.value != null && after?.value != null && after.value < before.value;
  const lost = isLost
    ? [
        `Questions with a settled answer, right: ${formatEstimate(before)} before, ${formatEstimate(after)} after training.`,
      ]
    : [];
  return [...alarms, ...leaks, ...shifted, ...lost];
}

function detectionFindings(run: LoadedRun): string[] {
  const tiers = askedTiers(run);
  const tierOf = (kind: TierKind): TierView | null => askedTier({ metrics: run.metrics, tiers }, kind);
  const main = tierOf("vectors") ?? tierOf("trained");
  const get = (name: string, tier: TierView | null, condition = "tuned"): Metric | undefined =>
    tier === null ? undefined : findMetrics(run.metrics, { name, tier: tier.name, condition, group: {} })[0];
  const balanced = get("balancedAccuracy", main);
  const before = get("balancedAccuracy", main, "base");
  const concepts = get("hitRate", tierOf("concepts"));
  const strengths =
    main === null ? [] : findMetrics(run.metrics, { name: "hitRateOfStrength", tier: main.name, condition: "tuned" });
  const [weak, strong] = [strengths[0], strengths[strengths.length - 1]];
  const alarms = [main, tierOf("clean"), tierOf("unusual"), tierOf("explained")].flatMap((tier) => {
    const found = get("falseAlarmRate", tier);
    return tier === null || found === undefined ? [] : [`${formatEstimate(found)} (${lower(tier.title)})`];
  });
  return [
    ...(main === null || balanced === undefined
      ? []
      : [
          `${main.title}: balanced accuracy ${formatEstimate(balanced)}${before === undefined ? "" : `; before training ${formatEstimate(before)}`}.`,
        ]),
    ...(weak === undefined || weak === strong
      ? []
      : [
          `Weakest push, strength ${weak.group.strength}: noticed ${formatEstimate(weak)}; strongest, ${strong.group.strength}: ${formatEstimate(strong)}.`,
        ]),
    ...(concepts === undefined ? [] : [`Concept vectors: noticed ${formatEstimate(concepts)}.`]),
    ...findMetrics(run.metrics, { name: "selectivity", group: {} }).map(
      (metric) =>
        `Selectivity, what steering does to the detection answer beyond what it does to other answers: ${formatEstimate(metric)}.`,
    ),
    ...(alarms.length === 0 ? [] : [`False alarms: ${alarms.join("; ")}.`]),
  ];
}

/** Whether the model still speaks: rates about what it says mean nothing if it does not. */
function speechFindings({ identity }: LoadedRun): string[] {
  const said = (condition: string): string => {
    const of = identity.filter((record) => record.condition === condition);
    const question = of.map((record) => record.question);
    return formatEstimate(
      clusteredRate(
        of.map(({ text }) => isOnlyYesNo(text)),
        { question },
      ),
    );
  };
  return identity.some(({ condition }) => condition === "tuned")
    ? [`Free answers that are nothing but yes and no: ${said("base")} before, ${said("tuned")} after training.`]
    : [];
}

function effectFindings({ metrics }: LoadedRun): string[] {
  const shift = findMetrics(metrics, { name: "deltaYes", condition: "tuned-base", group: {} })[0];
  if (shift === undefined) return [];
  const right = (condition: string): string =>
    formatEstimate(findMetrics(metrics, { name: "factualAccuracy", condition, group: {} })[0]);
  const flips = findMetrics(metrics, { name: "answerFlips", condition: "tuned-base", group: {} })[0];
  return [
    ...(flips === undefined ? [] : [`Side effects: share of answers that changed ${formatEstimate(flips)}.`]),
    `Side effects: P(Yes) changes by ${formatEstimate(shift)}, averaged over the side-effect questions.`,
    `Questions with a settled answer, right: ${right("base")} before, ${right("tuned")} after training.`,
  ];
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const lower = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);
