"""Stored documents by their digest, for what is made of them once and kept."""

from __future__ import annotations

from collections.abc import Callable


class Source:
    """A document that is read only where what is made of it is not kept yet. Two are equal if their digests are."""

    def __init__(self, digest: str, read: Callable[[], bytes]) -> None:
        self.digest = digest
        self.read = read

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)
