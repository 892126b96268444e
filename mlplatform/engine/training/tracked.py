"""A training job of this machine in MLflow: one run over all attempts and suspensions. Ranks log into it; how it ended
is told here alone. Nothing waits for MLflow: all of it goes through the outbox."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from mlplatform.core.model import RunRecord
from mlplatform.core.states import RunState
from mlplatform.core.values import child
from mlplatform.engine.core import Core
from mlplatform.engine.files import read_json
from mlplatform.planning.training.tracked import tracked_run
from mlplatform.training.checkpoints import MANIFEST

_log = logging.getLogger(__name__)

#: Bytes of checkpoints that are kept with the run; of larger ones, only where they are.
KEPT: Final = 32 << 20


class Tracked:
    """All jobs of a service."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ended: set[str] = set()

    def variables(self, body: Mapping[str, Any]) -> Mapping[str, str]:
        """What the ranks of a job need to log into its run, which is known to MLflow's outbox then."""
        run = tracked_run(body)
        if run is None:
            return {}
        try:
            self._core.stored(self._core.tracker.run_started, run)
            return self._core.tracker.rank_environment(run)
        except Exception:  # noqa: BLE001 - no trouble with tracking keeps a rank from starting
            _log.exception("training job %s is not tracked", run.name)
            return {}

    def ended(self, body: Mapping[str, Any], *, cancelled: bool = False) -> None:
        """Tell how a job ended, once by this service; the outbox knows if an earlier one had."""
        run = tracked_run(body)
        if run is None or run.run_id in self._ended:
            return
        if cancelled:
            run = replace(run, state=RunState.CANCELLED, finished_at=self._core.clock.now())
        self._ended.add(run.run_id)
        try:
            self._core.stored(self._end, run, checkpoint_files(child(body, "status")))
        except Exception:  # noqa: BLE001 - nor does it keep one from ending
            _log.exception("MLflow is not told how training job %s ended", run.name)

    def _end(self, run: RunRecord, files: Mapping[str, bytes]) -> None:
        tracker = self._core.tracker
        tracker.run_started(run)  # of a job whose ranks logged nothing, too
        tracker.keep_files(run, files)
        tracker.run_finished(run)


def checkpoint_files(status: Mapping[str, Any]) -> dict[str, bytes]:
    """The newest checkpoint, as files of a run: a page that says where it is and what it holds, and its bytes if they
    are few."""
    told = child(status, "checkpoint")
    if "step" not in told:
        return {}
    place = f"checkpoints/step-{told['step']}"
    page: dict[str, Any] = {"step": told["step"], "uri": str(told.get("uri") or ""), "time": told.get("time", "")}
    folder = _local(page["uri"])
    found: dict[str, bytes] = {}
    if folder is not None:
        names = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
        page["files"] = child(read_json(folder / MANIFEST), "files") or {
            path.relative_to(folder).as_posix(): {"size": path.stat().st_size} for path in names
        }
        if sum(path.stat().st_size for path in names) <= KEPT:
            found = {f"{place}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in names}
    return {f"{place}/checkpoint.json": json.dumps(page, indent=1).encode(), **found}


def _local(uri: str) -> Path | None:
    parts = urlsplit(uri)
    folder = Path(unquote(parts.path) if parts.scheme == "file" else uri)
    return folder if parts.scheme in ("", "file") and uri and folder.is_dir() else None
