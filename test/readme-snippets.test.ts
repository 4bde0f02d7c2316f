/**
 * The README's TypeScript, verbatim and in order, in a plain Node process on the lab model. Only the second argument of `twin`
 * is another one: the same kind of declared changes, so many that the study takes seconds. STEERLAB_SLOW=1 changes nothing
 * at all and takes the time that the strict protocol takes. That the snippets are typed right is test/kernel-lib/surface.test.ts.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import ts from "typescript";
import { afterAll, describe, expect, it } from "vitest";
import { loadProtocol } from "../kernel-lib/src/study";

const root = path.resolve(import.meta.dirname, "..");
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");
const snippets = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, text]) => text);

/** The README's change, and how many of everything. */
const DOCUMENTED = '{ "training.loss": "pair" }';
function tinyChanges(): string {
  const tier = loadProtocol("strict").evaluation.tiers.find(({ name }) => name === "held_out_random");
  return JSON.stringify({
    "training.loss": "pair",
    "training.examples": 64,
    "training.validateEvery": 0,
    "training.checkpointEvery": 0,
    "evaluation.tiers": [{ ...tier, vectorCount: 2 }],
    aims: [],
  });
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-readme-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

function runSnippets(changes: string): { stdout: string; stderr: string; status: number | null } {
  fs.symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
  const code = snippets.join("\n").replace(DOCUMENTED, changes);
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  fs.writeFileSync(path.join(folder, "readme.mjs"), ts.transpileModule(code, { compilerOptions: options }).outputText);
  return spawnSync(process.execPath, ["readme.mjs"], { cwd: folder, encoding: "utf8", maxBuffer: 1e8 });
}

describe("the README's snippets", () => {
  it("show one declared change", () => {
    expect(snippets.length).toBeGreaterThan(1);
    expect(snippets.join("\n").split(DOCUMENTED)).toHaveLength(2);
  });

  it("run in order in a plain Node process", { timeout: 3_600_000 }, () => {
    const { stdout, stderr, status } = runSnippets(process.env.STEERLAB_SLOW === "1" ? DOCUMENTED : tinyChanges());
    expect(status, stderr).toBe(0);
    const report = stdout.split("\n").find((line) => line.endsWith(".html")) as string;
    expect(fs.statSync(path.resolve(folder, report)).size).toBeGreaterThan(10_000);
    const [, probability, mass] = /probability: ([\d.e-]+),\s+mass: ([\d.e-]+)/.exec(stdout) ?? [];
    for (const value of [probability, mass].map(Number)) {
      expect(value).toBeGreaterThan(0);
      expect(value).toBeLessThanOrEqual(1);
    }
  });
});
