/**
 * Losses and LoRA gradients of batches that hold label and match examples, against torch and PEFT (test/fixtures/parity/match.py): a
 * fresh random model, adapter and batch under a printed seed. Needs the oracle's Python as live.test.ts does; skipped by name without.
 */
import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Projection } from "../../kernel-lib/src/checkpoint";
import type { TrainingExample } from "../../kernel-lib/src/engine";
import { engineChoices, openFolder } from "./engines";
import { oraclePython, oracleRequired } from "./oracle";
import { FIXTURES, largest, relative } from "./readers";
import { F32_GRADIENT, F32_LOSS } from "./tolerances";

interface Made {
  r: number;
  alpha: number;
  modules: Projection[];
  massWeight: number;
  examples: TrainingExample[];
  losses: number[];
  parameters: Record<string, number[]>;
  gradients: Record<string, number[]>;
}

const python = oraclePython();
const seeds = [1, 2].map(() => randomInt(1_000_000));
const title = `match loss against torch and PEFT${python === null && !oracleRequired ? " (skipped: no Python with torch, transformers and peft)" : ""}`;

describe.skipIf(python === null && !oracleRequired)(title, () => {
  let base: string;
  beforeAll(() => {
    base = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-match-"));
  });
  afterAll(() => fs.rmSync(base, { recursive: true, force: true }));

  it.each(seeds)(
    "seed %i: every loss, every dA and dB",
    async (seed) => {
      const folder = path.join(base, String(seed));
      await promisify(execFile)(python as string, [
        path.join(FIXTURES, "match.py"),
        "--seed",
        String(seed),
        "--out",
        folder,
      ]);
      const made: Made = JSON.parse(fs.readFileSync(path.join(folder, "match.json"), "utf8"));
      const examples = made.examples.map((e) => ({
        ...e,
        steering: e.steering.map((s) => ({ ...s, direction: Float32Array.from(s.direction) })),
      }));
      const count = Object.values(made.parameters).reduce((sum, values) => sum + values.length, 0);
      for (const choice of engineChoices("f32")) {
        const engine = await openFolder(path.join(folder, "model"), choice);
        const { r, alpha, modules: targets, massWeight } = made;
        const trainer = engine.createTrainer(
          {
            r,
            alpha,
            targets,
            massWeight,
            dropout: 0,
            seed: 1,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weightDecay: 0,
            maxGradNorm: 0,
          },
          new Float32Array(count),
        );
        const flat = (tensors: Record<string, number[]>): Float32Array => {
          const out = new Float32Array(count);
          for (const { name, offset } of trainer.layout) out.set(tensors[name], offset);
          return out;
        };
        const none = new Float32Array(count);
        await trainer.setState({ params: flat(made.parameters), m: none, v: none });
        for (const microBatch of [1, 4, 6]) {
          const { loss, gradients } = await trainer.gradients(examples, 1, { microBatch });
          expect(largest(loss, made.losses), `${choice.label} losses`).toBeLessThan(F32_LOSS);
          for (const { name, offset, shape } of trainer.layout) {
            const mine = gradients.subarray(offset, offset + shape[0] * shape[1]);
            expect(relative(mine, made.gradients[name]), `${choice.label} ${name}`).toBeLessThan(F32_GRADIENT);
          }
        }
        engine.dispose();
      }
    },
    300_000,
  );
});
