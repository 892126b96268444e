"""Stored documents as the ``pipeline_spec`` of KFP's messages; experiments by their ids; work in threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar, cast

from starlette.concurrency import run_in_threadpool

from mlplatform.core.errors import MlPlatformError
from mlplatform.ir.documents import read_documents
from mlplatform.server.context import Context
from mlplatform.server.documents import Source

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_EXPERIMENT = "Default"


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what reads the store, from a handler that awaited its body."""
    return await run_in_threadpool(function, *args, **kwargs)


def spec_of(here: Context, digest: str) -> dict[str, Any] | None:
    """The document as one object, with its platform document beside it where there is one; None if it is gone."""
    try:
        return _parsed(Source(digest, lambda: here.store.document(digest)))
    except MlPlatformError:
        return None


@lru_cache(32)
def _parsed(source: Source) -> dict[str, Any] | None:
    found = [cast("dict[str, Any]", one) for one in read_documents(source.read(), "") if isinstance(one, dict)]
    if len(found) == 2:
        spec, platform = (found[1], found[0]) if "platforms" in found[0] else (found[0], found[1])
        return {"pipeline_spec": spec, "platform_spec": platform}
    return found[0] if found else None


def experiment_name(here: Context, experiment_id: str) -> str:
    """Raises NotFound."""
    return here.catalog.experiment(experiment_id).name if experiment_id else DEFAULT_EXPERIMENT


def experiment_ids(here: Context) -> dict[str, str]:
    """Ids of experiments by name."""
    return {one.name: one.experiment_id for one in here.catalog.experiments()}
