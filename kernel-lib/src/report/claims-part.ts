/** Every claim of the published card in one line: its figure, ours, the control that tests it, a verdict. */
import { measuredAdapters } from "./claims/figures";
import { type ClaimVerdict, judge, type JudgedClaim, type Tested } from "./claims/judge";
import { claimsOf } from "./claims/list";
import { type Cell, paragraph, quoted, table } from "./html";
import { type LoadedRun, modelLabel } from "./load";
import type { PublishedCard } from "./published";
import { trainedBy } from "./whose";
import { formatNumber } from "../page";

const UNASKED: ClaimVerdict = "not asked in these runs";

/** The section; none where no run measured an adapter. */
export function claimsSection(runs: readonly LoadedRun[], published: PublishedCard): string {
  const adapters = measuredAdapters(runs);
  if (adapters.length === 0) return "";
  const claims = claimsOf(published);
  const judged = adapters.map(({ run, figures }) => ({
    whose: `${modelLabel(run)}: adapter trained by ${trainedBy(run, runs)}`,
    all: claims.map((claim) => judge(claim, figures)),
  }));
  const rows = judged.flatMap(({ whose, all }) => [
    { heading: whose },
    ...all.filter((item) => item.verdict !== UNASKED).map(claimRow),
  ]);
  const unasked = judged.flatMap(({ whose, all }) => {
    const of = all.filter(({ verdict }) => verdict === UNASKED).map(({ claim }) => claim.what);
    return of.length === 0 ? [] : [paragraph(`Not asked in these runs, ${whose}: ${of.join("; ")}.`, "soft")];
  });
  return [
    "<h2>Claims of the published card</h2>",
    paragraph(
      `What the card says of ${published.model}, and what the same question gave here, on another model. A claim counts as holding if its figure keeps the bound with its whole interval, and is open if the interval allows both. The bounds are this project's.`,
    ),
    table(["claim", "verdict", "published", "here", "holds if", "control", "control here"], rows),
    ...unasked,
  ].join("\n");
}

function claimRow({ claim, here, control, verdict }: JudgedClaim): (Cell | string)[] {
  const sentence = (text: string): Cell => ({ text, isSentence: true });
  return [
    sentence(claim.what),
    { text: verdict, badge: TONE[verdict], isSentence: true },
    claim.published,
    quoted(here.measured),
    { text: boundsOf(here), isName: true },
    sentence(`${control.what} (${boundsOf(control)})`),
    quoted(control.measured),
  ];
}

function boundsOf({ bounds: { least, most } }: Tested): string {
  if (least !== null && most !== null) return `${formatNumber(least, 2)} to ${formatNumber(most, 2)}`;
  return least !== null ? `\u2265 ${formatNumber(least, 2)}` : `\u2264 ${formatNumber(most, 2)}`;
}

const TONE: Readonly<Record<ClaimVerdict, Cell["badge"]>> = {
  "holds, and its control does": "good",
  "holds; its control is open": "warn",
  "holds; its control was not run": "warn",
  "holds as asked, fails its control": "bad",
  open: "warn",
  "does not hold here": "bad",
  "not asked in these runs": undefined,
};
