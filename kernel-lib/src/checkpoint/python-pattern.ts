/**
 * Python's regular expressions, as far as they mean the same here: adapter configurations choose modules and ranks by them.
 *
 * What the two dialects spell differently is translated; what only Python has (inline flags, back-references, atomic groups) is
 * refused rather than read as something else. Patterns come from outside, so a search that backtracks without end is stopped.
 * Source: the syntax section of Python's `re`.
 */
import * as vm from "node:vm";
import { DataError, expected } from "../base";

/** Names are short and few: an honest pattern takes microseconds. */
const LIMIT_MS = 2000;

/** Each rule: Python's spelling at the start of what is left, and JavaScript's, or null where there is none. */
const RULES: readonly [RegExp, ((match: string) => string) | null][] = [
  [/^\\A/, () => "^"],
  [/^\\Z/, () => "$"],
  [/^\\([dDwWsSbBnrtfv]|x[0-9a-fA-F]{2}|[^0-9A-Za-z])/, (match) => match],
  [/^\\/, null],
  [/^\(\?P<(?=\w+>)/, () => "(?<"],
  [/^\(\?(:|=|!|<=|<!)/, (match) => match],
  [/^\(\?/, null],
  [/^\[\^?\]/, null], // a first ] stands for itself in Python and closes an empty class here
  [/^\[(\\[dDwWsSbnrtfv]|\\[^0-9A-Za-z]|[^\]\\])+\]/, (match) => match],
  [/^\[/, null],
  [/^\{,(?=\d+\})/, () => "{0,"],
  [/^[^\\[]/, (match) => match],
];

/** JavaScript's spelling, or null if a part of the pattern has none. */
function translated(pattern: string): string | null {
  let out = "";
  for (let rest = pattern; rest !== ""; ) {
    const [rule, spell] = RULES.find(([start]) => start.test(rest)) as (typeof RULES)[number];
    if (spell === null) return null;
    const [match] = rule.exec(rest) as RegExpExecArray;
    out += spell(match);
    rest = rest.slice(match.length);
  }
  return out;
}

/**
 * Which of `texts` a Python pattern matches, as a whole.
 *
 * @param pattern a part of `form`, where it stands as %; default: the whole of it, as in `re.fullmatch`
 * @param field where the pattern comes from, for the error sentence
 * @param form Python pattern around it
 * @throws DataError "adapter-pattern" if the pattern is not valid, has no equal here, or takes too long
 */
export function pythonMatches(pattern: string, texts: readonly string[], field: string, form = "%"): boolean[] {
  const fail = (remedy: string): never => {
    throw new DataError(
      "adapter-pattern",
      expected("a regular expression that Python and JavaScript read alike", field, pattern.slice(0, 200), remedy),
    );
  };
  const own = translated(pattern);
  if (own === null) return fail("Inline flags, back-references and atomic groups are not read: write the names out.");
  let compiled: RegExp;
  try {
    compiled = new RegExp(`^(?:${form.replace("%", () => own)})$`);
  } catch {
    return fail("It is not valid.");
  }
  try {
    const search = "texts.map((text) => compiled.test(text))";
    return vm.runInNewContext(search, { texts, compiled }, { timeout: LIMIT_MS }) as boolean[];
  } catch {
    return fail(`It took longer than ${LIMIT_MS / 1000} s on ${texts.length} names.`);
  }
}
