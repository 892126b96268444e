"""The kinds that the controller writes beside Kubernetes' common ones."""

from __future__ import annotations

from typing import Final

from mlplatform.apis.names import TRAINING_GROUP, TRAINING_JOB, VERSION
from mlplatform.kube.objects import Resource

TRAINING_JOBS: Final = Resource(TRAINING_GROUP, VERSION, "trainingjobs", TRAINING_JOB)
#: Asks the API server whose a token is.
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
DEVICE_TEMPLATES: Final = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
