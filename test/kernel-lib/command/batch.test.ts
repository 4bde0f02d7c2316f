// The batch runner on real kernels: order, parameters, resuming, and what counts as ran and as valid.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { JSDOM } from "jsdom";
import { describe, expect, it } from "vitest";
import { runBatch } from "../../../kernel-lib/src/command";
import { notebook, type TestCell, temporaryFolder } from "../../helpers/notebook";

const RESULT = (numbers: object, more = ""): string =>
  `(globalThis as any)[Symbol.for("steerlab.kernel")].display({ "text/plain": "result", "application/vnd.steerlab.result+json": { numbers: ${JSON.stringify(numbers)}, run: null, problems: [] ${more} } });`;

const TRAIN: TestCell[] = [
  { markdown: "# Train & <b>test</b>" },
  { tags: ["parameters"], code: 'const batchDir: string = "";\nconst steps: number = 1;' },
  {
    code: `import { mkdirSync, writeFileSync } from "fs";
const dir = batchDir + "/01-train"; mkdirSync(dir, { recursive: true });
writeFileSync(dir + "/adapter.txt", "steps " + steps); writeFileSync(dir + "/DONE", "");
await new Promise((r) => setTimeout(r, 300));`,
  },
  { code: RESULT({ "hit rate": 0.91 }, ', ...{ run: batchDir + "/01-train" }') },
];
const SWEEP: TestCell[] = [
  { tags: ["parameters"], code: 'const batchDir: string = "";' },
  { code: 'import { readFileSync } from "fs"; console.log(readFileSync(batchDir + "/01-train/adapter.txt", "utf8"));' },
  { code: RESULT({ concepts: 102 }) },
];

function write(folder: string, name: string, cells: TestCell[], steerlab: object = {}): string {
  const path = join(folder, name);
  const file = notebook(cells) as { metadata: object };
  writeFileSync(path, JSON.stringify({ ...file, metadata: { ...file.metadata, steerlab } }));
  return path;
}

function listener(): { write(text: string): boolean; text: string } {
  const stream = {
    text: "",
    write: (piece: string): boolean => {
      stream.text += piece;
      return true;
    },
  };
  return stream;
}

describe("runBatch", { timeout: 180_000 }, () => {
  it("hands results on, renders, keeps what is unchanged and reruns what is not", async () => {
    const folder = temporaryFolder();
    const outDir = join(folder, "out");
    const train = write(folder, "01-train.ipynb", TRAIN, { minutes: 1 });
    const sweep = write(folder, "02-sweep.ipynb", SWEEP, { needs: ["01-train"], minutes: 1 });
    const first = await runBatch({ notebooks: [train, sweep], parameters: { steps: 7 }, outDir, stream: listener() });
    expect(first.records.map(({ status, valid, problems }) => ({ status, valid, problems }))).toEqual([
      { status: "ran", valid: true, problems: [] },
      { status: "ran", valid: true, problems: [] },
    ]);
    expect(first.ok).toBe(true);
    expect(readFileSync(join(outDir, "02-sweep.html"), "utf8")).toContain("steps 7");
    const { document } = new JSDOM(readFileSync(first.index, "utf8")).window;
    expect(document.querySelector(".lead")?.textContent).toMatch(/^2 of 2 notebooks valid/);
    for (const anchor of document.querySelectorAll("a")) {
      expect(existsSync(join(outDir, decodeURIComponent(anchor.getAttribute("href") ?? "")))).toBe(true);
    }
    expect([...document.querySelectorAll(".value")].map((node) => node.textContent)).toEqual(["0.91", "102"]);

    const said = listener();
    const second = await runBatch({ notebooks: [train, sweep], parameters: { steps: 7 }, outDir, stream: said });
    expect(second.records.map(({ reused }) => reused)).toEqual([true, true]);
    expect(said.text).toMatch(/01-train: kept from before \(unchanged\), valid/);
    expect(said.text.trimEnd().endsWith(`Reports: ${second.index}`)).toBe(true);

    const third = await runBatch({ notebooks: [train, sweep], parameters: { steps: 8 }, outDir, stream: listener() });
    expect(third.records.map(({ reused }) => reused)).toEqual([false, false]);
    expect(readFileSync(join(outDir, "02-sweep.html"), "utf8")).toContain("steps 8");

    // One notebook more in the same folder: the others stay in the index, and what it builds on is found there.
    const more = write(folder, "03-more.ipynb", SWEEP, { needs: ["01-train"] });
    writeFileSync(join(outDir, "report.html"), "<p>report</p>");
    const fourth = await runBatch({ notebooks: [more], outDir, stream: listener() });
    expect(fourth.records.map(({ name, valid }) => [name, valid])).toEqual([["03-more", true]]);
    const page = readFileSync(fourth.index, "utf8");
    expect(page).toMatch(/3 of 3 notebooks valid/);
    expect(page).toContain('<a href="report.html">');
  });

  it("keeps ran and valid apart, names every problem and starts nothing that builds on a failure", async () => {
    const folder = temporaryFolder();
    const outDir = join(folder, "out");
    mkdirSync(join(folder, "halfway"));
    const halfway = JSON.stringify(join(folder, "halfway"));
    const notebooks = [
      write(folder, "fails.ipynb", [{ code: 'throw new RangeError("layer <36>")' }, { code: RESULT({}) }]),
      write(folder, "silent.ipynb", [{ code: "1 + 1" }]),
      write(folder, "late.ipynb", [
        { code: `${RESULT({})} setTimeout(() => Promise.reject(new Error("dead trainer")), 150);` },
      ]),
      write(folder, "halfway.ipynb", [{ code: RESULT({ n: 1 }, `, ...{ run: ${halfway} }`) }]),
      write(folder, "next.ipynb", [{ code: RESULT({}) }], { needs: ["fails"] }),
    ];
    const said = listener();
    const { records, ok, index } = await runBatch({ notebooks, outDir, stream: said });
    expect(ok).toBe(false);
    expect(records.map(({ name, status, valid }) => [name, status, valid])).toEqual([
      ["fails", "failed", false],
      ["silent", "ran", false],
      ["late", "failed", false],
      ["halfway", "ran", false],
      ["next", "skipped", false],
    ]);
    const problems = records.map((record) => record.problems.join("; "));
    expect(problems[0]).toMatch(/^RangeError: layer <36>; 1 cell was not run$/);
    expect(problems[1]).toMatch(/declares no result/);
    expect(problems[2]).toMatch(/UnhandledRejection.*dead trainer/);
    expect(problems[3]).toMatch(/not marked DONE/);
    expect(problems[4]).toMatch(/builds on fails/);
    expect(said.text).toMatch(/fails: failed in .*NOT VALID\n\s+RangeError: layer <36>/);
    expect(existsSync(join(outDir, "fails.ipynb"))).toBe(true);
    const page = readFileSync(index, "utf8");
    expect(page).toContain("RangeError: layer &lt;36&gt;");
    expect(page).toMatch(/0 of 5 notebooks valid/);
  });

  it("refuses unknown notebooks and parameters before anything runs", async () => {
    const folder = temporaryFolder();
    const outDir = join(folder, "out");
    const path = write(folder, "a.ipynb", SWEEP);
    await expect(runBatch({ notebooks: ["no-such"], outDir })).rejects.toMatchObject({ code: "notebook-path" });
    await expect(runBatch({ notebooks: [path], outDir, parameters: { stpes: 1 } })).rejects.toMatchObject({
      code: "parameter",
    });
    expect(existsSync(outDir)).toBe(false);
  });

  it("stops on request, says so, and starts nothing more", async () => {
    const folder = temporaryFolder();
    const started = JSON.stringify(join(folder, "started"));
    const code = `import { writeFileSync } from "fs"; writeFileSync(${started}, ""); await new Promise((r) => setTimeout(r, 120000));`;
    const long = write(folder, "long.ipynb", [{ code: 'console.log("first cell")' }, { code }]);
    const after = write(folder, "after.ipynb", [{ code: RESULT({}) }]);
    const controller = new AbortController();
    const poll = setInterval(() => existsSync(join(folder, "started")) && controller.abort(), 200);
    const options = {
      notebooks: [long, after],
      outDir: join(folder, "out"),
      signal: controller.signal,
      stream: listener(),
    };
    const start = Date.now();
    const { records, ok } = await runBatch(options);
    clearInterval(poll);
    expect(Date.now() - start).toBeLessThan(100_000);
    expect(readFileSync(join(folder, "out", "long.ipynb"), "utf8")).toContain("first cell\\n");
    expect(records.map(({ status }) => status)).toEqual(["stopped", "skipped"]);
    expect(ok).toBe(false);
  });
});
