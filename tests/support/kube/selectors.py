"""Label and field selectors of the API server in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mlplatform.kube.objects import Object, labels_of
from tests.support.kube.refusals import refuse

_FIELDS = {"metadata.name", "metadata.namespace", "status.phase", "spec.nodeName", "type", "reason"}


def matcher(query: Mapping[str, str]) -> Callable[[Object], bool]:
    tests = [_label(part) for part in _split(query.get("labelSelector", ""))]
    tests += [_field(part) for part in _split(query.get("fieldSelector", ""))]
    return lambda body: all(test(body) for test in tests)


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _label(part: str) -> Callable[[Object], bool]:
    if matched := re.fullmatch(r"([^\s!=]+)\s+(in|notin)\s+\(([^)]*)\)", part):
        key, word, values = matched.groups()
        among = {value.strip() for value in values.split(",")}
        return lambda body: (labels_of(body).get(key) in among) == (word == "in")
    if matched := re.fullmatch(r"([^\s!=]+)\s*(!=|==?)\s*([^\s!=]*)", part):
        key, word, value = matched.groups()
        return lambda body: (labels_of(body).get(key) == value) == (word != "!=")
    if matched := re.fullmatch(r"(!?)([^\s!=]+)", part):
        absent, key = matched.groups()
        return lambda body: (key in labels_of(body)) != bool(absent)
    raise refuse(400, f"unable to parse requirement: {part}", "BadRequest")


def _field(part: str) -> Callable[[Object], bool]:
    matched = re.fullmatch(r"([\w.]+)(!=|==?)(.*)", part)
    if not matched or matched[1] not in _FIELDS:
        raise refuse(400, f"field label not supported: {part}", "BadRequest")
    path, word, wanted = matched.groups()

    def test(body: Object) -> bool:
        value: Any = body
        for name in path.split("."):
            value = (value or {}).get(name)
        return ((value or "") == wanted) == (word != "!=")

    return test
