"""What a rank that failed said last, from the end of its log."""

from __future__ import annotations

from pathlib import Path

from mlplatform.engine.training.words import last_words


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("ValueError: long ago\n" + "x" * 20_000 + "\n")
    assert last_words(path) == ""
    with path.open("a") as file:
        file.write("ValueError: just now\n")
    assert last_words(path) == "ValueError: just now"
    assert last_words(tmp_path / "none") == ""
