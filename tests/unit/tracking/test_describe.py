"""What MLflow is told of our records."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.model import Artifact, TaskError, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.tracking import describe, limits
from mlplatform.tracking.ids import (
    Caller,
    admin_token,
    load_secret,
    reserved_experiment_id,
    reserved_run_id,
    seal,
    unseal,
)
from tests.unit.tracking.conftest import run_record, task_record


def test_metrics_of_artifacts() -> None:
    outputs = Values(
        {},
        {
            "a": Artifact("a", "/a", "system.Metrics", {"acc": 0.5, "epochs": 3, "name": "x", "ok": True}),
            "b": Artifact("b", "/b", "system.Metrics", {"acc": 0.75, "bad": math.nan}),
            "roc": Artifact(
                "roc",
                "/c",
                "system.ClassificationMetrics",
                {"confidenceMetrics": [{"confidenceThreshold": 0.9, "falsePositiveRate": 0.1, "recall": 0.4}]},
            ),
            "other": Artifact("other", "/d", "system.Dataset", {"rows": 10}),
        },
    )
    found = [(m["key"], m["value"], m["step"], m["timestamp"]) for m in describe.metrics(outputs, 7)]
    assert found == [
        ("a.acc", 0.5, 0, 7),
        ("epochs", 3, 0, 7),
        ("b.acc", 0.75, 0, 7),
        ("bad", "NaN", 0, 7),
        ("roc.confidenceThreshold", 0.9, 0, 7),
        ("roc.falsePositiveRate", 0.1, 0, 7),
        ("roc.recall", 0.4, 0, 7),
    ]
    assert list(describe.documents(outputs)) == ["roc.json"]


def test_parameters_keep_their_spelling() -> None:
    found = describe.params({"i": 2, "f": 2.0, "b": True, "n": None, "l": [1, 2.5], "s": "x", "odd name!": "y" * 7000})
    values = {p["key"]: p["value"] for p in found}
    assert values["i"] == "2"
    assert values["f"] == "2.0"
    assert values["b"] == "true"
    assert values["l"] == "[1, 2.5]"
    assert len(values["odd name_"]) == limits.PARAM_VALUE
    assert values["odd name_"].endswith("[7000 characters, cut by mlplatform]")


def test_datasets_by_digest_without_credentials() -> None:
    artifact = Artifact("d", "https://user:pw@example.org/x.csv?X-Signature=abc", digest="sha256:" + "f" * 64)
    (found,) = describe.datasets({"data": artifact, "unknown": Artifact("u", "/x")})
    assert found["dataset"]["digest"] == "f" * 36
    assert found["dataset"]["source_type"] == "https"
    assert json.loads(found["dataset"]["source"])["uri"] == "https://example.org/x.csv"


def test_states() -> None:
    assert describe.TASK_STATUS[TaskState.CACHED] == "FINISHED"
    assert TaskState.SKIPPED not in describe.TASK_STATUS
    assert describe.RUN_STATUS[RunState.CANCELLED] == "KILLED"
    tags = describe.task_end_tags(task_record(error=TaskError("OUTPUT_TYPE", "the secret message")))
    assert tags["mlplatform.error_code"] == "OUTPUT_TYPE"
    assert "secret" not in json.dumps(tags)
    ended = run_record("r", outputs=Values({"best": 0.5, "name": "net"}), state=RunState.SUCCEEDED)
    assert [(m["key"], m["value"]) for m in describe.output_metrics(ended, 1)] == [("output.best", 0.5)]
    assert describe.run_end_tags(ended)["output.name"] == "net"


@given(st.text(), st.integers(min_value=100, max_value=300))
def test_cut_never_passes_the_limit(text: str, limit: int) -> None:
    cut = limits.cut(text, limit)
    assert len(cut) <= limit
    assert cut == text or text.startswith(cut.partition("... [")[0])


@given(st.text())
def test_names_are_ones_mlflow_takes(text: str) -> None:
    name = limits.name(text)
    assert 0 < len(name) <= limits.NAME
    assert not name.startswith("/")
    assert ".." not in name.split("/")


@given(st.lists(st.integers()), st.lists(st.integers()), st.lists(st.integers()))
def test_batches_lose_nothing_and_keep_order(metrics: list[int], params: list[int], tags: list[int]) -> None:
    metrics *= 300
    params *= 40
    parts = list(limits.batches(metrics, params, tags))
    assert [m for batch in parts for m in batch[0]] == metrics
    assert [p for batch in parts for p in batch[1]] == params
    assert [t for batch in parts for t in batch[2]] == tags
    assert all(len(m) <= 1000 and len(p) <= 100 and len(t) <= 100 for m, p, t in parts)
    assert all(len(m) + len(p) + len(t) <= 1000 for m, p, t in parts)


def test_reserved_ids_differ_by_what_they_stand_for() -> None:
    ids = {
        reserved_run_id("r"),
        reserved_run_id("r", "t"),
        reserved_run_id("r", "t", (0,)),
        reserved_run_id("r", "t", (0, 1)),
        reserved_run_id("r", "t", (1, 0)),
        reserved_run_id("q", "t"),
    }
    assert len(ids) == 6
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for i in ids)
    assert reserved_experiment_id("Default") == "0"
    assert reserved_experiment_id("x").startswith("9")
    assert len(reserved_experiment_id("x")) == 18


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_tokens_carry_their_caller_and_nobody_elses(name: str, experiment: str, tags: dict[str, str]) -> None:
    caller = Caller("r" * 32, "p" * 32, experiment, name, "home", tags)
    token = seal(b"key", caller)
    assert unseal(b"key", token) == caller
    assert unseal(b"other", token) is None
    assert unseal(b"key", admin_token(b"key")) is None
    assert unseal(b"key", "") is None


def test_the_secret_is_made_once(tmp_path_factory: object) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "deep"
        first = load_secret(folder)
        assert load_secret(folder) == first
        assert len(first) == 32
        assert (folder / "secret").stat().st_mode & 0o077 == 0
        assert [p.name for p in folder.iterdir()] == ["secret"]
