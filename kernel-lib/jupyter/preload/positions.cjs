/**
 * Places in a cell: Jupyter counts characters (code points), TypeScript UTF-16 units; and the call around a place.
 */
"use strict";

/** Index in UTF-16 units of the `characters`-th character of `text`. */
function toUnits(text, characters) {
  let units = 0;
  for (let left = characters; left > 0 && units < text.length; left -= 1) {
    units += text.codePointAt(units) > 0xffff ? 2 : 1;
  }
  return units;
}

/** Characters before the UTF-16 index `units` of `text`. */
function toCharacters(text, units) {
  return [...text.slice(0, units)].length;
}

/**
 * Where the name of the innermost call around `position` stands, or null: `train(|` asks about `train`.
 * Works on unfinished code: a call that is not closed reaches as far as there is only space after it.
 */
function calleeAround(ts, code, position) {
  const file = ts.createSourceFile("cell.ts", code, ts.ScriptTarget.Latest, true);
  let found = null;
  const visit = (node) => {
    if ((ts.isCallExpression(node) || ts.isNewExpression(node)) && node.arguments !== undefined) {
      const last = node.getLastToken(file);
      const closed = last?.kind === ts.SyntaxKind.CloseParenToken && last.end > last.pos;
      const inside = closed ? position < node.end : code.slice(node.end, position).trim() === "";
      if (position >= node.arguments.pos && inside) {
        const callee = node.expression;
        found = (ts.isPropertyAccessExpression(callee) ? callee.name : callee).getStart(file);
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

module.exports = { calleeAround, toCharacters, toUnits };
