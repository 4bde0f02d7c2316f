// Stock papermill from .venv on our kernel: parameters, help, and failures that cannot pass as success.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  command,
  papermill,
  readNotebook,
  streamText,
  type TestCell,
  temporaryFolder,
  textOf,
  VENV_BIN,
  writeNotebook,
} from "../helpers/notebook";

const PARAMETERS: TestCell = {
  tags: ["parameters"],
  code: [
    'const model: string = "lab-model"; // folder or hub name',
    "const steps: number = 3; // optimizer steps",
    'const loss: "pair" | "full" = "pair";',
    "// Strengths relative to the residual norm,",
    "// weakest first.",
    "const strengths: number[] = [",
    "  0.05, // weak",
    "  0.4,",
    "];",
    "const adapter: string | null = null;",
    'const url = "https://example.org/a;b"; // a string with // and ;',
  ].join("\n"),
};

const LISTS: TestCell = {
  tags: ["parameters"],
  code: [
    "const strengths: number[] = [0.4];",
    "const grid: { layers: number[]; name: string } | null = null;",
    'const names: string[] | null = ["a"];',
    'const text: string = "plain";',
    "const fast: boolean = false;",
  ].join("\n"),
};
const SHOW_LISTS: TestCell = {
  code: "console.log(JSON.stringify([strengths, grid, names, text, fast]));",
};

const SHOW: TestCell = {
  code: [
    'const check: "pair" | "full" = loss;',
    "const zero = steps === 0;",
    "console.log(JSON.stringify({ model: model, steps: steps, loss: check, strengths: strengths, adapter: adapter, url: url }));",
  ].join("\n"),
};

let folder = "";
beforeAll(() => {
  folder = temporaryFolder();
});

const run = (name: string, cells: TestCell[], args: string[] = []): ReturnType<typeof papermill> =>
  papermill([writeNotebook(folder, name, cells), join(folder, `out-${name}`), "--no-progress-bar", ...args]);

describe("papermill", { timeout: 120_000 }, () => {
  it("runs with the declared parameters", async () => {
    const { status } = await run("plain.ipynb", [PARAMETERS, SHOW]);
    expect(status).toBe(0);
    const shown = JSON.parse(streamText(readNotebook(join(folder, "out-plain.ipynb"))));
    expect(shown).toMatchObject({ model: "lab-model", steps: 3, adapter: null, strengths: [0.05, 0.4] });
  });

  it("overrides parameters of every type and keeps their declared types", async () => {
    const hostile = `"'\\ \${1} \u2028 </script>`;
    const args = ["-p", "model", hostile, "-p", "steps", "0", "-p", "loss", "full", "-p", "adapter", "runs/a"];
    const { status, stderr } = await run("given.ipynb", [PARAMETERS, SHOW], [...args, "-y", "strengths: [0.1, 0.001]"]);
    expect(stderr).not.toMatch(/Traceback/);
    expect(status).toBe(0);
    const shown = JSON.parse(streamText(readNotebook(join(folder, "out-given.ipynb"))));
    expect(shown).toMatchObject({ model: hostile, steps: 0, loss: "full", adapter: "runs/a", strengths: [0.1, 0.001] });
  });

  it("has a value of the wrong type refused by the compiler, with the place", async () => {
    const { status } = await run("type.ipynb", [PARAMETERS, SHOW], ["-p", "loss", "pear"]);
    expect(status).toBe(1);
    const outputs = readNotebook(join(folder, "out-type.ipynb")).cells.flatMap((cell) => cell.outputs ?? []);
    const error = outputs.find((output) => output.output_type === "error");
    expect(error?.evalue).toMatch(/^parameter loss of type\.ipynb: Type '"pear"' is not assignable/);
    expect(error?.traceback?.at(-1)).toBe("in type.ipynb, cell [2]");
  });

  it("reads lists, objects, null and booleans given with -p as the declared type asks", async () => {
    const nested = '{"layers": [1, 2], "name": "mid"}';
    const args = ["-p", "strengths", "[0.1, 0.2]", "-p", "grid", nested, "-p", "names", "null", "-p", "fast", "true"];
    const { status, stderr } = await run("lists.ipynb", [LISTS, SHOW_LISTS], [...args, "-p", "text", "[not a list]"]);
    expect(status, stderr).toBe(0);
    const shown = JSON.parse(streamText(readNotebook(join(folder, "out-lists.ipynb"))));
    expect(shown).toEqual([[0.1, 0.2], { layers: [1, 2], name: "mid" }, null, "[not a list]", true]);
  });

  it("says how to write a list that is not one", async () => {
    const { status, stderr } = await run("badlist.ipynb", [LISTS, SHOW_LISTS], ["-p", "strengths", "[0.1; 0.2]"]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/badlist\.ipynb: Expected number\[\] for parameter strengths but received '\[0\.1; 0\.2\]'/);
    expect(stderr).not.toMatch(/Traceback/);
  });

  it("says how to give a slow machine more time", async () => {
    const { status, stderr } = await run("slow.ipynb", [PARAMETERS, SHOW], ["--start-timeout", "0"]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/kernel of slow\.ipynb to answer within 0 seconds.*--start-timeout 300/);
    expect(stderr).not.toMatch(/Traceback/);
  });

  it("refuses a parameter that the notebook does not declare, before anything is written", async () => {
    const { status, stderr } = await run("unknown.ipynb", [PARAMETERS, SHOW], ["-p", "stpes", "4"]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(
      /parameter of unknown\.ipynb but received 'stpes'\. It declares: model, steps, loss, strengths, adapter, url\. Did you mean steps\?/,
    );
    expect(stderr).not.toMatch(/Traceback/);
    expect(existsSync(join(folder, "out-unknown.ipynb"))).toBe(false);
  });

  it("refuses NaN, infinities, integers that JavaScript cannot hold, and names that are none", async () => {
    const code = [
      "import json, sys",
      "from papermill_steerlab.translator import injected_source",
      "def attempt(parameters):",
      "    try: return injected_source(parameters)",
      "    except Exception as error: return type(error).__name__ + ': ' + str(error)",
      "values = [{'a': float('nan')}, {'a': float('-inf')}, {'a': 2**53}, {'a': [1, {'b': float('inf')}]}, {'a-b': 1}, {'class': 1}, {'a': 2**53 - 1}]",
      "json.dump([attempt(value) for value in values], sys.stdout)",
    ].join("\n");
    const { stdout } = await command(join(VENV_BIN, "python"), ["-c", code]);
    const results = JSON.parse(stdout) as string[];
    const patterns = [
      /finite number for parameter a/,
      /finite number/,
      /\|a\|/,
      /a\[1\]\.b/,
      /identifier.*'a-b'/,
      /'class'/,
    ];
    patterns.forEach((pattern, i) => {
      expect(results[i]).toMatch(pattern);
      expect(results[i]).toMatch(/^PapermillException/);
    });
    expect(results[6]).toBe("// Parameters\nlet a = 9007199254740991;\n");
    const { status, stderr } = await run("nan.ipynb", [PARAMETERS, SHOW], ["-y", "steps: .nan"]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/finite number for parameter steps/);
  });

  it("lists the parameters with types, defaults and help", async () => {
    const path = writeNotebook(folder, "help.ipynb", [PARAMETERS]);
    const { status, stdout } = await papermill([path, "--help-notebook"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/model: string \(default "lab-model"\)\s+folder or hub name/);
    expect(stdout).toMatch(/steps: number \(default 3\)\s+optimizer steps/);
    expect(stdout).toMatch(/loss: "pair" \| "full" \(default "pair"\)/);
    expect(stdout).toMatch(
      /strengths: number\[\][\s\S]*0\.4,[\s\S]*Strengths relative to the residual norm, weakest first\./,
    );
    expect(stdout).toMatch(/url: string \(default "https:\/\/example\.org\/a;b"\)\s+a string with \/\/ and ;/);
  });

  it("fails with the real error text, a saved notebook and no later cell run", async () => {
    const cells = [
      { code: 'console.log("before")' },
      { code: 'throw new RangeError("layer 36 of 12")' },
      { code: 'console.log("never")' },
    ];
    const { status, stderr } = await run("fails.ipynb", cells);
    expect(status).toBe(1);
    expect(stderr).toMatch(/RangeError: layer 36 of 12\n {4}at cell \[2\], line 1\nin fails\.ipynb, cell \[2\]/);
    const saved = readNotebook(join(folder, "out-fails.ipynb"));
    expect(streamText(saved)).toBe("before\n");
  });

  it("fails when a promise of the last cell rejects after it", async () => {
    const cells = [{ code: 'setTimeout(() => Promise.reject(new Error("trainer died")), 150); undefined' }];
    const { status, stderr } = await run("late.ipynb", cells);
    expect(status).toBe(1);
    expect(stderr).toMatch(/UnhandledRejection.*trainer died/s);
    const outputs = readNotebook(join(folder, "out-late.ipynb")).cells.flatMap((cell) => cell.outputs ?? []);
    expect(outputs.map((output) => output.ename)).toContain("UnhandledRejection");
  });

  it("loses none of 10,000 lines", async () => {
    const { status } = await run("lines.ipynb", [
      { code: "for (let i = 0; i < 10000; i++) console.log(i);" },
      { code: "1" },
    ]);
    expect(status).toBe(0);
    const lines = streamText(readNotebook(join(folder, "out-lines.ipynb")))
      .trimEnd()
      .split("\n");
    expect(lines).toEqual(Array.from({ length: 10_000 }, (_, i) => String(i)));
  });

  it("works from a folder outside the repository, with steerlab importable", async () => {
    mkdirSync(join(folder, "elsewhere"));
    const code =
      'import { showTable, showFigure } from "steerlab";\nshowTable([{ a: "<b>" }]);\nawait showFigure({ data: [{ type: "heatmap", z: [[1, 2]] }], layout: { title: { text: "T" } } });';
    writeNotebook(join(folder, "elsewhere"), "own.ipynb", [{ code }]);
    const { status, stderr } = await papermill(
      ["own.ipynb", "out.ipynb", "--no-progress-bar"],
      join(folder, "elsewhere"),
    );
    expect(status, stderr).toBe(0);
    const outputs = readNotebook(join(folder, "elsewhere", "out.ipynb")).cells[0].outputs ?? [];
    expect(textOf(outputs[0].data?.["text/html"] as string)).toContain("&lt;b&gt;");
    const figure = outputs[1].data ?? {};
    expect(figure["application/vnd.plotly.v1+json"]).toMatchObject({ data: [{ type: "heatmap" }] });
    expect(
      Buffer.from(textOf(figure["image/png"] as string), "base64")
        .subarray(1, 4)
        .toString(),
    ).toBe("PNG");
    expect(textOf(figure["text/plain"] as string)).toMatch(/^Figure: T/);
  });
});
