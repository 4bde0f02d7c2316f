/**
 * What the kernel needs to know about a compiled cell and tslab does not ask the compiler for.
 *
 * tslab compiles a cell twice (TypeScript to an ES module, that to CommonJS) and keeps no source map. Three functions
 * of its TypeScript are wrapped: the watch host writes a map into its output, the second step composes with it, and the
 * checker's program is looked at for calls whose promise nobody takes.
 */
"use strict";

const { SourceMap } = require("node:module");

const INLINE_MAP = /\n?\/\/# sourceMappingURL=data:application\/json;base64,([A-Za-z0-9+/=]+)\s*$/;
/** tslab puts `export {};` and a line end before the cell's own text. */
const PREFIX_LINES = 1;

/** Methods of a promise after which somebody does take care of its failure; `then` does with a second function. */
function isTakenCare(ts, expression) {
  if (!ts.isCallExpression(expression) || !ts.isPropertyAccessExpression(expression.expression)) return false;
  const method = expression.expression.name.text;
  return method === "catch" || (method === "then" && expression.arguments.length > 1);
}

/** Expression statements at the top of `file` whose value is a promise: [{ line (of the cell, from 1), text }]. */
function floatingPromises(ts, program, file) {
  const checker = program.getTypeChecker();
  const found = [];
  for (const statement of file.statements) {
    if (!ts.isExpressionStatement(statement)) continue;
    const { expression } = statement;
    if (ts.isAwaitExpression(expression) || ts.isVoidExpression(expression) || isTakenCare(ts, expression)) continue;
    if (ts.isBinaryExpression(expression)) continue;
    if (checker.getTypeAtLocation(expression).symbol?.name !== "Promise") continue;
    const line = file.getLineAndCharacterOfPosition(statement.getStart(file)).line + 1 - PREFIX_LINES;
    found.push({ line, text: expression.getText(file).split("\n")[0].slice(0, 60) });
  }
  return found;
}

/** True if `code` has a `for await` outside functions; tslab only looks for `await` expressions. */
function hasForAwait(ts, code) {
  if (!code.includes("await")) return false;
  const file = ts.createSourceFile("cell.ts", code, ts.ScriptTarget.Latest, true);
  const visit = (node) => {
    if (ts.isFunctionLike(node) || ts.isClassLike(node)) return false;
    if (ts.isForOfStatement(node) && node.awaitModifier !== undefined) return true;
    return ts.forEachChild(node, visit) ?? false;
  };
  return visit(file);
}

/** Lines of JavaScript (from 1) -> lines and columns of the cell (from 1), through both steps; null: not the cell's. */
function composedLookup(outerText, innerText) {
  let maps = null;
  return (line, column) => {
    maps ??= [new SourceMap(JSON.parse(outerText)), new SourceMap(JSON.parse(innerText))];
    const between = maps[0].findEntry(line - 1, column - 1);
    if (between.originalLine === undefined) return null;
    const source = maps[1].findEntry(between.originalLine, between.originalColumn);
    if (source.originalLine === undefined || source.originalLine < PREFIX_LINES) return null;
    return { line: source.originalLine + 1 - PREFIX_LINES, column: source.originalColumn + 1 };
  };
}

/**
 * @param ts tslab's TypeScript
 * @returns `overrides` of its functions, and `latest`: the map and the floating promises of the last compilation
 */
function compilerHooks(ts) {
  const latest = { lookup: null, floating: [] };
  const overrides = {
    createWatchCompilerHost: (files, options, ...rest) =>
      ts.createWatchCompilerHost(files, { ...options, inlineSourceMap: true }, ...rest),
    transpileModule(code, options) {
      const inline = INLINE_MAP.exec(code);
      if (inline === null) return ts.transpileModule(code, options);
      const compilerOptions = { ...options.compilerOptions, sourceMap: true };
      const result = ts.transpileModule(code.slice(0, inline.index), { ...options, compilerOptions });
      const innerText = Buffer.from(inline[1], "base64").toString("utf8");
      latest.lookup = composedLookup(result.sourceMapText, innerText);
      const outputText = result.outputText.replace(/\n?\/\/# sourceMappingURL=.*\s*$/, "\n");
      return { ...result, outputText, sourceMapText: undefined };
    },
    getPreEmitDiagnosticsOfFiles(program, files) {
      const diagnostics = ts.getPreEmitDiagnosticsOfFiles(program, files);
      latest.floating = floatingPromises(ts, program, files[0]);
      return diagnostics;
    },
  };
  return { overrides, latest };
}

module.exports = { compilerHooks, floatingPromises, hasForAwait };
