"""The launcher in other Pythons than the platform's own: 3.9 and later, where mlplatform is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import kfp
import pytest

PYTHONS = [
    str(path)
    for pattern in ("3.9.*", "3.10.*", "3.12.*", "3.13.*", "3.14.*")
    for path in sorted(Path.home().glob(f".pyenv/versions/{pattern}/bin/python"))
] + [found for minor in (9, 10, 12, 13, 14) if (found := shutil.which(f"python3.{minor}"))]  # fmt: skip


def _usable(python: str) -> bool:
    return subprocess.run([python, "-c", "pass"], capture_output=True, check=False).returncode == 0


PYTHONS = [python for python in dict.fromkeys(PYTHONS) if _usable(python)]


@pytest.fixture(params=PYTHONS or [sys.executable], ids=lambda path: path.replace(os.path.expanduser("~"), ""))
def python(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def kfp_path(tmp_path: Path) -> str:
    """A folder that holds kfp and nothing else."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / "kfp").symlink_to(Path(kfp.__file__).parent)
    return str(folder)


SOURCE = """
def task(a: int, out: Output[Dataset]) -> str:
    import sys, threading
    open(out.path, "w").write("x" * a)
    out.metadata["n"] = a
    assert "mlplatform" not in sys.modules
    return "%d.%d" % sys.version_info[:2]
"""


def _version(python: str) -> str:
    words = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _spec(bench, kfp_path, **more):
    spec = bench.component(
        SOURCE, returns="STRING", parameters={"a": 3}, out_artifacts={"out": "system.Dataset"}, **more
    )
    spec["python"]["kfp_path"] = kfp_path
    return spec


def test_components_run_there(bench, python, kfp_path):
    done = bench.bare(_spec(bench, kfp_path), python)
    assert done["state"] == "SUCCEEDED", done.log
    assert done.value == _version(python)
    assert done["artifacts"]["out"][0]["metadata"] == {"n": 3}
    assert done["artifacts"]["out"][0]["size"] == 3


def test_templates_and_the_trace_work_there(bench, runner, python, kfp_path):
    spec = _spec(bench, kfp_path, trace=True)

    async def go():
        running = await runner.executor.start(bench.launch(spec, python))
        return await running.wait()

    done = bench.done(spec, runner(go()))
    assert done["state"] == "SUCCEEDED", done.log
    assert done.value == _version(python)
    assert (done["reads"], done["writes"], done["untraced"]) == ([], [], "")


def test_failures_there(bench, python, kfp_path):
    spec = bench.component("def task():\n    import os\n    [][1]\n", secrets=["a secret"], env={"S": "a secret"})
    spec["python"]["kfp_path"] = kfp_path
    done = bench.bare(spec, python)
    assert done["error"]["message"] == "IndexError: list index out of range"
    assert "[][1]" in done["error"]["traceback"]


def test_without_kfp_the_reason_is_told(bench, python):
    done = bench.bare(bench.component("def task(): pass\n"), python)
    if done["state"] == "SUCCEEDED":
        return  # this interpreter has a kfp of its own
    assert done["error"]["code"] == "ENVIRONMENT_FAILED"
    assert "pip install" in done["error"]["hint"]
