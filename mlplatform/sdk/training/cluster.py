"""Training jobs of a cluster: TrainingJob objects of a namespace."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlplatform.apis.names import LABEL_JOB
from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.planning.training.view import RankView, rank_of_pod
from mlplatform.sdk.training.run import TrainingRun


class ClusterTraining:
    """``sdk.training.run.Backend`` for a namespace of a cluster. Every call raises KubernetesError when the API server
    cannot be reached or refuses it."""

    cluster = True

    def __init__(self, namespace: str = "", context: str = "", kubeconfig: str = "") -> None:
        """Raises Unsupported: the packages for clusters are not installed."""
        from mlplatform.sdk.kubernetes.home import missing_packages

        try:
            from mlplatform.kube.objects import PODS, Key
            from mlplatform.kube.ours import TRAINING_JOBS
            from mlplatform.kube.transport import connect, target
        except ModuleNotFoundError as error:
            raise (missing_packages(error) or error) from None
        self._jobs, self._key, self._pods = TRAINING_JOBS, Key, PODS
        file = kubeconfig or os.environ.get("KUBECONFIG") or None
        self._client = connect(file, context or None)
        self.namespace = namespace or target(file, context or None).namespace or "default"

    def create(self, body: Mapping[str, Any]) -> TrainingRun:
        """Raises KubernetesError: the API server refuses it, and why."""
        whole = {**body, "metadata": {**body["metadata"], "namespace": self.namespace}}
        made = self._client.create(self._jobs, whole)
        return TrainingRun(self, str(made["metadata"]["name"]))

    def get(self, name: str) -> dict[str, Any]:
        with self._missing(name):
            return self._client.get(self._jobs, self._key(self.namespace, name))

    @contextmanager
    def _missing(self, name: str) -> Generator[None]:
        """A job that is not there is told as on one machine."""
        from mlplatform.kube.errors import ObjectNotFound

        try:
            yield
        except ObjectNotFound:
            raise NotFound(
                f"there is no training job {name!r} in namespace {self.namespace}",
                hint="mlplatform training list --backend kubernetes",
            ) from None

    def list(self) -> list[dict[str, Any]]:
        return list(self._client.list(self._jobs, self.namespace).items)

    def ranks(self, name: str) -> Sequence[RankView]:
        found = self._client.list(self._pods, self.namespace, labels=f"{LABEL_JOB}={name}").items
        return [rank for pod in found if (rank := rank_of_pod(pod)) is not None]

    def change(self, name: str, spec: Mapping[str, Any]) -> None:
        wished: dict[str, Any] = {}
        if "suspend" in spec:
            wished["suspend"] = bool(spec["suspend"])
        if replicas := spec.get("replicas"):
            groups = [dict(group) for group in self.get(name)["spec"]["groups"]]
            for group in groups:
                group["replicas"] = int(replicas.get(group["name"], group.get("replicas", 1)))
            if missing := set(replicas) - {group["name"] for group in groups}:
                raise InvalidInput(f"there is no group {', '.join(sorted(missing))}")
            wished["groups"] = groups
        with self._missing(name):
            self._client.patch(self._jobs, self._key(self.namespace, name), {"spec": wished})

    def delete(self, name: str) -> None:
        with self._missing(name):
            self._client.delete(self._jobs, self._key(self.namespace, name))

    def log(self, name: str, group: str, rank: int, attempt: int) -> str:
        from mlplatform.kube.errors import ObjectNotFound
        from mlplatform.planning.training.facts import RankKey
        from mlplatform.planning.training.names import rank_name

        pod = rank_name(name, RankKey(group, rank, attempt))
        try:
            stream = self._client.logs(self._key(self.namespace, pod))
            try:
                return b"".join(stream.chunks()).decode("utf-8", "replace")
            finally:
                stream.close()
        except ObjectNotFound:
            raise NotFound(f"the pod of rank {rank} of {group} in attempt {attempt} is gone") from None

    def alive(self) -> None:
        """The operator looks after them."""
