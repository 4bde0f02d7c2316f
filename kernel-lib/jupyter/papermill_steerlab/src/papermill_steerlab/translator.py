"""papermill's parameters as TypeScript: JSON literals behind checked names.

JSON is a subset of TypeScript's literals, so one encoder serves every type; NaN, infinities and integers that a
JavaScript number cannot hold are refused rather than changed. Parameters are declared with `let`: a literal `const`
would make `epochs === 0` a compile error in later cells. tslab allows a cell to declare a name again.
"""

import json
import math
from typing import Any

from papermill.exceptions import PapermillException
from papermill.models import Parameter
from papermill.translators import Translator

from .declarations import Declaration, is_identifier, read_declarations

MAX_SAFE_INTEGER = 2**53 - 1


def _check(name: str, value: Any) -> None:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise PapermillException(
            f"Expected |{name}| <= {MAX_SAFE_INTEGER} but received {value}. Pass large integers as text, in quotes."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise PapermillException(
            f"Expected a finite number for parameter {name} but received {value}. Pass null for an unknown value."
        )
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(f"{name}.{key}", inner)
    if isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check(f"{name}[{index}]", inner)


_WORDS = {"true": True, "false": False}


def _alternatives(kind: str) -> list[str]:
    """The parts of a union type: `string[] | null` is `string[]` and `null`."""
    parts, depth = [""], 0
    for character in kind:
        depth += (character in "([{<") - (character in ")]}>")
        if character == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def read_text(name: str, value: Any, kind: str | None) -> Any:
    """`-p name text` as what the declared type asks for: a list, an object, a boolean or null; other values unchanged."""
    if not isinstance(value, str) or kind is None:
        return value
    text = value.strip()
    kinds = _alternatives(kind)
    if text == "null" and "null" in kinds:
        return None
    if text in _WORDS and "boolean" in kinds:
        return _WORDS[text]
    if text[:1] not in ("[", "{") or any(part == "string" or part[:1] in ("'", '"', "`") for part in kinds):
        return value
    try:
        return json.loads(text)
    except ValueError as error:
        raise PapermillException(
            f"Expected {kind} for parameter {name} but received {value!r}. Write it as JSON, such as '[0.1, 0.2]'."
        ) from error


def literal(name: str, value: Any) -> str:
    """`value` as a TypeScript literal. Dates and other YAML scalars become their text."""
    _check(name, value)
    return json.dumps(value, allow_nan=False, ensure_ascii=True, default=str)


def injected_source(parameters: dict[str, Any], declared: list[Declaration] = [], comment: str = "Parameters") -> str:
    """Source of the cell that overrides the parameters, keeping the types that the parameters cell declares."""
    types = {declaration.name: declaration.type for declaration in declared}
    lines = [f"// {comment}"]
    for name, value in parameters.items():
        if not is_identifier(name):
            raise PapermillException(
                f"Expected a TypeScript identifier for a parameter but received {name!r}. Use letters, digits, _ and $."
            )
        annotation = f": {types[name]}" if types.get(name) else ""
        lines.append(f"let {name}{annotation} = {literal(name, value)};")
    return "\n".join(lines) + "\n"


def _type_of(declaration: Declaration) -> str:
    if declaration.type is not None:
        return declaration.type
    first = declaration.default[:1]
    if first in "'\"`":
        return "string"
    if first == "[":
        return "array"
    if first == "{":
        return "object"
    if declaration.default in ("true", "false"):
        return "boolean"
    if first.isdigit() or first in "-+.":
        return "number"
    return "None"


class TypeScriptTranslator(Translator):
    """Registered for language `typescript`, so that it serves our kernel and a stock tslab alike."""

    @classmethod
    def codify(cls, parameters, comment="Parameters"):
        return injected_source(parameters, comment=comment)

    @classmethod
    def inspect(cls, parameters_cell):
        return [
            Parameter(declaration.name, _type_of(declaration), declaration.default, declaration.help)
            for declaration in read_declarations(parameters_cell["source"])
        ]
