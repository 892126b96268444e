"""Gathering findings, with suggestions for names that were probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mlplatform.core.errors import Finding
from mlplatform.ir import paths

_MAX_FINDINGS: Final = 1000
_MAX_CANDIDATES: Final = 2000


class Findings:
    """A list of findings that stays bounded and in order."""

    def __init__(self) -> None:
        self._found: dict[Finding, None] = {}
        self._dropped = 0

    def add(self, path: str, message: str, code: str, hint: str = "") -> None:
        if len(self._found) >= _MAX_FINDINGS:
            self._dropped += 1
        else:
            self._found.setdefault(Finding(path, message, code, hint))

    def extend(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.add(finding.path, finding.message, finding.code, finding.hint)

    def unknown(self, path: str, what: str, name: str, known: Iterable[str], where: str = "") -> None:
        """Report that ``name`` is no ``what``, with the known name that is most like it."""
        self.add(path, f"there is no {what} {paths.shorten(name)!r}{where}", "unknown-name", did_you_mean(name, known))

    def all(self) -> tuple[Finding, ...]:
        if not self._dropped:
            return tuple(self._found)
        return (*self._found, Finding("", f"and {self._dropped} more of these", "too-many"))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the known name most like ``name``, else all of them if they are few, else nothing."""
    names = list(known)
    if not names:
        return ""
    if len(names) <= _MAX_CANDIDATES and len(name) <= 200:
        import difflib  # slow to import, and needed only for mistakes

        close = difflib.get_close_matches(name, names, n=1)
        if close:
            return f"did you mean {close[0]!r}?"
    if len(names) <= 8:
        return f"there is {', '.join(repr(paths.shorten(other)) for other in sorted(names))}"
    return ""
