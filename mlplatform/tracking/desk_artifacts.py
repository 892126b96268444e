"""Artifacts, as tasks see them: uploads wait on disk, and can be read back at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mlplatform.tracking.desk import Desk
from mlplatform.tracking.ids import Caller
from mlplatform.tracking.queue import add
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
            body = {"owner": owner, "path": owned[2]} if owned else {"raw": path, "path": path}
            with self.queue.transaction() as db:
                if owner == caller.run or not owned:
                    self.declare(db, caller, adopt=owner == caller.run)
                add(db, self.place(caller).about(owner or caller.run), "artifact", body, str(request.blob))
            self.wake(caller)
            return reply({})
        if request.method == "GET" and path and (file := self._waiting_file(caller, path)) is not None:
            return Answer(200, content_type="application/octet-stream", file=file)
        if request.method == "GET":
            return self.read(request)
        return self.write_through(request)

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
