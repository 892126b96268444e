"""The kinds of objects that the server reads and writes."""

from __future__ import annotations

from typing import Final

from mlplatform.apis.names import GROUP, PIPELINE_RUN, TASK_RECORDS, VERSION
from mlplatform.kube.objects import Resource

PIPELINE_RUNS: Final = Resource(GROUP, VERSION, "pipelineruns", PIPELINE_RUN)
TASK_RECORDS_OBJECTS: Final = Resource(GROUP, VERSION, "taskrecords", TASK_RECORDS)
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
