import type { StepEvent, TrainEvent } from "../../../kernel-lib/src/train";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JSDOM } from "jsdom";
import { beforeAll, describe, expect, it } from "vitest";
import {
  AIM_WORDS,
  aimResults,
  evaluateChats,
  evaluateDetection,
  evaluateIdentity,
  evaluateSelfPrediction,
  evaluateSideEffects,
  psychometricCurves,
} from "../../../kernel-lib/src/evaluate";
import { type FigureJson, figureToPng, formatNumber, validateFigure } from "../../../kernel-lib/src/page";
import {
  buildReport,
  calibrationPlot,
  cardOfRuns,
  conceptHeatmap,
  conceptTable,
  detectionHeatmap,
  doseCurves,
  falseAlarmForest,
  identityForest,
  limitsOf,
  type LoadedRun,
  loadRun,
  metricsTable,
  psychometricPlot,
  publishedEstimates,
  questionForest,
  readPublishedCard,
  refusePlaceholders,
  renderReport,
  selfPredictionForest,
  sideBySideBars,
  sideEffectForest,
  sideEffectQuestions,
  tableOf,
  tierNumbers,
  tierReading,
  tierTable,
  trainingCurves,
  trialsTable,
  writeAdapterCard,
  writeReport,
} from "../../../kernel-lib/src/report";
import { type Metric, findMetrics } from "../../../kernel-lib/src/runs";
import { readConcepts } from "../../../kernel-lib/src/steering";
import { loadProtocol, type Protocol, tierViews, twin } from "../../../kernel-lib/src/study";
import { trainDetector } from "../../../kernel-lib/src/train";
import { fakeAdapter, FakeEngine, fakeModel } from "../../helpers/fake-engine";
import { records } from "../../helpers/records";

const strict = loadProtocol("strict");
const root = mkdtempSync(join(tmpdir(), "report-"));
const time = new Date("2030-01-02T03:04:05Z");
let protocol: Protocol;
let training: string;
let detection: string;
let run: LoadedRun;

beforeAll(async () => {
  const tiers = strict.evaluation.tiers.map((tier) => ({
    ...tier,
    vectorCount: tier.vectors === null ? 0 : 4,
    clean: tier.clean === "all" ? 80 : tier.clean === "balanced" ? tier.clean : 40,
    contextsPerCell: 1,
  }));
  protocol = twin(strict, {
    "evaluation.tiers": tiers,
    "training.examples": 200,
    "training.validateEvery": 5,
    "training.lora": { r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj"] },
  });
  const engine = new FakeEngine();
  const model = fakeModel(engine);
  const adapter = fakeAdapter(engine, [0, 3]);
  training = (await trainDetector(model, protocol, { seed: 1, root, time })).folder;
  const names = ["bread", "cats", "war", "teacher"];
  const kinds = new Map(readConcepts().map(({ name, category }) => [name, category]));
  const concepts = {
    names,
    categories: names.map((name) => kinds.get(name) ?? null),
    directions: names.map((_, i) => Float32Array.from({ length: 8 }, (_, c) => (c === i ? 1 : 0))),
    norms: null,
    method: "contrast",
    seed: null,
    layers: null,
    modelHash: null,
  };
  detection = (await evaluateDetection(model, protocol, { adapter, concepts, root, time })).folder;
  const place = { adapter, root, time };
  const effects = loadRun((await evaluateSideEffects(model, protocol, place)).folder);
  const identity = loadRun((await evaluateIdentity(model, protocol, { ...place, samples: 4 })).folder);
  const prediction = loadRun((await evaluateSelfPrediction(model, protocol, place)).folder);
  const talk = loadRun((await evaluateChats(model, protocol, place)).folder);
  const sweep = loadRun(detection);
  run = {
    ...sweep,
    sideEffects: effects.sideEffects,
    chats: talk.chats,
    identity: identity.identity,
    selfPrediction: prediction.selfPrediction,
    metrics: [sweep, effects, talk, identity, prediction].flatMap(({ metrics }) => metrics),
  };
}, 300_000);

describe("tables", () => {
  it("are records, ready to filter, group and roll up", () => {
    const table = trialsTable(run.records);
    expect(table.numRows()).toBe(run.records.length);
    const hits = table
      .filter("d => d.tier === 'held_out_random' && d.condition === 'tuned' && d.target === 'steered'")
      .groupby("range", "strength")
      .rollup({ hits: "d => op.mean(d.saysSteered)", n: "d => op.count()" });
    expect(hits.numRows()).toBe(12);
    const cells = findMetrics(run.metrics, { name: "hitRate", tier: "held_out_random", condition: "tuned" });
    for (const row of hits.objects())
      expect(
        cells.find(({ group }) => group.range === row.range && group.strength === row.strength)!.value,
      ).toBeCloseTo(row.hits as number, 12);
    expect(tierTable(run.metrics).columnNames()).toContain("balancedAccuracyLow");
    expect(
      conceptTable(run.metrics)
        .objects()
        .map((r) => r.category),
    ).toEqual(expect.arrayContaining(["topics", "abstract", "personas"]));
    expect(
      conceptTable(run.metrics)
        .objects()
        .map((r) => r.concept),
    ).toEqual(expect.arrayContaining(["bread", "cats", "war", "teacher"]));
    expect(metricsTable(run.metrics).numRows()).toBe(run.metrics.length);
    expect(tableOf([{ a: 1 }, { b: 2 }]).objects()).toEqual([
      { a: 1, b: null },
      { a: null, b: 2 },
    ]);
  });

  it("read as sentences would: intervals beside values, question texts beside numbers", () => {
    const tiers = tierViews(protocol);
    const [row] = tierReading(run.metrics, { tiers }).filter(({ tier }) => tier === "New vectors and topics");
    expect(row["balanced accuracy"]).toMatch(/^0\.\d{3} \[0\.\d{3},\u00a0\d\.\d{3}\]$/);
    expect(tierReading(run.metrics).filter(({ tier }) => tier === "clean_held_out")[0]["hit rate"]).toBe("\u2013");
    for (const name of ["plain accuracy", "d'", "AUROC", "mass"])
      expect(row[name], name).toMatch(/^\S+ \[\S+,\u00a0\S+\]$/);
    const table = tierTable(run.metrics).objects();
    expect(Object.keys(table[0])).toEqual(
      expect.arrayContaining(["dPrimeLow", "aurocHigh", "accuracyLow", "massHigh"]),
    );
    expect(table.map(({ tier, condition, hitRate }) => [tier, condition, hitRate])).toEqual(
      tierNumbers(run.metrics).map(({ tier, condition, hitRate }) => [tier, condition, hitRate?.value ?? null]),
    );
    const questions = sideEffectQuestions(run.sideEffects).objects() as Record<string, unknown>[];
    expect(questions).toHaveLength(75);
    expect(String(questions[0].question)).toMatch(/\?$/);
  });
});

const series = () => ({ name: "fake", metrics: run.metrics, tiers: tierViews(protocol) });

describe("figures", () => {
  const figures = (): [string, FigureJson][] => [
    ["training", trainingCurves(loadRun(training).events)],
    ["cells", detectionHeatmap(run.metrics, { tiers: tierViews(protocol) })],
    ["cells of one tier", detectionHeatmap(run.metrics, { tiers: tierViews(protocol).slice(0, 1) })],
    ["dose", doseCurves(run.metrics, { tiers: tierViews(protocol) })],
    ["psychometric of all tiers", psychometricPlot(psychometricCurves(run.records), { tiers: tierViews(protocol) })],
    ["concepts", conceptHeatmap(run.records)],
    [
      "psychometric",
      psychometricPlot(
        psychometricCurves(run.records).filter((c) => c.tier === "held_out_random" && c.condition === "tuned"),
      ),
    ],
    ["forest", sideEffectForest(run.metrics)],
    ["questions", questionForest(run.metrics)],
    ["published", sideBySideBars([series()], { published: readPublishedCard() })],
    ["identity", identityForest(run.metrics, { claim: "affirmsInnerLife" })],
    ["self-prediction", selfPredictionForest(run.metrics)],
    ["false alarms", falseAlarmForest(run.metrics, { tier: "held_out_wordings", aim: 0.05 })],
    ["calibration", calibrationPlot(run.records)],
  ];

  it("are valid plotly, plain JSON, with titles on axes", () => {
    for (const [name, figure] of figures()) {
      expect(validateFigure(figure), name).toEqual([]);
      expect(JSON.parse(JSON.stringify(figure)), name).toEqual(figure);
      const layout = figure.layout as { xaxis: { title: { text: string } }; annotations?: { text: string }[] };
      const shared = (layout.annotations ?? []).map(({ text }) => text);
      expect([layout.xaxis.title.text, ...shared].at(-1)!.length, name).toBeGreaterThan(2);
      expect(figure.data.length, name).toBeGreaterThan(0);
    }
  });

  it("show how far training moved the base's own answers where retention trains on it, gaps passed over", () => {
    const step = (at: number, figures: Partial<StepEvent>): StepEvent => ({
      ...{ kind: "step", step: at, epoch: 0, lr: 1e-4, gradNorm: 1, examplesPerSecond: null },
      ...{ loss: 0.5, accuracy: 1, mass: 0.9, ...figures },
    });
    const events = [step(1, { match: 0.2 }), step(2, { loss: null }), step(3, { match: 0.1 })];
    const means = (of: readonly TrainEvent[]): unknown[] =>
      (trainingCurves(of).data as { name: string; y: unknown }[])
        .filter(({ name }) => name === "mean of 20 steps")
        .map(({ y }) => y);
    expect(means([step(1, {}), step(2, {})])).toHaveLength(3);
    const [, , loss, match] = means(events) as number[][];
    expect(loss).toEqual([0.5, 0.5, 0.5]);
    expect(match.map((value) => value.toFixed(2))).toEqual(["0.20", "0.20", "0.15"]);
    const layout = trainingCurves(events).layout as { yaxis4: { title: { text: string } } };
    expect(layout.yaxis4.title.text).toMatch(/^KL from base/);
  });

  it("can all be drawn", async () => {
    for (const [name, figure] of figures()) expect((await figureToPng(figure)).length, name).toBeGreaterThan(2000);
  }, 300_000);

  it("show what the records say: cells in place, published bars labelled as another model's", () => {
    const some = [
      ...records(3, 10, { target: "steered", range: "late", layerStart: 4, strength: 0.2 }),
      ...records(9, 10, { target: "steered", range: "late", layerStart: 4, strength: 0.4 }),
    ];
    const metrics = [...new Set(some.map((r) => r.strength))].map((strength) => ({
      name: "hitRate",
      tier: "t",
      condition: "tuned",
      group: { range: "late", strength: strength! },
      value: some.filter((r) => r.strength === strength && r.saysSteered).length / 10,
      n: 10,
      low: null,
      high: null,
      method: "m",
      p: null,
      pAdjusted: null,
    }));
    const tiers = [{ ...tierViews(protocol)[0], name: "t" }];
    expect((detectionHeatmap(metrics, { tiers }).data[0] as { z: number[][] }).z).toEqual([[0.3, 0.9]]);
    type Bar = { name: string; x: string[]; y: (number | null)[]; yaxis: string };
    const bars = sideBySideBars([series()], { published: readPublishedCard() }).data as Bar[];
    expect(bars[0].name).toMatch(/Qwen2\.5-Coder-32B.*another model/);
    expect(bars[1].name).toContain("fake");
    // What stands above "new vectors" is the tier that holds out vectors and little else, and the published one.
    const at = bars[1].x.indexOf("new vectors");
    const main = run.metrics.find(
      (m) => m.name === "balancedAccuracy" && m.tier === "held_out_random" && m.condition === "tuned",
    )!;
    expect(bars[1].y[at]).toBe(main.value);
    expect(bars[0].y[at]).toBeCloseTo(0.968, 3);
  });

  it("mean the same by a colour everywhere", () => {
    type Trace = { name?: string; marker: { color: unknown } };
    const colors = (figure: FigureJson): unknown[] =>
      (figure.data as Trace[]).map(({ marker }) => [marker.color].flat()[0]);
    const [tuned] = colors(sideEffectForest(run.metrics));
    expect(colors(selfPredictionForest(run.metrics))[1]).toBe(tuned);
    expect(colors(falseAlarmForest(run.metrics, { tier: "clean_held_out" }))[0]).toBe(tuned);
    expect(colors(sideBySideBars([series()]))[0]).toBe(tuned);
    const base = colors(identityForest(run.metrics, { claim: "saysHuman" }))[0];
    expect(base).not.toBe(tuned);
    expect(colors(selfPredictionForest(run.metrics))[0]).toBe(base);
  });

  it("draws many wordings without one false alarm as one row", () => {
    const metric = (question: string, k: number) => ({
      name: "falseAlarmRate",
      tier: "t",
      condition: "tuned",
      group: { question },
      value: k / 70,
      n: 70,
      low: 0,
      high: 0.05 + k,
      method: "m",
      p: null,
      pAdjusted: null,
    });
    const metrics = [..."abcdefgh"].map((name, i) => metric(name, i === 3 ? 7 : 0));
    const rows = (some: typeof metrics) => (falseAlarmForest(some, { tier: "t" }).data[0] as { y: string[] }).y;
    expect(rows(metrics)).toEqual(["d (n 70)", "7 others (n 70 each)"]);
    expect(rows(metrics.slice(1, 4))).toHaveLength(3);
  });
});

describe("a training that stopped early", () => {
  const rule = { metric: "validationAccuracy", patience: 1, minimumSteps: 0 };

  it("is told in words and marked in the plot; one without the rule shows nothing of it", async () => {
    const ruled = twin(protocol, { "training.earlyStop": rule });
    const { folder, choice } = await trainDetector(fakeModel(new FakeEngine()), ruled, { seed: 1, root, time });
    const { step, stoppedStep, plannedSteps } = choice!;
    expect(stoppedStep).toBeLessThan(plannedSteps);
    const html = buildReport([folder]);
    expect(html).toContain(`Stopped early at step ${stoppedStep} of ${plannedSteps}`);
    expect(html).toContain(`The adapter has the weights of step ${step},`);
    const { shapes, annotations, xaxis } = trainingCurves(loadRun(folder).events, { choice }).layout as {
      shapes: { x0: number }[];
      annotations: { text: string }[];
      xaxis: { range: number[] };
    };
    expect(shapes.map(({ x0 }) => x0)).toEqual([step, stoppedStep]);
    expect(annotations.map(({ text }) => text)).toEqual([
      `kept: step ${step}`,
      `stopped: step ${stoppedStep} of ${plannedSteps}`,
    ]);
    expect(xaxis.range[1]).toBeGreaterThanOrEqual(plannedSteps);
    expect(html).toContain(`kept: step ${step}`);

    const card = cardOfRuns(loadRun(folder), []);
    expect(card).toContain(`Stopped early at step ${stoppedStep} of ${plannedSteps}`);
    expect(card).toContain(`Validation at step ${step} (`);
    expect(cardOfRuns(loadRun(training), [])).not.toContain("topped early");

    const without = buildReport([training]);
    expect(without).not.toMatch(/topped early|kept: step/);
    expect("shapes" in (trainingCurves(loadRun(training).events, { choice: null }).layout as object)).toBe(false);
  });
});

describe("published figures", () => {
  it("are given the intervals that their counts allow", () => {
    const [first] = readPublishedCard().tiers;
    const { balancedAccuracy, hitRate, falseAlarmRate } = publishedEstimates(first);
    expect(balancedAccuracy.value).toBeCloseTo(first.audit.balanced_accuracy, 3);
    expect(hitRate).toMatchObject({ n: 600 });
    expect(falseAlarmRate).toMatchObject({ value: 0, n: 50, low: 0 });
    expect(falseAlarmRate.high).toBeCloseTo(0.0711, 3); // 1 - 0.025^(1/50)
  });
});

describe("report", () => {
  it("is one page, the same bytes each time, with every section", () => {
    const html = readFileSync(writeReport([detection, training]), "utf8");
    expect(renderReport([loadRun(detection), loadRun(training)])).toBe(html);
    for (const heading of [
      "What fell short",
      "Against the aims",
      "Side by side",
      "What is held out",
      "Training",
      "Thresholds",
      "False alarms",
      "Concepts",
      "Side effects",
      "Identity",
      "Self-prediction",
      "Limits",
      "Methods",
    ])
      expect(html, heading).toContain(heading);
    expect(html).toMatch(/not figures of a 32B model/);
    expect(html).toContain(">missed<");
    expect(html).toMatch(/Qwen2\.5-Coder-32B-Instruct \(published, another model\)/);
    const shown = html.replace(/<script[\s\S]*?<\/script>/g, "").replace(/<style[\s\S]*?<\/style>/g, "");
    expect(shown).not.toMatch(/\bNaN\b|\bundefined\b|Infinity|\[object/);
  });

  it("lists no concepts that chance chose among equals", () => {
    const isOf = ({ name, group }: Metric): boolean => name === "hitRate" && "concept" in group;
    const one = run.metrics.find((metric) => isOf(metric) && metric.condition === "tuned")!;
    const alike = (rates: number[]): LoadedRun => {
      const concepts = rates.map((value, i) => ({ ...one, value, group: { ...one.group, concept: `c${i}` } }));
      return { ...run, metrics: [...run.metrics.filter((metric) => !isOf(metric)), ...concepts] };
    };
    const equal = renderReport([alike(Array(12).fill(0.75))]);
    expect(equal).toContain("None stands out: 12 are noticed least, each in 0.750 of its trials.");
    expect(equal).not.toContain("The least noticed:");
    expect(renderReport([alike([0.5, ...Array(12).fill(0.75)])])).toContain("The least noticed:");
    expect(renderReport([alike(Array(12).fill(1))])).not.toMatch(/None stands out|The least noticed/);
  });

  it("names the adapter in every heading, has none over nothing, and shows a difference that rounding left as none", () => {
    const html = renderReport([run, loadRun(training)]);
    for (const heading of ["Ordinary chats", "Identity, goals, awareness", "Self-prediction"])
      expect(html).toContain(`${heading}, adapter trained by `);
    expect(html).toMatch(/<h3[^>]*>False alarms</);
    const steered = run.protocol!.evaluation.tiers.filter(
      ({ vectors, questions }) => vectors !== null && questions === "train",
    );
    const names = new Set(steered.map(({ name }) => name));
    const metrics = run.metrics.filter(({ name }) => !/PredictiveValue/.test(name));
    const few = { ...run, metrics, records: run.records.filter(({ tier }) => names.has(tier)) };
    expect(renderReport([few])).not.toMatch(/<h3[^>]*>False alarms</);
    expect([-1.1e-16, 0, 3e-10].map((value) => formatNumber(value))).toEqual(["0.000", "0.000", "3.0e-10"]);
  });

  it("shows the card's own question tier by tier, before and after training", () => {
    const [, section] = buildReport([detection]).split("The card's own question<a");
    expect(section.slice(0, section.indexOf("<h3"))).toContain("New vectors, topics and the card&#39;s own question");
    expect(section).toContain("Have your internal activations been modified?");
    const asked = run.records.filter(({ tier }) => tier === "card_question");
    expect(new Set(asked.map(({ question }) => question))).toEqual(new Set(["held-card"]));
    expect(new Set(asked.map(({ condition }) => condition))).toEqual(new Set(["base", "tuned"]));
  });

  it("shows card and strict beside the published card, and says which is missing", () => {
    expect(renderReport([run, loadRun(training)])).toContain("--notebook 05-card-protocol");
    const meta = { ...run.meta, adapterHash: "of-card", isLabModel: false, model: "org/other" };
    const byCard = {
      ...run,
      id: "detect-card",
      label: "card",
      meta,
      protocol: { ...run.protocol!, name: "card", steering: { ...loadProtocol("card").steering } },
    };
    const trained = {
      ...loadRun(training),
      id: "train-card",
      label: "card",
      meta: { ...meta, kind: "train" },
      protocol: byCard.protocol,
    };
    const html = renderReport([run, loadRun(training), byCard, trained]);
    expect(html).toContain("org/other: trained and asked by card");
    expect(html).toContain("Qwen/Qwen2.5-Coder-32B-Instruct (published, another model): the card&#39;s adapter");
    expect(html).toMatch(/magnitudes are absolute and taken over unchanged/);
    expect(html).toMatch(/magnitude 30/);
  });

  it("opens with sentences that carry n and interval", () => {
    const html = renderReport([run, loadRun(training)]);
    const [first, short] = ["What fell short", "In short"].map((heading) =>
      html.search(new RegExp(`<h2[^>]*>${heading}`)),
    );
    expect(first).toBeGreaterThan(0);
    expect(short).toBeGreaterThan(first);
    expect(html.slice(first, short)).toMatch(/<li>[^<]+: 0\.\d+ \[[^\]]+\], n \d+; aim [^<]+: missed/);
    expect(html.slice(short)).toMatch(
      /New vectors and topics: balanced accuracy 0\.\d+ \[[^\]]+\], n \d+; before training/,
    );
    expect(html.slice(short)).toMatch(/False alarms: .*\(clean text, new topics\)/);
  });

  it("shows the aims of one adapter once, whatever hash its runs recorded for the same protocol", () => {
    const older = { ...run, id: `${run.id}0`, meta: { ...run.meta, protocolHash: "of an older reading" } };
    const headings = (runs: LoadedRun[]): number => {
      const html = renderReport(runs);
      const from = html.lastIndexOf("Against the aims");
      return html.slice(from, html.indexOf("<h2", from + 20)).split("trained by a run").length - 1;
    };
    expect(run.aims.length).toBeGreaterThan(0);
    expect(headings([run, older])).toBe(1);
    const other = { ...older.protocol!, evaluation: { ...older.protocol!.evaluation, seed: 99 } };
    expect(headings([run, { ...older, protocol: other }])).toBe(2);
  });

  it("says the same of tiers by any other name", () => {
    const names = new Map(protocol.evaluation.tiers.map(({ name }, i) => [name, `renamed_${i}_end`]));
    const named = (tier: string): string => names.get(tier) ?? tier;
    const renamed = <T extends { tier: string }>(list: readonly T[]): T[] =>
      list.map((item) => ({ ...item, tier: named(item.tier) }));
    const against = (metric: Metric): Metric =>
      "against" in metric.group ? { ...metric, group: { against: named(String(metric.group.against)) } } : metric;
    const ofRun = (one: LoadedRun): LoadedRun => ({
      ...one,
      records: renamed(one.records),
      metrics: renamed(one.metrics).map(against),
      aims: renamed(one.aims),
      protocol: {
        ...one.protocol!,
        aims: renamed(one.protocol!.aims),
        evaluation: {
          ...one.protocol!.evaluation,
          tiers: one.protocol!.evaluation.tiers.map((tier) => ({
            ...tier,
            name: named(tier.name),
            cachesOf: tier.cachesOf === null ? null : named(tier.cachesOf),
          })),
        },
      },
    });
    const runs = [run, loadRun(training)];
    const other = [...names].reduce((html, [name, now]) => html.replaceAll(now, name), renderReport(runs.map(ofRun)));
    expect(other).toBe(renderReport(runs));
  });

  it("says under every figure which run trained the adapter, with both seeds, and what the protocol is called", () => {
    const trained = loadRun(training);
    const html = renderReport([run, { ...trained, meta: { ...trained.meta, adapterHash: run.meta.adapterHash } }]);
    const sources = [...html.matchAll(/<figcaption>(.*?)<\/figcaption>/g)].map(([, caption]) => caption);
    expect(sources.length).toBeGreaterThan(8);
    const id = loadRun(training).id;
    for (const caption of sources) {
      expect(caption).toContain(`adapter of run ${id} (strict, changed: `);
      expect(caption).toMatch(/training seed 1, 2030-01-02 03:04 UTC\)/);
      expect(caption).toMatch(/\bn:? \d|\d optimizer steps/);
    }
    expect(sources[0]).toContain("evaluation seed 7");
    expect(html).toMatch(/<h1>Steering detection: strict, changed: [^<]*training\.examples 200/);
  });

  it("takes the words of a question from its record, else shows its id", () => {
    const asked = {
      ...run,
      sideEffects: run.sideEffects.map((record) => ({ ...record, questionText: `Asked: ${record.question}` })),
    };
    expect(renderReport([asked])).toContain(`Asked: ${run.sideEffects[0].question}`);
    const old = run.sideEffects.map(({ questionText: _, ...record }) => record);
    expect(sideEffectQuestions(old).objects()[0].question).toBe(old[0].question);
  });

  it("gives AUROC with its interval, tier by tier and by strength, as the records have it", () => {
    const html = renderReport([run]);
    const { document } = new JSDOM(html).window;
    const cells = [...document.querySelectorAll("td")];
    const shown = (metric: Metric | undefined): boolean =>
      cells.some(
        ({ innerHTML, title }) =>
          innerHTML.startsWith(`${formatNumber(metric!.value)}<br><small>[`) && title === metric!.method,
      );
    const where = { tier: "held_out_random", condition: "tuned" };
    const [whole] = findMetrics(run.metrics, { ...where, name: "auroc" });
    const doses = findMetrics(run.metrics, { ...where, name: "aurocOfStrength" });
    expect(doses.length).toBeGreaterThan(1);
    for (const metric of [whole, ...doses]) expect(shown(metric), JSON.stringify(metric.group)).toBe(true);
    expect(html).toContain("AUROC of every strength");
  });

  it("says what a yes and a no are worth where steering is rare", () => {
    const html = renderReport([run]);
    const section = html.slice(html.search(/<h3[^>]*>False alarms/));
    expect(section).toContain("a yes is right, 1 in 10 steered");
    expect(section).toContain("a no is right, 1 in 100 steered");
    const group = { prior: 0.01 };
    const figures = ["positivePredictiveValue", "negativePredictiveValue"].flatMap((name) =>
      findMetrics(run.metrics, { name, tier: "held_out_random", condition: "tuned", group }),
    );
    expect(figures).toHaveLength(2);
    for (const { value, n } of figures)
      expect(section.split("</table>")[0]).toMatch(
        new RegExp(`<td title="Bayes[^>]*>${formatNumber(value)}<br><small>\\[[^<]*, n ${n}</small>`),
      );
    const without = run.metrics.filter(({ name }) => !/PredictiveValue|aurocOfStrength/.test(name));
    const bare = renderReport([{ ...run, metrics: without }]);
    for (const words of ["a yes is right", "AUROC of every strength"]) expect(bare).not.toContain(words);
  });

  it("says of categories with few questions how often such an interval covers, and of none where all have many", () => {
    const caution = /A category has (\d+|\d+ to \d+) questions: where only one in five of 8 moves, [^<]* cover \.70/;
    expect(renderReport([run])).toMatch(caution);
    const many = run.metrics.map((metric) => ({ ...metric, n: Math.max(metric.n, 30) }));
    expect(renderReport([{ ...run, metrics: many }])).not.toMatch(caution);
    const trained = loadRun(training);
    expect(cardOfRuns(trained, [run])).toMatch(caution);
  });

  it("shows the formats of side effects side by side, with the floor below, and ordinary chats", () => {
    const html = renderReport([run]);
    for (const text of [
      "tuned - base, single turn",
      "tuned - base, after a clean context",
      "tuned - base, after a steered context",
      "floor: base in other words - base",
      "60 replies of 30 chats",
    ])
      expect(html).toContain(text);
    expect(html).toMatch(/Among seeds of a training without steering: not measured here/);
    const seeds = [1, 2].map((seed) => ({
      ...run,
      meta: { ...run.meta, adapterHash: `seed ${seed}` },
      protocol: { ...protocol, training: { ...protocol.training, control: "no-steer" as const } },
      sideEffects: run.sideEffects.map((record) => ({ ...record, yes: seed * 0.1 })),
    }));
    const both = renderReport([run, ...seeds]);
    expect(both).toMatch(/Among seeds of a training without steering: 0\.071/); // sqrt(.05^2 + .05^2)
  });

  it("holds all runs of an adapter against the aims of its protocol, and says which were not measured", () => {
    const [effects, others] = [
      ["answerFlips", "deltaYes"],
      ["chatDivergence", "onlyYesNo"],
    ];
    const result = (metric: string) => ({
      ...aimResults(protocol.aims, []).find((aim) => aim.metric === metric)!,
      ...{ value: 0.3, n: 75, low: 0.2, high: 0.4, verdict: "missed" as const, reached: false },
    });
    const html = renderReport([run, { ...run, records: [], aims: effects.map(result) }]);
    const { document } = new JSDOM(html).window;
    const rows = [...document.querySelectorAll("tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
    const verdictOf = (metric: string) => rows.filter(([name]) => name === AIM_WORDS[metric]).map((row) => row.at(-1));
    for (const metric of effects) expect(verdictOf(metric)).toEqual(["missed"]);
    for (const metric of others) expect(verdictOf(metric)).toEqual(["not measured"]);
    expect(verdictOf("selectivity")).toHaveLength(1);
  });

  it("stands beside the card that it is given", () => {
    const published = { ...readPublishedCard(), model: "org/Other-Model-Instruct" };
    const html = renderReport([run], { published });
    expect(html).toContain("org/Other-Model-Instruct (published, another model)");
    expect(html).not.toContain("Qwen2.5-Coder-32B");
  });

  it("escapes what a model wrote and what was asked", () => {
    const hostile = "<img src=x onerror=alert(1)></script>";
    const html = renderReport([
      {
        ...run,
        identity: run.identity.map((r) => ({ ...r, text: hostile })),
        protocol: {
          ...run.protocol!,
          questions: run.protocol!.questions.map((q) => ({ ...q, text: hostile })),
          about: hostile,
        },
      },
    ]);
    expect(html).not.toContain("<img src=x");
    expect(html).toContain("&lt;img src=x");
  });

  it("computes its limits: what is missing is said", () => {
    const limits = limitsOf([loadRun(training)]);
    expect(limits.join(" ")).toMatch(/Side effects were not measured/);
    expect(limitsOf([run]).join(" ")).not.toMatch(/Side effects were not measured/);
    expect(limitsOf([run]).join(" ")).toMatch(/lab model is small/);
  });

  it("shows a failed run as failed", () => {
    rmSync(join(training, "DONE"));
    writeFileSync(join(training, "FAILED"), "disk gone\n");
    try {
      const failed = loadRun(training);
      expect(renderReport([failed])).toContain("failed: disk gone");
      expect(() => cardOfRuns(failed, [run])).toThrow(/finished runs/);
    } finally {
      rmSync(join(training, "FAILED"));
      writeFileSync(join(training, "DONE"), "");
    }
  });

  it("refuses no runs", () => {
    expect(() => buildReport([])).toThrow(/at least one run folder/);
  });
});

describe("adapter card", () => {
  it("carries the records' numbers and nothing made up", () => {
    const text = readFileSync(writeAdapterCard(training, [detection]), "utf8");
    const balanced = run.metrics.find(
      (m) => m.name === "balancedAccuracy" && m.tier === "held_out_random" && m.condition === "tuned",
    )!;
    expect(text).toContain(balanced.value!.toFixed(3));
    expect(text).not.toContain("base_model:"); // a folder's name is no name on the hub
    expect(text).toContain("lab model");
  });

  it.each(["Accuracy: TBD", "value NaN", "see [insert link]", "TODO: measure", "rate ???"])("refuses %s", (line) => {
    expect(() => refusePlaceholders(`# Card\n${line}`)).toThrow(/line 2/);
  });
});
