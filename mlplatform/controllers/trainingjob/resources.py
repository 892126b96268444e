"""The kinds that the controller writes beside Kubernetes' common ones."""

from __future__ import annotations

from typing import Final

from mlplatform.kube.objects import Resource
from mlplatform.kube.ours import TRAINING_JOBS

__all__ = [
    "DEVICE_TEMPLATES",
    "FLAVORS",
    "QUEUE_PRIORITIES",
    "TOKEN_REVIEWS",
    "TOPOLOGIES",
    "TRAINING_JOBS",
    "WORKLOADS",
]

#: Asks the API server whose a token is.
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
DEVICE_TEMPLATES: Final = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")

_KUEUE: Final = ("kueue.x-k8s.io", "v1beta2")
#: What Kueue admits or lets wait; we make one for each job that a queue is to give its place.
WORKLOADS: Final = Resource(*_KUEUE, "workloads", "Workload")
#: Which nodes quota is of, how nodes are near to each other, and who goes first: administrators make these.
FLAVORS: Final = Resource(*_KUEUE, "resourceflavors", "ResourceFlavor", namespaced=False)
TOPOLOGIES: Final = Resource(*_KUEUE, "topologies", "Topology", namespaced=False)
QUEUE_PRIORITIES: Final = Resource(*_KUEUE, "workloadpriorityclasses", "WorkloadPriorityClass", namespaced=False)
