/** The index of a batch says whose numbers it shows, how they stand against the aims, and shows the main figures. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JSDOM } from "jsdom";
import { afterAll, describe, expect, it } from "vitest";
import { indexPage } from "../../../kernel-lib/src/command";
import { createRunFolder } from "../../../kernel-lib/src/runs";
import { loadProtocol, protocolLabel, saveProtocol, twin } from "../../../kernel-lib/src/study";

const folder = mkdtempSync(join(tmpdir(), "index-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const time = new Date("2030-01-02T03:04:05Z");
const protocol = twin(loadProtocol("strict"), { "training.examples": 640 });
const PNG = "iVBORw0KGgo=";

function run(slug: string, seed: number, meta: Record<string, unknown>): string {
  const made = createRunFolder({ root: folder, slug, seed, time });
  made.writeMeta({
    model: "lab-model",
    adapterHash: "abc",
    seed,
    started: time.toISOString(),
    protocolLabel: protocolLabel(protocol),
    ...meta,
  });
  saveProtocol(protocol, made.file("protocol.yaml"));
  made.markDone();
  return made.path;
}

function notebook(name: string, heights: number[]): void {
  const outputs = heights.map((height, i) => ({
    output_type: "display_data",
    data: {
      "application/vnd.plotly.v1+json": { data: [], layout: { height, title: { text: `Plot <${i}>` } } },
      "image/png": PNG,
    },
  }));
  const cell = { cell_type: "code", source: "1", metadata: {}, execution_count: 1, outputs };
  writeFileSync(join(folder, `${name}.ipynb`), JSON.stringify({ nbformat: 4, cells: [cell], metadata: {} }));
}

const record = (name: string, of: string | null) => ({
  name,
  notebook: `${name}.ipynb`,
  status: "ran" as const,
  valid: true,
  problems: [],
  seconds: 3,
  numbers: { trials: 7 },
  run: of,
  outputNotebook: `${name}.ipynb`,
  html: `${name}.html`,
  deciders: {},
  reads: {},
  made: null,
  reused: false,
});

describe("indexPage", () => {
  run("train-strict", 1, { kind: "train" });
  const sweep = run("detect-strict", 7, { kind: "detection" });
  const aim = { metric: "falseAlarmRate", tier: "clean_held_out", least: null, most: 0.02, n: 100, text: "" };
  const aims = [
    { ...aim, value: 0.1, low: 0.05, high: 0.2, reached: false, verdict: "missed" },
    { ...aim, metric: "balancedAccuracy", least: 0.9, most: null, value: null, low: null, high: null, reached: null },
  ];
  writeFileSync(join(sweep, "summary.json"), JSON.stringify({ format: 1, metrics: [], aims }));
  const chats = run("chats-strict", 7, { kind: "chats" });
  const talk = { ...aim, metric: "chatDivergence", tier: "chats", value: 0.5, low: 0.4, high: 0.6, reached: false };
  writeFileSync(
    join(chats, "summary.json"),
    JSON.stringify({ format: 1, metrics: [], aims: [{ ...talk, verdict: "missed" }] }),
  );
  notebook("02-sweep", [400, 2000, 500, 600, 700]);
  const html = indexPage(
    [{ ...record("02-sweep", sweep), beside: [chats] }, record("99-lost", join(folder, "gone"))],
    folder,
    "Batch",
  );
  const { document } = new JSDOM(html).window;
  const cells = [...document.querySelectorAll("td")].map((cell) => cell.textContent);

  it("names model, protocol with its changes, the adapter's run with its seed and date, and the evaluation's seed", () => {
    expect(cells).toContain("lab-model");
    expect(cells).toContain("strict, changed: training.examples 640");
    expect(cells).toContain(
      "run 20300102-030405-train-strict-s1 (strict, changed: training.examples 640, training seed 1, 2030-01-02 03:04 UTC)",
    );
    expect(cells).toContain("evaluation seed 7");
  });

  it("shows each aim with its verdict in the words of the report", () => {
    expect(cells).toEqual(
      expect.arrayContaining(["false-alarm rate, Clean text, new topics", "\u2264 0.02", "missed", "not measured"]),
    );
    expect(cells).toContain("0.100 [0.050, 0.200], n 100");
    expect(document.querySelector(".badge.bad")?.textContent).toBe("missed");
  });

  it("shows the aims of further measurements that a notebook declares beside its run", () => {
    expect(cells).toEqual(expect.arrayContaining(["KL from the base model per token, nats, Chats never trained on"]));
    expect(cells).toContain("0.500 [0.400, 0.600], n 100");
  });

  it("shows the first figures of a notebook that are no taller than a screen, linked to its page", () => {
    const figures = [...document.querySelectorAll("figure")];
    expect(figures.map((figure) => figure.querySelector("img")?.alt)).toEqual(["Plot <0>", "Plot <2>", "Plot <3>"]);
    expect(figures[0].querySelector("img")?.src).toBe(`data:image/png;base64,${PNG}`);
    expect(figures[0].querySelector("a")?.getAttribute("href")).toBe("02-sweep.html");
    expect(figures[0].textContent).toMatch(/lab-model; run .*-train-strict-s1/);
  });

  it("passes over runs and notebooks that are gone", () => {
    expect(cells).toContain("99-lost");
  });
});
