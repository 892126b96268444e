"""JSON lines over a stream: how clients talk to the service (see docs/how-a-run-works.md for the operations)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from mlplatform.core.errors import InvalidInput, MlPlatformError
from mlplatform.core.values import child

#: A request line may be this long: a pipeline document of 32 MiB with room for its JSON spelling.
LINE_LIMIT = 128 * 2**20

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]
StreamHandler = Callable[[Mapping[str, Any]], AsyncIterator[Mapping[str, Any]]]


def encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("utf-8") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Raises InvalidInput for a line that is not a JSON object."""
    try:
        data = json.loads(line)
    except ValueError:
        raise InvalidInput("a request must be one line of JSON") from None
    if not isinstance(data, dict):
        raise InvalidInput("a request must be a JSON object")
    return data  # pyright: ignore[reportUnknownVariableType]


class Connection:
    """Serves one client: requests may overlap, answers carry the request's id."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handlers: Mapping[str, Handler],
        streams: Mapping[str, StreamHandler],
        on_crash: Callable[[BaseException], str],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handlers = handlers
        self._streams = streams
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    async def serve(self) -> None:
        """Until the client leaves."""
        try:
            while line := await self._reader.readline():
                task = asyncio.ensure_future(self._answer(line))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (ConnectionError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            for task in list(self._tasks):
                task.cancel()
            self._writer.close()

    async def _answer(self, line: bytes) -> None:
        number: Any = None
        try:
            request = decode(line)
            number = request.get("id")
            operation, args = request.get("op", ""), child(request, "args")
            if operation in self._streams:
                async for event in self._streams[operation](args):
                    await self._send({"id": number, "event": event})
                await self._send({"id": number, "result": None})
            elif operation in self._handlers:
                await self._send({"id": number, "result": await self._handlers[operation](args)})
            else:
                raise InvalidInput(f"there is no operation {operation!r}")
        except MlPlatformError as error:
            await self._send({"id": number, "error": error.to_json()})
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 - the client must get an answer, whatever our bug is
            message = self._on_crash(error)
            await self._send(
                {"id": number, "error": {"code": "INTERNAL", "message": message, "hint": "", "findings": []}}
            )

    async def _send(self, message: Mapping[str, Any]) -> None:
        async with self._lock:
            try:
                self._writer.write(encode(message))
                await self._writer.drain()
            except ConnectionError:
                pass
