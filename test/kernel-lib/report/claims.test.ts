import { describe, expect, it } from "vitest";
import {
  claimsOf,
  judge,
  type LoadedRun,
  measuredAdapters,
  readPublishedCard,
  renderReport,
} from "../../../kernel-lib/src/report";
import { type Metric, metricOf } from "../../../kernel-lib/src/runs";
import { loadProtocol, twin } from "../../../kernel-lib/src/study";
import { record } from "../../helpers/records";

const published = readPublishedCard();
const [strict, card] = [loadProtocol("strict"), loadProtocol("card")];

/** A figure of 1000 trials with an interval of +-.01. */
function figure(name: string, tier: string, value: number, group: Metric["group"] = {}, condition = "tuned"): Metric {
  return metricOf(name, tier, condition, { value, n: 1000, low: value - 0.01, high: value + 0.01, method: "t" }, group);
}

function run(kind: string, adapterHash: string, protocol: LoadedRun["protocol"], metrics: Metric[] = []): LoadedRun {
  return {
    id: `20300102-030405-${kind}-s1`,
    status: "done",
    failure: null,
    meta: { kind, adapterHash, model: "lab-model", isLabModel: true, seed: 1 },
    label: protocol?.name ?? "none",
    protocol,
    events: [],
    choice: null,
    records: [],
    sideEffects: [],
    chats: [],
    identity: [],
    selfPrediction: [],
    selfReport: [],
    metrics,
    aims: [],
  };
}

const verdictOf = (runs: LoadedRun[], words: string) => {
  const [{ figures }] = measuredAdapters(runs);
  const claim = claimsOf(published).find(({ what }) => what.includes(words));
  return judge(claim as NonNullable<typeof claim>, figures);
};

describe("claims of the published card", () => {
  it("has a line for every figure of the card", () => {
    const lines = claimsOf(published).map(({ what }) => what);
    for (const { category } of published.side_effects)
      expect(lines.filter((line) => line.startsWith(`P(yes), ${category.replaceAll("_", " ")}:`))).toHaveLength(1);
    for (const { kind } of published.awareness)
      expect(lines.filter((line) => line.includes(`(${kind.replaceAll("_", " ")})`))).toHaveLength(1);
    expect(new Set(lines).size).toBe(lines.length);
    expect(claimsOf(published).map(({ published: words }) => words)).toEqual(
      expect.arrayContaining(["accuracy 0.942, d' 3.854", "+0.417", "0.986 at 5", "-0.770", "0.007 to 0.984"]),
    );
  });

  it("is believed only with its control, whichever run measured that", () => {
    const own = run("detection", "a", card, [figure("falseAlarmRate", "held_out_random", 0.005)]);
    expect(verdictOf([own], "no false alarms").verdict).toBe("holds; its control was not run");
    const clean = (rate: number) => run("detection", "a", strict, [figure("falseAlarmRate", "clean_held_out", rate)]);
    expect(verdictOf([own, clean(0.4)], "no false alarms").verdict).toBe("holds as asked, fails its control");
    expect(verdictOf([own, clean(0.005)], "no false alarms").verdict).toBe("holds, and its control does");
    expect(verdictOf([own, clean(0.015)], "no false alarms").verdict).toBe("holds; its control is open");
  });

  it("does not hold where the whole interval is beyond the bound, is open across it, and not asked without a figure", () => {
    const noticed = (value: number) =>
      verdictOf(
        [run("detection", "a", card, [figure("balancedAccuracy", "held_out_random", value)])],
        "new vectors is",
      );
    expect(noticed(0.5).verdict).toBe("does not hold here");
    expect(noticed(0.895).verdict).toBe("open");
    expect(verdictOf([run("detection", "a", card)], "new vectors is").verdict).toBe("not asked in these runs");
    expect(noticed(0.95).here.measured?.value).toBe(0.95);
  });

  it("takes the figure of the protocol that trained the adapter, and the twin's of the twin", () => {
    const group = { category: "consciousness" };
    const shift = (tier: string, value: number, more: Metric["group"]) =>
      figure("deltaYes", tier, value, more, "tuned-base");
    const study = [
      run("detection", "a", strict, [figure("balancedAccuracy", "held_out_random", 0.6)]),
      run("detection", "a", card, [figure("balancedAccuracy", "held_out_random", 0.95)]),
      run("self-report", "a", card, [shift("self_report", 0.3, { ...group, form: "bare" })]),
      run("train", "a", card),
    ];
    expect(verdictOf(study, "new vectors is").here.measured?.value).toBe(0.95);
    expect(verdictOf(study, "consciousness").verdict).toBe("holds; its control was not run");
    const noSteer = twin(card, "no-steer");
    const beside = (value: number) => [
      ...study,
      run("side-effects", "b", noSteer, [shift("side_effects", value, group)]),
      run("train", "b", noSteer),
    ];
    expect(verdictOf(beside(0.3), "consciousness").verdict).toBe("holds as asked, fails its control");
    expect(verdictOf(beside(0), "consciousness").verdict).toBe("holds, and its control does");
    expect(measuredAdapters(beside(0))).toHaveLength(1);
  });

  it("does not take a base that always says no for one that cannot tell", () => {
    const base = (auroc: number) =>
      run("detection", "a", card, [
        figure("balancedAccuracy", "held_out_random", 0.5, {}, "base"),
        figure("auroc", "held_out_random", auroc, {}, "base"),
      ]);
    expect(verdictOf([base(0.52)], "before training").verdict).toBe("holds, and its control does");
    expect(verdictOf([base(0.8)], "before training").verdict).toBe("holds as asked, fails its control");
  });

  it("does not take a name that was hardly given for one that stays", () => {
    const named = (share: number) =>
      run("identity", "a", card, [
        figure("commonestName", "identity", 0, {}, "tuned-base"),
        figure("commonestName", "identity", share, {}, "base"),
      ]);
    expect(verdictOf([named(0.9)], "the name").verdict).toBe("holds, and its control does");
    expect(verdictOf([named(0.1)], "the name").verdict).toBe("holds as asked, fails its control");
  });

  it("stands in the report, adapter by adapter and model by model", () => {
    const mine = run("detection", "a", card, [figure("falseAlarmRate", "held_out_random", 0.005)]);
    const other = run("detection", "b", card, [figure("falseAlarmRate", "held_out_random", 0.3)]);
    const html = renderReport([mine, { ...other, meta: { ...other.meta, model: "org/Other", isLabModel: false } }]);
    const section = html.slice(html.indexOf("Claims of the published card"));
    expect(section).toContain("org/Other: adapter trained by");
    expect(section).toContain("holds; its control was not run");
    expect(section).toContain("does not hold here");
    expect(section).toContain("Not asked in these runs");
    expect(renderReport([{ ...mine, meta: { kind: "detection" } }])).not.toContain("Claims of the published card");
  });
});

describe("gap to what was held out", () => {
  it("stands model by model in one table", () => {
    const gap = figure("gap", "held_out_random", 0.036, { against: "in_distribution" });
    const runs = ["org/One", "org/Two"].map((model, i) => {
      const one = run("detection", `adapter-${i}`, strict, [gap]);
      return { ...one, meta: { ...one.meta, model, isLabModel: false }, records: [record()] };
    });
    const html = renderReport(runs);
    const table = html.slice(html.indexOf("Gap to what was held out")).split("</table>")[0];
    for (const words of ["org/One", "org/Two", "New vectors and topics", "0.036"]) expect(table).toContain(words);
    expect(renderReport(runs.map((one) => ({ ...one, metrics: [] })))).not.toContain("Gap to what was held out");
  });
});
