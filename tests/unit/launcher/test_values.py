"""The launcher's own copies of rules agree with the ones they were copied from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.artifacts.digest import digest_path as reference_digest
from mlplatform.core import values as core
from mlplatform.engine.caching import env_digest
from mlplatform.launcher import values
from mlplatform.launcher.digest import digest_path
from mlplatform.launcher.variables import digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from([str(kind) for kind in core.ParameterType if "TASK" not in kind])


def _outcome(function, *arguments):
    try:
        found = function(*arguments)
    except ValueError as problem:
        return ("refused", str(problem))
    return ("taken", repr(found))


@given(JSON, TYPES)
def test_values_conform_alike(value, kind):
    ours = _outcome(values.conform, value, kind)
    theirs = _outcome(core.conform, value, core.ParameterType(kind))
    assert ours[0] == theirs[0]
    if ours[0] == "taken":
        assert ours == theirs


@given(
    st.text(max_size=12) | st.sampled_from(["1", " 1 ", "1.0", "true", "False ", "[1.0]", '{"a": 2.0}', "null"]), TYPES
)
def test_texts_parse_alike(text, kind):
    ours = _outcome(values.parse_text, text, kind)
    theirs = _outcome(core.parse_text, text, core.ParameterType(kind))
    assert ours[0] == theirs[0]
    if ours[0] == "taken":
        assert ours == theirs


@given(st.text())
def test_variables_are_digested_alike(text):
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert digest(text) == env_digest(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a").write_text("1")
    (root / "sub" / "a").write_text("1")
    (root / "sub" / "deep" / "é \n").write_text("2")
    (root / "link").symlink_to("a")
    (root / "broken").symlink_to("nowhere")
    (root / "sub" / "circle").symlink_to("..")
    os.mkfifo(root / "pipe")
    return root


def test_trees_digest_alike(tree, tmp_path):
    assert digest_path(str(tree)) == reference_digest(str(tree))
    assert digest_path(str(tree / "a")) == reference_digest(str(tree / "a"))
    copy = tmp_path / "link to tree"
    copy.symlink_to(tree)
    assert digest_path(str(copy)) == digest_path(str(tree))


def test_a_tree_is_its_names_and_contents(tree):
    first = digest_path(str(tree))[0]
    os.utime(tree / "a", (1, 1))
    (tree / "a").chmod(0o755)
    assert digest_path(str(tree))[0] == first
    (tree / "a").rename(tree / "b")
    renamed = digest_path(str(tree))[0]
    assert renamed != first
    (tree / "b").rename(tree / "a")
    assert digest_path(str(tree))[0] == first
    (tree / "sub" / "a").write_text("3")
    assert digest_path(str(tree))[0] != first
