"""A notebook run from top to bottom in one fresh kernel: the measure that a pipeline run is held to."""

from __future__ import annotations

import copy
import json
import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from mlplatform.core.errors import Unsupported
from mlplatform.core.values import JsonValue
from mlplatform.notebook.executed import assignments, without_outputs
from mlplatform.notebook.model import Notebook

_HONEST: Final = Path(__file__).with_name("honest.py")
#: Run in the kernel when the cells have run: every variable that can be pickled, each by itself.
_VALUES: Final = """
def __mlplatform_values(path, names, skipped):
    import cloudpickle, pickle, types
    found = dict()
    for name in list(names):
        value = names[name]
        if name.startswith("_") or name in skipped or isinstance(value, types.ModuleType):
            continue
        try:
            found[name] = cloudpickle.dumps(value)
        except Exception:
            pass
    with open(path, "wb") as file:
        pickle.dump(found, file)
__mlplatform_values(PATH, globals(), ("In", "Out", "exit", "quit", "get_ipython", "open"))
del __mlplatform_values
"""


@dataclass(frozen=True, slots=True)
class Linear:
    """How it went. ``document``: the executed notebook; ``error``: ``cell``, ``ename``, ``evalue`` and ``traceback`` of
    the cell that failed, if one did; ``values``: final variables, each pickled by itself."""

    document: Mapping[str, Any]
    error: Mapping[str, Any] | None = None
    values: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


def run_linear(
    notebook: Notebook,
    folder: Path,
    parameters: Mapping[str, JsonValue] | None = None,
    *,
    timeout: int = 600,
    honest: bool = True,
) -> Linear:
    """Run a notebook in ``folder``, with this interpreter's own kernel.

    Args:
        parameters: values set at the end of its last cell tagged ``parameters``.
        timeout: seconds that one cell may take.
        honest: unknown magics and failing shell commands are errors.

    Raises:
        Unsupported: nbclient or ipykernel is not installed.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"To run notebooks in a kernel, {error.name} is needed, which is not installed.",
            hint="Install it: pip install 'mlplatform[notebook]'",
        ) from None
    formats: Any = nbformat
    document: Any = formats.from_dict(_prepared(notebook, parameters or {}))
    with tempfile.TemporaryDirectory(prefix="mlplatform-linear-") as place:
        client: Any = NotebookClient(
            document, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        failed: dict[str, Any] | None = None
        with client.setup_kernel(env=_environment()):
            if honest:
                _silently(client, _HONEST.read_text(encoding="utf-8"))
            count = 0
            for cell in notebook.cells:
                if not cell.runs:
                    continue
                count += 1
                try:
                    client.execute_cell(document.cells[cell.index], cell.index, execution_count=count)
                except CellExecutionError as error:
                    failed = {
                        "cell": cell.index,
                        "ename": error.ename,
                        "evalue": error.evalue,
                        "traceback": str(error.traceback),
                    }
                    break
            values = Path(place) / "values.pkl"
            _silently(client, _VALUES.replace("PATH", repr(str(values))))
        found = _read(values)
    return Linear(cast("dict[str, Any]", json.loads(json.dumps(document))), failed, found)


def _prepared(notebook: Notebook, parameters: Mapping[str, JsonValue]) -> dict[str, Any]:
    from mlplatform.notebook.parameters import tagged_cells

    made = without_outputs(notebook.document)
    cells = tagged_cells(notebook.cells)
    if parameters and cells:
        cell = made["cells"][cells[-1]]
        cell["source"] = f"{notebook.cells[cells[-1]].source}\n{assignments(parameters)}"
    for cell in notebook.cells:
        tags = cast("dict[str, Any]", made["cells"][cell.index].setdefault("metadata", {})).setdefault("tags", [])
        if "nbval-raises-exception" in tags or "NBVAL_RAISES_EXCEPTION" in cell.source:
            tags.append("raises-exception")
    return copy.deepcopy(made)


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def _silently(client: Any, code: str) -> None:
    """Run something of ours; it leaves no number and no output. Raises RuntimeError where it fails."""
    from jupyter_core.utils import run_sync

    async def ask() -> None:
        sent = client.kc.execute(code, silent=True, store_history=False)
        while True:
            reply: Any = await client.kc.get_shell_msg(timeout=120)
            if reply["parent_header"].get("msg_id") == sent:
                if reply["content"]["status"] != "ok":
                    raise RuntimeError(f"{reply['content'].get('ename')}: {reply['content'].get('evalue')}")
                return

    cast("Any", run_sync)(ask)()


def _read(path: Path) -> dict[str, bytes]:
    try:
        return cast("dict[str, bytes]", pickle.loads(path.read_bytes()))  # noqa: S301 - written by our own kernel
    except (OSError, pickle.UnpicklingError, EOFError):
        return {}
