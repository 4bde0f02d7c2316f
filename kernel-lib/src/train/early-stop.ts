/**
 * When training ends before its last step, and which step's weights it leaves.
 *
 * A pure function of the validation events up to now: a resumed run, whose events are cut to its checkpoint, decides as the whole one.
 */
import { expected, InputError } from "../base";
import type { EarlyStop } from "../study";
import type { TrainEvent, ValidationEvent } from "./events";

/** The step whose weights a run leaves, and how it came to it; goes into meta.json. */
export interface StepChoice {
  metric: EarlyStop["metric"];
  /** of the weights that are kept */
  step: number;
  /** the metric at that step */
  value: number;
  /** the last step that was taken */
  stoppedStep: number;
  plannedSteps: number;
}

const FIGURES: Readonly<Record<EarlyStop["metric"], (event: ValidationEvent) => number | null>> = {
  validationLoss: ({ loss }) => loss,
  validationAccuracy: ({ accuracy }) => (accuracy === null ? null : -accuracy),
};

interface Standing {
  best: ValidationEvent;
  last: ValidationEvent;
  /** validations after the best */
  since: number;
}

/** The best validation so far (the first of equals) and how many came after it; null before the first that has the figure. */
function standing({ metric }: EarlyStop, events: readonly TrainEvent[]): Standing | null {
  const known = events.filter((event): event is ValidationEvent => event.kind === "validation");
  const figures = known.map((event) => FIGURES[metric](event) ?? Number.POSITIVE_INFINITY);
  const at = figures.indexOf(Math.min(...figures));
  return at === -1 || figures[at] === Number.POSITIVE_INFINITY
    ? null
    : { best: known[at], last: known[known.length - 1], since: known.length - 1 - at };
}

/** Is the validation at `step` the best so far? Then its weights are kept. */
export function isBest(rule: EarlyStop | null, events: readonly TrainEvent[], step: number): boolean {
  return rule !== null && standing(rule, events)?.best.step === step;
}

/** Have `patience` validations in a row been no better, at or after `minimumSteps`? */
export function isOver(rule: EarlyStop | null, events: readonly TrainEvent[]): boolean {
  if (rule === null) return false;
  const now = standing(rule, events);
  return now !== null && now.since >= rule.patience && now.last.step >= rule.minimumSteps;
}

/** The choice at the end of a run. @throws InputError "no-examples" if no validation has the figure */
export function choiceOf(
  rule: EarlyStop,
  events: readonly TrainEvent[],
  steps: { stoppedStep: number; plannedSteps: number },
): StepChoice {
  const found = standing(rule, events);
  if (found === null)
    throw new InputError("no-examples", expected("a validation", `training.earlyStop on ${rule.metric}`, "none"));
  const { step, loss, accuracy } = found.best;
  const value = (rule.metric === "validationLoss" ? loss : accuracy) as number;
  return { metric: rule.metric, step, value, ...steps };
}

const FIGURE_WORDS: Readonly<Record<EarlyStop["metric"], string>> = {
  validationLoss: "validation loss",
  validationAccuracy: "validation accuracy",
};

/** A choice in sentences: by which rule a run ended where, and why its adapter has the weights of which step. */
export function choiceText({ metric, step, value, stoppedStep, plannedSteps }: StepChoice, rule: EarlyStop): string {
  const figure = FIGURE_WORDS[metric];
  const { patience, minimumSteps } = rule;
  const span = `${patience} validation${patience === 1 ? "" : "s"} without a better ${figure}, from step ${minimumSteps} on`;
  const end =
    stoppedStep < plannedSteps
      ? `Stopped early at step ${stoppedStep} of ${plannedSteps} (rule: ${span}).`
      : `Not stopped early: all ${plannedSteps} steps were taken (rule: ${span}).`;
  const best = metric === "validationLoss" ? "least" : "highest";
  return `${end} The adapter has the weights of step ${step}, the first with the ${best} ${figure} (${value.toFixed(3)}).`;
}
