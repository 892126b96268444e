"""Each version of an object is read once, for as long as its run lives."""

from __future__ import annotations

import msgspec

from mlplatform.controllers.framework.caches import InformerCaches
from mlplatform.controllers.pipelinerun.reading import Reading
from mlplatform.kube.cache import Cache
from mlplatform.kube.objects import PODS, Key, Object
from mlplatform.kube.watch import meta_of

RUN: Object = {"metadata": {"uid": "run-1"}}


def put(cache: Cache, name: str, version: int) -> None:
    owner = {"apiVersion": "a/v1", "kind": "R", "name": "r", "uid": "run-1", "controller": True}
    meta = {"name": name, "namespace": "n", "uid": f"u-{name}", "resourceVersion": str(version)}
    raw = msgspec.json.encode({"metadata": meta | {"ownerReferences": [owner]}})
    cache.put(meta_of(raw), raw)


def test_only_what_changed_is_read() -> None:
    cache, reading, read = Cache(PODS), Reading(), list[str]()

    def name_and_version(body: Object) -> str:
        read.append(body["metadata"]["name"])
        return f"{body['metadata']['name']}@{body['metadata']['resourceVersion']}"

    caches = InformerCaches({PODS: cache})
    put(cache, "a", 1)
    put(cache, "b", 1)
    assert reading.owned(caches, PODS, RUN, name_and_version) == ["a@1", "b@1"]
    put(cache, "b", 2)
    put(cache, "c", 3)
    assert reading.owned(caches, PODS, RUN, name_and_version) == ["a@1", "b@2", "c@3"]
    assert read == ["a", "b", "b", "c"]
    cache.remove(Key("n", "a"))
    put(cache, "a", 4)
    assert reading.owned(caches, PODS, RUN, name_and_version)[0] == "a@4"
    reading.forget("run-1")
    assert len(reading.owned(caches, PODS, RUN, name_and_version)) == 3
    assert len(read) == 8
