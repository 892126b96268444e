"""From what a user describes to a TrainingJob object."""

from __future__ import annotations

import base64
import io
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.apis.objects import training_job
from mlplatform.engine.training.jobs import check
from mlplatform.planning.training.read import training_spec


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "work" / "train.py"
    path.parent.mkdir()
    path.write_text("import sys\nprint(sys.argv[1:], __file__)\n")
    return path


def groups(job: ml.TrainingJob, *, cluster: bool = False) -> dict[str, Any]:
    body = job.object("job", cluster=cluster)
    whole = training_job({**body, "metadata": {"name": "job"}})
    check(whole)
    training_spec("job", whole.spec)
    return {group["name"]: group for group in body["spec"]["groups"]}


def command(group: dict[str, Any]) -> list[str]:
    return group["template"]["spec"]["containers"][0].get("command", [])


def test_a_script_on_this_machine_is_run_where_it_is(script: Path) -> None:
    job = ml.TrainingJob(script, ["--lr", "1"], workers=2)
    worker = groups(job)["worker"]
    assert command(worker) == [sys.executable, str(script), "--lr", "1"]
    assert worker["replicas"] == 2
    assert worker["template"]["spec"]["containers"][0]["workingDir"] == str(Path.cwd())


def test_torch_is_started_by_torchrun(script: Path) -> None:
    job = ml.TrainingJob(script, framework="torch", workers=2, procs_per_worker=2, elastic=(1, 4))
    worker = groups(job)["worker"]
    assert command(worker) == [sys.executable, "-m", "torch.distributed.run", str(script)]
    assert (worker["procsPerReplica"], worker["elastic"]) == (2, {"min": 1, "max": 4})


def test_mpi_has_a_launcher_and_workers_that_are_started_by_it(script: Path) -> None:
    found = groups(ml.TrainingJob(script, framework="mpi", workers=3))
    assert command(found["launcher"]) == ["mpirun", sys.executable, str(script)]
    assert (found["launcher"]["role"], found["worker"]["replicas"], command(found["worker"])) == ("launcher", 3, [])


def test_ray_has_a_head_that_others_join(script: Path) -> None:
    found = groups(ml.TrainingJob(script, framework="ray", workers=3))
    assert '"$0" -m ray.scripts.scripts start --head' in command(found["head"])[2]
    assert command(found["head"])[3:] == [sys.executable, sys.executable, str(script)]
    assert 'ray.scripts.scripts start --address="$RAY_ADDRESS"' in command(found["worker"])[2]
    assert command(found["worker"])[3:] == [sys.executable]
    assert found["worker"]["replicas"] == 2


def test_a_command_is_run_as_it_is() -> None:
    job = ml.TrainingJob(["torchrun", "train.py"], framework="torch", workers=2)
    assert command(groups(job)["worker"]) == ["torchrun", "train.py"]


def test_gpus_are_asked_for_by_product(script: Path) -> None:
    worker = groups(ml.TrainingJob(script, gpus_per_worker=2, gpu="A100"))["worker"]
    assert worker["accelerator"] == {"count": 2, "products": ["A100"]}


def test_to_a_cluster_the_script_travels_with_the_job(script: Path) -> None:
    words = command(groups(ml.TrainingJob(script, ["a b", "$x"]), cluster=True)["worker"])
    assert script.read_text() in words
    assert (
        "workingDir" not in groups(ml.TrainingJob(script), cluster=True)["worker"]["template"]["spec"]["containers"][0]
    )
    words[words.index("python")] = sys.executable
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    said, _, file = done.stdout.strip().rpartition(" ")
    assert (said, Path(file).name) == ("['a b', '$x']", "train.py")


def test_a_function_travels_with_all_it_reaches() -> None:
    factor = 3

    def multiply(number: int, name: str = "x") -> None:
        print(name, factor * number)

    words = command(groups(ml.TrainingJob(multiply, {"number": 14, "name": "it's"}))["worker"])
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "it's 42\n"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"framework": "tensorflow"}, "is no framework"),
        ({"workers": 0}, "at least one worker"),
        ({"workers": 5, "elastic": (1, 4)}, "not within elastic"),
    ],
)
def test_what_cannot_be_is_told_at_once(script: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ml.InvalidInput, match=message):
        ml.TrainingJob(script, **wrong)


def test_a_function_may_need_no_arguments() -> None:
    def once() -> None:
        print("done")

    words = command(groups(ml.TrainingJob(once))["worker"])
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "done\n"


def test_arguments_that_cannot_travel(script: Path) -> None:
    def function(data: object) -> None: ...

    with pytest.raises(ml.InvalidInput, match="argument data is a object"):
        ml.TrainingJob(function, {"data": object()}).object()
    with pytest.raises(ml.InvalidInput, match="no file"):
        ml.TrainingJob(script.with_name("other.py")).object(cluster=False)
    noise = base64.b85encode(random.Random(1).randbytes(200_000)).decode()
    script.write_text(f"# {noise}")
    with pytest.raises(ml.InvalidInput, match=r"train.py is too long to travel with the job \(\d+ KiB packed"):
        ml.TrainingJob(script).object()
    script.write_text("import noise")
    script.with_name("noise.py").write_text(f"# {noise}")
    with pytest.raises(ml.InvalidInput, match=r"train.py and the 1 modules that it reaches are too long"):
        ml.TrainingJob(script).object()


def said_elsewhere(path: Path, *arguments: str) -> str:
    """What a script says where nothing is but its object."""
    words = command(groups(ml.TrainingJob(path, arguments), cluster=True)["worker"])
    words[words.index("python")] = sys.executable
    path.parent.rename(path.parent.with_name("gone"))
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    return subprocess.run(words, cwd="/", env=env, capture_output=True, text=True, check=True).stdout


def test_modules_of_the_user_travel_with_the_script_that_imports_them(script: Path) -> None:
    here = script.parent
    script.write_text("import sys\nimport click\nfrom nets import small\nimport helper\n"
                      "print(helper.twice(small.WIDTH), sys.argv[1:])\n")  # fmt: skip
    (here / "helper.py").write_text("import nets.layers\n\ndef twice(x):\n    return nets.layers.double(x)\n")
    (here / "nets").mkdir()
    (here / "nets" / "__init__.py").write_text("")
    (here / "nets" / "small.py").write_text("from .layers import double\nWIDTH = double(3)\n")
    (here / "nets" / "layers.py").write_text("def double(x):\n    return 2 * x\n")
    (here / "unused.py").write_text("raise SystemExit(1)\n")
    first = command(groups(ml.TrainingJob(script), cluster=True)["worker"])
    assert first == command(groups(ml.TrainingJob(script), cluster=True)["worker"])
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(first[3])))
    assert archive.namelist() == ["helper.py", "nets/__init__.py", "nets/layers.py", "nets/small.py", "train.py"]
    assert said_elsewhere(script, "a b", "it's") == "12 ['a b', \"it's\"]\n"


@pytest.mark.parametrize("name", ["it's a $(name).py", "latin.py"])
def test_any_name_and_encoding_travels(script: Path, name: str) -> None:
    path = script.with_name(name)
    path.write_bytes("# -*- coding: latin-1 -*-\nprint(len('\u00e4'))\n".encode("latin-1"))
    assert said_elsewhere(path) == "1\n"


def test_a_script_that_is_no_python_starts_nothing(script: Path) -> None:
    script.write_text("import sys\nprint(sys.argv\n")
    with pytest.raises(ml.InvalidInput, match=r"train.py, line 2: '\(' was never closed"):
        ml.TrainingJob(script).run(backend="local")
    script.write_bytes(b"x = 1\0")
    with pytest.raises(ml.InvalidInput, match="null bytes"):
        ml.TrainingJob(script).object()


def test_a_framework_that_is_not_there_starts_nothing(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ml.InvalidInput, match="The program mpirun is not installed here"):
        ml.TrainingJob(script, framework="mpi").run(backend="local")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ml.InvalidInput, match="torch is not installed here"):
        ml.TrainingJob(script, framework="torch").run(backend="local")


def test_further_members_of_the_spec_are_merged(script: Path) -> None:
    spec = {"failurePolicy": {"restartScope": "Pod"}, "runPolicy": {"cleanPods": "All"}}
    body = ml.TrainingJob(script, max_restarts=1, deadline=60, spec=spec).object()["spec"]
    assert body["failurePolicy"] == {"maxRestarts": 1, "restartScope": "Pod"}
    assert body["runPolicy"] == {"activeDeadlineSeconds": 60, "cleanPods": "All"}
