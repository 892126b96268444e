"""Tracking switched off: nothing of MLflow is there, whatever runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidInput
from mlplatform.engine.home import open_home
from mlplatform.sdk.local import compose
from mlplatform.tracking.client import MlflowTracker
from mlplatform.tracking.off import NoTracker, switched_off


@pytest.mark.parametrize(("word", "off"), [("", False), ("on", False), ("off", True), (" OFF ", True)])
def test_the_word(monkeypatch: pytest.MonkeyPatch, word: str, off: bool) -> None:
    monkeypatch.setenv("MLPLATFORM_TRACKING", word)
    assert switched_off() is off


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPLATFORM_TRACKING", "none")
    with pytest.raises(InvalidInput, match="can be 'on' or 'off'"):
        switched_off()


@pytest.mark.parametrize(("word", "kind"), [("off", NoTracker), ("on", MlflowTracker)])
def test_the_service_of_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, word: str, kind: type) -> None:
    monkeypatch.setenv("MLPLATFORM_TRACKING", word)
    home = open_home(tmp_path)
    home.prepare()
    core = compose(home).core
    try:
        assert type(core.tracker) is kind
        assert (home.mlflow / "queue.db").exists() is (kind is MlflowTracker)
    finally:
        core.tracker.close()
        core.close_threads()
        core.store.close()
