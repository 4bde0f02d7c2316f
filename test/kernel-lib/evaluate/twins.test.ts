// A study beside its twins: by name, on the same steps, resumable, stopped cleanly; and one small real run.
import { mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { openModel } from "../../../kernel-lib/src/engine";
import { runTwins, type TwinEstimate, type TwinRow } from "../../../kernel-lib/src/evaluate";
import {
  loadRun,
  twinStudiesOf,
  twinsFigure,
  twinsPage,
  twinsReading,
  twinsTable,
} from "../../../kernel-lib/src/report";
import {
  bindStudy,
  defaultTwins,
  headlineTiers,
  loadProtocol,
  namedTwin,
  relabelled,
  TWINS,
  twin,
} from "../../../kernel-lib/src/study";
import { FakeEngine, fakeModel, fakeTokenizer } from "../../helpers/fake-engine";

const strict = loadProtocol("strict");
const tiers = (vectorCount: number, clean: number) =>
  strict.evaluation.tiers
    .filter(({ name }) => ["held_out_random", "controls", "clean_held_out"].includes(name))
    .map((tier) => ({ ...tier, vectorCount, clean: tier.vectors === null ? clean : tier.clean }));
const small = twin(strict, {
  "training.examples": 420,
  "training.optimizer.lr": 5e-3,
  "training.warmupSteps": 2,
  "training.retention.share": 0,
  "evaluation.tiers": tiers(6, 30),
});
const folder = (): string => mkdtempSync(join(tmpdir(), "twins-"));
const drawn = (rows: readonly TwinRow[]) =>
  twinsFigure(rows, { title: "twins" }) as {
    data: { name: string; mode: string; x: number[]; y: number[]; marker?: { symbol: string } }[];
    layout: object;
  };
const by = (rows: readonly TwinRow[], name: string) => rows.find((row) => row.twin === name)!;

describe("twins by name", () => {
  it("asks every question of the study for the other labels", () => {
    const other = namedTwin(strict, "labels-left-right", 12);
    expect(other.conversation.labels).toEqual({ steered: " left", clean: " right" });
    expect(other.name).toBe("strict~labels-left-right");
    for (const { id, text } of other.questions) {
      expect(text, id).toMatch(/\bleft\b[\s\S]*\bright\b/i);
      expect(text, id).not.toMatch(/\byes\b/i);
    }
  });

  it("changes the instruction and nothing else", () => {
    expect(relabelled("Is there no sign of it? Answer yes or no.", "left", "right")).toBe(
      "Is there no sign of it? Answer left or right.",
    );
    expect(relabelled("Was it? Yes or no only.", "left", "right")).toBe("Was it? Left or right only.");
  });

  it("proves labels as single tokens, before anything is trained", async () => {
    const root = folder();
    await expect(runTwins(fakeModel(), small, { twins: ["labels-left-right"], root })).rejects.toMatchObject({
      code: "label-tokens",
    });
    expect(readdirSync(root)).toEqual([]);
    const tokenizer = fakeTokenizer([" yes", " no", " left", " right"]);
    const model = fakeModel(new FakeEngine(tokenizer));
    const { labels } = await bindStudy(model, namedTwin(small, "labels-right-left", 6));
    expect([labels.steered, labels.clean].map((id) => tokenizer.decode([id]))).toEqual([" right", " left"]);
  });

  it("steers one band of the model's own depth", () => {
    expect(namedTwin(strict, "band-middle", 12).steering.ranges).toEqual([{ name: "middle", start: 4, end: 8 }]);
    for (const name of defaultTwins(strict)) expect(namedTwin(strict, name, 12).name).toBe(`strict~${name}`);
  });

  it.each(["band-lowest", "labels-left", "retention-weight-", "nothing"])("refuses %s", (name) => {
    expect(() => namedTwin(strict, name, 12)).toThrow(expect.objectContaining({ code: "protocol-unknown" }));
  });

  it("weighs retention, where there is any", () => {
    expect(namedTwin(strict, "retention-weight-2.5", 12).training.retention.weight).toBe(2.5);
    expect(() => namedTwin(small, "retention-weight-4", 12)).toThrow(/training.retention.share > 0 .* 0/);
  });

  it("leaves out of the defaults what a study is already", () => {
    const card = loadProtocol("card");
    expect(defaultTwins(strict)).toHaveLength(15);
    expect(defaultTwins(card).filter((name) => name.includes("retention"))).toEqual([]);
    expect(defaultTwins(twin(strict, { "training.loss": "full" }))).not.toContain("full");
    expect(defaultTwins(namedTwin(strict, "retention-weight-4", 12))).not.toContain("retention-weight-4");
  });

  // A twin in other words (neutral, vague, unrelated) once had no tier of the study's, and every default run was refused for it.
  it.each(["strict", "strict@0.5B", "strict@32B", "card", "card@0.5B", "card@32B"])(
    "asks every twin what it asks the study: %s",
    (name) => {
      const study = loadProtocol(name);
      for (const other of new Set([...Object.keys(TWINS), ...defaultTwins(study)]))
        expect(headlineTiers(namedTwin(study, other, 24)), other).toEqual(headlineTiers(study));
    },
  );

  it("picks tiers by their fields", () => {
    expect(headlineTiers(strict)).toEqual({
      heldOut: "held_out_random",
      controls: "controls",
      clean: "clean_held_out",
    });
    const renamed = twin(strict, {
      aims: [],
      "evaluation.tiers": [{ ...strict.evaluation.tiers[1], name: "mine" }],
    });
    expect(headlineTiers(renamed)).toEqual({ heldOut: "mine", controls: null, clean: null });
    const none = twin(strict, { aims: [], "evaluation.tiers": strict.evaluation.tiers.slice(0, 1) });
    expect(() => headlineTiers(none)).toThrow(expect.objectContaining({ code: "tier-unknown" }));
  });
});

describe("runTwins", { timeout: 240_000 }, () => {
  const root = folder();
  let estimate: TwinEstimate | null = null;
  const run = (signal?: AbortSignal, onProgress?: (done: number, total: number, note: string) => void) =>
    runTwins(fakeModel(), small, {
      twins: ["no-steer", "flipped"],
      seeds: [1],
      root,
      signal,
      onProgress,
      onEstimate: (given) => {
        estimate = given;
      },
    });

  it("stops cleanly, says how to go on, and goes on", async () => {
    const stop = new AbortController();
    const seen: string[] = [];
    const stopped = run(stop.signal, (_, __, note) => {
      seen.push(note);
      if (note.startsWith("no-steer")) stop.abort();
    });
    await expect(stopped).rejects.toMatchObject({ code: "aborted" });
    await expect(stopped).rejects.toThrow(/Stopped after 1 of 3 arms.*Run the same again to go on/);
    expect(new Set(seen)).toEqual(new Set(["study, seed 1", "no-steer, seed 1"]));
    const folders = readdirSync(root);
    const rows = await run();
    expect(rows.map(({ twin: name, seed }) => [name, seed])).toEqual([
      ["study", 1],
      ["no-steer", 1],
      ["flipped", 1],
    ]);
    expect(readdirSync(root)).toEqual(expect.arrayContaining(folders));
    expect(readdirSync(root)).toHaveLength(12);
    expect(estimate).toMatchObject({ arms: 3, toTrain: 2 });
    expect(estimate!.tookSeconds).toBeGreaterThan(0);
    expect(inspect(estimate)).toMatch(/about \d+ min; took \d+ min/);
    const base = readdirSync(root)
      .map((name) => loadRun(join(root, name)))
      .map(({ records, sideEffects }) => [...records, ...sideEffects].filter(({ adapterHash }) => adapterHash === null))
      .filter((of) => of.length > 0);
    // Three arms hold the same rows of the base, which was asked for them once.
    expect(base).toHaveLength(6);
    const ids = (of: (typeof base)[number]) => JSON.stringify(of.map(({ id }) => id).sort());
    expect(new Set(base.map(ids)).size).toBe(2);
    expect(estimate!.left.trials).toBeLessThan(3 * estimate!.perArm.trials + base[0].length + base[1].length + 1);
    expect(new Set(rows.map(({ steps }) => steps)).size).toBe(1);
  });

  it("repeats nothing, and tells the study from its twins", async () => {
    const rows = await run();
    expect(readdirSync(root)).toHaveLength(12);
    expect(estimate).toMatchObject({ toTrain: 0, left: { steps: 0, validationExamples: 0, trials: 0 }, seconds: 0 });
    const asked = readdirSync(root)
      .map((name) => loadRun(join(root, name)))
      .flatMap(({ records, sideEffects, chats }) => [...records, ...sideEffects, ...chats])
      .filter(({ condition }) => condition === "tuned");
    // All that an arm asks is in its estimate, chats too.
    expect(estimate!.perArm.trials).toBe(asked.length / rows.length);
    expect(by(rows, "study").balancedAccuracy.value!).toBeGreaterThan(0.7);
    expect(by(rows, "no-steer").balancedAccuracy.value!).toBeLessThan(0.6);
    expect(by(rows, "flipped").balancedAccuracy.value!).toBeLessThan(0.4);
    // What it was taught turned round, it learnt as well.
    expect(by(rows, "flipped").validationAccuracy!).toBeGreaterThan(0.7);
    expect(by(rows, "no-steer").validationAccuracy!).toBeLessThan(0.7);
    // The fake engine answers by the cache alone: whatever it hits, it leaks.
    expect(by(rows, "study").selectivity!.value!).toBeLessThan(0.1);
    expect(by(rows, "study").shift.n).toBe(75);
  });

  it("is read back from the folders, drawn, tabled and put in words", async () => {
    const rows = await run();
    const studies = twinStudiesOf(readdirSync(root).map((name) => loadRun(join(root, name))));
    expect(studies.map(({ study }) => study)).toEqual([small.name]);
    const [{ rows: loaded }] = studies;
    const shown = (of: readonly TwinRow[]) => twinsTable(of).sort((a, b) => (a.twin < b.twin ? -1 : 1));
    expect(shown(loaded)).toEqual(shown(rows));
    const { data } = drawn(rows);
    const names = data.map(({ name }) => name);
    expect(names).toEqual(Array.from({ length: 4 }, () => ["no-steer", "flipped", "study"]).flat());
    const [study] = rows;
    const stars = data.filter(({ marker }) => marker?.symbol === "star");
    expect(stars.map(({ x, y }) => [x[0], y[0]])).toEqual(
      [study.balancedAccuracy, study.selectivity!].flatMap((gain) =>
        [study.shift, study.chatDivergence].map((cost) => [cost.value, gain.value]),
      ),
    );
    expect(twinsReading(rows)).toMatch(
      /^The study: balanced accuracy [01]\.\d+.*detect as well or better: none\..*leave chats as near/,
    );
    expect(twinsPage(rows, { title: "Twins" })).toContain("The study among its twins");
  });

  it("draws means over seeds by weight of retention, and no panel of what was not measured", async () => {
    const [base] = await run();
    const arm = (twin: string, seed: number, retentionWeight: number, detects: number, talks: number): TwinRow => ({
      ...base,
      ...{ twin, seed, retentionWeight },
      selectivity: null,
      balancedAccuracy: { ...base.balancedAccuracy, value: detects },
      chatDivergence: { ...base.chatDivergence, value: talks },
    });
    const arms = [
      arm("retention-weight-4", 1, 4, 0.75, 0.25),
      arm("study", 1, 1, 0.75, 0.5),
      arm("study", 2, 1, 0.875, 0.25),
      arm("flipped", 1, 1, 0.25, 0.5),
      arm("no-retention", 1, 0, 0.875, 1),
    ];
    const { data, layout } = drawn(arms);
    const curves = data.filter(({ mode }) => mode === "lines");
    // In order of weight; the two seeds of the study are one point, and a twin of another kind is none.
    expect(curves[1]).toMatchObject({ x: [1, 0.375, 0.25], y: [0.875, 0.8125, 0.75] });
    expect(Object.keys(layout).filter((key) => key.startsWith("xaxis"))).toEqual(["xaxis", "xaxis2"]);
    expect(
      drawn(arms.filter(({ retentionWeight }) => retentionWeight === 1)).data.some(({ mode }) => mode === "lines"),
    ).toBe(false);
  });

  it("refuses names given twice and no seed", async () => {
    await expect(runTwins(fakeModel(), small, { twins: ["flipped", "flipped"], root })).rejects.toMatchObject({
      code: "twin-name",
    });
    await expect(runTwins(fakeModel(), small, { seeds: [], root })).rejects.toMatchObject({ code: "twin-name" });
    // It has no retention to leave out.
    await expect(runTwins(fakeModel(), small, { twins: ["no-retention"], root })).rejects.toThrow(/changes something/);
  });
});

describe("on the lab model", { timeout: 240_000 }, () => {
  it("trains and measures label twins over one load", async () => {
    const model = await openModel(undefined, { threads: 1 });
    try {
      const tiny = twin(strict, {
        "training.examples": 34,
        "training.retention.share": 0,
        "evaluation.tiers": tiers(1, 12).filter(({ name }) => name !== "controls"),
        aims: [],
      });
      const rows = await runTwins(model, tiny, { twins: ["labels-left-right"], seeds: [1], root: folder() });
      expect(rows.map(({ steps }) => steps)).toEqual([2, 2]);
      for (const row of rows) {
        expect(row.hitRate.n).toBe(12);
        expect(row.shift.value).not.toBeNull();
        expect(row.selectivity).toBeNull();
      }
    } finally {
      model.dispose();
    }
  });
});
