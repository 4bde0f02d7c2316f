/**
 * The Usage of an adapter's card, verbatim: its Python on transformers + PEFT, its TypeScript in a plain Node process, on an adapter
 * that was trained here a moment ago. Both must say the same of a clean cache, and both must run for a steered one. The names of
 * base and adapter are links in the folder where the code runs. Python as in live.test.ts; skipped by name without.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openModel } from "../../kernel-lib/src/engine";
import { buildPublication, type Publication } from "../../kernel-lib/src/report";
import { randomDirectionSet } from "../../kernel-lib/src/steering";
import { loadProtocol, twin } from "../../kernel-lib/src/study";
import { trainDetector } from "../../kernel-lib/src/train";
import { ROOT } from "./command-line";
import { oraclePython, oracleRequired } from "./oracle";

/** f32 in both; the two differ in the order of sums alone. */
const TOLERANCE = 1e-4;
/** nats; the magnitudes of the card's Python have six digits. Steering moves the answer by more than ten times that. */
const LOG_TOLERANCE = 3e-3;
/** of the lab model's residual stream */
const WIDTH = 256;
const TIMEOUT_MS = 300_000;

const python = oraclePython();
const title = python !== null || oracleRequired ? "" : " (skipped: no Python with torch, transformers and peft)";
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-usage-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const names = { repo: "me/detector", baseModel: "base/lab" };
let built: Publication;

beforeAll(async () => {
  const model = await openModel(undefined, { backend: "cpu", dtype: "f32" });
  const small = twin(loadProtocol("strict"), {
    "training.examples": 64,
    "training.validateEvery": 0,
    "training.checkpointEvery": 0,
    "training.lora": { r: 4, alpha: 8, dropout: 0, targetModules: ["q_proj", "v_proj"] },
  });
  const run = await trainDetector(model, small, { seed: 1, root: folder });
  model.dispose();
  built = buildPublication(run.folder, names);
  const link = (name: string, place: string): void => {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.symlinkSync(place, path.join(folder, name));
  };
  link(names.baseModel, path.join(ROOT, "data", "lab-model"));
  link(names.repo, path.resolve(built.folder));
  link("protocol.yaml", path.resolve(built.folder, "protocol.yaml"));
  link("node_modules", path.join(ROOT, "node_modules"));
}, TIMEOUT_MS);

const code = (language: string): string => {
  const card = fs.readFileSync(path.join(built.folder, "README.md"), "utf8");
  return (new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(card) as RegExpExecArray)[1];
};

/** "clean   {'probability': 0.1, 'mass': 0.9}" in either language. */
function figures(stdout: string, which: "clean" | "steered"): { probability: number; mass: number } {
  const text = stdout.slice(stdout.indexOf(which));
  const of = (name: string): number => Number(new RegExp(`'?${name}'?: ([\\d.e-]+)`).exec(text)?.[1]);
  return { probability: of("probability"), mass: of("mass") };
}

function run(program: string, args: string[]): string {
  const env = { ...process.env, HF_HUB_OFFLINE: "1" };
  const { stdout, stderr, status } = spawnSync(program, args, { cwd: folder, encoding: "utf8", env });
  expect(status, stderr).toBe(0);
  return stdout;
}

function runPython(text: string): string {
  fs.writeFileSync(path.join(folder, "usage.py"), text);
  return run(python as string, ["usage.py"]);
}

function runTypeScript(): string {
  const plain = code("ts").replace(
    `openModel("${names.baseModel}")`,
    `openModel("${names.baseModel}", { backend: "cpu", dtype: "f32" })`,
  );
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  const { outputText } = ts.transpileModule(plain, { compilerOptions: options });
  fs.writeFileSync(path.join(folder, "usage.mjs"), outputText);
  return run(process.execPath, ["usage.mjs"]);
}

describe("usage of an adapter's card", () => {
  it(
    "runs as it stands with this library",
    () => {
      const stdout = runTypeScript();
      for (const which of ["clean", "steered"] as const) {
        const { probability, mass } = figures(stdout, which);
        expect(probability).toBeGreaterThanOrEqual(0);
        expect(mass).toBeGreaterThan(0);
      }
    },
    TIMEOUT_MS,
  );

  it.skipIf(python === null && !oracleRequired)(
    `runs as it stands with transformers and PEFT${title}`,
    () => {
      const { probability, mass } = figures(runPython(code("python")), "steered");
      expect(probability).toBeGreaterThanOrEqual(0);
      expect(mass).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  it.skipIf(python === null && !oracleRequired)(
    `says the same on both sides, in f32 and along one direction${title}`,
    () => {
      const [theirs, ours] = [runPython(inF32AlongOurs(code("python"))), runTypeScript()];
      for (const which of ["clean", "steered"] as const) {
        const [one, other] = [figures(theirs, which), figures(ours, which)];
        expect(Math.abs(one.mass - other.mass)).toBeLessThan(TOLERANCE);
        expect(Math.abs(Math.log(one.probability / other.probability))).toBeLessThan(LOG_TOLERANCE);
      }
      const [clean, steered] = [figures(ours, "clean"), figures(ours, "steered")];
      expect(Math.abs(Math.log(clean.probability / steered.probability))).toBeGreaterThan(10 * LOG_TOLERANCE);
    },
    TIMEOUT_MS,
  );
});

/** The two lines of the card's Python that decide what the sides can't share otherwise: rounding, and a random direction. */
function inF32AlongOurs(text: string): string {
  const { vectors } = loadProtocol(path.join(folder, "protocol.yaml")).steering;
  const [direction] = randomDirectionSet(1, WIDTH, vectors.seed).directions;
  const swap = (whole: string, from: RegExp, to: string): string => {
    expect(whole).toMatch(from);
    return whole.replace(from, to);
  };
  const f32 = swap(text, /from_pretrained\(base\), adapter/, "from_pretrained(base, dtype=torch.float32), adapter");
  return swap(f32, /^direction = torch\.randn.*$/m, `direction = torch.tensor(${JSON.stringify([...direction])})`);
}
