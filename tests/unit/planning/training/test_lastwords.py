"""Of all that a rank wrote, the line that says why it failed."""

from __future__ import annotations

import pytest

from mlplatform.planning.training.lastwords import last_words, reasons_in

UNSAVED = "the checkpoint of step 9 could not be saved in /c: No space left on device"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Traceback ...\n  File x\nValueError: no such column\n", "ValueError: no such column"),
        ("[rank0]: torch.OutOfMemoryError: CUDA out of memory\nmore\n", "torch.OutOfMemoryError: CUDA out of memory"),
        (
            "RuntimeError: the cause\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n",
            "RuntimeError: the cause",
        ),
        ("mlplatform: train: No such file or directory\n", "train: No such file or directory"),
        ("KeyError: 'x'\nCheckpointError: gone\n", "CheckpointError: gone"),
        ("all is well\n", ""),
        ("", ""),
    ],
)
def test_the_last_exception(text: str, words: str) -> None:
    assert last_words(text) == words


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        (f"mlplatform.training.checkpoints.CheckpointError: {UNSAVED}", {"CheckpointFailed"}),
        (f"CheckpointError: {UNSAVED}", {"CheckpointFailed"}),
        ("ValueError: no CheckpointErrors here", set()),
        ("", set()),
    ],
)
def test_a_rank_that_could_not_save_is_told_from_others(words: str, reasons: set[str]) -> None:
    assert reasons_in(words) == reasons
