"""MLflow's limits: values are cut with a mark that says so, names are spelled with the letters MLflow takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

PARAM_VALUE = 6000
TAG_VALUE = 8000
NAME = 250
BATCH_METRICS = 1000
BATCH_PARAMS = 100
BATCH_TAGS = 100
#: MLflow counts metrics, parameters and tags of one batch together.
BATCH_TOTAL = 1000
DATASET_DIGEST = 36

_NOT_NAME = re.compile(r"[^\w\-. /:]")
_T = TypeVar("_T")


def cut(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters; what was cut off is counted at the end."""
    if len(text) <= limit:
        return text
    mark = f"... [{len(text)} characters, cut by mlplatform]"
    return text[: limit - len(mark)] + mark


def name(text: str) -> str:
    """A key MLflow takes: letters, digits, ``_ - . space / :``; no path that leads upwards."""
    text = _NOT_NAME.sub("_", text).strip("/")
    text = "/".join(part if part.strip(".") else "_" for part in text.split("/"))
    return cut(text, NAME) or "_"


def chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def batches(
    metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
) -> Iterator[tuple[Sequence[Any], Sequence[Any], Sequence[Any]]]:
    """Split what one run logged into batches MLflow accepts, in order."""
    param_chunks = list(chunks(params, BATCH_PARAMS))
    tag_chunks = list(chunks(tags, BATCH_TAGS))
    for index in range(max(len(param_chunks), len(tag_chunks))):
        yield (
            (),
            param_chunks[index] if index < len(param_chunks) else (),
            tag_chunks[index] if index < len(tag_chunks) else (),
        )
    for metric_chunk in chunks(metrics, BATCH_METRICS):
        yield metric_chunk, (), ()
