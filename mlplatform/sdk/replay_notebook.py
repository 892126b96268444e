"""A task of a notebook brought back into the kernel: the variables it began with, and its cells ready to run again."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import random
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import InvalidInput, NotFound, Unsupported
from mlplatform.engine.home import Home
from mlplatform.engine.notebooks.state import State, unrestorable
from mlplatform.engine.notebooks.values import bad_groups, states_before
from mlplatform.ir.model import ContainerExecutor, Pipeline
from mlplatform.launcher import preload
from mlplatform.launcher.notebook.guard import tried
from mlplatform.planning.notebook_component import NotebookTask, recognise_notebook, tasks_of
from mlplatform.sdk.replay import Replay
from mlplatform.sdk.replay_debug import debugger, post_mortem, shell, surroundings, traceback_text
from mlplatform.sdk.run_reading import read_pipeline

if TYPE_CHECKING:
    from mlplatform.sdk.run_task import Task

#: Snapshots name what rebuilds them by the launcher's private name.
_PACKAGE = "_mlplatform_launcher"


class NotebookReplay(Replay):
    """A task's cells and the state they began from.

    Attributes:
        task: its name in the run.
        cells: the source of its code cells, as the run had them.
        function: what runs the cells once.
        inputs: name -> value of the notebook's variables as they were before the task.
        error: what the last :meth:`call` raised, or None.
        notes: what differs here from where the task ran.
    """

    def __init__(  # pyright: ignore[reportMissingSuperCall] - cells instead of a function: nothing of it is shared
        self, task: NotebookTask, loader: _Loader, workdir: Path, parameters: Mapping[str, Any]
    ) -> None:
        self.function = self.call
        self.task = task.name
        self.cells = [cell.source for cell in task.cells if cell.source.strip()]
        self.error = None
        self.inputs = {}
        self.notes = list(loader.notes)
        self._task = task
        self._loader = loader
        self._workdir = workdir
        self._parameters = dict(parameters)
        self._files: list[str] = []
        self._fresh = False

    @property
    def folder(self) -> Path:
        """Where the cells run: the notebook's folder, or the one that earlier cells had gone to."""
        return Path(self._loader.folder) if self._loader.folder else self._workdir

    def load(self) -> None:
        """Make the variables what they were before the task."""
        self.inputs = self._loader.load()
        self._fresh = True

    def call(self, **changed: Any) -> dict[str, Any]:
        """Run the task's cells, in the notebook's own namespace where there is one.

        Each call begins from the state that the task began from.

        Args:
            changed: variables to set first.

        Returns:
            the namespace that the cells ran in. Whatever they raise comes out as it is.
        """
        if not self._fresh:
            self.load()
        self._fresh, self.error = False, None
        namespace = self._loader.namespace
        namespace.update(changed)
        with surroundings(self.folder if self.folder.is_dir() else None, self._loader.environment()):
            self._loader.seed()
            for cell in self._task.cells:
                error = self._cell(cell.source) if cell.source.strip() else None
                if error is not None and not cell.may_fail:
                    self.error = error
                    raise error
        namespace.update(self._parameters)
        return namespace

    def debug(self, **changed: Any) -> dict[str, Any] | None:
        """Run the cells; when one fails, open the debugger at its line that failed.

        Returns:
            the namespace, if nothing fails here.
        """
        with suppress(Exception):
            return self.call(**changed)
        error = self.error
        if error is not None:
            own = frozenset(self._files)
            print(traceback_text(error, own), end="")  # noqa: T201 - what a debugger begins with
            post_mortem(error.__traceback__, own)
        return None

    def step(self, **changed: Any) -> Any:
        """Run the cells under the debugger."""
        return debugger().runcall(self.call, **changed)

    def _cell(self, source: str) -> BaseException | None:
        """One cell; returns what it raised."""
        notebook = shell()
        if notebook is None or notebook.user_ns is not self._loader.namespace:
            name = f"<cell of {self.task}>"
            self._files.append(name)
            space = self._loader.namespace
            return tried(lambda: exec(compile(source, name, "exec", dont_inherit=True), space))[1]  # noqa: S102
        self._files.append(notebook.compile.get_code_name(source, notebook.transform_cell(source), 0))
        show = notebook.showtraceback
        notebook.showtraceback = _silent  # it comes out of call(): once is enough
        try:
            done = notebook.run_cell(source, store_history=False)
        finally:
            notebook.showtraceback = show
        return done.error_before_exec or done.error_in_exec

    def __repr__(self) -> str:
        names = ", ".join(sorted(self.inputs)) or "no variables"
        count = len(self.cells)
        lines = [f"replay of {self.task}: {count} {'cell' if count == 1 else 'cells'} beginning with {names}"]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, ".call() runs them, .debug() opens the debugger where they fail"])


def _silent(*_words: Any, **_options: Any) -> None:
    return None


class _Loader:
    """Loads the state before a task into ``namespace``."""

    def __init__(self, library: Path, state: State, bad: frozenset[str], namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self.notes: list[str] = []
        self._library = library
        self._state = state
        self._bad = bad
        self._items: dict[str, Any] = {}

    def refused(self, name: str) -> str:
        """Why this name cannot come back; empty if it can."""
        told = self._state.names.get(name)
        if told is None:
            return ""
        return unrestorable(State({name: told}, self._state.groups), self._bad)

    def load(self) -> dict[str, Any]:
        """Put the variables into the namespace; returns them. Raises what loading one raises."""
        keeping, checkpoint, rebuild = (
            _launcher("notebook.keeping"),
            _launcher("notebook.checkpoint"),
            _launcher("notebook.rebuild"),
        )
        rebuild.bind(self.namespace, shell())
        members: dict[str, list[str]] = {}
        for name, (_, group) in self._state.names.items():
            if not self.refused(name) and (not name.startswith("@") or name in _CARRIED):
                members.setdefault(group, []).append(name)
        loaded: dict[str, Any] = {}
        waiting = sorted(members, key=lambda group: not any(name.startswith("@") for name in members[group]))
        while waiting:
            left: list[str] = []
            problem: Exception | None = None
            for group in waiting:  # one may need another to be loaded
                found, reason = tried(keeping.load, checkpoint.group_path(str(self._library), group))
                if reason is not None:
                    left.append(group)
                    problem = reason
                    continue
                own = {name: found[name] for name in members[group]}
                loaded.update(own)
                self._take(own)
            if problem is not None and len(left) == len(waiting):
                raise Unsupported(
                    f"variable {members[left[0]][0]} cannot be loaded here: {type(problem).__name__}: {problem}",
                    hint="Replay it in the environment that the notebook ran in.",
                ) from problem
            waiting = left
        return {name: value for name, value in loaded.items() if not name.startswith("@")}

    def _take(self, found: Mapping[str, Any]) -> None:
        for name, value in found.items():
            if not name.startswith("@"):
                self.namespace[name] = value
            elif name == "@sys.path":
                sys.path[:] = [*sys.path, *(entry for entry in value if entry not in sys.path)]
            else:
                self._items[name] = value

    def environment(self) -> dict[str, str]:
        """Variables that earlier cells had set."""
        return {name: value for name, value in self._items.get("@environment", {}).items() if value is not None}

    def seed(self) -> None:
        """Generators of random numbers as they were."""
        if state := self._items.get("@random"):
            random.setstate(state)
        state = self._items.get("@numpy.random")
        if isinstance(state, tuple):
            numpy: Any = importlib.import_module("numpy")
            kind, key, *rest = state  # pyright: ignore[reportUnknownVariableType]
            numpy.random.set_state((kind, numpy.frombuffer(key, dtype=numpy.uint32), *rest))

    @property
    def folder(self) -> str:
        return str(self._items.get("@folder") or "")


#: Hidden state that comes along; settings of libraries stay as this kernel has them.
_CARRIED = frozenset(("@random", "@numpy.random", "@environment", "@folder", "@sys.path"))


def of_notebook(task: Task, *, into_namespace: bool) -> NotebookReplay | None:
    """The replay of a notebook's task; None for any other. Raises as :func:`replay_notebook` does."""
    record, run = task.record, task.run.record
    if record is None or record.is_group or not record.component:
        return None
    pipeline = read_pipeline(task.run.client.home, run.spec_digest)
    executor = pipeline.executors.get(pipeline.components[record.component].executor_label)
    cells = recognise_notebook(executor) if isinstance(executor, ContainerExecutor) else None
    if cells is None:
        return None
    known = {name: spec.default for name, spec in pipeline.root.inputs.parameters.items() if spec.has_default}
    return replay_notebook(
        task.run.client.home,
        run.run_id,
        pipeline,
        cells,
        folder=str(run.context.get("cwd") or "."),
        parameters={**known, **run.parameters},
        into_namespace=into_namespace,
    )


def replay_notebook(
    home: Home,
    run_id: str,
    pipeline: Pipeline,
    task: NotebookTask,
    *,
    folder: str,
    parameters: Mapping[str, Any],
    into_namespace: bool,
) -> NotebookReplay:
    """The task ``task`` of a run, its state loaded.

    Raises:
        InvalidInput: the tasks before it did not end well.
        Unsupported: a variable that it needs cannot be brought back: says which, and what can be replayed instead.
    """
    tasks = tasks_of(pipeline)
    index = next(i for i, one in enumerate(tasks) if one.position == task.position)
    try:
        states = states_before(home, run_id, [one.position for one in tasks[:index]])
    except NotFound as error:
        raise InvalidInput(f"task {task.name} cannot be replayed: {error.message}") from error
    bad = bad_groups(home, states)
    notebook = shell() if into_namespace else None
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    loader = _Loader(home.root / "notebooks", states[index], bad, namespace if notebook is None else notebook.user_ns)
    for name in _needed(task, states[index]):
        if why := loader.refused(name):
            raise Unsupported(
                f"task {task.name} cannot be replayed: variable {name} cannot be brought back ({why})",
                hint=_instead(tasks, states, bad, index),
            )
    lost = sorted(name for name in states[index].names if not name.startswith("@") and loader.refused(name))
    if lost:
        loader.notes.append(f"not brought back, and not named by its cells: {', '.join(lost)}")
    settings = sorted({name[1:] for name in states[index].names if name.startswith("@")} - {c[1:] for c in _CARRIED})
    if settings:
        loader.notes.append(f"settings stay as this kernel has them: {', '.join(settings)}")
    values = {name: parameters[name] for name in task.parameters if name in parameters}
    found = NotebookReplay(task, loader, Path(folder), values)
    found.load()
    return found


def _needed(task: NotebookTask, state: State) -> Iterable[str]:
    names = [name for name in state.names if not name.startswith("@")]
    return sorted(names) if task.whole_namespace else [name for name in task.may_read if name in state.names]


def _instead(tasks: list[NotebookTask], states: list[State], bad: frozenset[str], index: int) -> str:
    """The nearest earlier task whose state can come back (the first one's always can)."""
    for earlier in range(index - 1, -1, -1):
        needed = _needed(tasks[earlier], states[earlier])
        told = {name: states[earlier].names[name] for name in needed}
        if not unrestorable(State(told, states[earlier].groups), bad):
            return f"Replay task {tasks[earlier].name}, which makes it again, and run the cells that follow."
    return ""


def _launcher(module: str) -> Any:
    """A module of the launcher under the name that snapshots know it by."""
    if _PACKAGE not in sys.modules:
        folder = Path(preload.DOOR).parent
        spec = importlib.util.spec_from_file_location(
            _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{_PACKAGE}.{module}")
