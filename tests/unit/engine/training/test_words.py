"""What a rank that failed said last."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlplatform.engine.training.words import last_words


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("Traceback ...\n  File x\nValueError: no such column\n", "ValueError: no such column"),
        ("[rank0]: torch.OutOfMemoryError: CUDA out of memory\nmore\n", "torch.OutOfMemoryError: CUDA out of memory"),
        (
            "RuntimeError: the cause\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n",
            "RuntimeError: the cause",
        ),
        ("mlplatform: train: No such file or directory\n", "train: No such file or directory"),
        ("all is well\n", ""),
        ("", ""),
    ],
)
def test_the_last_exception(tmp_path: Path, log: str, words: str) -> None:
    path = tmp_path / "log"
    path.write_text(log)
    assert last_words(path) == words
    assert last_words(tmp_path / "none") == ""
