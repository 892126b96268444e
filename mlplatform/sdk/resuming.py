"""Going on with a run that failed, with the code as it is now: whose code that is, and what it changes."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.core.model import RunRecord
from mlplatform.core.states import RunState
from mlplatform.ir.load import loads
from mlplatform.planning.changes import NO_CHANGES, Changes, changes_between
from mlplatform.planning.resetting import Reset, reset_for_resume
from mlplatform.sdk import display_live
from mlplatform.sdk.looks import counted, duration
from mlplatform.sdk.run_reading import read_document, read_records
from mlplatform.sdk.submit import interpreter, read_source, split_reference

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run

#: Changed tasks that are told one by one.
_TOLD = 8


@dataclass(frozen=True, slots=True)
class Code:
    """A pipeline's document as it is now (None: as it was) and whose it is, in words."""

    document: str | None
    whose: str


def resume(run: Run, pipeline: object = None) -> None:
    """See :meth:`mlplatform.sdk.run.Run.resume`."""
    records = read_records(run.client.home, run.run_id)
    if not records.run.state.finished:
        raise InvalidInput(
            f"run {run.run_id} is still {records.run.state.lower()}", hint="Wait for it, or run.cancel() it first."
        )
    code = code_now(run, records.run, pipeline)
    stored = read_document(run.client.home, records.run.spec_digest)
    changes, reset = NO_CHANGES, None
    now = loads(stored if code.document is None else code.document)
    if code.document is not None:
        changes = changes_between(loads(stored), now)
    if records.run.state is RunState.SUCCEEDED:
        raise InvalidInput(
            f"run {run.run_id} succeeded: there is nothing to resume",
            hint="Run the pipeline anew: what has not changed is reused." if changes != NO_CHANGES else "",
        )
    reset = reset_for_resume(now, records.tasks, changes)
    run.client.resume(run.run_id, code.document, env=dict(os.environ), interpreter=interpreter())
    print(told(code, changes, reset))  # noqa: T201 - whose code runs is what somebody must know here
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
        InvalidPipeline: it cannot be compiled as it is now.
        Unsupported: ``pipeline`` is nothing that can be compiled.
    """
    if isinstance(pipeline, (str, os.PathLike)):
        return _from_file(os.fspath(pipeline))
    if pipeline is not None:
        return _from_kernel(pipeline, record)
    if run.pipeline is not None:
        return _from_kernel(current(run.pipeline), record)
    origin = str(record.context.get("origin") or "")
    if origin and os.path.exists(split_reference(origin)[0]):
        return _from_file(origin)
    return Code(None, "the code it was started with (this kernel has no newer one)")


def _from_file(reference: str) -> Code:
    file = Path(split_reference(reference)[0])
    source = read_source(reference)
    age = duration(max(0.0, time.time() - file.stat().st_mtime)) if file.exists() else ""
    return Code(source.text, f"the saved file's code: {reference}" + (f", saved {age} ago" if age else ""))


def _from_kernel(pipeline: Any, record: RunRecord) -> Code:
    compile_ = getattr(pipeline, "compile", None)
    if not callable(compile_):
        raise Unsupported(
            f"{pipeline!r} is no pipeline that can be compiled here",
            hint="Give a pipeline made with @ml.pipeline, or the path of a .py or compiled pipeline.",
        )
    function = getattr(pipeline, "function", None)
    module = str(getattr(function, "__module__", "") or "")
    name = str(getattr(pipeline, "name", "") or getattr(function, "__name__", "pipeline"))
    where = "" if module in ("", "__main__") else f" (module {module} as it was imported)"
    return Code(str(compile_()), f"this kernel's code: {name} as it is defined now{where}")


def current(pipeline: object) -> object:
    """The pipeline that has this one's name now: a cell that defines it may have run again since."""
    function = getattr(pipeline, "function", None)
    module = sys.modules.get(str(getattr(function, "__module__", "")))
    name = str(getattr(function, "__name__", ""))
    found = getattr(module, name, None)
    return found if type(found) is type(pipeline) else pipeline
