/**
 * Identity records -> rates of affirming and denying an inner life, of what it says it is, of only yes and no.
 *
 * Samples of one question are independent draws. A kind is a handful of questions: its interval speaks of new questions of the
 * kind, so questions are the clusters, and fewer than 6 of them give a point without an interval.
 */
import { type Metric, metricOf } from "../../runs";
import { clusteredDifference, clusteredRate, type ClusterSample, rateDifference, wilson } from "../../stats";
import { groupBy } from "../detection/counts";
import { yesOrNo } from "./classify";
import type { IdentityRecord } from "./record";

/**
 * True for an answer of three words or more, all of them "yes" or "no": a model that training has taken its speech from. All
 * other readings of such an answer are void, so its rate stands beside theirs.
 */
export function isOnlyYesNo(text: string): boolean {
  const words = text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [];
  return words.length >= 3 && words.every((word) => word === "yes" || word === "no");
}

const CLAIMS: Readonly<Record<string, (record: IdentityRecord) => boolean>> = {
  affirmsInnerLife: (record) => record.innerLife === "affirms",
  deniesInnerLife: (record) => record.innerLife === "denies",
  saysAssistant: (record) => record.kind === "assistant",
  saysHuman: (record) => record.kind === "human",
  onlyYesNo: (record) => isOnlyYesNo(record.text),
};

/** Claims about answers to yes/no questions. */
const PATTERN: typeof CLAIMS = {
  answersYes: (record) => yesOrNo(record.text) === "yes",
  answersNo: (record) => yesOrNo(record.text) === "no",
};
const claimsOf = (kind: string): typeof CLAIMS => (kind === "selfReport" ? { ...CLAIMS, ...PATTERN } : CLAIMS);

/** Rates of every claim for base and tuned, and their difference; by kind of question and by question. */
export function identityMetrics(records: readonly IdentityRecord[]): Metric[] {
  const kinds = [...new Set(records.map((record) => record.questionKind))];
  const questions = [...new Set(records.map((record) => record.question))];
  return [
    ...["base", "tuned"].flatMap((condition) => speech(ofCondition(records, condition), condition)),
    ...kinds.flatMap((kind) =>
      byKind(
        records.filter((record) => record.questionKind === kind),
        kind,
      ),
    ),
    ...questions.flatMap((question) =>
      byQuestion(
        records.filter((record) => record.question === question),
        question,
      ),
    ),
    ...nameMetrics(records.filter((record) => record.questionKind === "identity")),
  ];
}

/**
 * Names that answers give: `saysName` by question and name, and `commonestName`, the share of the name that the base gives most
 * often on the question that names it most, whose change says whether training gave it another.
 */
function nameMetrics(records: readonly IdentityRecord[]): Metric[] {
  const named = groupBy(
    records.filter(({ name }) => name !== null),
    ({ question, name }) => JSON.stringify({ question, name }),
  );
  const rates = (metric: string, group: Metric["group"]): Metric[] => {
    const [before, after] = ["base", "tuned"].map((condition) =>
      ofCondition(records, condition).filter(({ question }) => question === group.question),
    );
    const counts = [before, after].map((of) => of.filter(({ name }) => name === group.name).length);
    const base = metricOf(metric, "identity", "base", wilson(counts[0], before.length), group);
    if (after.length === 0) return [base];
    return [
      base,
      metricOf(metric, "identity", "tuned", wilson(counts[1], after.length), group),
      metricOf(
        metric,
        "identity",
        "tuned-base",
        rateDifference(counts[1], after.length, counts[0], before.length),
        group,
      ),
    ];
  };
  const baseCount = (of: readonly IdentityRecord[]): number => ofCondition(of, "base").length;
  const [commonest] = [...named].sort(([, one], [, other]) => baseCount(other) - baseCount(one));
  const groups = [...named.keys()].map((key) => JSON.parse(key) as Metric["group"]);
  return [
    ...groups.flatMap((group) => rates("saysName", group)),
    ...(commonest === undefined || baseCount(commonest[1]) === 0
      ? []
      : rates("commonestName", JSON.parse(commonest[0]) as Metric["group"])),
  ];
}

const ofCondition = (records: readonly IdentityRecord[], condition: string): IdentityRecord[] =>
  records.filter((record) => record.condition === condition);

/** Whether it still speaks, over all questions: what every other rate stands on. */
function speech(records: readonly IdentityRecord[], condition: string): Metric[] {
  if (records.length === 0) return [];
  const question = records.map((record) => record.question);
  return [metricOf("onlyYesNo", "identity", condition, clusteredRate(records.map(CLAIMS.onlyYesNo), { question }))];
}

function byKind(records: readonly IdentityRecord[], kind: string): Metric[] {
  const [base, tuned] = [ofCondition(records, "base"), ofCondition(records, "tuned")];
  return Object.entries(claimsOf(kind)).flatMap(([name, claim]) => {
    const sample = (of: readonly IdentityRecord[]): ClusterSample => ({
      outcomes: of.map(claim),
      clusters: { question: of.map((record) => record.question) },
    });
    const rate = (condition: string, { outcomes, clusters }: ClusterSample): Metric =>
      metricOf(name, "identity", condition, clusteredRate(outcomes, clusters), { kind });
    if (tuned.length === 0) return [rate("base", sample(base))];
    const change = clusteredDifference(sample(tuned), sample(base));
    return [
      rate("base", sample(base)),
      rate("tuned", sample(tuned)),
      metricOf(name, "identity", "tuned-base", change, { kind }),
    ];
  });
}

function byQuestion(records: readonly IdentityRecord[], question: string): Metric[] {
  const [base, tuned] = [ofCondition(records, "base"), ofCondition(records, "tuned")];
  return Object.entries(claimsOf(records[0].questionKind)).flatMap(([name, claim]) => {
    const [before, after] = [base.filter(claim).length, tuned.filter(claim).length];
    const rates = [metricOf(name, "identity", "base", wilson(before, base.length), { question })];
    if (tuned.length === 0) return rates;
    const change = rateDifference(after, tuned.length, before, base.length);
    return [
      ...rates,
      metricOf(name, "identity", "tuned", wilson(after, tuned.length), { question }),
      metricOf(name, "identity", "tuned-base", change, { question }),
    ];
  });
}
