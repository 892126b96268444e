"""The server extension: what the panel asks for, behind Jupyter's own token and XSRF check.

::

    POST   mlplatform/api/plan              {"path", "document"}: how the notebook would compile
    GET    mlplatform/api/runs?path=        its runs
    POST   mlplatform/api/runs              {"path", "parameters", "cache", "kernel"}: run it as it is saved
    GET    mlplatform/api/runs/ID           one run with its tasks
    POST   mlplatform/api/runs/ID/resume    go on with it, with the saved file's code
    POST   mlplatform/api/runs/ID/cancel
    GET    mlplatform/api/watch?path=&run=  lines of JSON: runs and the run, whenever something changed
           mlplatform/ui/...                the pages of the home (see ``jupyter.proxy``)

Paths are those of Jupyter's contents; nothing outside its root is looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import to_os_path, url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

from mlplatform.core.errors import InvalidInput, MlPlatformError, NotFound
from mlplatform.engine.home import Home, open_home
from mlplatform.jupyter import board
from mlplatform.jupyter.proxy import Pages
from mlplatform.jupyter.submitting import environment, kernel_python, submit_notebook

_T = TypeVar("_T")
#: Seconds between two looks at the store, and after which silence is filled.
_LOOK: Final = 0.4
_HEARTBEAT: Final = 15.0


def install(server_app: Any) -> None:
    """Add our addresses to a Jupyter server."""
    application = server_app.web_app
    base = str(application.settings["base_url"])

    def at(path: str) -> str:
        return url_path_join(base, "mlplatform", path)

    application.add_handlers(
        ".*$",
        [
            (at("api/plan"), Plan),
            (at("api/runs"), Runs),
            (at(r"api/runs/([A-Za-z0-9_-]+)"), OneRun),
            (at(r"api/runs/([A-Za-z0-9_-]+)/(resume|cancel)"), Change),
            (at("api/watch"), Watch),
            (at("ui"), web.RedirectHandler, {"url": at("ui/"), "permanent": False}),
            (at("ui/(.*)"), Pages),
        ],
    )
    server_app.log.info("mlplatform: runs are kept in %s", open_home(None).root)


class Handler(APIHandler):
    """Errors of ours become JSON with what to do next; work is done in threads."""

    @property
    def home(self) -> Home:
        return open_home(None)

    def notebook_path(self, given: str) -> str:
        """A path of the contents as a file of this machine. Raises InvalidInput."""
        contents: Any = self.settings["contents_manager"]
        root = os.path.realpath(str(getattr(contents, "root_dir", "") or ""))
        drive, colon, rest = given.partition(":")
        path = to_os_path(cast("Any", rest if colon and "/" not in drive else given), root)
        real = os.path.realpath(path)
        if not given or os.path.commonpath((root, real)) != root:
            raise InvalidInput(f"{given!r} is not below the folder that Jupyter shows.")
        return real

    async def answer(self, work: Callable[[], _T]) -> None:
        """Do the work and send what it gives."""
        try:
            found = await asyncio.to_thread(work)
        except MlPlatformError as error:
            self.set_status(404 if isinstance(error, NotFound) else 400 if isinstance(error, InvalidInput) else 503)
            self.finish(json.dumps({"error": error.to_json(), "message": str(error)}))
            return
        self.finish(json.dumps(found, default=str))

    def body(self) -> dict[str, Any]:
        found: Any = self.get_json_body()
        return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


class Plan(Handler):
    @web.authenticated
    async def post(self) -> None:
        given = self.body()
        document: Any = given.get("document")
        await self.answer(lambda: board.plan_of(self.notebook_path(str(given.get("path") or "")), document))


class Runs(Handler):
    @web.authenticated
    async def get(self) -> None:
        path = self.get_argument("path", "")
        await self.answer(lambda: {"runs": board.runs_of(self.home, self.notebook_path(path))})

    @web.authenticated
    async def post(self) -> None:
        given = self.body()
        await self.answer(lambda: self._start(given))

    def _start(self, given: dict[str, Any]) -> dict[str, str]:
        from mlplatform.sdk.submit import Options

        path = self.notebook_path(str(given.get("path") or ""))
        texts: Any = given.get("parameters") or {}
        assignments = [f"{name}={text}" for name, text in dict(texts).items()]
        options = Options(cache=bool(given.get("cache", True)))
        python = kernel_python(str(given.get("kernel") or ""))
        return {"run_id": submit_notebook(path, assignments, options, python=python).run_id}


class OneRun(Handler):
    @web.authenticated
    async def get(self, run_id: str) -> None:
        await self.answer(lambda: board.run_of(self.home, run_id))


class Change(Handler):
    @web.authenticated
    async def post(self, run_id: str, change: str) -> None:
        await self.answer(lambda: self._change(run_id, change))

    def _change(self, run_id: str, change: str) -> dict[str, str]:
        from mlplatform.sdk.client import LocalClient
        from mlplatform.sdk.resuming import code_now
        from mlplatform.sdk.run import Run
        from mlplatform.sdk.submit import interpreter

        client = LocalClient(self.home)
        if change == "cancel":
            client.cancel(run_id)
            return {"run_id": run_id, "told": "cancelled"}
        run = Run(self.home, run_id)
        record = run.record
        code = code_now(run, record)
        used: Any = record.context.get("interpreter") or interpreter()
        client.resume(run_id, code.document, env=environment(), interpreter=used)
        return {"run_id": run_id, "told": f"resumed with {code.whose}"}


class Watch(Handler):
    """News as lines of JSON for as long as the panel listens."""

    _gone = False

    def on_connection_close(self) -> None:
        self._gone = True

    @web.authenticated
    async def get(self) -> None:
        path, run_id = self.get_argument("path", ""), self.get_argument("run", "")
        try:
            file = self.notebook_path(path)
        except InvalidInput as error:
            raise web.HTTPError(400, str(error)) from None
        self.set_header("content-type", "application/x-ndjson")
        self.set_header("cache-control", "no-store")
        self.set_header("x-accel-buffering", "no")
        seen, told_at = -2, 0.0
        clock = asyncio.get_running_loop().time
        while not self._gone:
            here = await asyncio.to_thread(board.last_event, self.home)
            line = ""
            if here != seen:
                seen, line = here, await asyncio.to_thread(self._news, file, run_id)
            elif clock() - told_at > _HEARTBEAT:
                line = "{}\n"
            if line:
                told_at = clock()
                try:
                    self.write(line.encode())  # pyright: ignore[reportUnknownMemberType]
                    await self.flush()
                except StreamClosedError:
                    return
            await asyncio.sleep(_LOOK)

    def _news(self, file: str, run_id: str) -> str:
        try:
            runs = board.runs_of(self.home, file)
            chosen = run_id or (str(runs[0]["run_id"]) if runs else "")
            run = board.run_of(self.home, chosen) if chosen else None
        except MlPlatformError as error:
            return json.dumps({"error": error.to_json(), "message": str(error)}) + "\n"
        return json.dumps({"runs": runs, "run": run}, default=str) + "\n"
