"""What the SDK tells of a component in the first line of its source."""

from __future__ import annotations

import pytest

from mlplatform.core.parts import explain_parts
from mlplatform.planning.cachekey import explain
from mlplatform.planning.sdk_component import describe

SOURCE = (
    '# mlplatform: {"adapter": 1, "name": "train", "parts": {"function train": "a"}, "kfp": true, "reads": ["x.csv"],'
    ' "folders": ["/srv/p"], "packages": {"numpy": "2.0"}}\n'
    "def train(): ...\n"
    "mlplatform_task = _mlplatform_adapter().bind(train, '{\"arguments\": {}}')\n"
)


def test_what_is_told() -> None:
    found = describe(SOURCE)
    assert found is not None
    assert (found.name, dict(found.parts), found.adapter) == ("train", {"function train": "a"}, 1)
    assert (found.needs_kfp, found.reads, found.folders) == (True, ("x.csv",), ("/srv/p",))
    assert dict(found.packages) == {"numpy": "2.0"}
    assert found.spec == '{"arguments": {}}\')'


@pytest.mark.parametrize(
    "source", ["", "def f(): ...", "# mlplatform: {", "# mlplatform: []\n", '# mlplatform: {"name": 1}\n']
)
def test_other_sources_tell_nothing(source: str) -> None:
    assert describe(source) is None


def test_the_most_telling_part_is_named_first() -> None:
    before = {"module a": "1", "helper b": "1", "function f": "1", "package numpy": "1.0", "global G": "1"}
    assert explain_parts(before, dict(before)) == ""
    assert explain_parts(before, {**before, "module a": "2", "helper b": "2"}) == "helper b changed"
    assert explain_parts(before, {**before, "package numpy": "2.0"}) == "package numpy changed: 1.0 -> 2.0"
    assert explain_parts(before, {**before, "global H": "1"}) == "global H is new"
    assert explain_parts({**before, "class C": "1"}, before) == "class C is gone"


def test_why_names_it() -> None:
    code = {"parts": {"helper clean": "1"}, "folder": "/a"}
    assert explain({"code": code}, {"code": {**code, "parts": {"helper clean": "2"}}}) == "helper clean changed"
    assert 'another folder: "/a" -> "/b"' in explain({"code": code}, {"code": {**code, "folder": "/b"}})
    assert explain({"code": {"source": "a"}}, {"code": {"source": "b"}}) == "the component's code changed"
