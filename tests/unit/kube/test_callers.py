"""Which tokens are a pod's."""

from __future__ import annotations

import pytest

from mlplatform.kube.callers import BoundPod, bound_pod

NAME, UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
EXTRA = {NAME: ["train-0"], UID: ["u-1"], "other": ["x"]}


def test_a_pods_token():
    assert bound_pod("system:serviceaccount:team:default", EXTRA) == BoundPod("team", "train-0", "u-1")


@pytest.mark.parametrize(
    ("user", "extra"),
    [
        ("ada", EXTRA),
        ("system:serviceaccount:team", EXTRA),
        ("system:serviceaccount:team:default:more", EXTRA),
        ("system:node:team:default", EXTRA),
        ("system:serviceaccount:team:default", {}),
        ("system:serviceaccount:team:default", {NAME: ["train-0"]}),
        ("system:serviceaccount:team:default", {NAME: [], UID: ["u-1"]}),
    ],
)
def test_nobody_elses(user: str, extra: dict[str, list[str]]):
    assert bound_pod(user, extra) is None
