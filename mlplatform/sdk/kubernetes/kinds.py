"""The kinds of objects that runs of a cluster are made of."""

from __future__ import annotations

from typing import Final

from mlplatform.apis.names import GROUP, PIPELINE_RUN, TASK_RECORDS, VERSION
from mlplatform.kube.objects import Resource

PIPELINE_RUNS: Final = Resource(GROUP, VERSION, "pipelineruns", PIPELINE_RUN)
TASK_RECORDS_OBJECTS: Final = Resource(GROUP, VERSION, "taskrecords", TASK_RECORDS)
