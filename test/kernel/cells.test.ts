// What a cell says and leaves behind, and what the kernel says about itself meanwhile.
import { beforeAll, describe, expect, it } from "vitest";
import {
  command,
  driveKernel,
  errorOf,
  type KernelRun,
  printed,
  resultOf,
  temporaryFolder,
  VENV_BIN,
} from "../helpers/notebook";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

function session(cells: object[], more: object = {}): () => KernelRun {
  let run: KernelRun;
  beforeAll(async () => {
    run = await driveKernel({ cwd: temporaryFolder(), cells, ...more });
  }, 400_000);
  return () => run;
}

const FAILS = `interface Run { seed: number }
import { basename } from "node:path";
const first: Run = { seed: start };
function check(layer: number): number {
  // Comments and types vanish in compiled code.

  if (layer > 12) throw new RangeError("layer 36 of 12");
  return layer;
}
enum Kind { base, adapter }

const start2 = check(
  36);
const never: number = 4;`;

describe("a cell that throws", () => {
  const run = session([
    { code: "const start = 7; const start2 = 'earlier';" },
    { code: FAILS },
    {
      code: 'const again: Run = first; [again.seed, start2.toUpperCase(), basename("/a/b"), Kind.adapter, check(3)].join()',
    },
    { code: "console.log(never2);" },
    { code: "typeof (globalThis as any).__tslab__.exports.never" },
    { code: "const start2 = 5; start2 + 1" },
    { code: "check(40)" },
    { code: "const later = async () => { await 1; return check(50); };\n\nawait later();" },
    { code: "try { check(60) } catch (error) { console.error(error) }" },
    { code: "const bad: string = 5;" },
    { code: "later.name" },
  ]);

  it("keeps what it had assigned, with its types, imports and functions", () => {
    expect(run().cells[1].reply.status).toBe("error");
    expect(resultOf(run().cells[2])).toBe("7,EARLIER,b,1,3");
  });

  it("says what is kept and what is not", () => {
    expect(errorOf(run().cells[1]).traceback?.at(-1)).toBe(
      "Kept from this cell: check, basename, first, Kind. Not assigned by this cell: start2, never.",
    );
    expect(resultOf(run().cells[4])).toBe("undefined");
  });

  it("lets a later cell declare the same names", () => {
    expect(resultOf(run().cells[5])).toBe("6");
  });

  it("gives the cell's own lines in the stack, also of functions of earlier cells and after an await", () => {
    expect(errorOf(run().cells[1]).traceback?.slice(0, 3)).toEqual([
      "RangeError: layer 36 of 12",
      "    at check (cell [2], line 7)",
      "    at cell [2], line 12",
    ]);
    expect(errorOf(run().cells[6]).traceback).toEqual([
      "RangeError: layer 36 of 12",
      "    at check (cell [2], line 7)",
      "    at cell [7], line 1",
    ]);
    const frames = errorOf(run().cells[7]).traceback ?? [];
    expect(frames.slice(2, 4)).toEqual(["    at later (cell [8], line 1)", "    at async cell [8], line 3"]);
    expect(printed(run().cells[8], "stderr")).toBe(
      "RangeError: layer 36 of 12\n    at check (cell [2], line 7)\n    at cell [9], line 1\n",
    );
  });

  it("keeps what was there when a cell does not compile", () => {
    expect(errorOf(run().cells[9]).ename).toBe("TypeScriptError");
    expect(resultOf(run().cells[10])).toBe("later");
  });
});

describe("promises", () => {
  const run = session([
    { code: "async function* numbers() { yield 1; yield 2; }\nfor await (const n of numbers()) console.log(n);" },
    { code: "const work = async () => ({ rank: 4 });\nwork();\n1" },
    { code: "work()" },
    { code: "const result = work();\nresult.rank" },
    { code: "void work();\nwork().catch(() => {});\nlet held = work();\nheld = work();\nawait held;\n2" },
    { code: "setTimeout(() => { throw new Error('tick') }, 5);\nawait new Promise((r) => setTimeout(r, 80));" },
  ]);

  it("may be awaited by a loop at the top of a cell", () => {
    expect(run().cells[0].reply.status).toBe("ok");
    expect(printed(run().cells[0])).toBe("1\n2\n");
  });

  it("that nobody awaits are pointed at, with their line", () => {
    expect(printed(run().cells[1], "stderr")).toMatch(/^Line 2: nobody waits for `work\(\)`\. Write `await`/);
    expect(resultOf(run().cells[1])).toBe("1");
  });

  it("as the last expression are called that", () => {
    expect(resultOf(run().cells[2])).toMatch(/^Promise: not a value yet\. Write `await`/);
    expect(printed(run().cells[2], "stderr")).toBe("");
  });

  it("taken for their value get the hint after the compiler's words", () => {
    expect(errorOf(run().cells[3]).evalue).toMatch(/Property 'rank' does not exist on type 'Promise</);
    expect(errorOf(run().cells[3]).traceback?.at(-1)).toMatch(/^This is a promise.*`await`/);
  });

  it("that are meant to go on alone are left in peace", () => {
    expect(printed(run().cells[4], "stderr")).toBe("");
    expect(resultOf(run().cells[4])).toBe("2");
  });

  it("are not blamed for a callback that threw", () => {
    expect(errorOf(run().cells[5])).toMatchObject({
      ename: "UncaughtException",
      evalue: "A callback of this cell (a timer or an event) threw and nothing caught it. Error: tick",
    });
  });
});

describe("questions about code", () => {
  const emoji = "const e = '\u{1F600}'; ";
  const run = session([
    { code: "function train(model: string): string { return model; } const lab = { fit(x: number) { return x; } };" },
    { code: "train(", inspectAt: 6 },
    { code: `${emoji}lab.fit(3, train('a', ))`, inspectAt: 24 },
    { code: `${emoji}lab.fit(3, train('a', ))`, inspectAt: 36 },
    { code: `${emoji}lab.fi`, completeAt: 21 },
    { code: "1 + 1", inspectAt: 5 },
  ]);
  const shown = (i: number): unknown => (run().cells[i].reply.data as Record<string, unknown>)["text/plain"];

  it("inside parentheses are answered about the call", () => {
    expect(shown(1)).toBe("function train(model: string): string");
    expect(shown(2)).toBe("(method) fit(x: number): number");
    expect(shown(3)).toBe("function train(model: string): string");
    expect(run().cells[5].reply.found).toBe(false);
  });

  it("count characters, not UTF-16 units", () => {
    expect(run().cells[4].reply).toMatchObject({ matches: ["fit"], cursor_start: 19, cursor_end: 21 });
  });
});

describe("status", () => {
  const alone = session([{ code: 'console.log("go"); await new Promise((r) => setTimeout(r, 800));', askOn: "go" }]);
  const together = session([{ code: "1" }, { code: "2" }], { together: true });

  it("is busy again after a question that came while a cell runs", () => {
    // The cell; the page's question with its own pair; the cell again; its end; the driver's own last question.
    expect(alone().statuses.slice(0, 5)).toEqual(["busy", "busy", "idle", "busy", "idle"]);
  });

  it("is busy when a cell starts, not when its request arrives", () => {
    expect(together().statuses.slice(0, 4)).toEqual(["busy", "idle", "busy", "idle"]);
  });
});

describe("jupyter run", { timeout: 120_000 }, () => {
  it("ignores arguments that are not the kernel's", async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "a.ts"), 'console.log("ran");');
    const args = ["run", "--kernel=steerlab", "--seed=3", "a.ts"];
    const { status, stdout, stderr } = await command(join(VENV_BIN, "jupyter"), args, { cwd: folder });
    expect(status, stderr).toBe(0);
    expect(stdout).toBe("ran\n");
  });
});
