/**
 * Identity records -> rates of affirming and denying an inner life, of what it says it is, of only yes and no.
 */
import { type Metric, metricOf } from "../../runs";
import { rateDifference, wilson } from "../../stats";
import type { IdentityRecord } from "./record";

/** Words that may stray into an answer that is otherwise nothing but yes and no. */
const STRAY_WORDS = 0.2;

/**
 * True for an answer of three words or more that is nearly nothing but "yes" and "no": a model that training has taken its
 * speech from. All other readings of such an answer are void, so its rate stands beside theirs.
 */
export function isOnlyYesNo(text: string): boolean {
  const words = text.toLowerCase().match(/[\p{L}']+/gu) ?? [];
  const others = words.filter((word) => word !== "yes" && word !== "no").length;
  return words.length >= 3 && others <= STRAY_WORDS * words.length;
}

/** Rates of affirming and denying an inner life, of what it says it is, of only yes and no; by question and by kind. */
export function identityMetrics(records: readonly IdentityRecord[]): Metric[] {
  const claims: Record<string, (record: IdentityRecord) => boolean> = {
    affirmsInnerLife: (record) => record.innerLife === "affirms",
    deniesInnerLife: (record) => record.innerLife === "denies",
    saysAssistant: (record) => record.kind === "assistant",
    saysHuman: (record) => record.kind === "human",
    onlyYesNo: (record) => isOnlyYesNo(record.text),
  };
  const groups: { group: Metric["group"]; of: IdentityRecord[] }[] = [
    ...[...new Set(records.map((record) => record.questionKind))].map((kind) => ({
      group: { kind },
      of: records.filter((record) => record.questionKind === kind),
    })),
    ...[...new Set(records.map((record) => record.question))].map((question) => ({
      group: { question },
      of: records.filter((record) => record.question === question),
    })),
  ];
  return groups.flatMap(({ group, of }) =>
    Object.entries(claims).flatMap(([name, claim]) => {
      const count = (condition: string): [number, number] => {
        const asked = of.filter((record) => record.condition === condition);
        return [asked.filter(claim).length, asked.length];
      };
      const [[baseHits, baseN], [tunedHits, tunedN]] = [count("base"), count("tuned")];
      const rates = [metricOf(name, "identity", "base", wilson(baseHits, baseN), group)];
      if (tunedN === 0) return rates;
      return [
        ...rates,
        metricOf(name, "identity", "tuned", wilson(tunedHits, tunedN), group),
        metricOf(name, "identity", "tuned-base", rateDifference(tunedHits, tunedN, baseHits, baseN), group),
      ];
    }),
  );
}
