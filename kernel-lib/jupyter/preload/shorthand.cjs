/**
 * `({rank})` where `rank` was declared in an earlier cell fails in tslab with a ReferenceError, because it renames
 * plain uses of earlier variables but not shorthand properties. Writing the property out, `({rank: rank})`, means the
 * same in every place where TypeScript has a ShorthandPropertyAssignment, so that is what the kernel compiles.
 */
"use strict";

/** `code` with every shorthand property written out; text that does not parse is returned as it is. */
function expandShorthand(ts, code) {
  if (!code.includes("{")) return code;
  const file = ts.createSourceFile("cell.ts", code, ts.ScriptTarget.Latest, true);
  const edits = [];
  const visit = (node) => {
    if (ts.isShorthandPropertyAssignment(node) && node.objectAssignmentInitializer === undefined) {
      edits.push({ end: node.name.end, name: node.name.text });
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  edits.sort((a, b) => b.end - a.end);
  return edits.reduce((text, { end, name }) => `${text.slice(0, end)}: ${name}${text.slice(end)}`, code);
}

module.exports = { expandShorthand };
