/**
 * The shipped records of real models: whole, small, free of weights and paths, and the numbers quoted from them are theirs.
 *
 * Rates are counted again here in plain loops, without the library's statistics.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { loadRun, twinStudiesOf } from "../kernel-lib/src/report";
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

  it("has two protocols, which are no seeds of one another, and a twin that is called by what it is", () => {
    const found = twinStudiesOf(runs.map(loadRun)).map((of) => [
      of.study,
      of.rows.map(({ twin, steps }) => [twin, steps]),
    ]);
    expect(found).toEqual([
      ["card", [["study", 225]]],
      [
        "strict",
        [
          ["study", 570],
          ["no-retention", 570],
        ],
      ],
    ]);
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

describe("qwen2.5-coder-0.5b: what README says of training and identity", () => {
  const folder = path.join(published, "qwen2.5-coder-0.5b");
  const text = fs.readFileSync(path.join(folder, "README.md"), "utf8");
  const loaded = runsOf("qwen2.5-coder-0.5b").map(loadRun);
  // In the order of the columns: card, no retention, strict.
  const trained = [/^card/, /retention\.share 0/, /^strict for 0\.5B$/].map((label) => {
    const found = loaded.find((run) => run.meta.kind === "train" && label.test(run.label));
    if (found === undefined) throw new Error(`No training run is called ${label}.`);
    return found;
  });
  const digits = (value: number | null): string => (value ?? Number.NaN).toFixed(3).replace(/^0\./, ".");

  it("mass and accuracy of every validation in its table are those of the events", () => {
    const [, table] = text.split(/^## The answer's mass while training$/m);
    const rows = table.split(/^## /m)[0].match(/^\| \d.*$/gm) ?? [];
    let compared = 0;
    for (const row of rows) {
      const [steps, ...cells] = row
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim());
      const [first, others = first] = steps.split(", ");
      for (const [i, cell] of cells.entries()) {
        if (cell === "") continue;
        const step = Number(i === 0 ? first : others);
        const event = trained[i].events.find((of) => of.kind === "validation" && of.step === step);
        expect(cell, `${trained[i].label}, step ${step}`).toBe(
          `${digits(event?.mass ?? null)} (${digits(event?.accuracy ?? null)})`,
        );
        compared++;
      }
    }
    expect(compared).toBe(14);
    const counts = /\((\d+) for card, (\d+) for the others/.exec(table)?.slice(1).map(Number) ?? [];
    const n = trained.map(({ events }) => events.flatMap((of) => (of.kind === "validation" ? [of.n] : []))[0]);
    expect(n).toEqual([counts[0], counts[1], counts[1]]);
  });

  it("the shares that call themselves an assistant are counted from the answers", () => {
    const quoted =
      /Of (\d+) answers about its identity the card's adapter calls itself an assistant in (\d+) % \(base (\d+) %\), strict's in (\d+) % \(base (\d+) %/.exec(
        text.replaceAll("\n", " "),
      );
    const share = (adapterHash: unknown, condition: string): number[] => {
      const of = loaded
        .filter(({ meta }) => meta.kind === "identity" && meta.adapterHash === adapterHash)
        .flatMap(({ identity }) => identity)
        .filter((record) => record.questionKind === "identity" && record.condition === condition);
      return [of.length, Math.round((100 * of.filter(({ kind }) => kind === "assistant").length) / of.length)];
    };
    const [card, , strict] = trained.map(({ meta }) => meta.adapterHash);
    const counted = [card, strict].flatMap((hash) => ["tuned", "base"].map((condition) => share(hash, condition)));
    expect(counted.map(([n]) => n)).toEqual(Array(4).fill(Number(quoted?.[1])));
    expect(counted.map(([, percent]) => percent)).toEqual(quoted?.slice(2).map(Number));
  });
});

const isWhole = (group: Readonly<Record<string, string | number>>): boolean => Object.keys(group).length === 0;
