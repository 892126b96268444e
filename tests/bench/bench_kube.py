"""The client runtime: decoding an object, and an operator that starts beside 10,000 finished runs.

    python -m tests.bench.bench_kube            the server's answers come from memory: only our own time counts
    MLPLATFORM_TEST_CLUSTER=... python -m tests.bench.bench_kube    also makes that many objects there, and lists them

Times are of the processor and of the clock; memory is what the process has grown by.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec

from mlplatform.apis.objects import pipeline_run_object
from mlplatform.apis.pipelinerun import PipelineRunSpec
from mlplatform.controllers.pipelinerun.controller import PipelineRuns
from mlplatform.kube.cache import Cache
from mlplatform.kube.errors import AlreadyExists
from mlplatform.kube.informer import Informer
from mlplatform.kube.objects import CONFIG_MAPS, NAMESPACES, PODS, Key, Object
from mlplatform.kube.ours import PIPELINE_RUNS
from mlplatform.kube.transport import connect
from mlplatform.kube.watch import meta_of
from mlplatform.kube.wire import Answer, Request, Stream
from mlplatform.render.settings import PodSettings
from tests.cluster.cluster import Cluster
from tests.support.kube.toy import manager
from tests.unit.controllers.pipelinerun.documents import chain
from tests.unit.controllers.pipelinerun.test_rights import Play, value

RUNS = 10_000


def megabytes() -> float:
    """Resident memory of this process, without what it has freed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize() / 2**20


def finished_run(number: int) -> Object:
    """A run of ten tasks as the API server keeps it when it is over: some 8 KiB."""
    spec = PipelineRunSpec(document=chain(10))
    body = pipeline_run_object(f"run-{number:05d}", "default", spec)
    body["metadata"] |= {
        "uid": f"00000000-0000-0000-0000-{number:012d}",
        "resourceVersion": str(1000 + number),
        "generation": 1,
        "creationTimestamp": "2026-01-31T12:00:00Z",
        "managedFields": [
            {"manager": "kubectl-create", "operation": "Update", "fieldsV1": {"f:spec": {"f:document": {}}}},
            {"manager": "mlplatform", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        ],
    }
    return body


class Memory:
    """Answers lists from ready pages; counts what is written."""

    def __init__(self, items: list[bytes]) -> None:
        self.pages: list[bytes] = []
        for start in range(0, len(items), 500):
            more = start + 500 < len(items)
            meta: dict[str, Any] = {"resourceVersion": "99999", **({"continue": str(start + 500)} if more else {})}
            self.pages.append(
                b'{"metadata":%s,"items":[%s]}' % (json.dumps(meta).encode(), b",".join(items[start : start + 500]))
            )
        self.writes = 0

    def send(self, request: Request) -> Answer:
        if request.writes:
            self.writes += 1
            return Answer(500, b"{}")
        if request.path.endswith(PIPELINE_RUNS.plural):
            return Answer(200, self.pages[int(request.query.get("continue") or 0) // 500])
        return Answer(200, b'{"metadata":{"resourceVersion":"99999"},"items":[]}')

    def stream(self, request: Request) -> Stream:
        raise AssertionError("nothing is watched here")

    def close(self) -> None: ...


def timed(what: Callable[[], object], times: int) -> float:
    """Microseconds of processor time a call, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            what()
        best = min(best, (time.process_time() - began) / times)
    return best * 1e6


def decoding() -> None:
    played = Play(value, PipelineRunSpec(document=chain(1)))
    played.stage.operator.settle()
    [pod] = played.stage.client.list(PODS).items
    raw = msgspec.json.encode(pod)
    cache = Cache(PODS)
    cache.put(meta_of(raw), raw)
    key = Key("default", pod["metadata"]["name"])
    print(f"a pod of a task ({len(raw)} bytes), microseconds of processor time:")
    meta, whole = timed(lambda: meta_of(raw), 2000), timed(lambda: cache.get(key), 2000)
    plain = timed(lambda: json.loads(raw), 2000)
    print(f"  what a cache needs of it {meta:7.1f}")
    print(f"  the whole of it          {whole:7.1f}")
    print(f"  json.loads               {plain:7.1f}")
    official = _official()
    if official is not None:
        models = timed(lambda: official(raw), 20)
        ratios = f"{models / meta:.0f} times what a cache needs, {models / whole:.0f} times the whole"
        print(f"  the official models      {models:7.1f}  ({ratios})")


def _official() -> Callable[[bytes], object] | None:
    try:
        from kubernetes.client import ApiClient, Configuration
    except ImportError:
        return None
    client = ApiClient(Configuration())

    class Response:
        def __init__(self, data: bytes) -> None:
            self.data = data.decode()

    return lambda raw: client.deserialize(Response(raw), "V1Pod")


def settled(count: int) -> Iterator[bytes]:
    """Finished runs with the status that the operator gave the first of them."""
    played = Play(value, PipelineRunSpec(document=chain(10)))
    status = played.stage.play()["status"]
    for number in range(count):
        yield msgspec.json.encode({**finished_run(number), "status": status})


def resync() -> None:
    items = list(settled(RUNS))
    server = Memory(items)
    size = sum(map(len, items)) / 2**20
    del items
    operator = manager(server, (PipelineRuns(PodSettings()),), now=lambda: 1_800_000_000.0)
    before = megabytes()
    wall, cpu = time.perf_counter(), time.process_time()
    operator.refresh()
    listed = time.perf_counter() - wall, time.process_time() - cpu
    loop = operator.loops[0]
    looked = 0
    while loop.process_one():
        looked += 1
    whole = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{RUNS} finished runs of 10 tasks ({size:.0f} MiB of JSON), an operator that starts:")
    print(f"  lists and indexes them   {listed[1]:6.2f} s of processor time ({listed[0]:.2f} s on the clock)")
    print(f"  has looked at all {looked} {whole[1]:6.2f} s ({whole[0]:.2f} s)")
    print(f"  memory it grew by        {megabytes() - before:6.0f} MiB\n  writes                   {server.writes:6d}")
    wall, cpu = time.perf_counter(), time.process_time()
    operator.refresh()
    loop.wake_all()
    while loop.process_one():
        pass
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"  and all of it again      {cpu:6.2f} s ({wall:.2f} s), writes {server.writes}")


def real(folder: str) -> None:
    """Objects in a real API server, listed by a cache."""
    client = connect(str(Cluster.find(Path(folder)).kubeconfig))
    namespace = "bench-kube"
    with contextlib.suppress(AlreadyExists):
        client.create(NAMESPACES, {"metadata": {"name": namespace}})
    have = len(client.list(CONFIG_MAPS, namespace).items)
    for number in range(have, int(os.environ.get("BENCH_OBJECTS", "2000"))):
        meta = {"name": f"c{number}", "namespace": namespace}
        client.create(CONFIG_MAPS, {"metadata": meta, "data": {"x": "y" * 4000}})
    informer = Informer(client, CONFIG_MAPS, namespace)
    before = megabytes()
    wall, cpu = time.perf_counter(), time.process_time()
    informer.refresh()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{len(informer.cache)} ConfigMaps of 4 KiB from a real API server:")
    print(f"  listed                   {cpu:6.2f} s of our processor time ({wall:.2f} s)")
    print(f"  memory it grew by        {megabytes() - before:6.0f} MiB")


def main() -> None:
    decoding()
    resync()
    if os.environ.get("MLPLATFORM_TEST_CLUSTER"):
        real(os.environ["MLPLATFORM_TEST_CLUSTER"])


if __name__ == "__main__":
    main()
