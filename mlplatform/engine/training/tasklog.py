"""The log of a task that several ranks run: what happens to them, and what rank 0 says. Each rank's own is beside."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlplatform.core.values import child
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.training.places import JobPlace, RankPlace
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.shape import working_role

_BLOCK: Final = 1 << 20
#: Of a rank that failed, if it was not rank 0, so much of its end is told.
_END: Final = 8192


class TaskLog:
    """Written by one thread at a time."""

    def __init__(self, place: JobPlace, directory: Path) -> None:
        """``directory``: of the attempt."""
        self._place = place
        self._path = directory / "task.log"
        self._ranks = directory / "ranks"
        self._kept = directory / "told.json"
        before = read_json(self._kept)
        self._told = str(before.get("told") or "")
        self._attempts = {int(attempt): int(at) for attempt, at in child(before, "attempts").items()}
        self._failed: set[int] = set(before.get("failed") or ())
        self._begun = bool(before)
        if self._begun:  # by a service that is gone: what it wrote after it last said how far it was is written again
            with contextlib.suppress(OSError):
                os.truncate(self._path, int(before["size"]))

    def follow(self, status: Mapping[str, Any]) -> None:
        """Tell what is new."""
        if not self._begun:
            self._begun = True
            self._keep()
        lines: list[bytes] = []
        for attempt in sorted({*self._attempts, int(status.get("attempt") or 0)} - {0}):
            lines.append(self._news(attempt))
        for ended in status.get("attempts") or ():
            lines.append(self._end_of(ended))
        words = _words(status)
        if words != self._told:
            self._told = words
            lines.append(f"mlplatform: {words}\n".encode())
        text = b"".join(lines)
        if text:
            with self._path.open("ab") as file:
                file.write(text)
            self._keep()

    def _keep(self) -> None:
        """How far we are, for who takes it up."""
        size = self._path.stat().st_size if self._path.exists() else 0
        told = {"size": size, "told": self._told, "attempts": self._attempts, "failed": sorted(self._failed)}
        write_json(self._kept, told)

    def finish(self, status: Mapping[str, Any]) -> None:
        """Keep each rank's log beside the task's: the job may go."""
        self.follow(status)
        for _, rank in self._place.ranks():
            with contextlib.suppress(OSError):
                self._ranks.mkdir(exist_ok=True)
                target = self._ranks / f"{rank.root.name.removeprefix(self._place.name + '-')}.log"
                target.unlink(missing_ok=True)
                try:
                    os.link(rank.log, target)
                except OSError:
                    shutil.copyfile(rank.log, target)

    def _first(self, attempt: int) -> RankPlace | None:
        """Rank 0's place in an attempt."""
        for name in ("worker", working_role("mpi"), working_role("ray")):
            rank = self._place.rank(RankKey(name, 0, attempt))
            if name != "worker" and rank.root.exists():
                return rank
        rank = self._place.rank(RankKey("worker", 0, attempt))
        return rank if rank.root.exists() else None

    def _news(self, attempt: int) -> bytes:
        rank = self._first(attempt)
        at = self._attempts.setdefault(attempt, 0)
        if rank is None:
            return b""
        try:
            with rank.log.open("rb") as file:
                file.seek(at)
                text = file.read(_BLOCK)
        except OSError:
            return b""
        self._attempts[attempt] = at + len(text)
        return text

    def _end_of(self, ended: Mapping[str, Any]) -> bytes:
        """Why an attempt ended badly, with the last words of the rank that was the first to fail."""
        number, reason = int(ended.get("number") or 0), str(ended.get("reason") or "")
        if number in self._failed or reason in ("", "Completed"):
            return b""
        self._failed.add(number)
        group, rank = ended.get("group"), ended.get("rank")
        who = f" by rank {rank} of {group}" if group and rank is not None else ""
        code = f", exit code {ended['exitCode']}" if ended.get("exitCode") is not None else ""
        told = f": {ended['message']}" if ended.get("message") else ""
        text = f"mlplatform: attempt {number} of the ranks ended{who} ({reason}{code}){told}\n".encode()
        if group and rank:
            with contextlib.suppress(OSError):
                log = self._place.rank(RankKey(str(group), int(rank), number)).log
                with log.open("rb") as file:
                    file.seek(max(0, log.stat().st_size - _END))
                    said = file.read()
                head = f"mlplatform: what rank {rank} of {group} said last:\n".encode()
                text += head + b"".join(b"  | " + line + b"\n" for line in said.splitlines())
        return text


def _words(status: Mapping[str, Any]) -> str:
    """A line for each time that it changes: the phase, the attempt, and where it goes on."""
    phase = str(status.get("phase") or "Queued").lower()
    attempt = int(status.get("attempt") or 0)
    words = f"the ranks are {phase}" if phase not in ("complete", "failed") else f"the ranks: {phase}"
    attempts: list[Mapping[str, Any]] = list(status.get("attempts") or ())
    now = next((one for one in attempts if one.get("number") == attempt), dict[str, Any]())
    if attempt > 1 and phase in ("running", "starting"):
        words += f" (attempt {attempt}"
        words += f", from the checkpoint of step {now['resumedFromStep']})" if "resumedFromStep" in now else ")"
    return words
