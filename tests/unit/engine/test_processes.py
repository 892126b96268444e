"""Attempts as process trees: their ends, their limits, being found again; the same by fork and by spawn."""

# ruff: noqa: E501 - programs of the tasks

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mlplatform.core.errors import EnvironmentFailed, Unsupported
from mlplatform.engine.executors.processes import ProcessExecutor, execution_mode
from mlplatform.engine.files import read_json
from mlplatform.launcher import preload, tree
from mlplatform.launcher.identity import is_alive, pid_start
from tests.unit.launcher.conftest import Bench, Runner, bench, forking, mode, runner  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[3]


def _until(condition, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)
    return found


async def _until_async(condition, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.005)
    return found


def _of(cookie: str) -> list[int]:
    return [found.pid for found in tree.find(0, "", cookie)]


#: Nobody else on the machine sleeps for exactly so long: seconds that tell this test process's tasks from others'.
LONG = f"100.{os.getpid():07d}"

TREE = """
def task(marker: str):
    import os, subprocess, sys, time
    daemon = "import os, time\\nos.setsid()\\nif os.fork(): os._exit(0)\\ntime.sleep(LONG)"
    subprocess.Popen([sys.executable, "-c", daemon])
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep LONG & sleep LONG"])
    if os.fork() == 0:
        os.setsid()
        time.sleep(LONG)
    time.sleep(0.3)
    open(marker, "w").close()
    %s
""".replace("LONG", LONG)


@pytest.mark.parametrize(
    ("end", "code"),
    [("pass", 0), ("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", None), ("raise ValueError", 1)],
)
def test_nothing_of_an_attempt_outlives_it(runner, bench, end, code):  # noqa: F811
    spec = bench.component(TREE % end, parameters={"marker": f"{bench.project}/marker"})
    before = {item.pid for item in tree.processes()}
    done = runner.run(spec)
    assert done.exit.exit_code == code
    assert _of(spec["cookie"]) == []
    left = [item for item in tree.processes() if item.pid not in before and _sleeps(item.pid)]
    assert left == []


def _sleeps(pid: int) -> bool:
    try:
        return LONG.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_cancel_ends_the_whole_tree_within_its_grace(runner, bench):  # noqa: F811
    marker = bench.project / "marker"
    spec = bench.component(TREE % "time.sleep(100)", parameters={"marker": str(marker)})

    async def go():
        running = await runner.executor.start(bench.launch(spec))
        waiting = asyncio.create_task(running.wait())
        await _until_async(marker.exists)
        await asyncio.gather(running.cancel(0.5), running.cancel(0.5))
        return running, await waiting

    running, exit_ = runner(go())
    assert exit_.signal in (signal.SIGTERM, signal.SIGKILL)
    assert not is_alive(running.pid, running.pid_start)
    assert _of(spec["cookie"]) == []


def test_cancel_leaves_others_alone(runner, bench):  # noqa: F811
    other = subprocess.Popen(["sleep", "100"])
    first = bench.component("def task():\n    import time\n    time.sleep(100)\n")
    second = bench.component(
        "def task() -> int:\n    import time\n    time.sleep(0.5)\n    return 1\n", returns="NUMBER_INTEGER"
    )

    async def go():
        one = await runner.executor.start(bench.launch(first))
        two = await runner.executor.start(bench.launch(second))
        waiting = asyncio.create_task(one.wait())
        await one.cancel(2.0)
        await waiting
        return await two.wait()

    assert runner(go()).exit_code == 0
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os._exit(7)", "left with status 7 before it had written its result"),
        ("os._exit(0)", "left with status 0 before it had written its result"),
        ("import ctypes; ctypes.string_at(0)", "native code crashed in the task's process (SIGSEGV)"),
        ("os.abort()", "native code crashed in the task's process (SIGABRT)"),
        ("os.kill(os.getpid(), 9)", "was killed from outside (SIGKILL)"),
    ],
)
def test_an_attempt_that_died_says_how(runner, bench, body, reason):  # noqa: F811
    done = runner.run(bench.component(f"def task():\n    import os\n    print('before')\n    {body}\n"))
    assert done == {}
    assert reason in done.exit.reason
    assert not done.exit.lost
    assert "before" in done.log
    if "crashed" in reason:
        assert "Fatal Python error" in done.log
        assert "user_code.py" in done.log


def test_the_time_limit(runner, bench):  # noqa: F811
    spec = bench.component("def task():\n    import time\n    time.sleep(100)\n", timeout=0.3)
    started = time.monotonic()
    done = runner.run(spec)
    assert time.monotonic() - started < 20
    assert done.exit.reason == "the task ran longer than its limit of 0.3 seconds and was ended"


def test_an_attempt_that_was_claimed_does_not_run(runner, bench):  # noqa: F811
    marker = bench.project / "ran"
    spec = bench.component("def task(marker: str):\n    open(marker, 'w')\n", parameters={"marker": str(marker)})
    Path(spec["claim"]).touch()
    done = runner.run(spec)
    assert done == {}
    assert done.exit.lost
    assert not marker.exists()


def test_fifty_at_once(runner, bench):  # noqa: F811
    specs = [
        bench.component("def task(n: int) -> int:\n    return n * n\n", returns="NUMBER_INTEGER", parameters={"n": n})
        for n in range(50)
    ]

    async def one(spec):
        running = await runner.executor.start(bench.launch(spec))
        return await running.wait()

    async def go():
        return await asyncio.gather(*(one(spec) for spec in specs))

    exits = runner(go())
    values = [bench.done(spec, exit_).value for spec, exit_ in zip(specs, exits, strict=True)]
    assert values == [n * n for n in range(50)]


def test_children_draw_different_numbers(runner, bench):  # noqa: F811
    source = "def task() -> str:\n    import random, numpy\n    return repr((random.random(), numpy.random.rand()))\n"

    def draw() -> str:
        return runner.run(bench.component(source, returns="STRING")).value

    first = draw()
    if runner.executor.mode == "fork":
        template = next(iter(runner.executor._templates.values()))
        _preload(runner, bench, "numpy", template)
    assert len({first, draw(), draw(), draw()}) == 4


def _preload(runner, bench, module: str, template) -> None:  # noqa: F811
    async def go():
        await _until_async(lambda: module in template.preloaded or module in template.refused)

    runner(go())
    assert template.refused == {}


def test_a_template_learns_what_its_children_import(forking, bench):  # noqa: F811
    source = """
    def task() -> list:
        import sys
        had = [name for name in ("pandas", "polars", "sklearn.linear_model", "pyarrow") if name in sys.modules]
        import pandas, polars, pyarrow, sklearn.ensemble, sklearn.linear_model
        import numpy
        from sklearn.datasets import load_digits
        x, y = load_digits(return_X_y=True)
        sklearn.ensemble.HistGradientBoostingClassifier(max_iter=2).fit(x[:200], y[:200] > 4)
        polars.DataFrame({"a": [1, 2]}).group_by("a").len()
        pandas.DataFrame({"a": x[:, 0]}).groupby("a").size()
        x @ x.T
        return had
    """
    first = forking.run(bench.component(source, returns="LIST"))
    assert first.value == [], first.log
    template = next(iter(forking.executor._templates.values()))
    _preload(forking, bench, "sklearn.linear_model", template)
    for _ in range(2):
        again = forking.run(bench.component(source, returns="LIST", timeout=100))
        assert "sklearn.linear_model" in again.value, again.log
        assert "pandas" in again.value
    names = {path.read_text().strip() for path in Path(f"/proc/{template.pid}/task").glob("*/comm")}
    assert len(names - preload.FORK_SAFE_THREADS) == 1


def test_blas_threads_are_those_the_task_may_have(forking, bench):  # noqa: F811
    source = """
    def task() -> list:
        import numpy, os, threadpoolctl
        numpy.ones((300, 300)) @ numpy.ones((300, 300))
        return [os.environ["OMP_NUM_THREADS"], max(pool["num_threads"] for pool in threadpoolctl.threadpool_info())]
    """
    assert forking.run(bench.component(source, returns="LIST", cpus=1)).value == ["1", 1]
    _preload(forking, bench, "numpy", next(iter(forking.executor._templates.values())))
    assert forking.run(bench.component(source, returns="LIST", cpus=1.5)).value == ["2", 2]
    assert forking.run(bench.component(source, returns="LIST", cpus=1)).value == ["1", 1]


def test_a_hook_is_compiled_once_a_template_and_again_when_it_changes(forking, bench):  # noqa: F811
    hook = bench.project / "hook.py"
    spec = {"hooks": [str(hook)], "returns": "STRING"}
    for told in ("first", "the second"):
        hook.write_text(f"import os\nos.environ['HOOKED'] = {told!r}\n")
        source = "def task() -> str:\n    import os\n    return os.environ['HOOKED']\n"
        assert forking.run(bench.component(source, **spec)).value == told
    hook.write_text("this is no Python\n")
    done = forking.run(bench.component("def task() -> str:\n    return 'still here'\n", **spec))
    assert done.value == "still here"
    assert "SyntaxError" in done.log
    assert len(forking.executor._templates) == 1


def test_a_module_of_the_project_is_not_taken_from_the_template(forking, bench):  # noqa: F811
    forking.run(bench.component("def task():\n    import joblib\n"))
    _preload(forking, bench, "joblib", next(iter(forking.executor._templates.values())))
    (bench.project / "joblib.py").write_text("WHO = 'the project'\n")
    source = "def task() -> str:\n    import joblib\n    return joblib.WHO + os.environ['SECRET']\n"
    spec = bench.component(
        "import os\n" + source, returns="STRING", sys_path=[str(bench.project)], env={"SECRET": "long-secret"},
        secrets=["long-secret"],
    )  # fmt: skip
    assert forking.run(spec).value == "the project***"


def test_devices_folder_and_variables(runner, bench):  # noqa: F811
    source = """
    def task() -> list:
        import os, sys, tempfile
        return [os.environ["CUDA_VISIBLE_DEVICES"], os.getcwd(), tempfile.gettempdir(), os.environ["MINE"], sys.stdin.read(),
                os.getsid(0) == os.getpid(), sys.argv, "EXTRA" in os.environ]
    """
    os.environ["EXTRA"] = "of the service"
    spec = bench.component(source, returns="LIST", gpus=[1, 3], env={"MINE": "x"}, cwd=str(bench.project))
    value = runner.run(spec).value
    assert value == ["1,3", str(bench.project), spec["scratch"], "x", "", True, [""], False]


def test_commands(runner, bench):  # noqa: F811
    spec = bench.command(
        "sh", "-c", 'printf 5 > "$0"; echo said; echo also >&2', "PATH", out_parameters={"n": "NUMBER_INTEGER"}
    )
    spec["command"][3] = spec["outputs"]["parameters"]["n"]["path"]
    done = runner.run(spec)
    assert (done["state"], done["parameters"], done.log) == ("SUCCEEDED", {"n": 5}, "said\nalso\n")
    failed = runner.run(bench.command("sh", "-c", "exit 4"))
    assert failed["error"]["message"] == "the command ended with exit status 4"
    killed = runner.run(bench.command("sh", "-c", "kill -SEGV $$"))
    assert killed["error"]["message"] == "the command was ended by SIGSEGV"
    absent = runner.run(bench.command("not-a-command"))
    assert "'not-a-command' is not on this machine" in absent["error"]["message"]


def test_a_result_that_cannot_be_written_is_told(runner, bench):  # noqa: F811
    spec = bench.command("true")
    launch = bench.launch(spec)
    (launch.directory / "spec.json").write_text(json.dumps({**spec, "result": "/proc/none/result.json"}))

    async def go():
        running = await runner.executor.start(launch)
        return await running.wait()

    exit_ = runner(go())
    assert exit_.reason == "the task ended, but its result could not be written: is the disk full?"
    assert "could not be written" in (launch.directory / "task.log").read_text()


def test_an_attempt_that_cannot_be_set_up_says_why(runner, bench):  # noqa: F811
    done = runner.run(bench.command("true", cwd="/nonexistent"))
    assert done["error"]["code"] == "SYSTEM"
    assert "'/nonexistent'" in done["error"]["message"]


def test_an_interpreter_that_is_not_there(runner, bench):  # noqa: F811
    spec = bench.component("def task(): pass\n")
    with pytest.raises(EnvironmentFailed, match="cannot be started"):
        runner(runner.executor.start(bench.launch(spec, executable="/nonexistent/python")))
    broken = bench.project / "python"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(EnvironmentFailed, match="it is broken"):
        runner(runner.executor.start(bench.launch(spec, executable=str(broken))))


def test_a_template_that_dies_loses_no_attempt(forking, bench):  # noqa: F811
    source = "def task() -> int:\n    import time\n    time.sleep(0.4)\n    return 1\n"
    spec = bench.component(source, returns="NUMBER_INTEGER")

    async def go():
        running = await forking.executor.start(bench.launch(spec))
        template = next(iter(forking.executor._templates.values()))
        os.kill(template.pid, signal.SIGKILL)
        exit_ = await running.wait()
        again = await forking.executor.start(bench.launch(bench.component(source, returns="NUMBER_INTEGER")))
        return exit_, await again.wait()

    exit_, again = forking(go())
    assert bench.done(spec, exit_).value == 1
    assert not exit_.lost
    assert again.exit_code == 0


def test_a_killed_service_leaves_attempts_that_another_finds(bench, mode, tmp_path):  # noqa: F811
    go = bench.project / "go"
    wait = "import os, time\n    while not os.path.exists(where + '/go'): time.sleep(0.01)\n    "
    sources = {
        "good": f"def task(where: str) -> int:\n    {wait}return 7\n",
        "bad": f"def task(where: str) -> int:\n    {wait}os._exit(9)\n",
        "tree": f"def task(where: str) -> int:\n    import subprocess\n    subprocess.Popen(['sleep', '100'])\n    {wait}return 7\n",
    }
    specs = {
        name: bench.component(source, returns="NUMBER_INTEGER", parameters={"where": str(bench.project)})
        for name, source in sources.items()
    }
    folders = {name: str(bench.launch(spec).directory) for name, spec in specs.items()}
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    service = subprocess.Popen(
        [sys.executable, str(script), mode, json.dumps(folders)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert service.stdout is not None
    service.stdout.readline()
    claims = {name: _until(lambda folder=folder: read_json(Path(folder, "claim"))) for name, folder in folders.items()}
    service.kill()
    service.wait()
    runner = Runner(bench, mode)  # noqa: F811
    try:
        handles = {
            name: runner.executor.adopt(claim["pid"], claim["pid_start"], Path(folders[name]))
            for name, claim in claims.items()
        }
        assert None not in handles.values()
        assert runner.executor.adopt(claims["good"]["pid"], "another start", Path(folders["good"])) is None
        go.touch()

        async def ends():
            return {name: await handle.wait() for name, handle in handles.items()}

        exits = runner(ends())
        assert bench.done(specs["good"], exits["good"]).value == 7
        assert bench.done(specs["tree"], exits["tree"]).value == 7
        assert bench.done(specs["bad"], exits["bad"]) == {}
        if mode == "fork":
            assert "status 9" in exits["bad"].reason
        else:
            assert exits["bad"].lost
        for name, claim in claims.items():
            assert runner.executor.adopt(claim["pid"], claim["pid_start"], Path(folders[name])) is None
            assert _of(specs[name]["cookie"]) == []
    finally:
        runner.close()
    _until(lambda: not [found for found in tree.processes() if found.parent == service.pid])


SERVICE = """
import asyncio, json, sys
from pathlib import Path
from mlplatform.core.model import TaskKey
from mlplatform.engine.files import read_json
from mlplatform.engine.executors.processes import ProcessExecutor
from mlplatform.engine.ports import Interpreter, Launch

async def main():
    executor = ProcessExecutor(sys.argv[1])
    for folder in json.loads(sys.argv[2]).values():
        spec = json.loads(Path(folder, "spec.json").read_text())
        await executor.start(Launch("run", TaskKey(("t",)), 1, "python", Path(folder), spec, Interpreter(sys.executable, "", "")))
    print("started", flush=True)
    await asyncio.sleep(100)

asyncio.run(main())
"""


def test_an_adopted_attempt_can_be_cancelled(bench, runner):  # noqa: F811
    spec = bench.component("def task():\n    import time\n    time.sleep(100)\n")

    async def go():
        launch = bench.launch(spec)
        running = await runner.executor.start(launch)
        await _until_async(
            lambda: (launch.directory / "claim").exists() and (launch.directory / "claim").stat().st_size
        )
        first = asyncio.create_task(running.wait())
        again = ProcessExecutor(runner.executor.mode)
        adopted = again.adopt(running.pid, running.pid_start, launch.directory)
        second = asyncio.create_task(adopted.wait())
        await adopted.cancel(1.0)
        exit_ = await first
        await second
        await again.close()
        return exit_

    assert runner(go()).signal == signal.SIGTERM


def test_templates_leave_with_their_engine(bench, mode):  # noqa: F811
    before = _launchers()
    runner = Runner(bench, mode)  # noqa: F811
    runner.run(bench.component("def task(): pass\n"))
    _until(lambda: _launchers() - before)
    runner.close()
    _until(lambda: not _launchers() - before)


def _launchers() -> set[int]:
    """Launchers that this process started (others on the machine have some of their own)."""
    found: set[int] = set()
    for item in tree.processes():
        try:
            if item.parent == os.getpid() and b"launcher/__main__.py" in Path(f"/proc/{item.pid}/cmdline").read_bytes():
                found.add(item.pid)
        except OSError:
            continue
    return found


def test_packages_of_the_submission_are_found(runner, bench):  # noqa: F811
    folder = bench.project / "site-packages"
    folder.mkdir()
    (folder / "only_there.py").write_text("X = 5\n")
    launch = bench.launch(
        bench.component(
            "def task() -> int:\n    import only_there\n    return only_there.X\n", returns="NUMBER_INTEGER"
        )
    )
    launch = replace(launch, interpreter=replace(launch.interpreter, sys_path=(str(bench.project), str(folder))))

    async def go():
        running = await runner.executor.start(launch)
        return await running.wait()

    assert bench.done(launch.spec, runner(go())).value == 5


def test_the_mode_is_chosen_by_variable(monkeypatch):
    monkeypatch.setenv("MLPLATFORM_EXECUTION", "spawn")
    assert execution_mode() == "spawn"
    monkeypatch.setenv("MLPLATFORM_EXECUTION", "thread")
    with pytest.raises(Unsupported, match="'fork' or 'spawn'"):
        execution_mode()
    monkeypatch.delenv("MLPLATFORM_EXECUTION")
    assert execution_mode() == ("fork" if sys.platform.startswith("linux") else "spawn")


def test_a_reused_number_is_never_signalled():
    child = subprocess.Popen(["sleep", "100"])
    assert tree.kill(child.pid, "not its start", grace=0.1)
    assert child.poll() is None
    assert tree.find(child.pid, pid_start(child.pid))[0].pid == child.pid
    child.kill()
    child.wait()
