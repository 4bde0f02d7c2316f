"""Reads the declarations of a notebook's `parameters` cell.

One declaration is `const|let|var name [: type] = value;` with an optional `// help` on the line where it ends (or on
the lines just before it). Strings, template strings, brackets and comments are skipped properly, so that a value may
span lines. Anything else in the cell is ignored, because papermill wants inspection never to fail.
"""

import re
from typing import NamedTuple

IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
RESERVED = frozenset(
    "await break case catch class const continue debugger default delete do else enum export extends false finally for "
    "function if implements import in instanceof interface let new null package private protected public return static "
    "super switch this throw true try typeof var void while with yield arguments eval undefined NaN Infinity".split()
)
_HEAD = re.compile(r"(?:export\s+)?(?:const|let|var)\s+([A-Za-z_$][A-Za-z0-9_$]*)\s*")


class Declaration(NamedTuple):
    """One declared parameter; `type` is None where the cell does not annotate it."""

    name: str
    type: str | None
    default: str
    help: str


def is_identifier(name: str) -> bool:
    """True if `name` can be declared in TypeScript."""
    return IDENTIFIER.match(name) is not None and name not in RESERVED


def _string_end(text: str, at: int) -> int:
    """Index just after the string literal that starts at `at`."""
    quote = text[at]
    at += 1
    while at < len(text) and text[at] != quote:
        at += 2 if text[at] == "\\" else 1
    return at + 1


def _separate_comments(source: str) -> tuple[str, dict[int, str]]:
    """The source with comments blanked (same length, same lines), and the text of `//` comments by line number."""
    text = list(source)
    comments: dict[int, str] = {}
    at = 0
    while at < len(source):
        if source[at] in "'\"`":
            at = _string_end(source, at)
            continue
        if source.startswith("//", at):
            end = source.find("\n", at)
            end = len(source) if end < 0 else end
            comments[source.count("\n", 0, at)] = source[at + 2 : end].strip()
        elif source.startswith("/*", at):
            close = source.find("*/", at)
            end = len(source) if close < 0 else close + 2
        else:
            at += 1
            continue
        text[at:end] = [c if c == "\n" else " " for c in source[at:end]]
        at = end
    return "".join(text), comments


def _find(text: str, at: int, stops: str) -> int:
    """Index of the first character of `stops` outside strings and brackets, or the end. `=>` and `==` are no `=`."""
    depth = 0
    while at < len(text):
        character = text[at]
        if character in "'\"`":
            at = _string_end(text, at)
            continue
        if depth == 0 and character in stops and text[at : at + 2] not in ("=>", "=="):
            return at
        depth += (character in "([{") - (character in ")]}")
        at += 1
    return at


def _help(text: str, comments: dict[int, str], start: int, end: int) -> str:
    """The comment on the declaration's last line, or else the comment lines directly above it."""
    first, last = text.count("\n", 0, start), text.count("\n", 0, end)
    if last in comments:
        return comments[last]
    lines = text.split("\n")
    above: list[str] = []
    line = first - 1
    while line in comments and lines[line].strip() == "":
        above.insert(0, comments[line])
        line -= 1
    return " ".join(above)


def read_declarations(source: str) -> list[Declaration]:
    """All top-level declarations of a cell, in order."""
    text, comments = _separate_comments(source)
    found: list[Declaration] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        head = _HEAD.match(text, at)
        if head is None:
            at = _find(text, at, ";\n") + 1
            continue
        equals = _find(text, head.end(), "=;")
        end = _find(text, equals, ";\n")
        if text[equals : equals + 1] == "=":
            annotation = text[head.end() : equals].strip()
            kind = annotation[1:].strip() if annotation.startswith(":") else None
            default = text[equals + 1 : end].strip()
            found.append(Declaration(head.group(1), kind, default, _help(text, comments, at, end)))
        at = end + 1
    return found
