"""kfp-kubernetes' platform document on one machine: what comes of every field."""

from __future__ import annotations

import json
import platform as machine
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import EnvironmentFailed, InvalidParameters, PlanningError, Unsupported
from mlplatform.core.model import RunRecord, TaskKey, TaskRecord, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.core.values import ParameterType
from mlplatform.engine.home import Home
from mlplatform.engine.platform import Platform, subprocess_argv
from mlplatform.engine.platform_nodes import machine_labels, matches
from mlplatform.engine.platform_plan import PlatformPlan
from mlplatform.engine.platform_volumes import Volumes, volume_action
from mlplatform.engine.records import Ledger
from mlplatform.engine.submission import Setup
from mlplatform.ir.kubernetes import SelectorRequirement
from mlplatform.ir.model import (
    Component,
    ContainerExecutor,
    Dag,
    InputDefinitions,
    InputParameterSpec,
    ParameterIterator,
    Pipeline,
    PipelineTask,
)
from mlplatform.planning.model import StartTask
from mlplatform.planning.render import RenderedContainer
from mlplatform.planning.resources import Needs

KEY = TaskKey(("train",))
SECRETS = {"vault": {"password": "pl4nted", "user": "me"}}


class Driver:
    def __init__(self, pipeline: Pipeline, records: list[TaskRecord], parameters: Mapping[str, Any]) -> None:
        self.run = RunRecord("run1", "r", "p", RunState.RUNNING, "sha256:x", parameters=parameters)
        self.pipeline = pipeline
        self.ledger = Ledger(records)


def driver(
    config: Mapping[str, Any],
    *,
    parameters: Mapping[str, Any] | None = None,
    records: list[TaskRecord] | None = None,
    pipeline_config: Mapping[str, Any] | None = None,
) -> Driver:
    """A run with task ``train`` at the root, in a group and in a loop, whose executor has this configuration."""
    specs = {"claim": InputParameterSpec(ParameterType.STRING, default="from-default", has_default=True)}
    task = PipelineTask("comp-train")
    inner = Component(dag=Dag({"train": task}))
    tasks = {
        "train": task,
        "group": PipelineTask("inner"),
        "loop": PipelineTask("inner", parameter_iterator=ParameterIterator("item", items_raw="[1]")),
    }
    platforms = {"kubernetes": {"deploymentSpec": {"executors": {"exec-train": config}}}}
    if pipeline_config is not None:
        platforms["kubernetes"]["pipelineConfig"] = dict(pipeline_config)
    pipeline = Pipeline(
        name="p",
        root=Component(inputs=InputDefinitions(parameters=specs), dag=Dag(tasks)),
        components={"comp-train": Component(executor_label="exec-train"), "inner": inner},
        executors={"exec-train": ContainerExecutor("image")},
        platforms=platforms,
    )
    return Driver(pipeline, records or [], parameters or {})


def start(key: TaskKey = KEY, **inputs: Any) -> StartTask:
    return StartTask(key, 1, "comp-train", "exec-train", Values(inputs))


@pytest.fixture
def here(tmp_path: Path) -> Platform:
    return Platform(Home(tmp_path / "home"))


def plan(here: Platform, config: Mapping[str, Any], setup: Setup | None = None, **more: Any) -> PlatformPlan:
    return here.resolve(driver(config, **more), start(), setup or Setup(secrets=SECRETS))


def constant(text: str) -> dict[str, Any]:
    return {"runtimeValue": {"constant": text}}


# ------------------------------------------------------------------ secrets and config maps
def secret_env(name: str = "vault", key: str = "password", **more: Any) -> dict[str, Any]:
    keys = [{"secretKey": key, "envVar": "PASSWORD"}]
    return {"secretAsEnv": [{"secretNameParameter": constant(name), "keyToEnv": keys, **more}]}


def test_a_secret_as_variable_is_kept_apart(here: Platform) -> None:
    found = plan(here, secret_env())
    assert found.secret_env == {"PASSWORD": "pl4nted"}
    assert (found.env, found.key_env) == ({}, {})
    assert found.secret_names == ("vault/password",)
    assert found.mask == {"pl4nted"}
    assert "pl4nted" not in repr(found)


def test_a_missing_secret_names_secret_and_key_and_no_value(here: Platform) -> None:
    with pytest.raises(InvalidParameters) as caught:
        plan(here, {**secret_env(key="pass"), "secretAsVolume": [{"secretName": "other", "mountPath": "/x"}]})
    text = str(caught.value)
    assert "secret 'vault' has no key 'pass'" in text
    assert "there is no secret 'other'" in text
    assert '{"secrets": {"vault": {"pass": "..."}}}' in text
    assert "pl4nted" not in text
    assert [finding.path for finding in caught.value.findings] == ["secrets.vault.pass", "secrets.other"]


def test_optional_ones_may_be_absent(here: Platform) -> None:
    config = secret_env("none", optional=True)
    config["secretAsVolume"] = [{"secretName": "none", "mountPath": "/s", "optional": True}]
    config["configMapAsVolume"] = [{"configMapName": "none", "mountPath": "/c", "optional": True}]
    found = plan(here, config)
    assert found.secret_env == {}
    assert [(mount["target"], mount["files"]) for mount in found.mounts] == [("/s", {}), ("/c", {})]


def test_a_secret_as_volume_is_files_in_memory(here: Platform) -> None:
    found = plan(here, {"secretAsVolume": [{"secretName": "vault", "mountPath": "/mnt/vault/"}]})
    assert found.mounts == ({"target": "/mnt/vault", "read_only": True, "files": SECRETS["vault"]},)
    assert found.mask == {"pl4nted", "me"}
    assert found.uncacheable == "it reads secret vault as files"
    assert "pl4nted" not in repr(found)


def test_config_maps(here: Platform) -> None:
    setup = Setup(config_maps={"settings": {"mode": "fast é"}})
    keys = [{"configMapKey": "mode", "envVar": "MODE"}]
    config = {
        "configMapAsEnv": [{"configMapName": "settings", "keyToEnv": keys}],
        "configMapAsVolume": [{"configMapName": "settings", "mountPath": "/etc/settings"}],
    }
    found = plan(here, config, setup)
    assert found.env == found.key_env == {"MODE": "fast é"}
    assert found.mounts[0]["files"] == {"mode": "fast é"}
    assert found.mask == frozenset()
    with pytest.raises(InvalidParameters, match="there is no config map 'settings'"):
        plan(here, config, Setup())


def test_a_key_that_is_no_file_name(here: Platform) -> None:
    setup = Setup(secrets={"vault": {"../../etc/passwd": "x"}})
    with pytest.raises(InvalidParameters, match="is no file name"):
        plan(here, {"secretAsVolume": [{"secretName": "vault", "mountPath": "/v"}]}, setup)


# ------------------------------------------------------------------ where names come from
def by_input(name: str) -> dict[str, Any]:
    keys = [{"secretKey": "user", "envVar": "WHO"}]
    return {"secretAsEnv": [{"secretNameParameter": {"componentInputParameter": name}, "keyToEnv": keys}]}


def group(path: str, iteration: tuple[int, ...], **inputs: Any) -> TaskRecord:
    return TaskRecord(TaskKey((path,), iteration), TaskState.RUNNING, is_group=True, inputs=Values(inputs))


@pytest.mark.parametrize(
    ("key", "records", "parameters"),
    [
        (TaskKey(("train",)), [], {"which": "vault"}),
        (TaskKey(("group", "train")), [group("group", (), which="vault")], {"which": "wrong"}),
        (TaskKey(("loop", "train"), (1,)), [group("loop", (0,), which="no"), group("loop", (1,), which="vault")], {}),
    ],
)
def test_names_are_looked_up_where_the_task_stands(
    here: Platform, key: TaskKey, records: list[TaskRecord], parameters: Mapping[str, Any]
) -> None:
    run = driver(by_input("which"), records=records, parameters=parameters)
    assert here.resolve(run, start(key), Setup(secrets=SECRETS)).secret_env == {"WHO": "me"}


def test_a_name_from_another_task(here: Platform) -> None:
    source = {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "name"}}
    config = {"pvcMount": [{"mountPath": "/data", "pvcNameParameter": source}]}
    made = TaskRecord(TaskKey(("make",)), TaskState.SUCCEEDED, outputs=Values({"name": "made-here"}))
    (here.volumes.root / "made-here").mkdir(parents=True)
    found = plan(here, config, records=[made])
    assert found.mounts[0]["source"] == str(here.volumes.root / "made-here")
    with pytest.raises(PlanningError, match="output 'name' of task 'make'"):
        plan(here, config)


def test_a_default_of_the_root(here: Platform) -> None:
    (here.volumes.root / "from-default").mkdir(parents=True)
    config = {"pvcMount": [{"mountPath": "/data", "pvcNameParameter": {"componentInputParameter": "claim"}}]}
    assert plan(here, config).mounts[0]["source"].endswith("/from-default")


# ------------------------------------------------------------------ claims
def claim(name: str, **more: Any) -> dict[str, Any]:
    return {"pvcMount": [{"mountPath": "/data", "pvcNameParameter": constant(name), **more}]}


def test_a_claim_of_the_setup_is_a_folder_of_the_home(here: Platform) -> None:
    found = plan(here, claim("data", subPath="a/b"), Setup(pvcs={"data": {"size": "1Gi"}}))
    folder = here.volumes.root / "data" / "a" / "b"
    assert found.mounts == ({"source": str(folder), "target": "/data", "read_only": False},)
    assert folder.is_dir()
    assert "volume claim data" in found.uncacheable


def test_a_claim_may_be_a_folder_of_the_users(here: Platform, tmp_path: Path) -> None:
    setup = Setup(pvcs={"data": {"path": str(tmp_path), "read_only": True}})
    assert plan(here, claim("data"), setup).mounts == ({"source": str(tmp_path), "target": "/data", "read_only": True},)
    with pytest.raises(InvalidParameters, match="/no/such, which is no folder"):
        plan(here, claim("data"), Setup(pvcs={"data": {"path": "/no/such"}}))


def test_unknown_claims_are_named(here: Platform) -> None:
    with pytest.raises(InvalidParameters, match=r"there is no volume claim 'nope'.*\"pvcs\": \{\"nope\": \{\}\}"):
        plan(here, claim("nope"))


@pytest.mark.parametrize("name", ["../etc", "a/b", "", "A", ".", "x" * 300])
def test_names_that_are_no_claims(here: Platform, name: str) -> None:
    with pytest.raises(PlanningError, match="is no name for a volume claim"):
        here.volumes.folder(name)


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../../x"])
def test_a_sub_path_stays_inside(here: Platform, path: str) -> None:
    with pytest.raises(PlanningError, match="leaves the claim"):
        plan(here, claim("data", subPath=path), Setup(pvcs={"data": {}}))


@pytest.mark.parametrize("path", ["/", "data", "/a/../b"])
def test_mount_paths_are_absolute(here: Platform, path: str) -> None:
    with pytest.raises(PlanningError, match="cannot be mounted at"):
        plan(here, {"emptyDirMounts": [{"volumeName": "v", "mountPath": path}]})


def test_create_and_delete(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path / "volumes")
    inputs = {"pvc_name_suffix": "-my-pvc", "size": "5Mi", "access_modes": ["ReadWriteOnce"]}
    name = volumes.create("run1", KEY, 1, inputs).parameters["name"]
    assert re.search(".-my-pvc$", str(name))
    assert volumes.create("run1", KEY, 1, inputs).parameters["name"] == name  # twice is once
    assert volumes.create("run1", TaskKey(("x",)), 1, inputs).parameters["name"] != name
    assert volumes.create("run1", KEY, 1, {"pvc_name": "mine"}).parameters == {"name": "mine"}
    (tmp_path / "volumes" / "mine" / "file").write_text("x")
    assert volumes.delete({"pvc_name": "mine"}, {}) == Values()
    assert not (tmp_path / "volumes" / "mine").exists()
    assert volumes.delete({"pvc_name": "mine"}, {}) == Values()
    own = tmp_path / "own"
    own.mkdir()
    volumes.delete({"pvc_name": "own"}, {"own": {"path": str(own)}})
    assert own.is_dir()
    for wrong in ({}, {"pvc_name": "a", "pvc_name_suffix": "-b"}):
        with pytest.raises(PlanningError, match="CreatePVC wants one of"):
            volumes.create("run1", KEY, 1, wrong)


@pytest.mark.parametrize(
    ("image", "action"),
    [
        ("argostub/createpvc", "create"),
        ("argostub/deletepvc:1@sha256:ab", "delete"),
        ("localhost:5000/argostub/createpvc", "create"),
        ("someone/createpvc", ""),
        ("python:3.11", ""),
    ],
)
def test_volume_tasks_are_known_by_their_image(image: str, action: str) -> None:
    assert volume_action(ContainerExecutor(image)) == action
    assert volume_action(object()) == ""


# ------------------------------------------------------------------ other volumes
def test_fresh_volumes(here: Platform) -> None:
    config = {
        "emptyDirMounts": [
            {"volumeName": "m", "mountPath": "/m", "medium": "Memory", "sizeLimit": "64Mi"},
            {"volumeName": "d", "mountPath": "/d", "sizeLimit": "1Gi"},
        ],
        "genericEphemeralVolume": [
            {"volumeName": "e", "mountPath": "/e", "size": "1Gi", "accessModes": ["ReadWriteOnce"]}
        ],
    }
    found = plan(here, config)
    assert found.mounts == (
        {"target": "/m", "read_only": False, "volume": "m", "memory": True, "size": 64 << 20},
        {"target": "/d", "read_only": False, "volume": "d"},
        {"target": "/e", "read_only": False, "volume": "e"},
    )
    assert found.uncacheable == ""
    assert [note for note in found.notes if "not enforced" in note] != []


# ------------------------------------------------------------------ the pod
def test_fields_of_the_pod(here: Platform) -> None:
    paths = {
        "A": "metadata.annotations['note']",
        "L": "metadata.labels['tier']",
        "NONE": "metadata.labels['other']",
        "NAME": "metadata.name",
        "NS": "metadata.namespace",
        "UID": "metadata.uid",
        "NODE": "spec.nodeName",
        "IP": "status.podIP",
    }
    config = {
        "podMetadata": {"labels": {"tier": "one"}, "annotations": {"note": "two"}},
        "fieldPathAsEnv": [{"name": name, "fieldPath": path} for name, path in paths.items()],
    }
    found = plan(here, config)
    env = dict(found.env)
    assert (env["A"], env["L"], env["NONE"], env["NS"], env["NODE"]) == ("two", "one", "", "default", machine.node())
    assert re.fullmatch(r"run1-train-[0-9a-f]{8}", env["NAME"])
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", env["UID"])
    assert re.fullmatch(r"\d+(\.\d+){3}", env["IP"])
    assert set(found.key_env) == {"A", "L", "NONE", "NS"}  # what changes with every run decides no reuse
    assert (found.labels, found.annotations) == ({"tier": "one"}, {"note": "two"})
    with pytest.raises(Unsupported, match=r"spec\.containers"):
        plan(here, {"fieldPathAsEnv": [{"name": "X", "fieldPath": "spec.containers"}]})


def test_what_has_no_effect_is_told(here: Platform) -> None:
    labels = machine_labels()
    config = {
        "nodeSelector": {"labels": {"kubernetes.io/os": labels["kubernetes.io/os"], "gpu": "a100"}},
        "nodeAffinity": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["eu", "us"]}]},
            {"matchExpressions": [{"key": "spot", "operator": "DoesNotExist"}], "weight": 5},
        ],
        "podAffinity": [{"matchPodLabels": {"app": "x"}, "topologyKey": "zone", "anti": True}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "imagePullSecret": [{"secretName": "registry"}],
        "securityContext": {"runAsUser": 1000},
        "enabledSharedMemory": {"volumeName": "shm", "size": "1Gi"},
        "activeDeadlineSeconds": "60",
        "imagePullPolicy": "Always",
    }
    found = plan(here, config)
    text = "\n".join(found.notes)
    assert "gpu=a100: this machine has no such label" in text
    assert "kubernetes.io/os" not in text
    assert "asks for a node where zone In eu, us" in text
    assert "spot" not in text
    assert "away from other pods" in text
    assert "image pull secret registry" in text
    assert "tasks run as you" in text
    assert found.deadline == 60.0
    assert found.container.pull == "Always"
    assert found.container.shared_memory == 1 << 30
    assert found.container.user == 1000


def test_json_that_is_no_json(here: Platform) -> None:
    with pytest.raises(PlanningError, match="the node selector is not JSON"):
        plan(here, {"nodeSelector": {"nodeSelectorJson": constant("{oops")}})
    found = plan(here, {"nodeSelector": {"nodeSelectorJson": constant(json.dumps({"disk": "ssd"}))}})
    assert "disk=ssd" in found.notes[0]


def test_operators() -> None:
    labels = {"n": "5", "k": "v"}
    table = [
        ("k", "In", ("v", "w"), True),
        ("k", "NotIn", ("v",), False),
        ("x", "NotIn", ("v",), True),
        ("k", "Exists", (), True),
        ("x", "DoesNotExist", (), True),
        ("n", "Gt", ("4",), True),
        ("n", "Lt", ("4",), False),
        ("k", "Gt", ("4",), False),
    ]
    for key, operator, values, expected in table:
        assert matches(SelectorRequirement(key, operator, values), labels) is expected, (key, operator)


def test_init_containers_are_refused_by_name(here: Platform) -> None:
    with pytest.raises(Unsupported, match=r"init containers \(prepare\)"):
        plan(here, {"initContainers": [{"name": "prepare", "image": "busybox"}]})


# ------------------------------------------------------------------ the run
def test_workspace(here: Platform) -> None:
    run = driver({}, pipeline_config={"workspace": {"size": "1Gi"}, "semaphoreKey": "one"})
    assert here.has_workspace(run.pipeline)
    assert not here.workspace("run1").exists()
    here.resolve(run, start(), Setup())
    assert here.workspace("run1").is_dir()
    assert "1Gi is not enforced" in here.run_notes(run.pipeline)[0]
    assert "semaphore 'one'" in here.run_notes(run.pipeline)[1]
    assert here.run_deadline(run.pipeline) is None


def test_no_platform_document_is_no_work(here: Platform) -> None:
    run = driver({})
    run.pipeline = Pipeline("p", Component(), {}, {})
    assert here.resolve(run, start(), Setup()) == PlatformPlan()


def test_commands_of_containers() -> None:
    rendered = RenderedContainer(("sh", "-c"), ("echo",), {}, "image:1", Needs())
    assert subprocess_argv(rendered) == ["sh", "-c", "echo"]
    with pytest.raises(EnvironmentFailed, match="what it runs stands in its image image:1"):
        subprocess_argv(RenderedContainer((), ("--x",), {}, "image:1", Needs()))
