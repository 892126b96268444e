"""Secrets in snapshots."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlplatform.launcher.notebook import veil
from mlplatform.launcher.notebook.comparing import look
from mlplatform.launcher.notebook.keeping import keep, load


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    veil._known.clear()  # pyright: ignore[reportPrivateUsage]
    veil._ours.clear()  # pyright: ignore[reportPrivateUsage]
    yield
    veil._known.clear()  # pyright: ignore[reportPrivateUsage]
    veil._ours.clear()  # pyright: ignore[reportPrivateUsage]


def test_a_snapshot_holds_marks_and_loading_it_puts_secrets_in(tmp_path: Path) -> None:
    veil.learn({"DB_PASSWORD": "hunter2hunter2", "HOME": "/somebody", "TOKENIZERS_PARALLELISM": "something long"})
    value = {"env": {"DB_PASSWORD": "hunter2hunter2"}, "url": "db://me:hunter2hunter2@host", "x": "something long"}
    path = tmp_path / "kept"
    with path.open("wb") as file:
        keep({"value": value}, {}, file, frozenset())
    data = path.read_bytes()
    assert b"hunter2" not in data
    assert b"something long" in data
    assert load(str(path)) == {"value": value}
    veil._known.clear()  # pyright: ignore[reportPrivateUsage]
    veil.learn({"DB_PASSWORD": "swordfish swor"})
    assert load(str(path))["value"]["env"]["DB_PASSWORD"] == "swordfish swor"


def test_only_the_platforms_tokens_are_left_out_of_comparisons() -> None:
    def digests(env: dict[str, str]) -> str:
        veil.learn(env)
        return look(dict(env), {}).digest

    ours = {"MLFLOW_TRACKING_TOKEN": "token-of-run-1"}
    theirs = {"MY_SECRET": "secret of mine 1"}
    assert digests(ours) == digests({"MLFLOW_TRACKING_TOKEN": "token-of-run-2"})
    assert digests(theirs) != digests({"MY_SECRET": "secret of mine 2"})


@pytest.mark.parametrize("value", ["short", "/run/secrets/token"])
def test_what_is_no_secret_is_left_alone(value: str) -> None:
    veil.learn({"SOME_TOKEN": value})
    data: Any = pickle.dumps(value)
    assert veil.cover(data) is data


def test_people_read_stars() -> None:
    veil.learn({"MLFLOW_TRACKING_TOKEN": "abcdefgh12", "OTHER_TOKEN": "ijklmnop34"})
    assert veil.hide(b"<abcdefgh12 ijklmnop34>") == b"<*** ijklmnop34>"
    assert veil.ours() == ["abcdefgh12"]
