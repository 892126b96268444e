"""What capturing a function gives, and the error that says why it cannot be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from mlplatform.core.errors import Finding, InvalidInput

#: Values whose pickle is larger (bytes) stay objects: the SDK stores them as artifacts.
LARGE: Final = 10 * 1000**2
#: Values larger than this (bytes) are refused.
LIMIT: Final = 1000**3


class CannotCapture(InvalidInput):
    """Something a function reaches cannot go to another process; findings name the variable, its place, a way out."""

    code: ClassVar[str] = "CANNOT_CAPTURE"


@dataclass(frozen=True)
class Captured:
    """A function with all it reaches.

    Attributes:
        name: an identifier: what the function is called once ``source`` was executed.
        source: Python text that defines ``name`` in a fresh module namespace: modules of the project, imports, values,
            helpers, then the function. It contains ``modules`` and ``values``; only the names in ``large`` must stand
            in the namespace beforehand. ``# line N "FILE"`` before a definition tells where it was written.
        fingerprint: sha256 (hex) of ``parts``.
        parts: what the fingerprint is made of: ``function train``, ``helper clean``, ``class Model``, ``global RATES``,
            ``closure value lr of train``, ``default argument k of train``, ``module features.text`` by digest, and
            ``package scikit-learn`` by version.
        places: where a part was written: ``cell 3`` or ``train.py:12``. Not in the fingerprint.
        modules: the project's own modules that are reached, by dotted name, as source text (empty for a folder without
            ``__init__.py``).
        distributions: installed distributions that are imported, with their versions.
        values: what is not text, pickled, by name. References to captured functions and classes are persistent ids in
            these pickles (their names), so that only ``source`` can load them.
        large: values over 10 MB (:data:`LARGE`), by the name that ``source`` expects.
        findings: warnings.
    """

    name: str
    source: str
    fingerprint: str
    parts: Mapping[str, str]
    modules: Mapping[str, str]
    distributions: Mapping[str, str]
    values: Mapping[str, bytes]
    large: Mapping[str, Any] = field(default_factory=dict[str, Any])
    findings: tuple[Finding, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict[str, str])
