// The batch runner on real kernels: order, parameters, resuming, and what counts as ran and as valid.
import { spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { JSDOM } from "jsdom";
import { describe, expect, it, vi } from "vitest";
import {
  afterNeeded,
  decidersOf,
  type NotebookRecord,
  notTaken,
  planJobs,
  runBatch,
  whyAgain,
  yamlOf,
} from "../../../kernel-lib/src/command";
import { notebook, ROOT, type TestCell, temporaryFolder } from "../../helpers/notebook";

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
    for (const anchor of document.querySelectorAll('a:not([href^="#"])')) {
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

  it("runs again whatever was read, changed or is lost, says why, and keeps the rest", async () => {
    const folder = temporaryFolder();
    const outDir = join(folder, "out");
    const inputs = join(folder, "inputs");
    mkdirSync(inputs);
    const at = (name: string): string => join(inputs, name);
    writeFileSync(at("mine.yaml"), "prompts: words.txt\n");
    writeFileSync(at("words.txt"), "yes");
    writeFileSync(at("large.bin"), Buffer.alloc(5 << 20));
    const head = `import * as fs from "fs";
const dir = batchDir + "/20300102-030405-study-s1";
fs.mkdirSync(dir, { recursive: true });
for (const name of ["mine.yaml", "words.txt"]) fs.readFileSync(inputs + "/" + name, "utf8");
fs.closeSync(fs.openSync(inputs + "/large.bin", "r"));
fs.writeFileSync(dir + "/trials.jsonl", "{}\\n"); fs.readFileSync(dir + "/trials.jsonl"); fs.writeFileSync(dir + "/DONE", "");`;
    const study = write(folder, "study.ipynb", [
      {
        tags: ["parameters"],
        code: `const batchDir: string = "";\nconst inputs: string = "";\nconst extra: number[] = [];`,
      },
      { code: head },
      { code: RESULT({ n: 1 }, ', ...{ run: batchDir + "/20300102-030405-study-s1" }') },
    ]);
    const run = join(outDir, "20300102-030405-study-s1");
    const parameters: Record<string, unknown> = { inputs };
    const batch = async (): Promise<{ record: NotebookRecord; said: string }> => {
      const said = listener();
      const { records } = await runBatch({ notebooks: [study], parameters, outDir, stream: said });
      return { record: records[0], said: said.text };
    };
    const { record } = await batch();
    expect(record).toMatchObject({ valid: true, reused: false });
    expect(Object.keys(record.reads)).toEqual(
      ["large.bin", "mine.yaml", "words.txt"].map((name) => join("..", "inputs", name)),
    );
    expect((await batch()).record.reused).toBe(true);

    const why = (): string | null => whyAgain(record, planJobs([study], parameters, outDir)[0], [], outDir);
    /** Tries a change and takes it back. */
    const tried = (files: string[], change: () => void): string | null => {
      const held = files.map((file) => ({ file, aside: join(folder, `held-${files.indexOf(file)}`) }));
      for (const { file, aside } of held) cpSync(file, aside, { recursive: true, preserveTimestamps: true });
      change();
      const answer = why();
      for (const { file, aside } of held) {
        rmSync(file, { recursive: true, force: true });
        renameSync(aside, file);
      }
      return answer;
    };
    const executed = join(outDir, "study.ipynb");
    const without = (cell: number): void => {
      const file = JSON.parse(readFileSync(executed, "utf8")) as { cells: unknown[] };
      file.cells.splice(cell, 1);
      writeFileSync(executed, JSON.stringify(file));
    };
    expect(why()).toBeNull();
    expect(tried([at("mine.yaml")], () => writeFileSync(at("mine.yaml"), "prompts: []\n"))).toMatch(
      /changed: .*mine\.yaml/,
    );
    expect(tried([at("words.txt")], () => rmSync(at("words.txt")))).toMatch(/changed: .*words\.txt/);
    expect(tried([executed], () => writeFileSync(executed, readFileSync(executed).subarray(0, 900)))).toMatch(
      /damaged/,
    );
    expect(tried([executed], () => without(2))).toBe("study.ipynb lacks cells");
    expect(tried([executed], () => without(3))).toBe("study.ipynb lacks cells");
    expect(tried([join(outDir, "study.html")], () => writeFileSync(join(outDir, "study.html"), ""))).toMatch(
      /html is missing/,
    );
    expect(tried([join(run, "DONE")], () => rmSync(join(run, "DONE")))).toMatch(/not marked DONE/);
    expect(tried([join(run, "trials.jsonl")], () => rmSync(join(run, "trials.jsonl")))).toMatch(
      /trials\.jsonl is missing/,
    );
    expect(tried([run], () => rmSync(run, { recursive: true }))).toMatch(/does not exist/);
    expect(tried([study], () => writeFileSync(study, `${readFileSync(study, "utf8")} `))).toBe("changed: the notebook");
    parameters.extra = [1, 2e-7];
    expect(why()).toBe("changed: its parameters");
    delete parameters.extra;
    utimesSync(at("words.txt"), new Date(), new Date()); // the same content again is no reason
    expect(why()).toBeNull();

    // A file too large to hash is another one as soon as it lies elsewhere on the disk.
    writeFileSync(at("large.bin.new"), Buffer.alloc(5 << 20));
    renameSync(at("large.bin.new"), at("large.bin"));
    const again = await batch();
    expect(again.said).toMatch(/study: running again, changed: .*large\.bin\n/);
    expect(again.record).toMatchObject({ valid: true, reused: false });
    expect((await batch()).record.reused).toBe(true);
  });

  it("counts the library among what decides, and hands numbers to papermill as numbers", () => {
    expect(yamlOf({ lr: 2e-7, big: 1e21, n: [1, -0.5, null], t: "2e-7", o: { a: true } })).toBe(
      '{"lr": 2.0e-7, "big": 1.0e+21, "n": [1, -0.5, null], "t": "2e-7", "o": {"a": true}}',
    );
    const folder = temporaryFolder();
    const path = write(folder, "a.ipynb", SWEEP);
    const [job] = planJobs([path], {}, folder);
    const before = decidersOf(job, []);
    expect(before["the library"]).toMatch(/^[0-9a-f]{64}$/);
    const old = {
      name: "a",
      valid: true,
      deciders: { ...before, "the library": "another" },
    } as unknown as NotebookRecord;
    expect(whyAgain(old, job, [], folder)).toBe("changed: the library");
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

  it("names why a notebook did not even begin: a kernel that is too slow, a disk that is full", async () => {
    const folder = temporaryFolder();
    const notebooks = [write(folder, "a.ipynb", [{ code: RESULT({}) }])];
    // A kernel is given a second whatever the limit, and a quiet machine starts one within it: this one sleeps first.
    const sleep = join(folder, "sleep.cjs");
    writeFileSync(sleep, "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4000);");
    vi.stubEnv("NODE_OPTIONS", `--require ${sleep}`);
    const slow = { notebooks, outDir: join(folder, "slow"), stream: listener(), startSeconds: 0 };
    const { records } = await runBatch(slow).finally(() => vi.unstubAllEnvs());
    expect(records[0].problems[0]).toMatch(/kernel of a\.ipynb to answer within 0 seconds.*--start-timeout 300/);
    mkdirSync(join(folder, "full"));
    symlinkSync("/dev/full", join(folder, "full", "index.html"));
    await expect(runBatch({ notebooks, outDir: join(folder, "full"), stream: listener() })).rejects.toMatchObject({
      code: "disk-full",
      message: expect.stringContaining("run the same again"),
    });
  });

  it("refuses unknown notebooks and parameters before anything runs", async () => {
    const folder = temporaryFolder();
    const outDir = join(folder, "out");
    const path = write(folder, "a.ipynb", SWEEP);
    await expect(runBatch({ notebooks: ["no-such"], outDir })).rejects.toMatchObject({ code: "notebook-path" });
    await expect(runBatch({ notebooks: [path], outDir, parameters: { stpes: 1 } })).rejects.toMatchObject({
      code: "parameter",
      message: expect.stringContaining('declares for -p but received "stpes". a declares none.'),
    });
    const named = write(folder, "b.ipynb", TRAIN);
    await expect(runBatch({ notebooks: [path, named], outDir, parameters: { stpes: 1 } })).rejects.toThrow(
      /a declares none; b declares steps\.$/,
    );
    await expect(runBatch({ notebooks: [path], outDir: "/proc/foo" })).rejects.toMatchObject({ code: "out-folder" });
    expect(existsSync(outDir)).toBe(false);
  });

  it.skipIf(!existsSync("/proc/self/task"))(
    "lets work save on SIGTERM, however long, and says how to go on",
    async () => {
      const folder = temporaryFolder();
      const [started, saved] = ["started", "saved"].map((name) => join(folder, name));
      const long = write(folder, "long.ipynb", [
        { code: 'console.log("first cell")' },
        {
          code: `import { writeFileSync } from "fs"; import { interruptSignal } from "steerlab";
const signal = interruptSignal();
writeFileSync(${JSON.stringify(started)}, "");
await new Promise<void>((done) => signal.addEventListener("abort", () => setTimeout(() => { writeFileSync(${JSON.stringify(saved)}, ""); done(); }, 6000)));
throw new Error("stopped after saving");`,
        },
      ]);
      const args = [
        join(ROOT, "kernel-lib/bin/steerlab.cjs"),
        "batch",
        "--notebook",
        long,
        "--out",
        join(folder, "out"),
      ];
      const child = spawn(process.execPath, args);
      let said = "";
      child.stderr.on("data", (chunk) => {
        said += chunk;
      });
      while (!existsSync(started)) await new Promise((later) => setTimeout(later, 200));
      child.kill("SIGTERM");
      const status = await new Promise((done) => child.on("close", done));
      expect({ status, saved: existsSync(saved) }).toEqual({ status: 143, saved: true });
      expect(said).toMatch(/long: stopped/);
      expect(said).toMatch(
        /Stopped on request\. Run the same again to go on: finished notebooks are kept\. \[aborted\]\n$/,
      );
      expect(readFileSync(join(folder, "out", "long.ipynb"), "utf8")).toContain("first cell\\n");
      expect(existsSync(join(folder, "out", "index.html"))).toBe(true);
    },
  );

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

describe("changes of a protocol", () => {
  it("are refused before a kernel starts where no shipped protocol can take them", () => {
    const plan = (parameters: Record<string, unknown>) => () =>
      planJobs(["01-train", "05-card-protocol"], parameters, temporaryFolder());
    expect(plan({ protocolChanges: { typo: 1 } })).toThrow(expect.objectContaining({ code: "protocol-unknown" }));
    expect(plan({ protocolChanges: { "training.lora.r": "x" } })).toThrow(/training\.lora\.r.*"x"/);
    expect(plan({ protocolName: "nothing" })).toThrow(expect.objectContaining({ code: "protocol-unknown" }));
    expect(plan({ protocolChanges: { "training.lora.r": 4 } })).not.toThrow();
    // A tier that the card's protocol alone has.
    expect(
      plan({ protocolName: "card", protocolChanges: { "evaluation.tiers.concepts_102.vectorCount": 3 } }),
    ).not.toThrow();
  });

  it("reach every shipped notebook that works by one", () => {
    const changes = { "training.optimizer.lr": 2e-4 };
    const names = ["01-train", "02-concept-sweep", "03-side-effects", "04-self-knowledge", "05-card-protocol"];
    names.push("06-explore-records", "07-controls");
    const jobs = planJobs(names, { protocolChanges: changes }, temporaryFolder());
    expect(jobs.map(({ parameters }) => parameters.protocolChanges)).toEqual(names.map(() => changes));
  });

  it("are said not to reach the one that works by none, by the name that was typed", () => {
    const given = { protocolChanges: { "training.optimizer.lr": 2e-4 }, seed: 2, modelName: "m" };
    const jobs = planJobs(["00-check-machine", "01-train", "03-side-effects"], given, temporaryFolder());
    expect(notTaken(jobs, given)).toEqual([
      "-p protocol.FIELD is for 01-train, 03-side-effects; not for 00-check-machine",
      "-p seed is for 01-train; not for 00-check-machine, 03-side-effects",
    ]);
    expect(() => planJobs(["00-check-machine"], { protocolChanges: {} }, temporaryFolder())).toThrow(
      /-p but received "protocol\.FIELD"\. 00-check-machine declares modelName, /,
    );
  });
});

describe("what a notebook of a batch builds on", () => {
  const folder = temporaryFolder();
  const record = (name: string, run: string, meta: object, parameters: object = {}): NotebookRecord => {
    mkdirSync(join(folder, run));
    writeFileSync(join(folder, run, "meta.json"), JSON.stringify(meta));
    const deciders = { "its parameters": JSON.stringify(parameters) };
    return { name, valid: true, run: join(folder, run), deciders } as unknown as NotebookRecord;
  };
  const train = record("01-train", "20300102-030405-train-strict-s2", { kind: "train", seed: 2 }, { seed: 2 });
  const sweep = record("02-concept-sweep", "20300102-030406-detection-strict-s7", { kind: "detection", seed: 7 });
  const asked = (name: string, parameters: Record<string, unknown>): Record<string, unknown> => {
    const [job] = planJobs([name], parameters, folder);
    const { batchDir: _, ...rest } = afterNeeded(job, [train, sweep]).parameters;
    return rest;
  };

  it("is the training and the sweep of that batch, unless another is chosen or another protocol asked for", () => {
    expect(asked("02-concept-sweep", {})).toEqual({ trainSeed: 2 });
    expect(asked("03-side-effects", { trainSeed: 1 })).toEqual({ trainSeed: 1 });
    expect(asked("04-self-knowledge", { adapterName: "org/name" })).toEqual({ adapterName: "org/name" });
    expect(asked("03-side-effects", { protocolName: "card" })).toEqual({ protocolName: "card" });
    expect(asked("06-explore-records", {})).toEqual({ runName: "20300102-030406-detection-strict-s7" });
    expect(asked("06-explore-records", { protocolName: "card" })).toEqual({ protocolName: "card" });
    expect(asked("01-train", { seed: 3 })).toEqual({ seed: 3 });
  });
});
