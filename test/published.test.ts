/**
 * The shipped records of real models: whole, small, free of weights and paths, and the numbers quoted from them are theirs.
 *
 * Rates are counted again here in plain loops, without the library's statistics.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { loadRun } from "../kernel-lib/src/report";
import { quote, readSummary } from "../kernel-lib/src/runs";
import type { TrialRecord } from "../kernel-lib/src/study";

const root = path.resolve(__dirname, "..");
const published = path.join(root, "data", "published");
const studies = fs.readdirSync(published).filter((name) => fs.statSync(path.join(published, name)).isDirectory());
const LARGEST_STUDY_BYTES = 5e6;

function runsOf(study: string): string[] {
  const folder = path.join(published, study);
  return fs
    .readdirSync(folder)
    .map((name) => path.join(folder, name))
    .filter((run) => fs.existsSync(path.join(run, "meta.json")));
}

function filesBelow(folder: string): string[] {
  return fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => path.join(folder, name));
}

/** JSON lines of a packed file, read without the library. */
function linesOf(file: string): TrialRecord[] {
  return gunzipSync(fs.readFileSync(file))
    .toString("utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

const share = (items: readonly TrialRecord[]): number =>
  items.filter(({ saysSteered }) => saysSteered).length / items.length;

it("ships the records of a real model", () => {
  expect(studies).toContain("qwen2.5-coder-0.5b");
});

describe.each(studies)("%s", (study) => {
  const runs = runsOf(study);
  const folder = path.join(published, study);

  it("is small, has no weights, and names no path of a machine", () => {
    const files = filesBelow(folder).filter((file) => fs.statSync(file).isFile());
    const bytes = files.reduce((sum, file) => sum + fs.statSync(file).size, 0);
    expect(bytes).toBeLessThan(LARGEST_STUDY_BYTES);
    for (const file of files) {
      expect(file).not.toMatch(/\.(safetensors|gguf|bin|parquet)$/);
      const text = file.endsWith(".gz") ? gunzipSync(fs.readFileSync(file)).toString() : fs.readFileSync(file, "utf8");
      expect(text.match(/(?<![\w.])\/(tmp|home|root|work|mnt|Users)\//), file).toBeNull();
    }
  });

  it("has a training run for every adapter that was measured", () => {
    const metas = runs.map((run) => loadRun(run).meta);
    const trained = new Set(metas.filter(({ kind }) => kind === "train").map(({ adapterHash }) => adapterHash));
    for (const { kind, adapterHash } of metas) if (kind !== "train") expect(trained).toContain(adapterHash);
  });

  it.each(runs.map((run) => path.basename(run)))("%s: the summary is what its records come to", (id) => {
    const run = path.join(folder, id);
    const { status, metrics, events, meta } = loadRun(run);
    expect(status).toBe("done");
    expect(meta.isLabModel).toBe(false);
    if (meta.kind === "train") {
      expect(events.length).toBeGreaterThan(100);
      return;
    }
    const summary = readSummary(path.join(run, "summary.json.gz"));
    expect(metrics.length).toBeGreaterThan(0);
    expect(JSON.parse(JSON.stringify(metrics))).toEqual(summary.metrics);
    if (meta.kind !== "detection") return;
    const records = linesOf(path.join(run, "trials.jsonl.gz"));
    for (const tier of new Set(records.map((record) => record.tier))) {
      const of = records.filter((record) => record.tier === tier && record.condition === "tuned");
      if (of.some(({ questionKind }) => questionKind !== "detection")) continue;
      const [steered, clean] = ["steered", "clean"].map((target) => of.filter((record) => record.target === target));
      const figure = (name: string) =>
        metrics.find((m) => m.name === name && m.tier === tier && m.condition === "tuned" && isWhole(m.group))?.value;
      if (steered.length > 0) expect(figure("hitRate")).toBeCloseTo(share(steered), 12);
      if (clean.length > 0) expect(figure("falseAlarmRate")).toBeCloseTo(share(clean), 12);
      if (steered.length > 0 && clean.length > 0)
        expect(figure("balancedAccuracy")).toBeCloseTo((share(steered) + 1 - share(clean)) / 2, 12);
    }
  });

  it("is quoted in README as it is", () => {
    const text = fs.readFileSync(path.join(folder, "README.md"), "utf8");
    const known = new Set(runs.flatMap((run) => loadRun(run).metrics.map((metric) => quote(metric))));
    const quoted = text.match(/-?\d+\.\d+ \[[^\]]*\], n [\d,]+/g) ?? [];
    expect(quoted.length).toBeGreaterThan(20);
    for (const figure of quoted) expect(known, figure).toContain(figure);
    const front = fs.readFileSync(path.join(root, "README.md"), "utf8");
    const [, section] = front.split(/^## On a real model$/m);
    for (const figure of section.split(/^## /m)[0].match(/-?\d+\.\d+ \[[^\]]*\], n [\d,]+/g) ?? [])
      expect(known, figure).toContain(figure);
  });
});

const isWhole = (group: Readonly<Record<string, string | number>>): boolean => Object.keys(group).length === 0;
