"""The platform inside a cluster: installed by its command, restricted, reached with a token, and tracking what runs."""

import copy
import json
import os
import signal
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import kfp
import pytest
from kfp import compiler, dsl

import mlplatform as ml
from mlplatform.sdk.training.cluster import ClusterTraining
from mlplatform.sdk.training.run import TrainingRun
from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.cluster.test_training import processes
from tests.support.kube.environments import IMAGE, PLACE, packages
from tests.support.kube.installed import PLACE as SYSTEM
from tests.support.kube.installed import Installed, command, installed, until
from tests.support.kube.platform import push_stand_ins
from tests.support.pipelines import chain

SCRIPTS = Path(__file__).parents[1] / "training" / "scripts"
RUNS = "/apis/pipelines.mlplatform.dev/v1alpha1/namespaces/{}/pipelineruns"
#: Of this session alone: what was kept of earlier ones may be there still.
SERVES = f"test-platform-{uuid.uuid4().hex[:6]}"


@pytest.fixture(scope="module")
def platform(cluster: Cluster) -> Generator[Installed]:
    if cluster.registry is None:
        pytest.skip("this cluster has no registry of ours to push the platform's images to")
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": SERVES, "labels": label}})
    with installed(cluster, SERVES) as found:
        yield found
    cluster.api.delete(f"/api/v1/namespaces/{SERVES}")


@pytest.fixture(scope="module")
def reader(platform: Installed) -> str:
    return platform.token("reader", "get")


def test_it_is_three_pods_that_run_restricted_from_our_registry(platform: Installed) -> None:
    pods = {pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod for pod in platform.pods()}
    assert set(pods) == {"mlplatform-operator", "mlplatform-server", "mlplatform-mlflow"}
    space = platform.cluster.api.get(f"/api/v1/namespaces/{SYSTEM}")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods.items():
        [status] = pod["status"]["containerStatuses"]
        assert (status["ready"], status["restartCount"]) == (True, 0), (name, status)
        [container] = pod["spec"]["containers"]
        assert container["image"] == platform.told["images"][name.removeprefix("mlplatform-")]
        assert "@sha256:" in container["image"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    told = command(platform.cluster, "install", "--dry-run", "--registry", "r.test/team", "--serve", SERVES)
    assert "r.test/team/mlplatform-mlflow:" in told


def test_who_comes_with_a_token_gets_in_and_mlflow_is_behind_the_same_door(platform: Installed, reader: str) -> None:
    assert platform.ask("GET", "/api/v1/runs", reader)[0] == 200
    assert platform.ask("GET", "/api/v1/runs")[0] in (401, 421)
    nobody = platform.token("nobody")
    assert platform.ask("GET", "/api/v1/runs", nobody)[0] == 403
    assert platform.ask("POST", "/mlflow/api/2.0/mlflow/experiments/search", nobody, {"max_results": 1})[0] == 403
    assert platform.mlflow(reader, "experiments/get", experiment_id="0")["experiment"]["name"] == "Default"
    made = platform.ask("POST", "/mlflow/api/2.0/mlflow/experiments/create", reader, {"name": "not-mine-to-make"})
    assert made[0] == 403
    # A person's token opens nothing that is for pods.
    assert platform.ask("POST", "/api/v1/pods/tracking", reader, {})[0] == 401
    assert platform.ask("GET", "/api/v1/pods/mlflow/api/2.0/mlflow/runs/get?run_id=x", reader)[0] == 401


def test_people_come_in_by_the_api_server_with_nothing_but_a_kubeconfig(
    platform: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stock kfp.Client makes a run, in the name of the namespace's editor; a browser needs the link."""
    monkeypatch.setenv("KUBECONFIG", str(platform.cluster.kubeconfig))
    document = tmp_path / "chain.yaml"
    document.write_text(chain(1).text(), encoding="utf-8")
    with ml.connect(namespace=SERVES, home=tmp_path / "home") as server:
        assert server.account == "mlplatform-editor"
        browser = urllib.request.Request(server.url + "/api/v1/runs", headers={"user-agent": "Mozilla/5.0"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(browser)
        with urllib.request.urlopen(server.url + "/") as page:
            assert b"<title>mlplatform</title>" in page.read()
        made = kfp.Client(host=server.url).create_run_from_pipeline_package(str(document), run_name="by-hand")
        [body] = [
            one
            for one in platform.cluster.api.get(RUNS.format(SERVES))["items"]
            if one["spec"].get("displayName") == "by-hand"
        ]
        assert made.run_id
    platform.cluster.api.delete(f"{RUNS.format(SERVES)}/{body['metadata']['name']}")


def pipeline(image: str, folder: Path) -> str:
    """A task that logs by plain ``mlflow``, and one that does not."""

    @dsl.component(base_image=image)
    def train(rate: float, scores: dsl.Output[dsl.Metrics]) -> float:
        import mlflow

        mlflow.log_param("kind", "tree")
        for step in range(3):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        mlflow.log_text("as it went", "notes/one file.txt")
        scores.log_metric("accuracy", 0.75)
        return rate * 2

    @dsl.component(base_image=image)
    def quiet(x: float) -> float:
        return x + 1

    @dsl.pipeline(name="tracked")
    def tracked(rate: float = 0.5) -> float:
        return quiet(x=train(rate=rate).outputs["Output"]).output

    file = folder / "tracked.yaml"
    compiler.Compiler().compile(tracked, str(file))
    return file.read_text(encoding="utf-8")


def run(platform: Installed, name: str, document: str, **spec: Any) -> Object:
    path = RUNS.format(SERVES)
    meta = {"name": name, "namespace": SERVES}
    body = {"apiVersion": "pipelines.mlplatform.dev/v1alpha1", "kind": "PipelineRun", "metadata": meta}
    platform.cluster.api.create(path, {**body, "spec": {"document": document, "experiment": SERVES, **spec}})
    done = platform.cluster.api.wait(
        f"{path}/{name}", lambda seen: bool(seen.get("status", {}).get("finishedAt")), seconds=600
    )
    assert done["status"]["state"] == "SUCCEEDED", done["status"]
    return done


def complete(platform: Installed, token: str, runs: int) -> list[dict[str, Any]]:
    found = platform.tracked(token, SERVES)
    return found if len(found) >= 2 * runs and all(one["status"] == "FINISHED" for one in found) else []


def check_one(found: list[dict[str, Any]], rate: float) -> str:
    """One run's tree; returns the id of its child."""
    [parent] = [one for one in found if one["name"] == "tracked" and one["params"] == {"rate": str(rate)}]
    assert parent["metrics"] == {"output.Output": rate * 2 + 1}
    [child] = [one for one in found if one["parent"] == parent["id"]]
    assert (child["name"], child["run"]) == ("train", parent["run"])
    assert child["params"] == {"kind": "tree", "rate": str(rate)}
    assert child["metrics"].pop("duration_seconds") > 0
    assert child["metrics"] == {"loss": pytest.approx(1 / 3), "accuracy": 0.75}
    return child["id"]


def test_runs_are_tracked_as_on_one_machine_whatever_is_down(platform: Installed, reader: str, tmp_path: Path) -> None:
    """The second run goes on while MLflow is away, and the server dies with what it has not delivered."""
    # The image of MLflow is one with mlflow in it, and a Python.
    document = pipeline(platform.told["images"]["mlflow"], tmp_path)
    run(platform, "first", document, displayName="tracked", parameters={"rate": 0.25})
    child = check_one(until(lambda: complete(platform, reader, 1), "the first run in MLflow"), 0.25)
    files = platform.mlflow(reader, "artifacts/list", run_id=child, path="notes")["files"]
    assert [(file["path"], int(file["file_size"])) for file in files] == [("notes/one file.txt", 10)]

    kubectl, space = platform.cluster.kubectl, ("-n", SYSTEM)
    kubectl("scale", "deployment/mlplatform-mlflow", "--replicas=0", *space)
    until(lambda: len(platform.pods()) == 2, "MLflow to be gone")
    run(platform, "second", document, displayName="tracked", parameters={"rate": 0.75})
    kubectl("delete", "pod", "-l", "app.kubernetes.io/name=mlplatform-server", "--force", "--grace-period=0", *space)
    kubectl("scale", "deployment/mlplatform-mlflow", "--replicas=1", *space)
    found = until(lambda: complete(platform, reader, 2), "the second run in MLflow")
    assert len(found) == 4, found
    child = check_one(found, 0.75)
    check_one(found, 0.25)
    points = platform.mlflow(reader, "metrics/get-history", run_id=child, metric_key="loss")["metrics"]
    assert [point["step"] for point in points] == [0, 1, 2]
    status, told = platform.ask("GET", "/api/v1/runs", reader)
    assert status == 200
    assert {one["mlflow_run_id"] for one in told["runs"] if one["experiment"] == SERVES} == {
        one["id"] for one in found if not one["parent"]
    }


# ---------------------------------------------------------------------- a training job that is no task
SECRET = f"hush-{uuid.uuid4().hex}"


def trained(platform: Installed, claim: str) -> TrainingRun:
    """Two ranks; rank 0 is killed behind its first checkpoint. Complete."""
    env = {"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1", "REGISTERED": SERVES, "PYTHONPATH": PLACE}
    job = ml.TrainingJob(
        SCRIPTS / "fits.py",
        workers=2,
        image=IMAGE,
        env=env,
        experiment=f"{SERVES}-training",
        spec={"failurePolicy": {"backoffSeconds": 0}},
    )
    body = copy.deepcopy(job.object("fits"))
    mount = {"name": "packages", "mountPath": PLACE, "readOnly": True}
    for group in body["spec"]["groups"]:
        spec = group["template"]["spec"]
        spec["volumes"] = [{"name": "packages", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}]
        spec["containers"][0]["volumeMounts"] = [mount]
        spec["containers"][0]["env"].append(
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "its", "key": "t"}}}
        )
    made = ClusterTraining(SERVES).create(body)
    until(lambda: said(made), "the first checkpoint")
    os.kill(processes(made.name, 0)[-1], signal.SIGKILL)
    return made.wait(600)


def said(run: TrainingRun) -> bool:
    """Whether rank 0 has its first checkpoint behind it."""
    assert run.phase != "Failed", run.status
    return run.progress.get("checkpointStep") == 4 and run.progress.get("step") == 7


def artifact(platform: Installed, token: str, run: str, path: str) -> str:
    status, told = platform.ask("GET", f"/mlflow/get-artifact?path={path}&run_id={run}", token)
    assert status == 200, told
    return told if isinstance(told, str) else json.dumps(told)


def test_a_training_job_is_one_run_with_its_checkpoint_and_its_model(
    platform: Installed, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = platform.cluster
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    assert push_stand_ins(cluster, [IMAGE]) == []
    cluster.kubectl("create", "secret", "generic", "its", f"--from-literal=t={SECRET}", "-n", SERVES)
    with packages(cluster, SERVES) as claim:
        made = trained(platform, claim)
        assert [one.get("exitCode") for one in made.attempts] == [137, None]
        assert made.attempts[1]["resumedFromStep"] == 4
        [found] = until(
            lambda: [one for one in platform.tracked(reader, f"{SERVES}-training") if one["status"] == "FINISHED"],
            "the job's run in MLflow",
        )
        made.delete()
        ours = "labelSelector=training.mlplatform.dev%2Fjob%3Dfits"
        cluster.api.wait(f"/api/v1/namespaces/{SERVES}/pods?{ours}", lambda pods: not pods["items"])
    assert (found["name"], found["params"], found["metrics"]["rank"]) == ("fits", {"steps": "20"}, 0)

    def history(key: str) -> list[int]:
        told = platform.mlflow(reader, "metrics/get-history", run_id=found["id"], metric_key=key)
        return [point["step"] for point in told["metrics"]]

    assert history("loss") == [*range(8), *range(5, 20)]
    for rank in range(2):  # what each machine was doing, in both attempts one behind the other
        steps = history(f"system/{rank}/system_memory_usage_megabytes")
        assert steps
        assert steps == [*range(len(steps))]
    raw = platform.mlflow(reader, "runs/get", run_id=found["id"])
    tags = {one["key"]: one["value"] for one in raw["run"]["data"]["tags"] if one["key"].startswith("mlplatform.")}
    told = {name: tags[f"mlplatform.{name}"] for name in ("attempts", "restarts", "checkpoint_step", "state")}
    assert told == {"attempts": "2", "restarts": "1", "checkpoint_step": "19", "state": "SUCCEEDED"}

    slope = float(artifact(platform, reader, found["id"], "checkpoints/step-19/slope"))
    assert slope == pytest.approx(3.0, abs=1e-4)
    page = json.loads(artifact(platform, reader, found["id"], "checkpoints/step-19/checkpoint.json"))
    assert (page["step"], page["claim"]) == (19, tags["mlplatform.checkpoint_claim"])
    assert artifact(platform, reader, found["id"], "notes/fit.txt") == "slope 3.000"
    [version] = platform.mlflow(reader, "registered-models/get", name=SERVES)["registered_model"]["latest_versions"]
    [model] = raw["run"]["outputs"]["model_outputs"]
    assert version["source"] == f"models:/{model['model_id']}"
    assert (version["run_id"], version["status"]) == (found["id"], "READY")
    kept = platform.mlflow(reader, f"logged-models/{model['model_id']}")["model"]
    assert (kept["info"]["name"], kept["info"]["status"]) == ("line", "LOGGED_MODEL_READY")
    assert SECRET not in json.dumps([raw, kept, page])
