"""What a run object reads: records of one run, and the pipeline that it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from mlplatform.core.errors import NotFound
from mlplatform.core.model import AttemptRecord, RunRecord, TaskRecord
from mlplatform.engine.home import Home
from mlplatform.ir.findings import did_you_mean
from mlplatform.ir.load import loads
from mlplatform.ir.model import Dag, Pipeline
from mlplatform.planning.training.task import training_executors
from mlplatform.sdk.records import open_records

_REFERENCE = re.compile(r"(.*?)((?:\[\d+\])*)", re.DOTALL)

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """Everything the store knows of one run."""

    run: RunRecord
    tasks: list[TaskRecord]
    attempts: list[AttemptRecord]


def read_records(home: Home, run_id: str) -> Records:
    """Raises NotFound."""
    with open_records(home) as store:
        run = store.get_run(run_id)
        return Records(run, store.tasks(run_id), store.attempts(run_id))


@lru_cache(maxsize=32)
def _parsed(document: bytes) -> Pipeline:
    return loads(document)


def read_document(home: Home, digest: str) -> bytes:
    """The pipeline document of a run, by ``RunRecord.spec_digest``. Raises NotFound."""
    with open_records(home) as store:
        return store.document(digest)


def read_pipeline(home: Home, digest: str) -> Pipeline:
    """The pipeline of a run. Raises NotFound if the document is gone."""
    return _parsed(read_document(home, digest))


@dataclass(frozen=True, slots=True)
class Place:
    """A task or group in a pipeline's document. ``loops``: how many iteration indexes its records carry; ``trains``:
    several ranks run it."""

    path: Path
    is_group: bool
    loops: int
    trains: bool = False


def places(pipeline: Pipeline) -> dict[Path, Place]:
    """Every task and group of a pipeline, in document order."""
    found: dict[Path, Place] = {}
    training = training_executors(pipeline)

    def visit(prefix: Path, dag: Dag, loops: int) -> None:
        for name, task in dag.tasks.items():
            path = (*prefix, name)
            component = pipeline.components.get(task.component)
            inner = component.dag if component is not None else None
            looped = task.parameter_iterator is not None or task.artifact_iterator is not None
            trains = component is not None and component.executor_label in training
            found[path] = Place(path, inner is not None or looped, loops, trains)
            if inner is not None:
                visit(path, inner, loops + looped)
            elif looped:  # one component in a loop of its own: its iterations have the loop's own path
                found[path] = Place(path, False, loops + 1, trains)

    if pipeline.root.dag is not None:
        visit((), pipeline.root.dag, 0)
    return found


def split_reference(reference: str) -> tuple[str, tuple[int, ...]]:
    """``train[3][0]`` as (``train``, (3, 0))."""
    found = _REFERENCE.fullmatch(reference)
    name, indexes = (found[1], found[2]) if found else (reference, "")
    return name, tuple(int(index) for index in re.findall(r"\d+", indexes))


def find_path(known: Iterable[Place], reference: str) -> Place:
    """The task that somebody means: its path, its own name, a Python function's name (``train_model`` for
    ``train-model``), or a group's.

    Raises:
        NotFound: none or several; the hint lists what there is.
    """
    candidates = list(known)
    for name in dict.fromkeys((reference, reference.replace("_", "-"))):
        for groups in (False, True):
            among = [place for place in candidates if place.is_group is groups]
            found = [place for place in among if "/".join(place.path) == name]
            found = found or [place for place in among if place.path[-1] == name]
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(repr("/".join(place.path)) for place in found)
                raise NotFound(f"several tasks are called {reference!r}", hint=f"Say which one: {names}.")
    names = ["/".join(place.path) for place in candidates if not place.is_group]
    hint = did_you_mean(reference, dict.fromkeys([*(name.rpartition("/")[2] for name in names), *names]))
    if not hint and names:
        hint = "Tasks: " + ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise NotFound(f"there is no task {reference!r} in this run", hint=hint[:1].upper() + hint[1:])
