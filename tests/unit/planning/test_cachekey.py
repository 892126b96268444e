"""Cache keys: what changes them, what does not, and how a difference is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlplatform.core.model import Artifact, Values
from mlplatform.planning.cachekey import Parts, Uncacheable, explain, make_parts, normalised_source

SOURCE = '''
def train(rows: int) -> float:
    """Train."""
    # a comment
    return rows * 0.5
'''


def parts(source: str = SOURCE, inputs: Values | None = None, **kwargs: object) -> Parts:
    values = inputs or Values({"rows": 3}, {"data": Artifact("data", "/a", digest="sha256:1")})
    made = make_parts(code=normalised_source(source), inputs=values, outputs={"Output": "NUMBER_DOUBLE"}, **kwargs)  # type: ignore[arg-type]
    assert isinstance(made, Parts)
    return made


@pytest.mark.parametrize(
    "same",
    [
        SOURCE.replace("# a comment", "# another"),
        SOURCE.replace('"""Train."""', '"""Different words."""'),
        SOURCE.replace("rows * 0.5", "(rows   *   0.5)"),
        SOURCE + "\n\n",
    ],
)
def test_what_means_the_same_has_the_same_key(same: str) -> None:
    assert parts(same).key == parts().key


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (parts(SOURCE.replace("0.5", "0.6")), "the component's code changed"),
        (
            parts(inputs=Values({"rows": 4}, {"data": Artifact("d", "/a", digest="sha256:1")})),
            "parameter 'rows' changed: 3 -> 4",
        ),
        (
            parts(inputs=Values({"rows": 3.0}, {"data": Artifact("d", "/a", digest="sha256:1")})),
            "parameter 'rows' changed",
        ),
        (
            parts(inputs=Values({"rows": 3}, {"data": Artifact("d", "/a", digest="sha256:2")})),
            "the content of artifact 'data' changed",
        ),
        (parts(python="3.12.1"), "the Python version changed"),
        (parts(packages="x"), "the installed packages changed"),
        (parts(image="sha256:9"), "the container image changed"),
        (parts(environment={"MODE": "fast"}), "environment variable 'MODE' is new"),
        (parts(secrets=("s",)), "other secrets are used"),
        (parts(user_key="k"), "the cache key set on the task changed"),
    ],
)
def test_each_difference_is_a_miss_and_is_named(other: Parts, reason: str) -> None:
    base = parts()
    if reason == "parameter 'rows' changed":
        # 3 and 3.0 are equal in Python and differ in what user code gets
        assert other.key != base.key
        return
    assert other.key != base.key
    assert explain(base.values, other.values).startswith(reason)


def test_the_place_of_an_artifact_does_not_matter() -> None:
    moved = parts(inputs=Values({"rows": 3}, {"data": Artifact("data", "/elsewhere", digest="sha256:1")}))
    assert moved.key == parts().key


def test_unknown_content_is_not_cacheable() -> None:
    inputs = Values(artifacts={"data": (Artifact("data", "gs://bucket/x"),)})
    made = make_parts(code="", inputs=inputs, outputs={})
    assert made == Uncacheable("the content of artifact gs://bucket/x is not known")


def test_metadata_counts() -> None:
    artifact = Artifact("data", "/a", digest="sha256:1")
    with_metadata = replace(artifact, metadata={"rows": 7})
    assert parts(inputs=Values({"rows": 3}, {"data": with_metadata})).key != parts().key


def test_docstrings_stay_where_they_are_read() -> None:
    source = 'def f():\n    "one"\n    return f.__doc__\n'
    assert normalised_source(source) != normalised_source(source.replace("one", "two"))


def test_source_of_another_python_is_kept_as_it_is() -> None:
    assert normalised_source("print 'hello'") == "print 'hello'"
