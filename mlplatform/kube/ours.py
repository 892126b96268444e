"""The kinds of our own groups, as the client names them."""

from __future__ import annotations

from typing import Final

from mlplatform.apis.crd import KINDS
from mlplatform.apis.names import (
    GROUP,
    PIPELINE_RUN,
    RECURRING_RUN,
    TASK_RECORDS,
    TRAINING_GROUP,
    TRAINING_JOB,
    VERSION,
)
from mlplatform.kube.objects import Resource


def _resource(kind: str) -> Resource:
    return Resource(GROUP, VERSION, KINDS[kind].plural, kind)


PIPELINE_RUNS: Final = _resource(PIPELINE_RUN)
RECURRING_RUNS: Final = _resource(RECURRING_RUN)
RECORDS: Final = _resource(TASK_RECORDS)
TRAINING_JOBS: Final = Resource(TRAINING_GROUP, VERSION, KINDS[TRAINING_JOB].plural, TRAINING_JOB)
