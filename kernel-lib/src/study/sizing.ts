/**
 * Which size of model a protocol's numbers are for: the design stays, examples, rate, strengths and trials follow the model.
 *
 * A protocol file states the size of its own values (`sizing`) and, in `sizings`, what changes from so many parameters on. A
 * resolved protocol is of one size and names it, so that hash, label and every report tell a small study from a full one.
 */
import { z } from "zod";
import { expected, InputError } from "../base";
import { type ModelConfig, parameterCount } from "../checkpoint";

/** The size that a resolved protocol is for. */
export interface Sizing {
  /** such as "lab" or "0.5B" */
  name: string;
  /** machine, time and how the numbers were chosen, in words */
  about: string;
}

/** `sizings` of a protocol file, from the smallest model up; the file's own values are for models below the first. */
export interface SizingRule extends Sizing {
  /** from so many parameters on (a tied head counts once) */
  parameters: number;
  /** values by dotted path */
  set: Record<string, unknown>;
}

export const sizingSchema: z.ZodType<Sizing> = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.]*$/),
  about: z.string().min(1),
});

export const sizingRulesSchema: z.ZodType<SizingRule[]> = z
  .array(
    z.strictObject({
      name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.]*$/),
      about: z.string().min(1),
      parameters: z.number().positive(),
      set: z.record(z.string(), z.unknown()),
    }),
  )
  .refine((rules) => rules.every(({ parameters }, i) => i === 0 || parameters > rules[i - 1].parameters), {
    error: "sizes from the smallest up",
  });

/** "strict@0.5B" -> ["strict", "0.5B"]; without a size: null. */
export function splitSize(nameOrFile: string): [string, string | null] {
  const found = /^(.+)@([A-Za-z0-9][A-Za-z0-9.]*)$/.exec(nameOrFile);
  return found === null ? [nameOrFile, null] : [found[1], found[2]];
}

/**
 * The rule for a size by name, or for a model; null: the file's own values.
 *
 * @param wanted a size's name, a model's config, or null for the file's own values
 * @throws InputError "protocol-size" for a name that the protocol does not have
 */
export function chooseSizing(
  own: Sizing | null,
  rules: readonly SizingRule[],
  wanted: string | ModelConfig | null,
  protocol: string,
): SizingRule | null {
  if (wanted === null) return null;
  if (typeof wanted === "string") {
    if (wanted === own?.name) return null;
    const rule = rules.find(({ name }) => name === wanted);
    if (rule !== undefined) return rule;
    const known = [...(own === null ? [] : [own]), ...rules].map(({ name }) => name).join(", ");
    throw new InputError(
      "protocol-size",
      expected(known === "" ? "a protocol with sizes" : `one of ${known}`, `size of protocol ${protocol}`, wanted),
    );
  }
  const parameters = parameterCount(wanted);
  return rules.filter((rule) => parameters >= rule.parameters).at(-1) ?? null;
}
