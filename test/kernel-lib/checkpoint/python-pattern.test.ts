// Python's patterns: read as Python reads them, or refused; never read as something else.
import { describe, expect, it } from "vitest";
import { pythonMatches } from "../../../kernel-lib/src/checkpoint";

const names = ["q_proj", "layers.0.q_proj", "layers.10.v_proj", "a]b", "x\\y"];
const matched = (pattern: string): string[] => {
  const found = pythonMatches(pattern, names, "field");
  return names.filter((_, i) => found[i]);
};

describe("pythonMatches", () => {
  // What `[n for n in names if re.fullmatch(pattern, n)]` gives in Python 3.11.
  it.each<[string, string[]]>([
    ["q_proj", ["q_proj"]],
    [".*q_proj", ["q_proj", "layers.0.q_proj"]],
    ["q_proj|.*v_proj", ["q_proj", "layers.10.v_proj"]],
    [String.raw`\Alayers\.\d\.\w+\Z`, ["layers.0.q_proj"]],
    [String.raw`layers\.[0-9]{,2}\.(?P<kind>[qv])_proj`, ["layers.0.q_proj", "layers.10.v_proj"]],
    [String.raw`^(?:layers\.)(?!0\.).*$`, ["layers.10.v_proj"]],
    [String.raw`a\]b`, ["a]b"]],
    [String.raw`[ax][\]\\][by]`, ["a]b", "x\\y"]],
    [String.raw`.*(?<=\d)\.v_proj`, ["layers.10.v_proj"]],
  ])("%s", (pattern, expected) => {
    expect(matched(pattern)).toEqual(expected);
  });

  it.each([
    "(?i)Q_PROJ",
    "(?i:Q)_proj",
    String.raw`(.)\1_proj`,
    "(?P=kind)",
    "(?>q)_proj",
    "q++_proj",
    "[]a]b",
    "[^]]",
    String.raw`\Gq`,
    "(q",
    "*q",
  ])("refuses %s, which the two languages do not share", (pattern) => {
    expect(() => matched(pattern)).toThrowError(
      expect.objectContaining({ code: "adapter-pattern", message: expect.stringMatching(/for field/) }),
    );
  });

  it("stops a search without end", () => {
    expect(() => pythonMatches("(a+)+b", ["a".repeat(64)], "field")).toThrowError(/longer than 2 s/);
  });
});
