"""What of a job's spec does not fit together, as the API server's own rules would put it."""

from __future__ import annotations

from collections.abc import Iterator

from mlplatform.apis.trainingjob import TrainingJobSpec
from mlplatform.core.errors import Finding


def misfits(spec: TrainingJobSpec, path: str = "spec") -> Iterator[Finding]:
    """Every finding, by its path below ``path``."""
    if spec.backend == "kuberay":
        yield Finding(f"{path}.backend", "kuberay is not done yet: leave it out")
    names = [group.name for group in spec.groups]
    if len(set(names)) < len(names) or not names:
        yield Finding(f"{path}.groups", "must be at least one, each with a name of its own")
    for index, group in enumerate(spec.groups):
        at = f"{path}.groups[{index}]"
        for need in group.depends_on:
            if need.group not in names[:index]:
                yield Finding(f"{at}.dependsOn", f"can name earlier groups only, not {need.group!r}")
        if group.elastic is not None and not group.elastic.min <= group.replicas <= group.elastic.max:
            yield Finding(f"{at}.replicas", "must be from elastic.min to elastic.max")
        if group.elastic is not None and spec.framework not in ("torch", "ray"):
            yield Finding(f"{at}.elastic", "needs framework torch or ray")
    for framework, role in (("mpi", "launcher"), ("ray", "head")):
        count = sum(group.replicas for group in spec.groups if group.role == role)
        if spec.framework == framework and count != 1:
            yield Finding(f"{path}.groups", f"{framework} needs exactly one {role} group with 1 replica")
