"""Retention: removing old runs and files nobody refers to."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import MlPlatformError, NotFound
from mlplatform.engine.notebooks.pruning import prune

if TYPE_CHECKING:
    from mlplatform.engine.core import Core
    from mlplatform.engine.manager import Manager

_DAY = 86400.0


async def collect_garbage(core: Core, manager: Manager, older_than_days: float | None) -> dict[str, Any]:
    """Delete finished runs older than ``older_than_days`` (None: none) and folders of runs the store does not know.

    A folder is removed only if its run id is unknown to the store, so a run being created is never touched: its row is
    written before its folders.
    """
    removed: list[str] = []
    problems: list[str] = []
    if older_than_days is not None:
        limit = core.clock.now() - older_than_days * _DAY
        for run_id in await core.in_thread(core.store.expired, limit):
            try:
                removed.append(await manager.delete(run_id))
            except MlPlatformError as error:
                problems.append(f"{run_id}: {error.message}")
    freed = 0
    for base, remove in ((core.home.root / "runs", _remove), (core.home.artifacts, _unreferenced(core))):
        for folder in sorted(base.iterdir()) if base.is_dir() else []:
            try:
                await core.in_thread(core.store.get_run, folder.name)
            except NotFound:
                freed += await core.on_files(remove, folder)
    freed += await core.on_files(prune, core.home.root / "notebooks", core.home.root / "runs", core.clock.now())
    environments = 0
    if older_than_days is not None:
        pruned = await core.on_files(core.ports.environments.prune, older_than_days * _DAY)
        environments, freed = len(pruned.environments), freed + pruned.bytes
    return {"runs": removed, "bytes": freed, "environments": environments, "problems": problems}


def _unreferenced(core: Core) -> Callable[[Path], int]:
    return lambda folder: remove_unreferenced(core, folder)


def remove_unreferenced(core: Core, folder: Path) -> int:
    """Remove the artifacts of a run that is gone, except those that other runs reused; returns bytes freed.

    An artifact is ``folder``/task/attempt/output.
    """
    freed = 0
    for output in sorted(folder.glob("*/*/*")):
        if not core.store.artifact_links(uri=str(output)):
            freed += _remove(output) if output.is_dir() else _unlink(output)
    for place in [*sorted(folder.rglob("*"), reverse=True), folder]:
        with contextlib.suppress(OSError):
            place.rmdir()
    return freed


def _unlink(path: Path) -> int:
    size = path.lstat().st_size
    path.unlink(missing_ok=True)
    return size


def _remove(folder: Path) -> int:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder, ignore_errors=True)
    return size
