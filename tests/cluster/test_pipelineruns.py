"""PipelineRuns on real pods: values and artifacts between images, failures, accidents, and what waits for something.

The conformance set on the cluster is tests/conformance/test_kfp_on_cluster.py; here is what only a cluster can do.
"""

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.support.kube.platform import Platform, operator, platform, push_stand_ins

RUNS = "/apis/pipelines.mlplatform.dev/v1alpha1/namespaces/{}/pipelineruns"
TIMEOUT = 600.0
MODERN, OLD, SHELL = "python:3.11", "python:3.9", "alpine:latest"


@dsl.component(base_image=MODERN)
def make(data: dsl.Output[dsl.Dataset]) -> str:
    with open(data.path, "w") as file:
        file.write("rows")
    data.metadata["rows"] = 4
    return "x" * 60_000


@dsl.component(base_image=OLD)
def use(data: dsl.Input[dsl.Dataset], text: str) -> str:
    import sys

    with open(data.path) as file:
        return f"{file.read()} {data.metadata['rows']} {len(text)} {sys.version_info.minor}"


@dsl.container_component
def shout(data: dsl.Input[dsl.Dataset], out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image=SHELL, command=["sh", "-c", 'mkdir -p "$(dirname "$1")"; tr a-z A-Z < "$0" > "$1"', data.path, out]
    )


@dsl.component(base_image=MODERN)
def never() -> int:
    print("about to fail")
    raise ValueError("broken on purpose: 42")


@dsl.component(base_image=MODERN)
def told(status: dsl.PipelineTaskFinalStatus) -> str:
    return status.state


@dsl.component(base_image=MODERN)
def slow(seconds: int) -> int:
    import time

    time.sleep(seconds)
    return seconds


@dsl.component(base_image=MODERN)
def echo(word: str) -> str:
    return word


@dsl.component(base_image=MODERN)
def with_secret() -> str:
    return "read"


@dsl.component(base_image=MODERN)
def with_map() -> str:
    return "read"


@dsl.component(base_image=MODERN)
def with_claim() -> str:
    return "read"


@dsl.component(base_image=MODERN)
def with_unbound() -> str:
    return "read"


@dsl.pipeline(name="values-and-artifacts")
def values_and_artifacts() -> str:
    made = make()
    used = use(data=made.outputs["data"], text=made.outputs["Output"])
    loud = shout(data=made.outputs["data"])
    with dsl.If(loud.outputs["out"] == "ROWS"):
        echo(word=loud.outputs["out"])
    return used.output


@dsl.pipeline(name="failing")
def failing():
    last = told()
    with dsl.ExitHandler(last):
        never().set_retry(1)


@dsl.pipeline(name="waiting")
def waiting():
    echo(word="a")
    echo(word="b").set_container_image("registry.invalid/nothing:1")
    large = echo(word="c")
    large.set_cpu_request("900").set_memory_request("1Gi")
    with_secret()
    with_map()
    with_claim()
    with_unbound()


@dsl.pipeline(name="interrupted")
def interrupted() -> int:
    first = slow(seconds=3)
    return slow(seconds=first.output).output


#: What kfp-kubernetes would add to ``waiting``: what nobody has made, as a variable and as volumes.
NEEDS_WHAT_IS_NOT_THERE = """
---
platforms:
  kubernetes:
    deploymentSpec:
      executors:
        exec-echo:
          secretAsEnv:
          - secretName: nobody-made-it
            keyToEnv:
            - secretKey: key
              envVar: KEY
        exec-with-secret:
          secretAsVolume:
          - {secretName: no-such-secret, mountPath: /secret}
        exec-with-map:
          configMapAsVolume:
          - {configMapName: no-such-map, mountPath: /map}
        exec-with-claim:
          pvcMount:
          - {constant: no-such-claim, mountPath: /claim}
        exec-with-unbound:
          pvcMount:
          - {constant: unbound, mountPath: /claim}
        exec-echo-2:
          imagePullSecret:
          - {secretName: no-such-login}
"""


def document(pipeline: Any, folder: Path) -> str:
    file = folder / f"{pipeline.name}.yaml"
    compiler.Compiler().compile(pipeline, str(file))
    return file.read_text(encoding="utf-8")


@pytest.fixture
def place(cluster: Cluster, namespace: str, tmp_path: Path) -> Generator[tuple[Platform, str]]:
    """A namespace under the restricted rule, with an operator of its own and the store's login."""
    assert push_stand_ins(cluster, [MODERN, OLD, SHELL]) == []
    with platform(cluster, tmp_path, namespace=namespace) as found:
        yield found, namespace


def submit(found: Platform, namespace: str, text: str, store: dict[str, Any] | None, **spec: Any) -> str:
    body = {
        "apiVersion": "pipelines.mlplatform.dev/v1alpha1",
        "kind": "PipelineRun",
        "metadata": {"name": "run-a", "namespace": namespace},
        "spec": {"document": text, **({"store": store} if store else {}), **spec},
    }
    found.cluster.api.create(RUNS.format(namespace), body)
    return f"{RUNS.format(namespace)}/run-a"


def ended(found: Platform, path: str) -> Object:
    return found.cluster.api.wait(path, lambda run: bool(run.get("status", {}).get("finishedAt")), seconds=TIMEOUT)


def tasks(run: Object) -> dict[str, Object]:
    return {"/".join(task["path"]): task for task in run.get("status", {}).get("tasks", [])}


def until(check: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
    end = time.monotonic() + timeout
    while not (found := check()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.3)
    return found


@pytest.mark.parametrize("kind", ["s3", "claim"])
def test_values_and_artifacts_pass_between_images(place: tuple[Platform, str], tmp_path: Path, kind: str) -> None:
    found, namespace = place
    store = found.prepare(namespace)
    if kind == "claim":
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "shared", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        found.cluster.api.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim)
        store = {"claimName": "shared", "subPath": "kept"}
    run = ended(found, submit(found, namespace, document(values_and_artifacts, tmp_path), store))
    assert run["status"]["state"] == "SUCCEEDED", run["status"]
    assert run["status"]["outputs"]["parameters"] == {"Output": "rows 4 60000 9"}
    done = tasks(run)
    assert done["condition-1/echo"]["outputs"]["parameters"] == {"Output": "ROWS"}
    pods = found.cluster.api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert len(pods) == 4, "one pod a task, and nothing else"
    assert not any(pod["metadata"].get("finalizers") for pod in pods)


def test_a_failure_is_told_and_exit_handlers_run(place: tuple[Platform, str], tmp_path: Path) -> None:
    found, namespace = place
    run = ended(found, submit(found, namespace, document(failing, tmp_path), found.prepare(namespace)))
    assert run["status"]["state"] == "FAILED"
    assert "broken on purpose: 42" in run["status"]["error"]["message"]
    done = tasks(run)
    assert (done["exit-handler-1/never"]["attempt"], done["exit-handler-1/never"]["failures"]) == (2, 2)
    assert "raise ValueError" in done["exit-handler-1/never"]["error"]["traceback"]
    assert done["told"]["outputs"]["parameters"] == {"Output": "FAILED"}


def test_what_a_pod_waits_for_is_told_within_seconds(place: tuple[Platform, str], tmp_path: Path) -> None:
    found, namespace = place
    spec = {"storageClassName": "nobody-has-it", "accessModes": ["ReadWriteOnce"]}
    claim = {"metadata": {"name": "unbound"}, "spec": {**spec, "resources": {"requests": {"storage": "1Gi"}}}}
    found.cluster.api.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim)
    path = submit(found, namespace, document(waiting, tmp_path) + NEEDS_WHAT_IS_NOT_THERE, found.prepare(namespace))

    def told_of() -> Object | None:
        run = found.cluster.api.get(path)
        words = {name: task.get("waitingFor", "") for name, task in tasks(run).items()}
        return run if len(words) == 7 and all(words.values()) else None

    run = until(told_of, 120)
    words = {name: task["waitingFor"] for name, task in tasks(run).items()}
    assert 'secret "nobody-made-it" not found' in words["echo"]
    assert "registry.invalid/nothing:1 cannot be pulled" in words["echo-2"]
    assert "has the image pull secret no-such-login" in words["echo-2"]
    assert "a claim of the task has no volume" in words["with-unbound"]
    assert "no node can take it" in words["echo-3"]
    assert 'secret "no-such-secret" not found (Create it in this namespace' in words["with-secret"]
    assert 'configmap "no-such-map" not found (Create it in this namespace' in words["with-map"]
    assert 'persistentvolumeclaim "no-such-claim" not found (Create the claim' in words["with-claim"]
    # what was missing appears, and the task goes on by itself
    made = {"metadata": {"name": "no-such-map"}, "data": {"a": "b"}}
    found.cluster.api.create(f"/api/v1/namespaces/{namespace}/configmaps", made)
    until(lambda: tasks(found.cluster.api.get(path))["with-map"].get("outputs"))
    progressing = next(c for c in run["status"]["conditions"] if c["type"] == "Progressing")
    assert progressing["reason"] == "Waiting"
    found.cluster.api.patch(path, {"spec": {"cancel": True}})
    assert ended(found, path)["status"]["state"] == "CANCELLED"


def test_a_deleted_pod_and_a_killed_operator_change_nothing(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    push_stand_ins(cluster, [MODERN])
    with platform(cluster, tmp_path, namespace=namespace) as found:
        path = submit(found, namespace, document(interrupted, tmp_path), found.prepare(namespace))
        pods = f"/api/v1/namespaces/{namespace}/pods"
        first = until(lambda: [p for p in cluster.api.get(pods)["items"] if p["status"].get("phase") == "Running"])[0]
        cluster.api.delete(f"{pods}/{first['metadata']['name']}")
    # its operator is gone by now; another one goes on
    with operator(cluster, tmp_path, found.launcher, namespace):
        run = ended(found, path)
    assert run["status"]["state"] == "SUCCEEDED", run["status"]
    assert run["status"]["outputs"]["parameters"] == {"Output": 3}
    assert tasks(run)["slow"]["attempt"] == 2
