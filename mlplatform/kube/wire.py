"""What goes over the wire: a transport sends a request and gives an answer, whole or as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

#: How a patch is meant.
APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` without query; ``query`` has only what is set; ``timeout`` in seconds of silence; ``headers`` beside
    those of the transport."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    content_type: str = "application/json"
    timeout: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` as HTTP has it; ``headers`` in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Stream(Protocol):
    """An answer that comes in pieces. ``close`` may be called from another thread and ends the iteration."""

    @property
    def status(self) -> int: ...

    def chunks(self) -> Iterator[bytes]:
        """Raises Unavailable where the connection breaks; a proper end just ends."""
        ...

    def read(self) -> bytes:
        """All of it (for answers that are errors)."""
        ...

    def close(self) -> None: ...


class Transport(Protocol):
    """Raises Unavailable where there is no answer; what the answer means is the client's business."""

    def send(self, request: Request) -> Answer: ...

    def stream(self, request: Request) -> Stream: ...

    def close(self) -> None: ...
