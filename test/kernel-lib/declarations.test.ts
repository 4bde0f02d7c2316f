/**
 * What a notebook cell sees: the shipped .d.ts files compile under tslab's own TypeScript (5.0.4, Node10 resolution, strict),
 * and the types that notebooks lean on are real types there, not `any`.
 */
import * as fs from "node:fs";
import { createRequire } from "node:module";
import * as os from "node:os";
import * as path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const fromTslab = createRequire(createRequire(path.join(root, "package.json")).resolve("tslab/package.json"));
const ts = fromTslab("@tslab/typescript-for-tslab") as typeof import("typescript");

/** Diagnostics of a cell that imports the library. */
function diagnose(cell: string, more: object = {}): string[] {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "steerlab-cell-"));
  const file = path.join(folder, "cell.ts");
  fs.writeFileSync(file, cell);
  const program = ts.createProgram([file], {
    target: ts.ScriptTarget.ES2020,
    module: ts.ModuleKind.CommonJS,
    moduleResolution: ts.ModuleResolutionKind.Node10,
    esModuleInterop: true,
    noEmit: true,
    ...more,
    strict: true,
    skipLibCheck: false,
    types: [],
    typeRoots: [path.join(root, "node_modules/@types")],
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts"],
    baseUrl: root,
    paths: { steerlab: ["kernel-lib/dist/index"], "@types/*": ["node_modules/@types/*"] },
  });
  const found = ts
    .getPreEmitDiagnostics(program)
    .filter(({ file: at }) => at === undefined || at.fileName === file || at.fileName.includes("kernel-lib/dist"));
  fs.rmSync(folder, { recursive: true });
  return found.map(
    ({ messageText, file: at }) =>
      `${path.basename(at?.fileName ?? "")}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`,
  );
}

describe("declarations as a notebook sees them", () => {
  it("run on the TypeScript that tslab brings", () => {
    expect(ts.version).toBe("5.0.4");
  });

  it("compile without a diagnostic in any shipped .d.ts", () => {
    const cell = `import * as lab from "steerlab";\nexport const seen: string = typeof lab.openModel;\n`;
    expect(diagnose(cell)).toEqual([]);
  });

  it("can be named: what functions give may be exported from a cell, as tslab does between cells", () => {
    const cell = `import * as lab from "steerlab";
export const model = await lab.openModel();
export const protocol = lab.loadProtocol("strict");
export const study = await lab.bindStudy(model, protocol);
export const { training, steering } = protocol;
export const run = await lab.trainDetector(model, study, { seed: 1 });
export const events = run.events;
export const adapter = await model.attach(run.adapterFolder);
export const sweep = await lab.evaluateDetection(model, study, { adapter: adapter });
export const answers = await lab.evaluateIdentity(model, study, { adapter: adapter });
export const effects = await lab.evaluateSideEffects(model, study, { adapter: adapter });
export const knowing = await lab.evaluateSelfPrediction(model, study, { adapter: adapter });
export const earlier = lab.findRun("runs", { kind: "train" });
export const meta = earlier?.readMeta();
export const loaded = lab.loadRun(sweep.folder);
export const cross = await lab.crossCheck(model);
export const plan = lab.planTrials(study);
export const [row] = await model.engine.forward([{ tokens: [1] }]);
`;
    const topLevelAwait = { declaration: true, noEmit: false, emitDeclarationOnly: true, module: ts.ModuleKind.ESNext };
    expect(diagnose(cell, topLevelAwait)).toEqual([]);
  });

  it("are real types: a wrong use is an error, a right use is none", () => {
    const right = `import { type Engine, loadProtocol, type Model, openModel, clusteredRate } from "steerlab";
export async function use(): Promise<number> {
  const model: Model = await openModel();
  const engine: Engine = model.engine;
  const [row] = await engine.forward([{ tokens: [1, 2] }], { report: "last", topK: 1 });
  const first: number = row.positions[0].logprobs[0];
  const seeds: number = loadProtocol("strict").evaluation.seed;
  return first + seeds + (clusteredRate([1, 0], {}).value ?? 0);
}
`;
    expect(diagnose(right)).toEqual([]);
    const wrong = right.replace("const first: number", "const first: string");
    expect(diagnose(wrong).join()).toContain("not assignable to type 'string'");
  });
});
