"""papermill's default engine, with promises added for TypeScript notebooks.

A parameter that the notebook does not declare is an error, before a kernel starts. Injected parameters keep their
declared types, and text from the command line becomes the list, object, boolean or null that the declaration asks for.
An error names the notebook, the cell and, where it is one, the parameter. A promise that rejected after its cell had
ended fails the run (asked of the kernel after the last cell). Notebooks of other languages run exactly as before.
"""

import difflib
import re
from pathlib import PurePath

import click
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillException
from papermill.log import logger
from papermill.translators import papermill_translators
from papermill.utils import find_first_tagged_cell_index, merge_kwargs, remove_args

from .declarations import read_declarations
from .translator import TypeScriptTranslator, injected_source, read_text

# Understood by our kernel (preload/kernel.cjs); a comment, so any other kernel does nothing.
SETTLE_CODE = "/* steerlab: settle */"


# How the compiler names a place in the cell: line:column - message.
COMPILER_PLACE = re.compile(r"(\d+):(\d+) - ")


class NotebookError(PapermillException, click.ClickException):
    """Shown by the command line as one line without a Python traceback."""

    def __init__(self, message: str):
        click.ClickException.__init__(self, message)


def _is_typescript(nb) -> bool:
    kernelspec = nb.metadata.get("kernelspec", {})
    language = kernelspec.get("language") or nb.metadata.get("language_info", {}).get("name")
    return str(language).lower() == "typescript"


def _declared(nb):
    index = find_first_tagged_cell_index(nb, "parameters")
    return read_declarations(nb.cells[index].source) if index >= 0 else []


def _name(nb) -> str:
    return PurePath(str(nb.metadata.get("papermill", {}).get("input_path") or "notebook")).name


def _given(nb) -> dict:
    return nb.metadata.get("papermill", {}).get("parameters", {}) or {}


def _check_parameters(nb, declared) -> None:
    names = [declaration.name for declaration in declared]
    for name in _given(nb):
        if name in names:
            continue
        known = ", ".join(names) if names else "none; tag a cell with `parameters`"
        close = difflib.get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise NotebookError(
            f"Expected a parameter of {_name(nb)} but received {name!r}. It declares: {known}.{hint}"
        )


def _retype_injected(nb, declared) -> None:
    """Writes the injected cell anew, with declared types and with text read as what they ask for."""
    given = _given(nb)
    index = find_first_tagged_cell_index(nb, "injected-parameters")
    if index < 0 or not given:
        return
    types = {declaration.name: declaration.type for declaration in declared}
    try:
        typed = {name: read_text(name, value, types.get(name)) for name, value in given.items()}
        nb.cells[index].source = injected_source(typed, declared)
    except PapermillException as error:
        raise NotebookError(f"{_name(nb)}: {error}") from error
    nb.metadata.papermill["parameters"] = typed


def _parameter_at(cell, evalue: str) -> str | None:
    """Name of the injected parameter that the compiler's message is about."""
    place = COMPILER_PLACE.match(evalue)
    lines = cell.source.split("\n")
    if place is None or int(place.group(1)) > len(lines):
        return None
    declared = re.match(r"let ([\w$]+)", lines[int(place.group(1)) - 1])
    return declared.group(1) if declared else None


def _place_errors(nb) -> None:
    """Says in each error output where it happened, for readers who see only the message."""
    for index, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if output.output_type != "error":
                continue
            if "injected-parameters" in cell.metadata.get("tags", []):
                name = _parameter_at(cell, output.evalue)
                if name is not None:
                    output.evalue = f"parameter {name} of {_name(nb)}: {COMPILER_PLACE.sub('', output.evalue)}"
                    output.traceback = [f"{output.ename}: {output.evalue}", *output.traceback]
            number = cell.get("execution_count")
            shown = f"[{number}]" if number is not None else f"number {index + 1}"
            output.traceback = [*output.traceback, f"in {_name(nb)}, cell {shown}"]


class SettlingClient(PapermillNotebookClient):
    """Asks the kernel, after the last cell, whether a promise has rejected that nobody awaited."""

    def papermill_execute_cells(self):
        super().papermill_execute_cells()
        self._settle()
        _place_errors(self.nb)
        self.nb_man.save()

    def _settle(self):
        code_cells = [cell for cell in self.nb.cells if cell.cell_type == "code"]
        failed = any(cell.metadata.get("papermill", {}).get("exception") for cell in code_cells)
        if failed or not code_cells:
            return
        content = self.wait_for_reply(self.kc.execute(SETTLE_CODE, silent=True, store_history=False))["content"]
        if content["status"] != "error":
            return
        last = code_cells[-1]
        error = {key: content[key] for key in ("ename", "evalue", "traceback")}
        last.outputs.append(new_output("error", **error))
        last.metadata.setdefault("papermill", {})["exception"] = True


class SteerlabEngine(NBClientEngine):
    """Registered under its own name and as the default, so that the plain `papermill` command uses it."""

    @classmethod
    def execute_notebook(cls, nb, kernel_name, **kwargs):
        if _is_typescript(nb):
            declared = _declared(nb)
            _check_parameters(nb, declared)
            _retype_injected(nb, declared)
        return super().execute_notebook(nb, kernel_name, **kwargs)

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout=60, execution_timeout=None, **kwargs):
        if not _is_typescript(nb_man.nb):
            return super().execute_managed_notebook(
                nb_man, kernel_name, start_timeout=start_timeout, execution_timeout=execution_timeout, **kwargs
            )
        client_kwargs = merge_kwargs(
            remove_args(["input_path", "timeout", "startup_timeout"], **kwargs),
            timeout=execution_timeout or kwargs.get("timeout"),
            startup_timeout=start_timeout,
            kernel_name=kernel_name,
            log=logger,
        )
        try:
            return SettlingClient(nb_man, **client_kwargs).execute()
        except RuntimeError as error:
            # jupyter_client raises nothing more special when a kernel is too slow.
            if "respond" not in str(error):
                raise
            raise NotebookError(
                f"Expected the kernel of {_name(nb_man.nb)} to answer within {start_timeout} seconds but it did not. "
                f"On a slow machine give it longer: --start-timeout {max(300, 5 * int(start_timeout))}."
            ) from error


papermill_translators.register("typescript", TypeScriptTranslator)
papermill_engines.register(None, SteerlabEngine)
