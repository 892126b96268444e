"""``%load_ext mlplatform``, then ``%mlplatform run`` on the notebook one is in, and what goes with it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlplatform.core.errors import InvalidInput, MlPlatformError, NotFound
from mlplatform.jupyter.eyes import Executed, Unsaved, unsaved
from mlplatform.jupyter.whereabouts import kernel_id, open_notebook

#: What the JupyterLab extension listens to, and how many seconds a save may take.
SAVE_TARGET: Final = "mlplatform.save"
_SAVING: Final = 3.0
_HELP: Final = """\
%mlplatform run [NOTEBOOK] [-p NAME=VALUE] [--name NAME] [--experiment NAME] [--no-cache] [--parallel N] [--saved]
                          run this notebook (or the one named) as a pipeline; it returns at once
%mlplatform plan          the tasks it is split into, their cells and what passes between them
%mlplatform status        its newest run
%mlplatform runs          its runs
%mlplatform resume        go on with its newest run: what failed or changed runs again
%mlplatform cancel        end its newest run
A run takes the notebook as it is saved. --saved: even if something was executed since that is not in the file."""


class MagicError(Exception):
    """What a user did wrong with a magic; shown without a traceback, and the cells after it do not run."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def load_ipython_extension(shell: Any) -> None:
    """Called by ``%load_ext mlplatform``."""
    magics = Magics(shell, time.time())
    shell.register_magic_function(magics, "line", "mlplatform")
    shell.events.register("pre_run_cell", magics.before_cell)
    shell.user_ns_hidden.setdefault("_mlplatform_magics", magics)
    shell.set_hook("complete_command", complete, re_key="%?mlplatform")


def unload_ipython_extension(shell: Any) -> None:
    """Called by ``%unload_ext mlplatform``."""
    magics = shell.user_ns_hidden.pop("_mlplatform_magics", None)
    if magics is not None:
        shell.events.unregister("pre_run_cell", magics.before_cell)
    shell.magics_manager.magics["line"].pop("mlplatform", None)


def complete(_shell: Any, event: Any) -> list[str]:
    """Words that may follow."""
    words = str(event.line).split()
    if len(words) > 2 or (len(words) == 2 and str(event.line).endswith(" ")):
        return ["-p", "--name", "--experiment", "--no-cache", "--parallel", "--saved"] if words[1] == "run" else []
    return sorted(Magics.COMMANDS)


def inside_a_task() -> bool:
    """Whether this process runs a task: a notebook that runs itself would never end."""
    return bool(os.environ.get("MLPLATFORM_ATTEMPT"))


def ask_to_save(path: Path, seconds: float) -> bool:
    """Ask our JupyterLab extension, if it is there, to save the notebook; False if nothing was saved in time."""
    if not kernel_id():
        return False
    from comm import create_comm

    before = path.stat().st_mtime_ns
    comm = create_comm(target_name=SAVE_TARGET)
    try:
        for _ in range(round(seconds * 20)):
            time.sleep(0.05)
            if path.is_file() and path.stat().st_mtime_ns != before:
                return True
    finally:
        comm.close()
    return False


class Magics:
    """The magic ``%mlplatform`` of one shell. ``loaded``: when; what ran before ran no later than that."""

    COMMANDS: Final = ("run", "plan", "status", "runs", "resume", "cancel", "help")

    def __init__(self, shell: Any, loaded: float) -> None:
        self._shell = shell
        self._loaded = loaded
        self._times: dict[int, float] = {}

    def before_cell(self, _info: Any = None) -> None:
        """IPython is about to run a cell."""
        self._times[int(self._shell.execution_count)] = time.time()

    def __call__(self, line: str) -> Any:
        if inside_a_task():
            return None
        try:
            words = shlex.split(line)
            command, rest = (words[0], words[1:]) if words else ("help", [])
            found: Callable[[Sequence[str]], Any] | None = getattr(self, f"_{command}", None)
            if command not in self.COMMANDS or found is None:
                known = ", ".join(self.COMMANDS)
                raise InvalidInput(f"%mlplatform knows no {command!r}", hint=f"It knows: {known}.")
            return found(rest)
        except (MlPlatformError, ValueError) as error:
            raise MagicError(str(error)) from None

    # ------------------------------------------------------------------ commands
    def _help(self, _words: Sequence[str]) -> None:
        print(_HELP)  # noqa: T201 - what was asked for

    def _run(self, words: Sequence[str]) -> Any:
        from mlplatform.jupyter.submitting import submit_notebook
        from mlplatform.sdk.submit import Options

        told = _options(words)
        path = self._path(told.path)
        if not told.saved and not told.path:
            self._refuse_unsaved(path)
        options = Options(name=told.name, experiment=told.experiment, cache=told.cache, parallel=told.parallel)
        return submit_notebook(str(path), told.parameters, options)

    def _plan(self, words: Sequence[str]) -> None:
        from mlplatform.notebook.partition import plan
        from mlplatform.notebook.read import read_notebook
        from mlplatform.notebook.show import rows

        made = plan(read_notebook(str(self._path(words[0] if words else ""))))
        table = rows(made)
        widths = [max((len(row[n]) for row in table), default=0) for n in range(6)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
        print("\n".join([f"{len(table)} tasks by {made.split_by}", *lines, *made.notes]))  # noqa: T201

    def _status(self, _words: Sequence[str]) -> Any:
        return self._newest()

    def _runs(self, _words: Sequence[str]) -> Any:
        from mlplatform.sdk.notebook_submit import TAG
        from mlplatform.sdk.runs import runs

        return runs(tags={TAG: str(self._path(""))})

    def _resume(self, _words: Sequence[str]) -> Any:
        self._refuse_unsaved(self._path(""))
        return self._newest().resume()

    def _cancel(self, _words: Sequence[str]) -> Any:
        return self._newest().cancel()

    # ------------------------------------------------------------------ which notebook
    def _path(self, given: str) -> Path:
        if given:
            path = Path(given).expanduser()
            if not path.is_file():
                raise NotFound(f"There is no notebook {given!r}.", hint=f"Looked in {Path.cwd()}.")
            return path.resolve()
        return open_notebook(self._shell.user_ns)

    def _newest(self) -> Any:
        from mlplatform.engine.home import open_home
        from mlplatform.sdk.notebook_submit import TAG
        from mlplatform.sdk.records import open_records
        from mlplatform.sdk.run import Run

        path, home = str(self._path("")), open_home(None)
        with open_records(home) as store:
            found = store.list_runs(tags={TAG: path}, limit=1)
        if not found:
            raise NotFound("This notebook has not been run as a pipeline yet.", hint="%mlplatform run does that.")
        return Run(home, found[0].run_id)

    def _refuse_unsaved(self, path: Path) -> None:
        from mlplatform.notebook.read import read_notebook

        def compared() -> list[Unsaved]:
            cells = [cell.source for cell in read_notebook(str(path)).cells if cell.kind == "code"]
            return unsaved(self._inputs(), cells, path.stat().st_mtime)

        # What was typed and never executed cannot be seen from here: saving takes that along.
        if ask_to_save(path, _SAVING if compared() else _SAVING / 3):
            time.sleep(0.05)  # the rest of it
        found = compared()
        if found:
            raise InvalidInput(
                f"{path.name} is not saved as you see it, and what is saved is what would run.\n\n"
                + "\n".join(str(entry) for entry in found[-3:]),
                hint="\nSave the notebook (Ctrl-S), then run this cell again. %mlplatform run --saved runs the file.",
            )

    def _inputs(self) -> list[Executed]:
        raw = list(self._shell.history_manager.input_hist_raw)
        return [Executed(n, text, self._times.get(n, self._loaded)) for n, text in enumerate(raw) if n and text]


@dataclass
class _Options:
    path: str = ""
    name: str = ""
    experiment: str = ""
    parameters: list[str] = field(default_factory=list[str])
    cache: bool = True
    parallel: int = 1
    saved: bool = False


def _options(words: Sequence[str]) -> _Options:
    """Words after ``%mlplatform run``. Raises InvalidInput."""
    told, rest = _Options(), list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-p", "--param", "--name", "--experiment", "--parallel"):
            if not rest:
                raise InvalidInput(f"{word} needs a value", hint="%mlplatform help")
            value = rest.pop(0)
            if word in ("-p", "--param"):
                told.parameters.append(value)
            elif word == "--name":
                told.name = value
            elif word == "--parallel":
                if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 64:
                    raise InvalidInput(
                        f"--parallel needs a number from 1 to 64, not {value!r}", hint="%mlplatform help"
                    )
                told.parallel = int(value)
            else:
                told.experiment = value
        elif word == "--no-cache":
            told.cache = False
        elif word == "--saved":
            told.saved = True
        elif word.startswith("-") or told.path:
            raise InvalidInput(f"%mlplatform run does not know {word!r}", hint="%mlplatform help")
        else:
            told.path = word
    return told
