/**
 * What a cell leaves behind when it throws or is interrupted: the variables it had assigned until then.
 *
 * tslab writes values into `exports` as they are assigned, but remembers their declarations only of cells that end well.
 * Here the declarations of the failed cell are reduced to what has a value; a name it did not reach keeps the value
 * and the type it had before.
 */
"use strict";

/** Names that the compiled cell sets to undefined first, which are those that it can give a value. */
function slotsOf(output) {
  const slots = [];
  for (const line of output.split("\n")) {
    if (!/^exports\..* = void 0;$/.test(line)) continue;
    slots.push(
      ...line
        .split(" = ")
        .slice(0, -1)
        .map((name) => name.slice("exports.".length)),
    );
  }
  return slots;
}

/** `text` of a declaration file without the values and imports whose name `keep` refuses; `types` false: nor any type. */
function keptDeclarations(ts, text, keep, types = true) {
  const file = ts.createSourceFile("kept.d.ts", text, ts.ScriptTarget.Latest, true);
  const { factory } = ts;
  const named = (element) => keep(element.name.text);
  const kept = (statement) => {
    if (ts.isVariableStatement(statement)) {
      const declarations = statement.declarationList.declarations.filter(named);
      if (declarations.length === 0) return [];
      const list = factory.updateVariableDeclarationList(statement.declarationList, declarations);
      return [factory.updateVariableStatement(statement, statement.modifiers, list)];
    }
    if (ts.isImportDeclaration(statement)) return keptImport(ts, statement, keep);
    const isFunctionOrClass = ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement);
    if (isFunctionOrClass || ts.isEnumDeclaration(statement)) return named(statement) ? [statement] : [];
    return types ? [statement] : [];
  };
  const statements = file.statements.flatMap(kept);
  return ts.createPrinter().printFile(factory.updateSourceFile(file, statements));
}

function keptImport(ts, statement, keep) {
  const clause = statement.importClause;
  if (clause === undefined) return [statement];
  const name = clause.name !== undefined && keep(clause.name.text) ? clause.name : undefined;
  let bindings = clause.namedBindings;
  if (bindings !== undefined && ts.isNamespaceImport(bindings))
    bindings = keep(bindings.name.text) ? bindings : undefined;
  else if (bindings !== undefined) {
    const elements = bindings.elements.filter((element) => keep(element.name.text));
    bindings = elements.length === 0 ? undefined : ts.factory.updateNamedImports(bindings, elements);
  }
  if (name === undefined && bindings === undefined) return [];
  const updated = ts.factory.updateImportClause(clause, clause.isTypeOnly, name, bindings);
  const { modifiers, moduleSpecifier, assertClause } = statement;
  return [ts.factory.updateImportDeclaration(statement, modifiers, updated, moduleSpecifier, assertClause)];
}

/**
 * @param locals tslab's variables by name   @param earlier a copy of them from before the cell
 * @param compiled { output, declOutput, lastExpressionVar } of the cell
 * @param declarations the declarations that the cell was compiled with
 * @returns `declarations` for the next cell, names `assigned`, names `missed`
 */
function leftBehind(ts, { locals, earlier, compiled, declarations }) {
  const slots = slotsOf(compiled.output).filter((name) => name !== compiled.lastExpressionVar);
  if (compiled.lastExpressionVar !== undefined) delete locals[compiled.lastExpressionVar];
  const missed = new Set(slots.filter((name) => locals[name] === undefined));
  for (const name of missed) {
    if (earlier[name] === undefined) delete locals[name];
    else locals[name] = earlier[name];
  }
  const ours = keptDeclarations(ts, compiled.declOutput, (name) => !missed.has(name));
  const before = keptDeclarations(ts, declarations, (name) => missed.has(name) && earlier[name] !== undefined, false);
  const assigned = slots.filter((name) => !missed.has(name)).reverse();
  return { declarations: `${ours}${before}`, assigned, missed: [...missed].reverse() };
}

/** One sentence for the reader of the error, or null if the cell declares nothing. */
function leftBehindText({ assigned, missed }) {
  if (assigned.length + missed.length === 0) return null;
  const kept = assigned.length === 0 ? "" : `Kept from this cell: ${assigned.join(", ")}.`;
  const lost = missed.length === 0 ? "" : `Not assigned by this cell: ${missed.join(", ")}.`;
  return [kept, lost].filter((part) => part !== "").join(" ");
}

module.exports = { keptDeclarations, leftBehind, leftBehindText, slotsOf };
