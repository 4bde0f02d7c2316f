/**
 * The library's own door: what notebooks, README and a user's script need, and nothing else; every name documented, every
 * example compiled. Examples share the names at the top of `ambient`, as a person who reads them would have them at hand.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const source = path.join(root, "kernel-lib/src");
const door = path.join(source, "index.ts");
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8");

/** Exported though no notebook and no snippet of the README uses them. */
const EXTRAS: Record<string, string> = {
  SteerlabError: "to catch any refusal and switch on its code",
  InputError: "to catch by kind",
  DataError: "to catch by kind",
  DeviceError: "to catch by kind",
  AbortedError: "to tell a stop from a failure",
  randomDirectionSet: "to steer by hand with the directions that a protocol trains on or holds out",
  relativeSteering: "the strict protocol's push, for a trial by hand",
  absoluteSteering: "the card's push, for a trial by hand",
  listProtocols: "the names that loadProtocol takes",
  TWINS: "the names that twin takes",
  saveProtocol: "a twin as a file, for `steerlab batch -p protocolName`",
  showHtml: "shows what the other show functions do not",
  withProgress: "progress of a loop of one's own",
};

const ambient = `
declare const model: lab.Model;
declare const protocol: lab.Protocol;
declare const study: lab.BoundStudy;
declare const adapter: lab.Adapter;
declare const direction: Float32Array;
declare const norms: Float64Array;
declare const concepts: lab.DirectionSet;
declare const run: lab.DetectorTraining;
declare const sweep: lab.EvaluationRun<lab.TrialRecord>;
declare const effects: Awaited<ReturnType<typeof lab.evaluateSideEffects>>;
declare const identity: Awaited<ReturnType<typeof lab.evaluateIdentity>>;
declare const knowing: Awaited<ReturnType<typeof lab.evaluateSelfPrediction>>;
declare const reports: Awaited<ReturnType<typeof lab.evaluateSelfReport>>;
declare const batchDir: string;
declare const [ids, questionIds]: [Int32Array, Int32Array];
declare const [yes, no]: [number, number];
declare const cache: lab.Cache;
`;

/** Settings of the check; `steerlab` is the door itself. */
function settings(): ts.CompilerOptions {
  const { config } = ts.readConfigFile(path.join(root, "kernel-lib/tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, path.join(root, "kernel-lib"));
  return {
    ...options,
    noEmit: true,
    declaration: false,
    rootDir: undefined,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    baseUrl: root,
    paths: { steerlab: ["kernel-lib/src/index.ts"] },
    typeRoots: [path.join(root, "node_modules/@types")],
  };
}

/** Diagnostics of a module that lies beside the library only in thought. */
function diagnose(text: string): string[] {
  const file = path.join(root, "checked-by-surface-test.ts");
  const host = ts.createCompilerHost(settings());
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.readFile = (name) => (name === file ? text : readFile(name));
  host.getSourceFile = (name, ...rest) =>
    name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true) : getSourceFile(name, ...rest);
  const program = ts.createProgram([file], settings(), host);
  const checked = program.getSourceFile(file) as ts.SourceFile;
  return [...program.getSyntacticDiagnostics(checked), ...program.getSemanticDiagnostics(checked)].map((found) => {
    const { line } = checked.getLineAndCharacterOfPosition(found.start ?? 0);
    return `${text.split("\n")[line].trim()} -> ${ts.flattenDiagnosticMessageText(found.messageText, " ")}`;
  });
}

const program = ts.createProgram([door], settings());
const checker = program.getTypeChecker();

/** What an exported name stands for. */
function meant(symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

const exported = new Map(
  checker
    .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(door) as ts.SourceFile) as ts.Symbol)
    .map((symbol) => [symbol.name, meant(symbol)]),
);
const values = [...exported].filter(
  ([, { flags }]) => flags & (ts.SymbolFlags.Function | ts.SymbolFlags.Class | ts.SymbolFlags.Variable),
);

const hidden = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword);

/** Types of the library that the signature of a function, or of a class's public members, names. */
function typesIn(symbol: ts.Symbol): ts.Symbol[] {
  const found = new Set<ts.Symbol>();
  const visit = (node: ts.Node): void => {
    if (ts.isBlock(node) || hidden(node)) return;
    if (ts.isTypeReferenceNode(node)) {
      const type = checker.getSymbolAtLocation(node.typeName);
      const target = type === undefined ? undefined : meant(type);
      const file = target?.declarations?.[0].getSourceFile().fileName ?? "";
      if (target !== undefined && file.startsWith(source) && !(target.flags & ts.SymbolFlags.TypeParameter))
        found.add(target);
    }
    const typed = ts.isParameter(node) || ts.isPropertyDeclaration(node) || ts.isVariableDeclaration(node);
    if (typed) {
      if (node.type !== undefined) visit(node.type);
    } else ts.forEachChild(node, visit);
  };
  for (const declaration of symbol.declarations ?? []) visit(declaration);
  return [...found];
}

/** TypeScript snippets of the README, in order. */
const snippets = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, text]) => text);

function usedNames(): Set<string> {
  const folder = path.join(root, "notebooks");
  const notebooks = fs.readdirSync(folder).filter((name) => name.endsWith(".ipynb"));
  const cells = notebooks.flatMap(
    (name) => (JSON.parse(fs.readFileSync(path.join(folder, name), "utf8")) as { cells: { source: string[] }[] }).cells,
  );
  const inNotebooks = cells.flatMap((cell) =>
    [...cell.source.join("").matchAll(/\blab\.(\w+)/g)].map(([, name]) => name),
  );
  const imported = snippets.flatMap((text) =>
    [...text.matchAll(/import \{([^}]*)\}/g)].flatMap(([, list]) => list.split(",")),
  );
  const inProse = [...readme.matchAll(/`(\w+)\(/g)].map(([, name]) => name).filter((name) => exported.has(name));
  return new Set([...inNotebooks, ...imported.map((name) => name.trim()), ...inProse]);
}

interface Documented {
  name: string;
  node: ts.Declaration;
  tags: readonly ts.JSDocTagInfo[];
  text: string;
}

/** Every exported function, constant and class, and every public method of these classes. */
const documented: Documented[] = values.flatMap(([name, symbol]) => {
  const of = (label: string, it: ts.Symbol): Documented => ({
    name: label,
    node: (it.declarations as ts.Declaration[])[0],
    tags: it.getJsDocTags(checker),
    text: ts.displayPartsToString(it.getDocumentationComment(checker)),
  });
  const members = symbol.flags & ts.SymbolFlags.Class ? [...(symbol.members?.values() ?? [])] : [];
  const methods = members.filter(
    ({ flags, declarations, name }) =>
      flags & ts.SymbolFlags.Method && !hidden((declarations as ts.Declaration[])[0]) && !name.startsWith("__@"),
  );
  return [of(name, symbol), ...methods.map((method) => of(`${name}.${method.name}`, method))];
});

const textOf = (tag: ts.JSDocTagInfo): string => ts.displayPartsToString(tag.text);
const tagged = ({ tags }: Documented, name: string): string[] => tags.filter((tag) => tag.name === name).map(textOf);

describe("the library's door", () => {
  it("has every name that notebooks and README use", () => {
    expect([...usedNames()].filter((name) => !exported.has(name))).toEqual([]);
  });

  it("has no name that nothing needs", () => {
    const used = usedNames();
    const inSignatures = new Set(values.flatMap(([, symbol]) => typesIn(symbol)));
    const classes = new Set(
      values.filter(([, symbol]) => symbol.flags & ts.SymbolFlags.Class).map(([, symbol]) => symbol),
    );
    const needless = [...exported]
      .filter(([name, symbol]) => !used.has(name) && !inSignatures.has(symbol) && !(name in EXTRAS))
      .filter(([, symbol]) => !classes.has(symbol));
    expect(needless.map(([name]) => name)).toEqual([]);
    expect(Object.keys(EXTRAS).filter((name) => used.has(name) || !exported.has(name))).toEqual([]);
  });

  it("exports every type that a public signature names", () => {
    const open = new Set(exported.values());
    const closed = values.flatMap(([name, symbol]) =>
      typesIn(symbol)
        .filter((type) => !open.has(type))
        .map((type) => `${type.name} in ${name}`),
    );
    expect(closed).toEqual([]);
  });

  it("says what each name is, with an example; what a function gives, and codes that are really thrown", () => {
    const wrong = documented.flatMap((item) => {
      const says: string[] = [];
      if (item.text.length < 10) says.push("no description");
      const isMember = item.name.includes(".");
      if (!isMember && tagged(item, "example").length === 0) says.push("no example");
      if (ts.isFunctionDeclaration(item.node)) {
        const returns = item.node.type?.getText() ?? "void";
        if (!/^(void|Promise<void>)$/.test(returns) && tagged(item, "returns").length === 0) says.push("no @returns");
      }
      return says.map((text) => `${item.name}: ${text}`);
    });
    expect(wrong).toEqual([]);
    const codes = thrownCodes();
    const invented = documented.flatMap((item) =>
      tagged(item, "throws").flatMap((text) =>
        [...text.matchAll(/"([a-z-]+)"/g)]
          .filter(([, code]) => !codes.has(code))
          .map(([, code]) => `${item.name}: ${code}`),
      ),
    );
    expect(invented).toEqual([]);
  });

  it("documents every exported type", () => {
    const bare = [...exported].filter(([, symbol]) => symbol.getDocumentationComment(checker).length === 0);
    expect(bare.map(([name]) => name)).toEqual([]);
  });

  it("has examples that compile together against the library", () => {
    const names = values.filter(([name]) => !isTypeOnly(name)).map(([name]) => name);
    const examples = documented.flatMap((item) => tagged(item, "example").map((code) => ({ name: item.name, code })));
    expect(examples.length).toBeGreaterThan(60);
    const functions = examples.map(({ name, code }, i) => `async function example${i}() { // ${name}\n${code}\n}`);
    const text = [
      'import * as lab from "steerlab";',
      `import { ${names.join(", ")} } from "steerlab";`,
      ambient,
      ...functions,
      `export const all = [${functions.map((_, i) => `example${i}`).join(", ")}];`,
    ].join("\n");
    expect(diagnose(text)).toEqual([]);
    expect(diagnose(text.replace("openModel()", "openModel(1)")).join()).toContain("not assignable");
  });

  it("is all that the README's snippets need, in order", () => {
    expect(diagnose(`${snippets.join("\n")}\nexport {};\n`)).toEqual([]);
  });
});

/** `export type { X }` of a class gives its type, not its value. */
function isTypeOnly(name: string): boolean {
  const text = fs.readFileSync(door, "utf8");
  return new RegExp(`\\btype ${name}\\b|export type \\{[^}]*\\b${name}\\b`).test(text);
}

/** Codes that stand in code, of the library and of the engine. */
function thrownCodes(): Set<string> {
  const files = [source, path.join(root, "gpu-native/src")].flatMap((folder) =>
    (fs.readdirSync(folder, { recursive: true }) as string[]).map((name) => path.join(folder, name)),
  );
  const code = files
    .filter((file) => /\.(ts|cpp|h|cu)$/.test(file))
    .map((file) => fs.readFileSync(file, "utf8").replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, ""));
  return new Set(code.flatMap((text) => [...text.matchAll(/"([a-z][a-z-]+)"/g)].map(([, found]) => found)));
}
