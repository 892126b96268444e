"""Answers of servers behind this one, on their way to whoever asked."""

from __future__ import annotations

import http.client
from collections.abc import Collection, Iterator, Mapping

from fastapi.responses import StreamingResponse

_PIECE = 1 << 16


def passed_on(
    connection: http.client.HTTPConnection,
    answer: http.client.HTTPResponse,
    told: Collection[str],
    own: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """The answer, piece by piece; the connection is closed with it.

    Args:
        told: which of its headers go on.
        own: headers of ours beside them.
    """
    headers = {name: value for name in told if (value := answer.headers.get(name)) is not None} | dict(own or {})
    return StreamingResponse(_read(connection, answer), answer.status, headers=headers)


def _read(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while part := answer.read(_PIECE):
            yield part
    finally:
        connection.close()
