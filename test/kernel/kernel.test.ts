// The real kernel through jupyter_client: every fault of tslab that the preload cures, provoked.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { driveKernel, errorOf, type KernelRun, printed, resultOf, ROOT, temporaryFolder } from "../helpers/notebook";

const types = (cell: KernelRun["cells"][number]): string[] =>
  cell.messages.map(({ type }) => type).filter((type) => type !== "status");

/** Runs the cells once; each test looks at one of them. */
function session(cells: object[], more: object = {}): () => KernelRun {
  let run: KernelRun;
  beforeAll(async () => {
    run = await driveKernel({ cwd: temporaryFolder(), cells, ...more });
  }, 400_000);
  return () => run;
}

describe("paths", () => {
  const folder = mkdtempSync(join(ROOT, "test", ".notebook-"));
  writeFileSync(join(folder, "beside.ts"), "export const twice = (x: number): number => 2 * x;\n");
  afterAll(() => rmSync(folder, { recursive: true }));
  const run = session([{ code: "process.cwd()" }, { code: 'import { twice } from "./beside"; twice(21)' }], {
    cwd: folder,
  });

  it("are relative to the project in its notebooks, imports to the notebook's own folder", () => {
    expect(resultOf(run().cells[0])).toContain(`${ROOT}`);
    expect(resultOf(run().cells[0])).not.toContain("notebook-");
    expect(resultOf(run().cells[1])).toBe("42");
  });
});

describe("a notebook outside the project", () => {
  const run = session([
    {
      code: 'import { findRun } from "steerlab"; import { table } from "arquero";\nconst [find, numbers] = [findRun, table({ a: [1, 2] })];',
    },
    { code: 'const found = find("/nowhere", {}); const above = numbers.filter("d => d.a > 1");' },
    { code: "[found, above.numRows()].join()" },
  ]);

  it("can name the types of the library and of what comes with it in cells that import neither", () => {
    expect(run().cells.map(errorOf)).toEqual([{}, {}, {}]);
    expect(resultOf(run().cells[2])).toBe(",1");
  });
});

describe("output", () => {
  const run = session([
    { code: "for (let i = 0; i < 10000; i++) console.log('line ' + i);" },
    { code: "for (let i = 0; i < 1200; i++) { console.log(i); console.error(i); }" },
    { code: 'process.stdout.write(Buffer.from([0xe2, 0x82])); process.stdout.write(Buffer.from([0xac])); "€"' },
    { code: "const rank: number = 4; rank" },
    { code: "({rank})" },
    { code: '({ [Symbol.for("Jupyter.display")]: () => ({ "text/html": "<b>4</b>", "text/plain": "4" }) })' },
    { code: "const never = new Promise(() => {}); setInterval(() => {}, 1000); 1" },
  ]);

  it("loses none of 10,000 lines and keeps their order", () => {
    const lines = printed(run().cells[0]).trimEnd().split("\n");
    expect(lines).toEqual(Array.from({ length: 10_000 }, (_, i) => `line ${i}`));
    expect(run().cells[0].reply.status).toBe("ok");
    expect(types(run().cells[0]).length).toBeLessThan(60);
  });

  it("loses nothing in 2,400 messages that cannot be joined", () => {
    const expected = Array.from({ length: 1200 }, (_, i) => `${i}\n`).join("");
    expect(printed(run().cells[1])).toBe(expected);
    expect(printed(run().cells[1], "stderr")).toBe(expected);
  });

  it("joins the bytes of a character that arrives in two writes", () => {
    expect(printed(run().cells[2])).toBe("€");
  });

  it("shows the last expression as an execute_result", () => {
    expect(types(run().cells[3])).toEqual(["execute_input", "execute_result"]);
    expect(run().cells[3].messages.at(-2)?.content.data).toEqual({ "text/plain": "4" });
  });

  it("understands shorthand properties of earlier variables", () => {
    expect(run().cells[4].messages.at(-2)?.content.data).toEqual({ "text/plain": "{ rank: 4 }" });
  });

  it("lets a value say how it is shown, with all its MIME types", () => {
    expect(run().cells[5].messages.at(-2)?.content.data).toEqual({ "text/html": "<b>4</b>", "text/plain": "4" });
  });

  it("shuts down although a timer still runs", () => {
    expect(run().cells[6].reply.status).toBe("ok");
    expect(run().shutdownSeconds).toBeLessThan(4.5);
  });

  it("says which TypeScript it speaks", () => {
    expect(run().info.language_info.version).toMatch(/^5\./);
  });
});

describe("errors", () => {
  const run = session([
    {
      code: 'class InputError extends Error { code = "layer-range"; name = "InputError" }\nthrow new InputError("bad <thing>", { cause: new Error("root") });',
    },
    { code: "const x: string = 5;" },
    { code: 'await Promise.reject("just text")' },
    { code: '(async () => { throw new Error("lost") })(); undefined' },
    { code: 'setTimeout(() => Promise.reject(new Error("later")), 120); 1', pause: 0.4 },
    { code: '"not run"' },
    { code: '"runs"' },
    {
      code: 'const late = Promise.reject(new Error("handled after all")); await new Promise((r) => setTimeout(r, 80)); await late.catch(() => {}); "fine"',
    },
    { code: 'setTimeout(() => { throw new Error("from a timer") }, 60); 1', pause: 0.3 },
    { code: "/* steerlab: settle */", silent: true },
    { code: "process.exit(3)" },
    { code: '"still here"' },
  ]);

  it("carry name, value, traceback, code and cause in message and reply", () => {
    const error = errorOf(run().cells[0]);
    expect(error).toMatchObject({ ename: "InputError", evalue: "bad <thing>" });
    expect(error.traceback).toEqual(
      expect.arrayContaining(["InputError [layer-range]: bad <thing>", "caused by Error: root"]),
    );
    expect((error.traceback as string[]).join("\n")).not.toMatch(/tslab|node:/);
    expect(run().cells[0].reply).toMatchObject({ status: "error", ename: "InputError" });
  });

  it("of the compiler point at the place", () => {
    expect(errorOf(run().cells[1])).toMatchObject({
      ename: "TypeScriptError",
      evalue: expect.stringMatching(/^1:7 - Type 'number'/),
    });
    expect(errorOf(run().cells[1]).traceback).toContain("    const x: string = 5;");
  });

  it("may be any thrown value", () => {
    expect(errorOf(run().cells[2])).toMatchObject({ ename: "Thrown", evalue: "just text" });
  });

  it("fail the cell whose promise rejects with nobody listening", () => {
    expect(run().cells[3].reply.status).toBe("error");
    expect(errorOf(run().cells[3])).toMatchObject({
      ename: "UnhandledRejection",
      evalue: expect.stringContaining("lost"),
    });
  });

  it("that come after their cell stop the next one, once", () => {
    expect(run().cells[4].reply.status).toBe("ok");
    expect(errorOf(run().cells[5]).evalue).toMatch(/earlier cell.*this cell was not run.*later/s);
    expect(types(run().cells[5])).not.toContain("execute_result");
    expect(run().cells[6].reply.status).toBe("ok");
  });

  it("that are handled late are no errors", () => {
    expect(run().cells[7].reply.status).toBe("ok");
  });

  it("after the last cell are found by the settle request", () => {
    expect(run().cells[9].reply).toMatchObject({
      status: "error",
      ename: "UncaughtException",
      evalue: expect.stringMatching(/^A callback of an earlier cell \(a timer or an event\) threw.*from a timer/),
    });
  });

  it("cannot end the kernel through process.exit", () => {
    expect(errorOf(run().cells[10]).evalue).toMatch(/would end the kernel/);
    expect(run().cells[11].reply.status).toBe("ok");
  });
});

describe("interrupt", () => {
  const listening = `
    const signal = (globalThis as any)[Symbol.for("steerlab.interrupt")].signal;
    await new Promise<void>((_, reject) => {
      const timer = setInterval(() => console.log("step"), 50);
      signal.addEventListener("abort", () => setTimeout(() => { clearInterval(timer); console.log("saved"); reject(new Error("stopped at step 7")); }, 400));
    });`;
  const deaf = `
    const signal = (globalThis as any)[Symbol.for("steerlab.interrupt")].signal;
    signal.addEventListener("abort", () => {});
    console.log("started");
    await new Promise((r) => setTimeout(r, 60000));`;
  const run = session([
    {
      code: 'const before = 4; console.log("started"); await new Promise((r) => setTimeout(r, 60000)); const after = 5;',
      interruptOn: "started",
    },
    { code: "while (true) {}", interruptAfter: 3 },
    { code: listening, interruptOn: "step" },
    {
      code: 'setInterval(() => console.log("leftover"), 40); await new Promise((r) => setTimeout(r, 60000));',
      interruptOn: "leftover",
      pause: 0.3,
    },
    {
      code: 'await new Promise((r) => setTimeout(r, 400)); console.log("clean"); (globalThis as any)[Symbol.for("steerlab.interrupt")].signal.aborted',
    },
    { code: deaf, interruptOn: "started", interruptTimes: 2 },
    // Compiled for the first time with this import, so it takes a while; the interrupt comes long before it has run.
    {
      code: 'import * as steerlab from "steerlab"; console.log("started"); await new Promise((r) => setTimeout(r, 60000));',
      interruptAfter: 0.02,
    },
    { code: "console.log(before, typeof before)" },
  ]);

  it("ends a waiting cell", () => {
    expect(errorOf(run().cells[0]).ename).toBe("Interrupted");
    expect(run().cells[0].seconds).toBeLessThan(40);
  });

  it("ends a synchronous loop", () => {
    expect(errorOf(run().cells[1]).ename).toBe("Interrupted");
  });

  it("lets work that listens finish, save and speak", () => {
    expect(printed(run().cells[2])).toMatch(/saved\n$/);
    expect(errorOf(run().cells[2]).ename).toBe("Interrupted");
    expect(errorOf(run().cells[2]).traceback).toContain("Error: stopped at step 7");
  });

  it("leaves nothing behind that prints, between cells or into the next", () => {
    expect(run().late).toEqual([]);
    expect(printed(run().cells[4])).toBe("clean\n");
  });

  it("keeps what the cell had assigned", () => {
    expect(errorOf(run().cells[0]).traceback).toContain(
      "Kept from this cell: before. Not assigned by this cell: after.",
    );
    expect(printed(run().cells[7])).toBe("4 number\n");
  });

  it("gives the next cell a fresh signal", () => {
    expect(run().cells[4].messages.at(-2)?.content.data).toEqual({ "text/plain": "false" });
  });

  it("given twice ends a cell that only pretends to listen", () => {
    expect(errorOf(run().cells[5]).ename).toBe("Interrupted");
    expect(run().cells[5].seconds).toBeLessThan(40);
  });

  it("is not lost when it comes while the cell is being compiled", () => {
    expect(errorOf(run().cells[6]).ename).toBe("Interrupted");
    expect(printed(run().cells[6])).toBe("");
  });
});

describe("requests sent together", () => {
  const run = session([{ code: "1" }, { code: 'throw new Error("stop")' }, { code: "2" }, { code: "3" }], {
    together: true,
  });

  it("are not run after the one that failed", () => {
    expect(run().cells.map(({ reply }) => reply.status)).toEqual(["ok", "error", "aborted", "aborted"]);
  });
});

describe("packages", () => {
  const run = session([
    { code: 'import * as steerlab from "steerlab"; import * as aq from "arquero"; typeof steerlab.showTable' },
    { code: 'const bad: number = steerlab.runsFolder("");' },
    { code: 'import { nothing } from "no-such-package";' },
  ]);

  it("of this installation are found from a folder outside the repository, with their types", () => {
    expect(run().cells[0].messages.at(-2)?.content.data).toEqual({ "text/plain": "function" });
    expect(errorOf(run().cells[1]).evalue).toMatch(/string.*not assignable.*number/);
  });

  it("that do not exist are named", () => {
    expect(errorOf(run().cells[2]).evalue).toMatch(/no-such-package/);
  });
});
