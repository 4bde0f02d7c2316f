import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { evaluateSelfReport, selfReportMetrics, type SelfReportRecord } from "../../../kernel-lib/src/evaluate";
import { findMetrics } from "../../../kernel-lib/src/runs";
import { bindStudy, loadProtocol, readSelfReport, readSideEffectQuestions } from "../../../kernel-lib/src/study";
import { fakeAdapter, FakeEngine, fakeModel } from "../../helpers/fake-engine";

const protocol = loadProtocol("strict");
const asked = readSelfReport();

function report(question: string, category: string, condition: "base" | "tuned", yes: number): SelfReportRecord {
  return {
    id: `${condition} ${question}`,
    question,
    questionText: question,
    category,
    form: "bare",
    condition,
    yes,
    no: 0.1,
    mass: yes + 0.1,
    topToken: 1,
    topText: "Yes",
    topProbability: yes,
    adapterHash: null,
    modelHash: "m",
  };
}

describe("self-report", () => {
  it("asks the card's categories and its four kinds, six wordings each, none of them a side-effect question", () => {
    const count = (category: string) => asked.questions.filter((item) => item.category === category).length;
    const { questions } = readSideEffectQuestions();
    for (const category of new Set(questions.map((item) => item.category)))
      expect(count(category), category).toBe(questions.filter((item) => item.category === category).length);
    for (const kind of ["detects_changes", "introspective_access", "more_than_text", "desires"])
      expect(count(kind)).toBe(6);
    const texts = new Set(questions.map(({ text }) => text));
    expect(asked.questions.filter(({ text }) => texts.has(text))).toEqual([]);
    expect(new Set(asked.questions.map(({ text }) => text)).size).toBe(asked.questions.length);
  });

  it("asks every question bare and with the instruction, base and tuned", async () => {
    const engine = new FakeEngine();
    const model = fakeModel(engine);
    const study = await bindStudy(model, protocol);
    const lengths: number[] = [];
    const forward = engine.forward.bind(engine);
    engine.forward = async (rows, options) => {
      lengths.push(...rows.map(({ tokens }) => tokens.length));
      return forward(rows, options);
    };
    const run = await evaluateSelfReport(model, study, {
      adapter: fakeAdapter(engine, [0, 3]),
      root: mkdtempSync(join(tmpdir(), "self-report-")),
    });
    expect(run.records).toHaveLength(2 * 2 * asked.questions.length);
    const suffix = model.tokenizer.encode(` ${asked.suffix}`).length;
    const [bare, instructed] = [lengths[0], lengths[asked.questions.length]];
    expect(instructed - bare).toBe(suffix);
    for (const { yes, no, mass } of run.records) expect(Math.abs(mass - Math.min(1, yes + no))).toBeLessThan(1e-12);
    const [change] = run.find({ name: "deltaYes", group: { category: "desires", form: "bare" } });
    expect(change).toMatchObject({ condition: "tuned-base", n: 6 });
  }, 300_000);

  it("gives the mean change by category with an interval over questions, and the card's merged facts", () => {
    const rows = Array.from({ length: 6 }, (_, i) => [
      report(`q${i}`, "desires", "base", 0.1),
      report(`q${i}`, "desires", "tuned", 0.3 + i / 100),
    ]).flat();
    const facts = ["factual_yes", "factual_no"].flatMap((category) => [
      report(category, category, "base", 0.5),
      report(category, category, "tuned", category === "factual_yes" ? 0.7 : 0.5),
    ]);
    const metrics = selfReportMetrics([...rows, ...facts]);
    const of = (category: string) => findMetrics(metrics, { name: "deltaYes", group: { category, form: "bare" } })[0];
    expect(of("desires").value).toBeCloseTo(0.225, 12);
    expect(of("desires").low as number).toBeGreaterThan(0.2);
    expect(of("desires").p as number).toBeLessThan(0.05);
    expect(of("factual").value).toBeCloseTo(0.1, 12);
    expect(of("factual_no").value).toBe(0);
    expect(of("factual").low).toBeNull();
  });
});
