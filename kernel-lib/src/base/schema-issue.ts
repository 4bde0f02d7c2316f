/** What a schema wanted, in the words of the house: the "Expected ..." part of a sentence for one zod issue. */
import type { z } from "zod";

const TYPES: Record<string, string> = {
  number: "a number",
  int: "a whole number",
  string: "text",
  boolean: "true or false",
  array: "a list",
  tuple: "a list",
  object: "a mapping",
  record: "a mapping",
};

/** @example whatWasWanted(issue) // "a number > 0" */
export function whatWasWanted(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return TYPES[issue.expected] ?? `a value of type ${issue.expected}`;
    case "too_small":
      return limit(issue.origin, issue.inclusive === false ? ">" : ">=", String(issue.minimum));
    case "too_big":
      return limit(issue.origin, issue.inclusive === false ? "<" : "<=", String(issue.maximum));
    case "invalid_value":
      return `${issue.values.length > 1 ? "one of " : ""}${issue.values.map(String).join(", ")}`;
    case "unrecognized_keys":
      return "only known fields";
    default:
      return issue.message.replace(/\.$/, "");
  }
}

function limit(origin: string, sign: string, bound: string): string {
  if (origin === "array") return `a list with length ${sign} ${bound}`;
  if (origin === "string") return `text with length ${sign} ${bound}`;
  return `a number ${sign} ${bound}`;
}
