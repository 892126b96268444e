"""Many TrainingJobs over many nodes of kwok's, beside raw pods that the same client posts in the same run.

    python -m tests.bench.bench_training [JOBS [NODES [WORKERS]]]      1,000 jobs over 100 nodes unless it is said

Each job has one rank that ends at once. The operator is a process of its own; jobs a second are counted from the first
POST to the last job whose rank is made, and to the last that is Complete. Where everything runs on one machine, what
limits it is processor time, and most of that is the API server's: who used how much of it for a job is printed. kwok
renews the Lease of every node each ten seconds, so 1,000 nodes alone are a hundred writes a second; the flags of the
control plane are printed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mlplatform.controllers.trainingjob.resources import TRAINING_JOBS
from mlplatform.kube.cache import Change
from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.informer import Informer
from mlplatform.kube.objects import NAMESPACES, NODES, PODS, Key, Object
from mlplatform.kube.transport import connect
from tests.bench.bench_cluster import at_once, load, namespace_on
from tests.cluster.addons import kwok_node
from tests.cluster.cluster import Cluster
from tests.support.kube.arena import until
from tests.support.kube.measured import Operator
from tests.support.kube.platform import apply_crds
from tests.support.kube.training import group, job

TOLERATES = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
CONTAINERS = [{"name": "main", "image": "localhost/train:1"}]


class Ended:
    """Counts objects whose JSON has a word in it; ``all`` is set when that many have."""

    def __init__(self, cluster: Cluster, client: Client, kind: object, namespace: str, word: bytes, count: int) -> None:
        self._client = connect(str(cluster.kubeconfig))
        self._word, self._count = word, count
        self.names: set[Key] = set()
        self.all = threading.Event()
        self.informer = Informer(self._client, kind, namespace, on_change=self._changed)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self.informer.run, daemon=True)
        self._thread.start()
        self.informer.synced.wait(60)

    def _changed(self, change: Change) -> None:
        body = self.informer.cache.get(change.key) or {}
        if (body.get("status") or {}).get("phase", "").encode() == self._word:
            self.names.add(change.key)
            if len(self.names) >= self._count:
                self.all.set()

    def stop(self) -> None:
        self.informer.stop()
        self._thread.join(10)
        self._client.transport.close()


def nodes(cluster: Cluster, count: int) -> None:
    """That many nodes, ready."""
    client = connect(str(cluster.kubeconfig))
    there = {one["metadata"]["name"] for one in client.list(NODES, labels="type=kwok").items}

    def make(number: int) -> None:
        if f"many-{number}" not in there:
            client.create(NODES, kwok_node(f"many-{number}", tainted=cluster.has_node))

    at_once(make, range(count))

    def ready() -> bool:
        found = client.list(NODES, labels="type=kwok").items
        conditions = [one["status"].get("conditions", ()) for one in found]
        return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in one) for one in conditions) >= count

    until(ready, 600)
    client.transport.close()


def bare(name: str, namespace: str, owner: Object | None = None) -> Object:
    """A pod; with an owner one that is scheduled and ends."""
    meta: Object = {"name": name, "namespace": namespace}
    spec: Object = {"containers": CONTAINERS, "restartPolicy": "Never"}
    if owner is None:
        return {"metadata": meta, "spec": spec | {"schedulerName": "nobody"}}
    meta["ownerReferences"] = [
        {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
         "uid": owner["metadata"]["uid"]}
    ]  # fmt: skip
    return {"metadata": meta, "spec": spec | {"tolerations": TOLERATES, "nodeSelector": {"type": "kwok"}}}


def training(name: str, namespace: str, **spec: object) -> Object:
    body = job(group(replicas=1), name=name, framework="python", **spec)
    body["metadata"]["namespace"] = namespace
    template = body["spec"]["groups"][0]["template"]
    template["spec"] |= {"containers": CONTAINERS, "tolerations": TOLERATES, "nodeSelector": {"type": "kwok"}}
    return body


PARTS = ("kube-apiserver", "kine", "kube-scheduler", "kube-controller-manager", "kwok")


def spent(cluster: Cluster) -> dict[str, float]:
    """Processor time of the control plane's parts so far (s), and of this process."""
    found = {"client": time.process_time()}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = Path(path.read_bytes().split(b"\0")[0].decode()).name
            if name in PARTS and (path.parent / "cwd").resolve() == cluster.folder:
                fields = (path.parent / "stat").read_text().rpartition(")")[2].split()
                found[name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    return found


def told(cluster: Cluster, before: dict[str, float], count: int, **more: float) -> str:
    """Who used how much processor time since then, for each of ``count``."""
    used = {name: seconds - before.get(name, 0.0) for name, seconds in spent(cluster).items()} | more
    each = ", ".join(f"{name} {seconds / count * 1000:.1f}" for name, seconds in used.items())
    return f"{sum(used.values()) / count * 1000:.1f} ms of processor time each: {each}"


def idle(cluster: Cluster, seconds: float = 20.0) -> str:
    """What the nodes take by themselves."""
    before = spent(cluster)
    time.sleep(seconds)
    used = sum(time_ - before.get(name, 0.0) for name, time_ in spent(cluster).items())
    return f"{used / seconds:.2f} cores"


def raw_pods(cluster: Cluster, count: int) -> tuple[float, float]:
    """(pods posted a second, pods posted and ended a second)."""
    client, name = namespace_on(cluster)
    began, before = time.perf_counter(), spent(cluster)
    at_once(lambda number: client.create(PODS, bare(f"raw-{number}", name)), range(count))
    posted = count / (time.perf_counter() - began)
    print(f"  a raw POST: {told(cluster, before, count)}", flush=True)
    owner = client.create(TRAINING_JOBS, training("owner", name, managedBy="kueue.x-k8s.io/multikueue"))
    ended = Ended(cluster, client, PODS, name, b"Succeeded", count)
    began, before = time.perf_counter(), spent(cluster)
    at_once(lambda number: client.create(PODS, bare(f"done-{number}", name, owner)), range(count))
    assert ended.all.wait(3600), len(ended.names)
    done = count / (time.perf_counter() - began)
    print(f"  a raw pod to its end: {told(cluster, before, count)}", flush=True)
    ended.stop()
    client.delete(NAMESPACES, Key("", name))
    until(lambda: gone(client, name), 1800, every=1)  # it would be the others' time
    return posted, done


def gone(client: Client, namespace: str) -> bool:
    try:
        client.get(NAMESPACES, Key("", namespace))
    except ObjectNotFound:
        return True
    return False


def memory(cluster: Cluster) -> str:
    """Resident memory of the control plane's parts (MiB)."""
    found: dict[str, int] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = Path(path.read_bytes().split(b"\0")[0].decode()).name
            if name in PARTS and (path.parent / "cwd").resolve() == cluster.folder:
                status = (path.parent / "status").read_text()
                found[name] = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        except OSError:
            continue
    return ", ".join(f"{name} {size // 1024}" for name, size in found.items())


class Progress:
    """Tells every half minute how far it is."""

    def __init__(self, operator: Operator, ended: Ended) -> None:
        self._operator, self._ended = operator, ended
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began = time.perf_counter()
        while not self._over.wait(30):
            size, passed = self._operator.resident(), time.perf_counter() - began
            print(
                f"  {passed:5.0f} s: {len(self._ended.names)} Complete, operator {size:.0f} MiB, {load()}", flush=True
            )

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def many(cluster: Cluster, count: int, workers: int, raw: tuple[float, float]) -> None:
    client, name = namespace_on(cluster)
    ended = Ended(cluster, client, TRAINING_JOBS, name, b"Complete", count)
    with Operator(cluster, name, "trainingjob", workers) as operator:
        operator.look()
        at_start = operator.processor  # to start is not a job's
        progress = Progress(operator, ended)
        began, before = time.perf_counter(), spent(cluster)
        at_once(lambda number: client.create(TRAINING_JOBS, training(f"job-{number:05d}", name)), range(count))
        submitted = time.perf_counter() - began
        until(lambda: operator.made(count), 7200, every=1 if count > 2000 else 0.3)
        made = time.perf_counter() - began
        assert ended.all.wait(7200), f"{len(ended.names)} of {count}"
        took = time.perf_counter() - began
        until(lambda: operator.released(count), 600, every=1)
        used = told(cluster, before, count, operator=operator.processor - at_start)
        progress.stop()
    print(f"{count} jobs: submitted in {submitted:.1f} s, ranks made after {made:.1f} s: {count / made:.1f} jobs/s, "
          f"Complete after {took:.1f} s: {count / took:.1f} jobs/s; {load()}")  # fmt: skip
    begun, complete = count / made / raw[0], count / took / raw[0]
    print(f"  begun {begun:.2f}, Complete {complete:.2f} of raw pod POSTs ({raw[0]:.0f}/s); "
          f"Complete {count / took / raw[1]:.2f} of raw pods to their end ({raw[1]:.0f}/s)")  # fmt: skip
    print(f"  a job: {used}")
    print(f"  operator: {operator.words()}; {at_start:.1f} s of it to start")
    print(f"  memory (MiB): {memory(cluster)}")
    for (verb, resource), times in sorted(operator.requests.items(), key=lambda item: -item[1]):
        print(f"  {times / count:7.2f} a job  {verb} {resource}")
    ended.stop()
    with Operator(cluster, name, "trainingjob", workers) as again:
        began = time.perf_counter()
        until(lambda: again.reconciled() >= count, 600, every=0.2)
        looked = time.perf_counter() - began
        again.look()
    print(f"  another operator beside them: ready after {again.ready_after:.1f} s, all looked at {looked:.1f} s later")
    print(f"  {again.words()}")
    client.delete(NAMESPACES, Key("", name))


def flags(cluster: Cluster) -> None:
    """With what the control plane runs, as far as it is ours and matters here."""
    words = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kine")
    leave = ("file", "key", "cert", "kubeconfig", "issuer", "address", "authenti", "config", "etcd", "log-path")
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().split(b"\0")
            parent = (path.parent / "cwd").resolve()
        except OSError:
            continue
        name = Path(line[0].decode()).name
        if name in words and parent == cluster.folder:
            told = [part.decode() for part in line[1:] if part]
            kept = [one for one in told if not any(word in one.partition("=")[0] for word in leave)]
            print(f"  {name} {' '.join(kept)}")


def main() -> None:
    count, machines, workers = [*(int(word) for word in sys.argv[1:]), *(1000, 100, 16)[len(sys.argv) - 1 :]]
    running = os.environ.get("MLPLATFORM_TEST_CLUSTER")
    cluster = Cluster.find(Path(running)) if running else Cluster.start()
    try:
        apply_crds(cluster)
        nodes(cluster, machines)
        print(f"{machines} nodes, which take {idle(cluster)} by themselves; {load()}; control plane:", flush=True)
        flags(cluster)
        raw = raw_pods(cluster, min(count, 1000))
        print(f"raw: {raw[0]:.0f} POSTs/s, {raw[1]:.0f} pods/s to their end; {load()}", flush=True)
        many(cluster, count, workers, raw)
    finally:
        if not running:
            cluster.stop()


if __name__ == "__main__":
    main()
