"""From a TrainingJob object to what the brain looks at. What the object leaves out has the API's defaults, so a job
that never saw an API server (a file, on one machine) means the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform.apis.codec import decode
from mlplatform.apis.names import TRAINING_CONTROLLER
from mlplatform.apis.trainingjob import (
    FailurePolicySpec,
    FailureRule,
    Gang,
    HealthSpec,
    ReplicaGroup,
    RunPolicySpec,
    SuccessPolicySpec,
    TrainingJobSpec,
)
from mlplatform.planning.training.spec import (
    Action,
    CleanPods,
    DependsOn,
    FailurePolicy,
    Framework,
    Group,
    Health,
    OnHang,
    Operator,
    Role,
    Rule,
    RunPolicy,
    Scope,
    SuccessPolicy,
    TrainingSpec,
    Wait,
)


def spec_of(name: str, data: Mapping[str, Any]) -> TrainingSpec:
    """The job called ``name`` whose ``spec`` is ``data``. Raises InvalidInput with every finding."""
    return training_spec(name, decode(TrainingJobSpec, data, "spec"))


def training_spec(name: str, spec: TrainingJobSpec) -> TrainingSpec:
    """What the brain looks at."""
    gang = spec.gang or Gang()
    return TrainingSpec(
        name=name,
        framework=Framework(spec.framework),
        groups=tuple(_group(group) for group in spec.groups),
        suspend=spec.suspend,
        managed=spec.managed_by == TRAINING_CONTROLLER,
        schedule_timeout=None if gang.mode == "None" else float(gang.schedule_timeout_seconds),
        max_requeues=spec.queue.max_requeues if spec.queue is not None else None,
        failure=_failure(spec.failure_policy),
        success=_success(spec.success_policy or SuccessPolicySpec()),
        health=_health(spec.health or HealthSpec()),
        run=_run(spec.run_policy or RunPolicySpec()),
    )


def _group(group: ReplicaGroup) -> Group:
    return Group(
        name=group.name,
        role=Role(group.role),
        replicas=group.replicas,
        elastic=(group.elastic.min, group.elastic.max) if group.elastic else None,
        depends_on=tuple(DependsOn(need.group, Wait(need.status)) for need in group.depends_on),
    )


def _failure(policy: FailurePolicySpec) -> FailurePolicy:
    return FailurePolicy(
        restart_scope=Scope(policy.restart_scope),
        max_restarts=policy.max_restarts,
        window=float(policy.window_seconds),
        reset_on_checkpoint=policy.reset_on_checkpoint,
        backoff=float(policy.backoff_seconds),
        max_backoff=float(policy.max_backoff_seconds),
        rules=tuple(_rule(rule) for rule in policy.rules),
    )


def _rule(rule: FailureRule) -> Rule:
    codes = rule.exit_codes
    return Rule(
        action=Action(rule.action),
        name=rule.name,
        groups=rule.groups,
        exit_codes=frozenset(codes.values) if codes else frozenset(),
        negated=codes is not None and codes.operator == "NotIn",
        conditions=frozenset(rule.pod_conditions),
        reasons=frozenset(rule.reasons),
    )


def _success(policy: SuccessPolicySpec) -> SuccessPolicy:
    return SuccessPolicy(policy.groups, Operator(policy.operator), policy.rank0_only)


def _health(health: HealthSpec) -> Health:
    return Health(float(health.startup_timeout_seconds), float(health.progress_timeout_seconds), OnHang(health.on_hang))


def _run(policy: RunPolicySpec) -> RunPolicy:
    return RunPolicy(
        active_deadline=_seconds(policy.active_deadline_seconds),
        pending_deadline=_seconds(policy.pending_deadline_seconds),
        ttl=_seconds(policy.ttl_seconds_after_finished),
        clean_pods=CleanPods(policy.clean_pods),
    )


def _seconds(value: int | None) -> float | None:
    return None if value is None else float(value)
