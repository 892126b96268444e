"""What a rank that failed said last: of all that it wrote, the line that says why."""

from __future__ import annotations

import re
from typing import Final

#: The reason of a rank that could not save.
CHECKPOINT_FAILED: Final = "CheckpointFailed"
_MOST: Final = 512
#: ``ValueError: bad``, ``torch.OutOfMemoryError: CUDA ...``, as the last line of a traceback.
_RAISED: Final = re.compile(r"^(?:\[\w+\]:\s*)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b.*)$")
#: What ``mlplatform.training.checkpoint`` raises.
_UNSAVED: Final = re.compile(r"\b(?:mlplatform\.training\.checkpoints\.)?CheckpointError: ")


def last_words(text: str) -> str:
    """The last line that names an exception, or what the platform said; "": none does."""
    for line in reversed(text.splitlines()):
        if line.startswith("mlplatform: "):
            return line.removeprefix("mlplatform: ").strip()[:_MOST]
        if (found := _RAISED.match(line)) and "ChildFailedError" not in line:
            return found.group(1).strip()[:_MOST]
    return ""


def reasons_in(words: str) -> frozenset[str]:
    """The platform's words for what a rank said last."""
    return frozenset({CHECKPOINT_FAILED}) if _UNSAVED.search(words) else frozenset()
