/**
 * YAML files, read strictly: keys once, a schema for every field, one kind of message.
 */
import { parse } from "yaml";
import type { z } from "zod";
import { DataError } from "../base";
import { readText } from "./input";

export function readYaml<T>(file: string, schema: z.ZodType<T>): T {
  const text = readText(file);
  let value: unknown;
  try {
    value = parse(text, { uniqueKeys: true });
  } catch (error) {
    throw new DataError(
      "yaml-syntax",
      `Expected valid YAML in ${file} but received ${(error as Error).message.split("\n")[0]}`,
    );
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new DataError(
    "prompt-file",
    `Expected ${issue.message} for ${issue.path.join(".") || "the file"} but received something else in ${file}.`,
  );
}
