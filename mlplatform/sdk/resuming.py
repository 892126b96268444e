"""Going on with a run that failed, with the code as it is now: whose code that is, and what it changes."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.core.model import Artifact, RunRecord
from mlplatform.core.states import RunState
from mlplatform.engine.home import Home
from mlplatform.ir.load import loads
from mlplatform.planning.changes import Changes, changes_between
from mlplatform.planning.resetting import Reset, other_contents, reset_for_resume
from mlplatform.sdk import display_live
from mlplatform.sdk.looks import counted, duration
from mlplatform.sdk.run_reading import read_document, read_records
from mlplatform.sdk.run_values import StoredArtifact
from mlplatform.sdk.submit import interpreter, read_source, split_reference
from mlplatform.sdk.values import keep

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run

#: Changed tasks that are told one by one.
_TOLD = 8


# What is resumed from, by what is asked of it: those classes make runs, so this module cannot import them.
class _Submission(Protocol):
    objects: Mapping[str, Any]

    def text(self) -> str: ...


@runtime_checkable
class _OfKernel(Protocol):
    """A pipeline that is a function: ``sdk.define.pipelines.Pipeline``."""

    name: str
    function: Callable[..., Any]

    def submission(self, *args: Any, **kwargs: Any) -> _Submission: ...


@runtime_checkable
class _OfFile(Protocol):
    """A pipeline that is a file: ``sdk.notebook.NotebookPipeline``."""

    path: Path

    def document(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Code:
    """A pipeline's document as it is now (None: as it was), whose it is in words, and the Python objects it needs as
    artifacts of the run, by the name of the input; ``kept``: those that are in the home already."""

    document: str | None
    whose: str
    objects: Mapping[str, object] = field(default_factory=dict[str, object])
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def resume(run: Run, pipeline: object = None) -> None:
    """See :meth:`mlplatform.sdk.run.Run.resume`."""
    home = run.client.home
    records = read_records(home, run.run_id)
    if not records.run.state.finished:
        raise InvalidInput(
            f"run {run.run_id} is still {records.run.state.lower()}", hint="Wait for it, or run.cancel() it first."
        )
    if records.run.state is RunState.SUCCEEDED:
        raise InvalidInput(
            f"run {run.run_id} succeeded: there is nothing to resume",
            hint="Run the pipeline anew: what has not changed is reused.",
        )
    code = code_now(run, records.run, pipeline)
    artifacts = {name: keep(home, name, value).to_json() for name, value in code.objects.items()}
    artifacts |= {name: dict(entry) for name, entry in code.kept.items()}
    stored = loads(read_document(home, records.run.spec_digest))
    document = None if code.document is None else run.client.prepared(code.document)
    now = stored if document is None else loads(document)
    fresh = {name: Artifact.from_json({"name": name, **found}) for name, found in artifacts.items()}
    changes = changes_between(stored, now, other_contents(records.run.artifacts, fresh))
    reset = reset_for_resume(now, records.tasks, changes)
    env = dict(os.environ)
    goes_on = run.client.resume(run.run_id, document, env=env, interpreter=interpreter(), artifacts=artifacts)
    print(told(code, changes, reset))  # noqa: T201 - whose code runs is what somebody must know here
    if goes_on and goes_on != run.run_id:
        print(f"it goes on as run {goes_on}: one of a cluster keeps the code it began with")  # noqa: T201
        run.run_id = goes_on
    display_live.go_on(run)


def told(code: Code, changes: Changes, reset: Reset) -> str:
    """What a resume does, in a few lines."""
    lines = [f"resumed with {code.whose}"]
    named = [f"  {'/'.join(path)}: {reason}" for path, reason in changes.tasks.items()]
    lines += named[:_TOLD]
    lines += [f"  and {len(named) - _TOLD} more"] if len(named) > _TOLD else []
    lines += [f"  {'/'.join(path)}: no longer in the pipeline" for path in changes.gone[:_TOLD]]
    names = Counter("/".join(key.path) for key in reset.again)
    again = ", ".join(name if count == 1 else f"{name} × {count}" for name, count in list(names.items())[:_TOLD])
    more = ", ..." if len(names) > _TOLD else ""
    one = len(reset.kept) == 1
    kept = f"{counted(len(reset.kept), 'task')} {'stays as it is' if one else 'stay as they are'}"
    lines.append(f"runs again: {again or 'nothing that had begun'}{more}; {kept}")
    return "\n".join(lines)


# ------------------------------------------------------------------ whose code
def code_now(run: Run, record: RunRecord, pipeline: object = None) -> Code:
    """The code to go on with: what was given, else the kernel's, else the saved file's, else what the run has.

    Raises:
        InvalidPipeline, InvalidParameters, CannotCapture: it cannot be compiled as it is now.
        Unsupported: ``pipeline`` is nothing that can be compiled.
    """
    chosen = pipeline if pipeline is not None else run.pipeline
    if isinstance(chosen, _OfFile):
        chosen = chosen.path
    if isinstance(chosen, (str, os.PathLike)):
        return _from_file(os.fspath(cast("str | os.PathLike[str]", chosen)), run.client.home)
    if chosen is not None:
        return _from_kernel(chosen if pipeline is not None else current(chosen), record)
    origin = str(record.context.get("origin") or "")
    if origin and os.path.exists(split_reference(origin)[0]):
        return _from_file(origin, run.client.home)
    return Code(None, "the code it was started with (this kernel has no newer one)")


def _from_file(reference: str, home: Home) -> Code:
    file = Path(split_reference(reference)[0])
    source = read_source(reference, home)
    age = duration(max(0.0, time.time() - file.stat().st_mtime)) if file.exists() else ""
    whose = f"the saved file's code: {reference}" + (f", saved {age} ago" if age else "")
    return Code(source.text, whose, kept=source.artifacts)


def _from_kernel(pipeline: object, record: RunRecord) -> Code:
    if isinstance(pipeline, _OfKernel):
        made = pipeline.submission(**_arguments(pipeline.function, record))
        return Code(made.text(), _kernels(pipeline.name, pipeline.function.__module__), made.objects)
    if type(pipeline).__module__.partition(".")[0] == "kfp":
        from mlplatform.sdk import kfp

        name = str(getattr(pipeline, "name", "pipeline"))
        return Code(kfp.document_of(pipeline), _kernels(name, ""))
    raise Unsupported(
        f"{pipeline!r} is no pipeline that can be compiled here",
        hint="Give a pipeline made with @ml.pipeline or @dsl.pipeline, or the path of a .py or compiled pipeline.",
    )


def _kernels(name: str, module: str) -> str:
    where = "" if module in ("", "__main__") else f" (module {module} as it was imported)"
    return f"this kernel's code: {name} as it is defined now{where}"


def _arguments(function: Callable[..., Any], record: RunRecord) -> dict[str, Any]:
    """What the run was given, for the pipeline function as it is now; objects are read from the run's artifacts."""
    found: dict[str, Any] = {}
    for name in inspect.signature(function).parameters:
        if name in record.parameters:
            found[name] = record.parameters[name]
        elif name in record.artifacts:
            value = record.artifacts[name]
            one = isinstance(value, Artifact)
            found[name] = StoredArtifact(value).load() if one else [StoredArtifact(item).load() for item in value]
    return found


def current(pipeline: object) -> object:
    """The pipeline that has this one's name now: a cell that defines it may have run again since."""
    function = getattr(pipeline, "function", None)
    module = sys.modules.get(str(getattr(function, "__module__", "")))
    found = getattr(module, str(getattr(function, "__name__", "")), None)
    return found if type(found) is type(pipeline) else pipeline
