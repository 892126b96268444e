"""Artifacts, as tasks see them: uploads wait on disk, and can be read back at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from mlplatform.tracking.desk import Desk
from mlplatform.tracking.ids import Caller
from mlplatform.tracking.queue import add
from mlplatform.tracking.upstream import Json
from mlplatform.tracking.wire import Answer, Request, reply

#: ``<experiment>/<run>/artifacts/<path>`` or ``<experiment>/models/<model>/artifacts/<path>``
_OWNED = re.compile(r"^[^/]+/(?:models/)?((?:m-)?[0-9a-f]{32})/artifacts/(.+)$")


class ArtifactsDesk(Desk):
    """``mlflow-artifacts/artifacts/*``."""

    def artifact(self, request: Request, path: str) -> Answer:
        caller = request.caller
        if request.method == "PUT":
            if request.blob is None:
                raise ValueError("an upload without a body")
            owned = _OWNED.match(path)
            owner = owned[1] if owned else ""
            body = {"owner": owner, "path": owned[2], "full": path} if owned else {"raw": path, "path": path}
            with self.queue.transaction() as db:
                self.declare(db, caller, adopt=True)
                add(db, self.place(caller).about(owner or caller.run), "artifact", body, str(request.blob))
            self.wake(caller)
            return reply({})
        if request.method == "GET" and path and (file := self._waiting_file(caller, path)) is not None:
            return Answer(200, content_type="application/octet-stream", file=file)
        if request.method == "GET":
            prefix = request.query.get("path", "")
            return self._waiting_list(caller, prefix) if self._all_here(prefix) else self.read(request)
        return self.write_through(request)

    def _all_here(self, prefix: str) -> bool:
        """Whether nothing of this run's or model's artifacts has reached the server yet."""
        owned = _OWNED.match(prefix.rstrip("/") + "/x")
        row = None
        if owned is not None:
            table = "models" if owned[1].startswith("m-") else "runs"
            row = self.queue.row(f"SELECT real FROM {table} WHERE id = ?", owned[1])  # noqa: S608 - two fixed names
        return row is not None and not row["real"]

    def _waiting_list(self, caller: Caller, prefix: str) -> Answer:
        """What lies directly under ``prefix``, from the uploads that wait. A prefix that is a file lists itself."""
        found: dict[str, Json] = {}
        inside = (_OWNED.match(prefix.rstrip("/") + "/x") or [""])[0].removesuffix("/x")
        for path, size in self._waiting_paths(caller):
            rest = path.removeprefix(inside + "/")
            if path == inside:
                found[path] = {"path": path.rpartition("/")[2], "is_dir": False, "file_size": size}
            elif rest != path:
                name, slash, _ = rest.partition("/")
                found[name] = {"path": name, "is_dir": bool(slash)} | ({} if slash else {"file_size": size})
        return reply({"files": list(found.values())})

    def _waiting_paths(self, caller: Caller) -> Iterator[tuple[str, int]]:
        """Whole paths, as tasks name them, and sizes of uploads that wait."""
        rows = self.queue.rows(
            "SELECT body, blob FROM ops WHERE upstream = ? AND kind = 'artifact' AND rejected = ''", caller.upstream
        )
        for row in rows:
            body = json.loads(row["body"])
            if "full" in body and Path(row["blob"]).exists():
                yield body["full"], Path(row["blob"]).stat().st_size

    def _waiting_file(self, caller: Caller, path: str) -> Path | None:
        """The newest upload of exactly this artifact that has not been delivered yet."""
        owned = _OWNED.match(path)
        rows = self.queue.rows(
            "SELECT body, blob FROM ops WHERE upstream = ? AND kind = 'artifact' AND rejected = '' ORDER BY seq DESC",
            caller.upstream,
        )
        for row in rows:
            body = json.loads(row["body"])
            same = (body.get("owner"), body.get("path")) == (owned[1], owned[2]) if owned else body.get("raw") == path
            if same and Path(row["blob"]).exists():
                return Path(row["blob"])
        return None
