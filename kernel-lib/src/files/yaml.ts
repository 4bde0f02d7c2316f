/**
 * YAML, read one way everywhere: one document without errors or doubts, keys once, a schema for every field, one kind of message.
 */
import { parseDocument } from "yaml";
import type { z } from "zod";
import { DataError, InputError, whatWasWanted } from "../base";
import { readText } from "./input";

/**
 * The value of one YAML document.
 * @param name file, for the error sentence
 * @throws DataError "yaml-syntax" for errors, warnings, several documents and keys that stand twice
 * @example
 * parseYaml("lr: 2.0e-4", "train.yaml"); // { lr: 0.0002 }
 */
export function parseYaml(text: string, name: string): unknown {
  const refuse = (reason: string): never => {
    const line = reason.split("\n")[0].replace(/[:.]$/, "");
    throw new DataError("yaml-syntax", `Expected one valid YAML document in ${name} but received: ${line}.`);
  };
  const document = parseDocument(text.replace(/^\ufeff/, ""));
  const fault = [...document.errors, ...document.warnings][0];
  if (fault !== undefined) return refuse(fault.message);
  try {
    return document.toJS();
  } catch (error) {
    return refuse((error as Error).message); // aliases that multiply
  }
}

/**
 * A value with the shape of a schema.
 * @param whole what to call the value where no field is at fault
 * @param where file or place that ends the sentence; "" for none
 * @throws InputError `code` naming the first field that is wrong by its dotted path, what it should be and what it is
 */
export function checkShape<T>(
  value: unknown,
  schema: z.ZodType<T>,
  of: { code: string; whole: string; where: string },
): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const found = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | null | undefined)?.[key],
    value,
  );
  const received = issue.code === "unrecognized_keys" ? issue.keys.join(", ") : shownValue(found);
  const field = issue.path.join(".") || of.whole;
  const place = of.where === "" ? "" : ` (${of.where})`;
  throw new InputError(of.code, `Expected ${whatWasWanted(issue)} for ${field} but received ${received}${place}.`);
}

/** A YAML file with the shape of a schema. @throws DataError "file-missing", "yaml-syntax"; InputError `code` as `checkShape` */
export function readYaml<T>(file: string, schema: z.ZodType<T>, code = "prompt-file"): T {
  return checkShape(parseYaml(readText(file), file), schema, { code, whole: "the file", where: file });
}

/** JSON text of a value, cut where it is long; NaN and infinities, which JSON makes null, by their name. */
function shownValue(value: unknown): string {
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? "nothing");
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
