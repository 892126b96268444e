"""A TrainingJob object and the brain's spec mean the same."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from mlplatform.apis import trainingjob as api
from mlplatform.apis.codec import members
from mlplatform.apis.fields import about
from mlplatform.core.errors import InvalidInput
from mlplatform.planning.training import spec as brain
from mlplatform.planning.training.read import spec_of


def test_what_is_left_out_has_the_brains_defaults() -> None:
    assert spec_of("j", {"framework": "torch", "groups": [{"name": "w"}]}) == brain.TrainingSpec(
        "j", brain.Framework.TORCH, (brain.Group("w"),)
    )


def test_everything_that_can_be_said() -> None:
    data: dict[str, Any] = {
        "framework": "ray",
        "suspend": True,
        "managedBy": "kueue.x-k8s.io/multikueue",
        "gang": {"mode": "Own", "scheduleTimeoutSeconds": 60},
        "groups": [
            {"name": "head", "role": "head"},
            {
                "name": "w",
                "replicas": 3,
                "elastic": {"min": 1, "max": 4},
                "dependsOn": [{"group": "head", "status": "Ready"}],
            },
        ],
        "failurePolicy": {
            "restartScope": "Pod",
            "maxRestarts": 7,
            "windowSeconds": 60,
            "resetOnCheckpoint": False,
            "backoffSeconds": 1,
            "maxBackoffSeconds": 2,
            "rules": [
                {"name": "a", "action": "Fail", "groups": ["w"], "exitCodes": {"operator": "NotIn", "values": [3, 4]}},
                {"action": "RestartAvoidNode", "podConditions": ["DisruptionTarget"], "reasons": ["OOMKilled"]},
            ],
        },
        "successPolicy": {"groups": ["head"], "operator": "Any", "rank0Only": True},
        "health": {"startupTimeoutSeconds": 5, "progressTimeoutSeconds": 6, "onHang": "Report"},
        "runPolicy": {
            "activeDeadlineSeconds": 1,
            "pendingDeadlineSeconds": 2,
            "ttlSecondsAfterFinished": 0,
            "cleanPods": "All",
        },
    }
    assert spec_of("j", data) == brain.TrainingSpec(
        "j",
        brain.Framework.RAY,
        (
            brain.Group("head", brain.Role.HEAD),
            brain.Group("w", replicas=3, elastic=(1, 4), depends_on=(brain.DependsOn("head", brain.Wait.READY),)),
        ),
        suspend=True,
        managed=False,
        schedule_timeout=60.0,
        failure=brain.FailurePolicy(
            brain.Scope.POD,
            7,
            60.0,
            False,
            1.0,
            2.0,
            (
                brain.Rule(brain.Action.FAIL, "a", ("w",), frozenset({3, 4}), negated=True),
                brain.Rule(
                    brain.Action.RESTART_AVOID_NODE,
                    conditions=frozenset({"DisruptionTarget"}),
                    reasons=frozenset({"OOMKilled"}),
                ),
            ),
        ),
        success=brain.SuccessPolicy(("head",), brain.Operator.ANY, True),
        health=brain.Health(5.0, 6.0, brain.OnHang.REPORT),
        run=brain.RunPolicy(1.0, 2.0, 0.0, brain.CleanPods.ALL),
    )


def test_ranks_that_may_come_one_by_one() -> None:
    data = {"framework": "python", "groups": [{"name": "w"}], "gang": {"mode": "None"}}
    assert spec_of("j", data).schedule_timeout is None


def test_what_is_no_job_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as raised:
        spec_of("j", {"groups": [{"replicas": "2"}]})
    assert [finding.path for finding in raised.value.findings] == [
        "spec.framework",
        "spec.groups[0].name",
        "spec.groups[0].replicas",
    ]


WORDS = [
    (api.TrainingJobSpec, "framework", brain.Framework),
    (api.ReplicaGroup, "role", brain.Role),
    (api.GroupDependency, "status", brain.Wait),
    (api.FailurePolicySpec, "restart_scope", brain.Scope),
    (api.FailureRule, "action", brain.Action),
    (api.HealthSpec, "on_hang", brain.OnHang),
    (api.RunPolicySpec, "clean_pods", brain.CleanPods),
    (api.SuccessPolicySpec, "operator", brain.Operator),
]


@pytest.mark.parametrize(("cls", "name", "enum"), WORDS, ids=[name for _, name, _ in WORDS])
def test_the_api_and_the_brain_have_the_same_words(cls: type, name: str, enum: Any) -> None:
    item = next(item for item, _, _ in members(cls) if item.name == name)
    assert set(about(item).enum) == {str(word) for word in enum}
    assert get_args(item.type) == ()
