/**
 * The README's TypeScript, verbatim and in order, on the lab model: in the cells of a fresh notebook on the real kernel, and as a
 * script in a plain Node process. Only the second argument of `twin` is another one: the same kind of declared changes, so many
 * that the study takes seconds. STEERLAB_SLOW=1 changes nothing at all and takes the time that the strict protocol takes. That the
 * snippets are typed right is test/kernel-lib/surface.test.ts.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import ts from "typescript";
import { afterAll, describe, expect, it } from "vitest";
import { loadProtocol } from "../kernel-lib/src/study";
import { driveKernel, errorOf, type KernelRun, printed } from "./helpers/notebook";

const root = path.resolve(import.meta.dirname, "..");
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");
const snippets = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, text]) => text);

/** The README's change, and how many of everything. */
const DOCUMENTED = '{ "training.loss": "pair" }';
function tinyChanges(examples: number): string {
  const tier = loadProtocol("strict").evaluation.tiers.find(({ name }) => name === "held_out_random");
  return JSON.stringify({
    "training.loss": "pair",
    "training.examples": examples,
    "training.validateEvery": 0,
    "training.checkpointEvery": 0,
    "evaluation.tiers": [{ ...tier, vectorCount: 2 }],
    aims: [],
  });
}

/** The snippets; `examples` of training, unless nothing is to be changed. */
const cells = (examples: number): string[] =>
  snippets.map((text) =>
    text.replace(DOCUMENTED, process.env.STEERLAB_SLOW === "1" ? DOCUMENTED : tinyChanges(examples)),
  );
/** Work under two seconds shows no progress, so one training must take longer. */
const [SHORT, LONG] = [64, 960];

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-readme-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** Runs the snippets as one module; what it imports is found from where it lies. */
function runScript(cwd: string): { stdout: string; stderr: string; status: number | null } {
  fs.symlinkSync(path.join(root, "node_modules"), path.join(cwd, "node_modules"));
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  const { outputText } = ts.transpileModule(cells(SHORT).join("\n"), { compilerOptions: options });
  fs.writeFileSync(path.join(cwd, "readme.mjs"), outputText);
  return spawnSync(process.execPath, ["readme.mjs"], { cwd, encoding: "utf8", maxBuffer: 1e8 });
}

/** What must have been said: the report's place and the answer of the trial by hand. */
function expectResults(said: string, cwd: string): void {
  const report = said.split("\n").find((line) => line.endsWith(".html")) as string;
  expect(fs.statSync(path.resolve(cwd, report)).size).toBeGreaterThan(10_000);
  const [, probability, mass] = /probability: ([\d.e-]+),\s+mass: ([\d.e-]+)/.exec(said) ?? [];
  for (const value of [probability, mass].map(Number)) {
    expect(value).toBeGreaterThan(0);
    expect(value).toBeLessThanOrEqual(1);
  }
}

/** Texts of a cell's progress, first and later ones. */
function progressOf({ messages }: KernelRun["cells"][number]): string[] {
  const shown = messages.filter(({ type }) => /display/.test(type)).map(({ content }) => content.data);
  return shown.map((data) => String((data as Record<string, unknown>)["text/plain"] ?? ""));
}

function place(name: string): string {
  fs.mkdirSync(path.join(folder, name));
  return path.join(folder, name);
}

describe("the README's snippets", { timeout: 3_600_000 }, () => {
  it("show one declared change", () => {
    expect(snippets.length).toBeGreaterThan(1);
    expect(snippets.join("\n").split(DOCUMENTED)).toHaveLength(2);
  });

  it("run in order in the cells of a fresh notebook, with progress, and leave the model open", async () => {
    const cwd = place("notebook");
    const after = "const next = model.engine.config.num_hidden_layers; model.dispose(); next";
    const run = await driveKernel({ cwd, cells: [...cells(LONG), after].map((code) => ({ code })) });
    expect(run.cells.map(errorOf)).toEqual(run.cells.map(() => ({})));
    expect(run.cells.map((cell) => printed(cell, "stderr")).join("")).toBe("");
    expectResults(run.cells.map((cell) => printed(cell)).join(""), cwd);
    expect(progressOf(run.cells[0]).join("\n")).toMatch(/^train \d+\/\d+ \(\d+ %\), [^\n]*\n(.*\n)*train (\d+)\/\2, /m);
  });

  it("run in order in a plain Node process", () => {
    const cwd = place("script");
    const { stdout, stderr, status } = runScript(cwd);
    expect(status, stderr).toBe(0);
    expectResults(stdout, cwd);
  });
});
