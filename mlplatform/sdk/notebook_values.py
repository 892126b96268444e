"""Variables that a notebook's run ended with, in this process."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlplatform.core.errors import ArtifactError, InvalidInput, NotFound
from mlplatform.core.model import Artifact, RunRecord
from mlplatform.engine.home import Home
from mlplatform.engine.notebooks.executed import OUTPUT
from mlplatform.notebook.compare import loaded
from mlplatform.sdk.records import read_run


def read_values(home: Home, run_id: str, names: Sequence[str] = ()) -> dict[str, bytes]:
    """Final variables of a run, each as cloudpickle's bytes; without names all of them. What cannot be had is left out.

    Raises:
        NotFound: there is no such run, or it keeps no values.
        EnvironmentFailed: the notebook's interpreter could not load them.
    """
    from mlplatform.engine.notebooks.values import write_values
    from mlplatform.sdk.clients import client_of

    record, _, _ = read_run(home, run_id)
    client_of(home).bring_values(record)
    interpreter: dict[str, Any] = record.context.get("interpreter") or {}
    with tempfile.TemporaryDirectory(prefix="mlplatform-values-") as folder:
        place = Path(folder) / "values.pkl"
        write_values(
            home,
            record.run_id,
            names,
            place,
            executable=str(interpreter.get("executable") or ""),
            folder=str(record.context.get("cwd") or "."),
            env=os.environ,
        )
        found: dict[str, bytes] = pickle.loads(place.read_bytes())  # noqa: S301 - written by our own process
    return found


def load_value(home: Home, run_id: str, name: str) -> Any:
    """One final variable, as it was when the run ended.

    Raises:
        NotFound: the notebook ended without such a variable, or it could not be kept.
        ArtifactError: it cannot be loaded here: a package it needs is missing, or is of another version.
    """
    found = read_values(home, run_id, [name])
    if name not in found:
        hint = "Names that begin with _ and what cannot be pickled (open files, locks) are not kept."
        raise NotFound(f"run {run_id} did not end with a variable {name!r} that could be kept", hint=hint)
    value, problem = loaded(found[name])
    if problem is not None:
        raise ArtifactError(
            f"variable {name!r} of run {run_id} cannot be loaded here: {type(problem).__name__}: {problem}",
            hint="Load it in the environment that the notebook ran in.",
        ) from problem
    return value


def notebook_path(run: RunRecord) -> Path:
    """The executed notebook of a run that has ended. Raises InvalidInput if it is no notebook's, or goes on."""
    artifact = run.outputs.artifacts.get(OUTPUT)
    if not isinstance(artifact, Artifact) or artifact.metadata.get("format") != "ipynb":
        raise InvalidInput(
            f"run {run.run_id} has no executed notebook"
            + ("" if run.state.finished else " yet: it is " + run.state.lower()),
            hint="Runs of notebooks have one when they have ended.",
        )
    return Path(artifact.uri.removeprefix("file://"))
