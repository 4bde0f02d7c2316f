// Rotary positions: both spellings, every key, and frequencies against transformers' own.
import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { parseModelConfig, rotaryFrequencies } from "../../../kernel-lib/src/checkpoint";

type Fields = Record<string, unknown>;
const golden = path.join(import.meta.dirname, "../../fixtures/gguf/golden.json");
const { rope } = JSON.parse(fs.readFileSync(golden, "utf8")) as {
  rope: { config: Fields; frequencies: number[]; scale: number }[];
};
const agreeing = rope.filter(
  ({ config }) => !(config.rope_theta === 1e4 && (config.rope_scaling as Fields)?.rope_theta),
);
const [{ config: yarn }] = rope;
const parse = (change: Fields): ReturnType<typeof parseModelConfig> =>
  parseModelConfig(JSON.stringify({ ...yarn, ...change }));

/** f32 arithmetic in the same order: a last bit from the power function. */
const RELATIVE = 3e-7;

describe("rotary positions", () => {
  it.each(agreeing)("has the frequencies of transformers for %j", ({ config, frequencies, scale }) => {
    const ours = rotaryFrequencies(parseModelConfig(JSON.stringify(config)));
    expect(ours.frequencies.length).toBe(frequencies.length);
    for (const [i, expected] of frequencies.entries())
      expect(Math.abs(ours.frequencies[i] - expected)).toBeLessThan(RELATIVE * expected);
    expect(ours.scale).toBeCloseTo(scale, 12);
  });

  it("is the same under both spellings and in both places", () => {
    const rope_scaling = { ...(yarn.rope_scaling as Fields) };
    const { rope_type, ...others } = rope_scaling;
    const expected = parse({});
    expect(expected.rope_scaling?.factor).toBe(4);
    expect(parse({ rope_scaling: { type: rope_type, ...others } })).toEqual(expected);
    expect(parse({ rope_scaling: { type: "yarn", ...rope_scaling } })).toEqual(expected);
    expect(parse({ rope_scaling: undefined, rope_parameters: { ...rope_scaling, rope_theta: 1e6 } })).toEqual(expected);
    expect(parse({ rope_scaling: { ...rope_scaling, beta_fast: null } })).toEqual(expected);
    const { original_max_position_embeddings, ...inner } = rope_scaling;
    expect(parse({ rope_scaling: inner, original_max_position_embeddings })).toEqual(expected);
  });

  it("has no scaling in a plain config, so that its hash stays what it was", () => {
    expect(Object.keys(parse({ rope_scaling: null }))).not.toContain("rope_scaling");
  });

  it.each<[string, Fields]>([
    ["linear", { rope_scaling: { rope_type: "linear", factor: 2 } }],
    ["beta_medium", { rope_scaling: { rope_type: "yarn", factor: 2, beta_medium: 3 } }],
    ["factor", { rope_scaling: { rope_type: "default", factor: 2 } }],
    ["one rope_theta", { rope_scaling: { rope_type: "default", rope_theta: 5 } }],
    ["one rope_type", { rope_scaling: { rope_type: "yarn", type: "default", factor: 2 } }],
    ["one original_max_position_embeddings", { original_max_position_embeddings: 7 }],
    ["say the same", { rope_parameters: { rope_type: "default" } }],
    ["factor", { rope_scaling: { rope_type: "yarn", factor: -1 } }],
    ["truncate", { rope_scaling: { rope_type: "yarn", factor: 2, truncate: 3 } }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.5 }],
    ["partial_rotary_factor", { rope_scaling: { rope_type: "default", partial_rotary_factor: 0.5 } }],
  ])("refuses %s", (sentence, change) => {
    expect(() => parse(change)).toThrowError(new RegExp(sentence));
  });
});
