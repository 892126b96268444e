"""The kinds that the controller writes beside Kubernetes' common ones."""

from __future__ import annotations

from typing import Final

from mlplatform.kube.objects import Resource
from mlplatform.kube.ours import TRAINING_JOBS

__all__ = ["DEVICE_TEMPLATES", "TOKEN_REVIEWS", "TRAINING_JOBS"]

#: Asks the API server whose a token is.
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
DEVICE_TEMPLATES: Final = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
