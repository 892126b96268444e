"""Checks of the platforms document against the tasks that its executors belong to."""

from __future__ import annotations

from mlplatform.core.values import ParameterType
from mlplatform.ir import paths, platform
from mlplatform.ir.check_tasks import check_source
from mlplatform.ir.findings import Findings
from mlplatform.ir.kubernetes import KubernetesConfig
from mlplatform.ir.model import Pipeline
from mlplatform.ir.scope import DagScope


def check_platform(pipeline: Pipeline, found: Findings) -> dict[str, KubernetesConfig]:
    """Check the platforms document by itself. Returns each executor's configuration."""
    configs, findings = platform.all_configs(pipeline)
    found.extend(findings)
    for label in configs:
        if label not in pipeline.executors:
            at = paths.child("platforms.kubernetes.deploymentSpec.executors", label)
            found.unknown(at, "executor", label, pipeline.executors, " in deploymentSpec.executors")
    return configs


def check_platform_sources(scope: DagScope, configs: dict[str, KubernetesConfig]) -> None:
    """Check where the platform configuration of a DAG's tasks takes its values from."""
    for task in scope.dag.tasks.values():
        component = scope.pipeline.components.get(task.component)
        config = configs.get(component.executor_label) if component is not None and component.executor_label else None
        if component is None or config is None:
            continue
        base = paths.child("platforms.kubernetes.deploymentSpec.executors", component.executor_label)
        for name, source in platform.sources(config):
            is_json = name.startswith(("tolerations", "nodeAffinity", "nodeSelector", "podResourceClaims"))
            given = check_source(scope, f"{base}.{name}", source)
            if not is_json and given is not None and given is not ParameterType.STRING and not source.expression:
                message = f"expected STRING, but its source gives {given.value}"
                scope.found.add(f"{base}.{name}", message, "wrong-type")
