"""What is kept of an object that a watch or a list brings."""

from __future__ import annotations

import json
from typing import Any

from mlplatform.kube.cache import Cache
from mlplatform.kube.objects import PODS, Key
from mlplatform.kube.watch import lean, meta_of

FIELDS: list[dict[str, Any]] = [
    {"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {"f:phase": {}}}}
]


def pod(**meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7", **meta},
        "spec": {"containers": [{"name": "main", "args": ['say "managedFields"', "ä\n"]}]},
        "status": {"phase": "Running", "number": 1.5, "none": None},
    }


def test_the_servers_bookkeeping_is_left_out_and_nothing_else() -> None:
    raw = json.dumps(pod(labels={"x": "y"}, managedFields=FIELDS)).encode()
    assert json.loads(lean(raw)) == pod(labels={"x": "y"})
    assert meta_of(lean(raw)) == meta_of(raw)
    for body in (pod(), {"kind": "Status", "message": '"managedFields"'}, {"metadata": {"name": "a"}}):
        text = json.dumps(body).encode()
        assert lean(text) == text


def test_a_cache_keeps_no_bookkeeping() -> None:
    """It would be up to half of its memory, and most of the time of each look at an object."""
    cache = Cache(PODS)
    raw = json.dumps(pod(managedFields=FIELDS)).encode()
    cache.put(meta_of(raw), raw)
    assert cache.get(Key("default", "a")) == pod()
