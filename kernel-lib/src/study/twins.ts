/**
 * Twins by name: those of `TWINS`, label pairs without meaning, and single bands of layers.
 *
 * "labels-left-right" trains and asks with left for steered and right for clean instead of yes and no: "labels-right-left" is its other
 * order, and what both orders share is not owed to a word. "band-early" steers one third of the depth only, in training and
 * evaluation. "retention-weight-4" weighs retention by 4: several of them draw what detection costs elsewhere, as a curve. That labels are single tokens of a model is proven where the twin is bound to it (`bindStudy`).
 */
import { expected, InputError } from "../base";
import { layerThirds } from "../steering";
import { twin, TWINS } from "./protocol";
import type { Protocol } from "./types";

const RETENTION_TWINS: readonly string[] = ["no-retention", "retention-weight-4", "retention-weight-16"];
const OTHER_TWINS: readonly string[] = [
  "no-steer",
  "flipped",
  "corrupt",
  "neutral",
  "labels-left-right",
  "labels-right-left",
  "rank-1",
  "band-early",
  "band-middle",
  "band-late",
  "pair",
  "full",
];

/**
 * What `steerlab twins` runs beside a study unless told otherwise: without deny, vague and unrelated; without what the study is already.
 * @example
 * defaultTwins(loadProtocol("card")).includes("no-retention"); // false: the card's protocol has none to leave out
 */
export function defaultTwins(protocol: Protocol): string[] {
  const { retention, loss } = protocol.training;
  const names = [...(retention.share > 0 ? RETENTION_TWINS : []), ...OTHER_TWINS];
  return names.filter((name) => name !== loss && name !== `retention-weight-${retention.weight}`);
}

const LABELS = /^labels-(\p{L}+)-(\p{L}+)$/u;
const BAND = /^band-([a-z]+)$/;
const RETENTION_WEIGHT = /^retention-weight-(\d+(?:\.\d+)?)$/;

/**
 * A twin by its name, on a model of `layers` blocks.
 *
 * @param name one of `TWINS`, "labels-STEERED-CLEAN", "retention-weight-W", or "band-early", "band-middle", "band-late"
 * @throws InputError "protocol-unknown" for another name or a weight without retention, "protocol-labels" for labels beside retention by
 *   the form answers
 * @example
 * const other = namedTwin(loadProtocol("strict"), "labels-left-right", 12);
 */
export function namedTwin(protocol: Protocol, name: string, layers: number): Protocol {
  if (Object.hasOwn(TWINS, name)) return twin(protocol, name);
  const labels = LABELS.exec(name);
  if (labels !== null) return twin(protocol, labelChanges(protocol, labels[1], labels[2]), name);
  const band = BAND.exec(name)?.[1];
  const ranges = band === undefined ? [] : layerThirds(layers).filter((range) => range.name === band);
  if (ranges.length === 1) return twin(protocol, { "steering.ranges": ranges }, name);
  const weight = RETENTION_WEIGHT.exec(name)?.[1];
  if (weight !== undefined) {
    const { share } = protocol.training.retention;
    if (share === 0)
      throw new InputError("protocol-unknown", expected("training.retention.share > 0", `twin ${name}`, share));
    return twin(protocol, { "training.retention.weight": Number(weight) }, name);
  }
  const known = [
    ...Object.keys(TWINS),
    "labels-STEERED-CLEAN",
    "retention-weight-W",
    "band-early",
    "band-middle",
    "band-late",
  ];
  throw new InputError("protocol-unknown", expected(`one of ${known.join(", ")}`, "twin", name));
}

/**
 * Other labels, asked for in every question. The base has no reason to say them, so that neither the linter's bound on mass nor the
 * guard of the first steps can hold: both are off, and training itself brings the mass.
 */
function labelChanges(protocol: Protocol, steered: string, clean: string): Record<string, unknown> {
  const { retention } = protocol.training;
  if (retention.share > 0 && retention.form === "answers")
    throw new InputError(
      "protocol-labels",
      expected(
        "training.retention.form distribution",
        `twin labels-${steered}-${clean}`,
        "answers, which is yes or no",
      ),
    );
  return {
    "conversation.labels": { steered: ` ${steered}`, clean: ` ${clean}` },
    questions: protocol.questions.map((question) => ({ ...question, text: relabelled(question.text, steered, clean) })),
    "evaluation.minimumMass": 0,
    "training.massGuard": 0,
  };
}

/**
 * A question whose instruction asks for other words: in sentences that name both yes and no, these become the labels.
 * @example
 * relabelled("Was it altered? Yes or no only.", "left", "right"); // "Was it altered? Left or right only."
 */
export function relabelled(text: string, steered: string, clean: string): string {
  const sentences = text.split(/(?<=[.?!])\s+/);
  return sentences
    .map((sentence) =>
      /\byes\b/i.test(sentence) && /\bno\b/i.test(sentence)
        ? sentence
            .replace(/\byes\b/gi, (word) => inCaseOf(word, steered))
            .replace(/\bno\b(?!.*\bno\b)/i, (word) => inCaseOf(word, clean))
        : sentence,
    )
    .join(" ");
}

function inCaseOf(word: string, label: string): string {
  return /^\p{Lu}/u.test(word) ? label[0].toUpperCase() + label.slice(1) : label;
}
