/**
 * One claim of the published card against what was measured here, with the control that could explain it otherwise.
 *
 * The bound says in the open when the claim counts as holding; the interval decides how firmly (stats/verdict.ts). A claim whose
 * figure holds is not believed alone: its control must hold too.
 */
import type { Metric } from "../../runs";
import { type AimBounds, type Verdict, verdict } from "../../stats";
import type { AdapterFigures } from "./figures";

/** What a claim or control says of a figure. */
export interface Test {
  /** the figure in words */
  what: string;
  figure(of: AdapterFigures): Metric | undefined;
  /** when it holds */
  bounds: AimBounds;
}

/** One line of the table. */
export interface Claim extends Test {
  /** the card's figure, in words */
  published: string;
  /** what must hold as well for the claim to mean what it says */
  control: Test;
}

/** A test with its result. */
export interface Tested extends Test {
  measured: Metric | null;
  verdict: Verdict;
}

/** A claim with what came of it. */
export interface JudgedClaim {
  claim: Claim;
  here: Tested;
  control: Tested;
  verdict: ClaimVerdict;
}

export type ClaimVerdict =
  | "holds, and its control does"
  | "holds; its control is open"
  | "holds; its control was not run"
  | "holds as asked, fails its control"
  | "open"
  | "does not hold here"
  | "not asked in these runs";

const NOT_ASKED: ClaimVerdict = "not asked in these runs";

/** Judges a claim by one adapter's figures. */
export function judge(claim: Claim, figures: AdapterFigures): JudgedClaim {
  const here = tested(claim, figures);
  const control = tested(claim.control, figures);
  return { claim, here, control, verdict: together(here.verdict, control.verdict) };
}

function tested(test: Test, figures: AdapterFigures): Tested {
  const measured = test.figure(figures) ?? null;
  const none = { value: null, low: null, high: null };
  return { ...test, measured, verdict: verdict(test.bounds, measured ?? none) };
}

/** A figure without an interval, or whose interval allows both, leaves the question open. */
function together(here: Verdict, control: Verdict): ClaimVerdict {
  if (here === "not measured") return NOT_ASKED;
  if (here === "missed") return "does not hold here";
  if (here !== "reached") return "open";
  if (control === "not measured") return "holds; its control was not run";
  if (control === "missed") return "holds as asked, fails its control";
  return control === "reached" ? "holds, and its control does" : "holds; its control is open";
}
