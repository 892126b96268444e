"""Which place of training jobs is meant."""

from __future__ import annotations

import os

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.core.model import RunRecord, TaskKey
from mlplatform.engine.home import Home
from mlplatform.planning.training.names import task_job
from mlplatform.sdk.records import identity
from mlplatform.sdk.training.run import Backend, TrainingRun


def backend_of(
    backend: str = "", *, home: str | os.PathLike[str] | Home | None = None, namespace: str = "", context: str = ""
) -> Backend:
    """``local`` or ``kubernetes``; "" is ``MLPLATFORM_BACKEND``, else local.

    Raises:
        InvalidInput: there is no such place, or what is said of it is another one's.
        Unsupported: the packages for clusters are not installed, or this system has no processes of our kind.
    """
    word = backend or os.environ.get("MLPLATFORM_BACKEND") or "local"
    if word == "local":
        if namespace or context:
            raise InvalidInput("A context or namespace is a cluster's.", hint="Add --backend kubernetes.")
        from mlplatform.sdk.training.local import LocalTraining

        return LocalTraining(home)
    if word != "kubernetes":
        raise InvalidInput(f"{word!r} is no backend", hint="It is local or kubernetes.")
    from mlplatform.sdk.training.cluster import ClusterTraining

    return ClusterTraining(namespace, context)


def training_run(
    name: str,
    *,
    backend: str = "",
    home: str | os.PathLike[str] | Home | None = None,
    namespace: str = "",
    context: str = "",
) -> TrainingRun:
    """The training job called so (or the only one whose name begins so, on this machine). Raises NotFound."""
    found = backend_of(backend, home=home, namespace=namespace, context=context)
    return TrainingRun(found, str(found.get(name)["metadata"]["name"]))


def of_task(run: RunRecord, key: TaskKey, home: Home) -> TrainingRun | None:
    """The training job that a task of a run is; None: it is none, or has not begun. ``home``: that of the run."""
    name = task_job(identity(run), key)
    if run.context.get("backend") != "kubernetes":
        from mlplatform.sdk.training.local import LocalTraining

        here = LocalTraining(home)
        return TrainingRun(here, name) if here.has(name) else None
    from mlplatform.sdk.kubernetes.home import read_place
    from mlplatform.sdk.training.cluster import ClusterTraining

    place = read_place(home)
    if place is None:
        return None
    there = ClusterTraining(place.namespace, place.context, place.kubeconfig)
    try:
        there.get(name)
    except NotFound:
        return None
    return TrainingRun(there, name)
