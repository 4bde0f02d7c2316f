"""papermill's default engine, with three promises added for TypeScript notebooks.

A parameter that the notebook does not declare is an error, before a kernel starts. Injected parameters keep their
declared types. A promise that rejected after its cell had ended fails the run (asked of the kernel after the last
cell). Notebooks of other languages run exactly as before.
"""

import click
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillException
from papermill.log import logger
from papermill.translators import papermill_translators
from papermill.utils import find_first_tagged_cell_index, merge_kwargs, remove_args

from .declarations import read_declarations
from .translator import TypeScriptTranslator, injected_source

# Understood by our kernel (preload/kernel.cjs); a comment, so any other kernel does nothing.
SETTLE_CODE = "/* steerlab: settle */"


class ParameterError(PapermillException, click.ClickException):
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


def _check_parameters(nb, declared) -> None:
    given = nb.metadata.get("papermill", {}).get("parameters", {}) or {}
    names = [declaration.name for declaration in declared]
    for name in given:
        if name not in names:
            known = ", ".join(names) if names else "none; tag a cell with `parameters`"
            raise ParameterError(f"Expected a parameter of the notebook but received {name!r}. It declares: {known}.")


def _retype_injected(nb, declared) -> None:
    given = nb.metadata.get("papermill", {}).get("parameters", {}) or {}
    index = find_first_tagged_cell_index(nb, "injected-parameters")
    if index >= 0 and given:
        nb.cells[index].source = injected_source(given, declared)


class SettlingClient(PapermillNotebookClient):
    """Asks the kernel, after the last cell, whether a promise has rejected that nobody awaited."""

    def papermill_execute_cells(self):
        super().papermill_execute_cells()
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
        self.nb_man.save()


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
        return SettlingClient(nb_man, **client_kwargs).execute()


papermill_translators.register("typescript", TypeScriptTranslator)
papermill_engines.register(None, SteerlabEngine)
