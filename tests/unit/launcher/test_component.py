"""Kind python: kfp's own executor, values and artifacts back, failures told from the user's code on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlplatform.launcher.digest import digest_path


@pytest.mark.parametrize(
    ("annotation", "expression", "type_", "expected"),
    [
        ("int", "41 + 1", "NUMBER_INTEGER", 42),
        ("float", "2.0", "NUMBER_DOUBLE", 2.0),
        ("float", "2", "NUMBER_DOUBLE", 2.0),
        ("str", "'a\\nb é'", "STRING", "a\nb é"),
        ("bool", "False", "BOOLEAN", False),
        ("list", "[1, 2.0, 'x', [None]]", "LIST", [1, 2, "x", [None]]),
        ("dict", "{'a': {'b': 1.0}}", "STRUCT", {"a": {"b": 1}}),
    ],
)
def test_returned_values_keep_their_type(runner, bench, annotation, expression, type_, expected):
    done = runner.run(bench.component(f"def task() -> {annotation}:\n    return {expression}\n", returns=type_))
    assert done["state"] == "SUCCEEDED", done.log
    assert done.value == expected
    assert type(done.value) is type(expected)


def test_inputs_reach_the_function(runner, bench):
    source = """
    def task(a: int, b: str = "default", c: Optional[int] = None, d: dict = {}) -> str:
        return repr((a, b, c, d, type(a).__name__))
    """
    done = runner.run(bench.component(source, returns="STRING", parameters={"a": 3, "d": {"x": 1}}))
    assert done.value == "(3, 'default', None, {'x': 1}, 'int')"


def test_output_files_are_taken_as_they_are(runner, bench):
    source = """
    def task(text: OutputPath(str), number: OutputPath(int), flag: OutputPath(bool), items: OutputPath(list)):
        open(text, "w").write("line\\n")
        open(number, "w").write(" 7\\n")
        open(flag, "w").write("True")
        open(items, "w").write("[1.0, 2.5]")
    """
    types = {"text": "STRING", "number": "NUMBER_INTEGER", "flag": "BOOLEAN", "items": "LIST"}
    done = runner.run(bench.component(source, out_parameters=types))
    assert done["parameters"] == {"text": "line\n", "number": 7, "flag": True, "items": [1, 2.5]}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("pass", "OUTPUT_MISSING", "'number' was not written"),
        ("open(number, 'w').write('seven')", "OUTPUT_TYPE", 'expected NUMBER_INTEGER, got "seven"'),
        ("open(number, 'w').write('1.5')", "OUTPUT_TYPE", "got double 1.5"),
        ("raise SystemExit(0)", "OUTPUT_MISSING", "was not written"),
    ],
)
def test_missing_and_wrong_outputs_fail(runner, bench, body, code, words):
    source = f"def task(number: OutputPath(int)):\n    {body}\n"
    done = runner.run(bench.component(source, out_parameters={"number": "NUMBER_INTEGER"}))
    assert done["state"] == "FAILED"
    assert done["error"]["code"] == code
    assert words in done["error"]["message"]
    assert done["error"]["hint"]


def test_artifacts_come_back_with_digest_metadata_and_size(runner, bench):
    source = """
    def task(model: Output[Model], table: Output[Dataset], metrics: Output[Metrics]):
        import os
        os.makedirs(model.path + "/deep")
        open(model.path + "/deep/weights", "w").write("123")
        open(table.path, "w").write("a,b\\n")
        table.metadata["rows"] = 3.0
        model.framework = "none"
        metrics.log_metric("loss", 0.5)
        metrics.log_metric("epochs", 4)
    """
    types = {"model": "system.Model", "table": "system.Dataset", "metrics": "system.Metrics"}
    done = runner.run(bench.component(source, out_artifacts=types))
    assert done["state"] == "SUCCEEDED", done.log
    (model,), (table,), (metrics,) = (done["artifacts"][name] for name in ("model", "table", "metrics"))
    assert table["digest"] == digest_path(table["path"])[0]
    assert table["size"] == 4
    assert table["metadata"] == {"rows": 3}
    assert type(table["metadata"]["rows"]) is int
    assert model["digest"] == digest_path(model["path"])[0]
    assert model["metadata"] == {"framework": "none"}
    assert (metrics["digest"], metrics["size"]) == ("", None)
    assert metrics["metadata"] == {"loss": 0.5, "epochs": 4}
    assert [model["type"], table["type"], metrics["type"]] == list(types.values())


def test_uri_and_path_of_the_users_own(runner, bench, tmp_path):
    source = """
    def task(remote: Output[Model], moved: Output[Dataset], custom: Output[Dataset], where: str):
        remote.uri = "s3://bucket/model"
        moved.path = where + "/moved.csv"
        open(moved.path, "w").write("moved")
        custom.custom_path = where + "/custom.csv"
        open(custom.path, "w").write("custom")
    """
    types = {"remote": "system.Model", "moved": "system.Dataset", "custom": "system.Dataset"}
    spec = bench.component(source, out_artifacts=types, parameters={"where": str(tmp_path)})
    done = runner.run(spec)
    assert done["state"] == "SUCCEEDED", done.log
    remote, moved, custom = (done["artifacts"][name][0] for name in types)
    assert (remote["uri"], remote["digest"], remote["path"]) == ("s3://bucket/model", "", "")
    assert moved["uri"] == moved["path"] == f"{tmp_path}/moved.csv"
    assert moved["size"] == 5
    assert custom["uri"] == spec["outputs"]["artifacts"]["custom"]["uri"]
    assert Path(custom["uri"]).read_text() == "custom"


def test_returned_artifacts_and_named_tuples(runner, bench):
    source = """
    def task(base: str) -> NamedTuple("Both", [("data", Dataset), ("count", int)]):
        made = Dataset(name="data", uri=base + "/data.txt", metadata={"k": 1})
        open(made.path, "w").write("hello")
        return made, 5
    """
    spec = bench.component(
        source,
        parameters={"base": str(bench.project)},
        out_parameters={"count": "NUMBER_INTEGER"},
        out_artifacts={"data": "system.Dataset"},
    )
    done = runner.run(spec)
    assert done["state"] == "SUCCEEDED", done.log
    assert done["parameters"] == {"count": 5}
    assert done["artifacts"]["data"][0]["uri"] == f"{bench.project}/data.txt"
    assert done["artifacts"]["data"][0]["metadata"] == {"k": 1}


def test_input_artifacts_open_whatever_their_uri_says(runner, bench):
    (bench.project / "with space").write_text("content")
    source = """
    def task(data: Input[Dataset], many: Input[List[Dataset]], far: Input[Model]) -> str:
        return open(data.path).read() + str(len(many)) + open(many[1].path).read() + far.path + data.metadata["k"]
    """
    plain = {"name": "d", "uri": f"{bench.project}/with space", "type": {"schemaTitle": "system.Dataset"}}
    url = {**plain, "uri": f"file://{bench.project}/with%20space", "metadata": {"k": "v"}}
    far = {"name": "m", "uri": "gs://bucket/m", "type": {"schemaTitle": "system.Model"}}
    spec = bench.component(source, inputs={"data": url, "many": [plain, plain], "far": far}, returns="STRING")
    assert runner.run(spec).value == "content2content/gcs/bucket/mv"


def test_traceback_begins_at_the_users_own_frame(runner, bench):
    source = """
    def helper(n):
        return 1 / n

    def task():
        try:
            helper(0)
        except ZeroDivisionError as problem:
            raise KeyError("deep") from problem
    """
    done = runner.run(bench.component(source))
    error = done["error"]
    assert error["code"] == "TASK_FAILED"
    assert error["type"] == "KeyError"
    assert error["message"] == "KeyError: 'deep'"
    lines = error["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('user_code.py", line 12, in task')
    assert lines[2].strip() == "helper(0)"
    assert "launcher" not in error["traceback"]
    assert "kfp/dsl" not in error["traceback"]
    assert "The above exception was the direct cause" in error["traceback"]
    assert error["traceback"] in done.log + "\n"


def test_what_kfp_refuses_is_told_without_its_frames(runner, bench):
    done = runner.run(bench.component("def task() -> int:\n    return 'text'\n", returns="NUMBER_INTEGER"))
    assert done["error"]["type"] == "ValueError"
    assert "returned value of type" in done["error"]["message"]
    assert "executor.py" not in done["error"]["traceback"]


@pytest.mark.parametrize(
    ("body", "type_", "message"),
    [
        ("import sys; sys.exit(3)", "SystemExit", "the task called sys.exit(3)"),
        ("import sys; sys.exit('no data')", "SystemExit", "the task called sys.exit(): no data"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("import not_there", "ModuleNotFoundError", "ModuleNotFoundError: No module named 'not_there'"),
        (
            "class E(Exception):\n        def __str__(self): raise ValueError\n    raise E",
            "E",
            "E: <its text cannot be had>",
        ),
    ],
)
def test_other_ways_to_fail(runner, bench, body, type_, message):
    done = runner.run(bench.component(f"def task():\n    {body}\n"))
    assert (done["error"]["type"], done["error"]["message"]) == (type_, message)


def test_a_syntax_error_shows_the_line(runner, bench):
    done = runner.run(bench.component("def task():\n    return (1\n"))
    assert done["error"]["type"] == "SyntaxError"
    assert "return (1" in done["error"]["traceback"]


def test_source_classes_and_lines_are_there_for_tools(runner, bench):
    source = """
    class Kept:
        pass

    def task() -> str:
        import inspect, pickle, linecache, sys
        copy = pickle.loads(pickle.dumps(Kept()))
        return inspect.getsource(Kept).strip() + " " + type(copy).__module__ + " " + sys.modules["__main__"].__name__
    """
    assert (
        runner.run(bench.component(source, returns="STRING")).value
        == "class Kept:\n    pass ephemeral_component __main__"
    )


def test_logging_and_printing_reach_the_log_in_order(runner, bench):
    source = """
    def task():
        import logging, os, subprocess, sys
        print("one")
        logging.info("two")
        os.write(1, b"three\\n")
        subprocess.run(["sh", "-c", "echo four; echo five >&2"])
        print("six", end="")
        sys.stderr.write("seven")
    """
    done = runner.run(bench.component(source))
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    places = [done.log.index(word) for word in words]
    assert places[:5] == sorted(places[:5])
    assert done["state"] == "SUCCEEDED"


def test_exit_functions_and_threads_end_before_the_result(runner, bench):
    source = """
    def task(where: str) -> int:
        import atexit, threading, time
        def late():
            time.sleep(0.05)
            open(where + "/thread", "w").write("x")
        threading.Thread(target=late).start()
        atexit.register(lambda: open(where + "/atexit", "w").write("x"))
        return 1
    """
    done = runner.run(bench.component(source, returns="NUMBER_INTEGER", parameters={"where": str(bench.project)}))
    assert done["state"] == "SUCCEEDED"
    assert sorted(path.name for path in bench.project.iterdir()) == ["atexit", "thread"]


def test_a_user_mlplatform_is_the_users(runner, bench):
    package = bench.project / "mlplatform"
    package.mkdir()
    (package / "__init__.py").write_text("WHO = 'the user'\n")
    (bench.project / "spec.py").write_text("WHO = 'a module called spec'\n")
    (bench.project / "attempt.py").write_text("WHO = 'mine'\n")
    source = """
    def task() -> str:
        import attempt, mlplatform, spec
        return mlplatform.WHO + ", " + spec.WHO + ", " + attempt.WHO
    """
    done = runner.run(bench.component(source, returns="STRING", sys_path=[str(bench.project)]))
    assert done.value == "the user, a module called spec, mine"


def test_hooks_run_first_and_never_fail_a_task(runner, bench):
    good = bench.project / "good.py"
    good.write_text("import os\nos.environ['HOOKED'] = 'yes'\n")
    bad = bench.project / "bad.py"
    bad.write_text("raise RuntimeError('tracking is down')\n")
    source = "def task() -> str:\n    import os\n    return os.environ['HOOKED']\n"
    done = runner.run(bench.component(source, returns="STRING", hooks=[str(good), str(bad)]))
    assert done.value == "yes"
    assert "tracking is down" in done.log


def test_the_source_lies_where_the_engine_says_and_is_written_once(runner, bench):
    folder = bench.project / "components" / "task-0123456789"
    source = "def task() -> str:\n    import inspect\n    return __file__ + inspect.getsource(task)\n"
    for _ in range(2):
        spec = bench.component(source, returns="STRING")
        spec["python"]["folder"] = str(folder)
        assert runner.run(spec).value == str(folder / "user_code.py") + source
    assert sorted(path.name for path in folder.iterdir()) == ["ephemeral_component.py", "user_code.py"]


def test_a_missing_function_and_a_missing_runtime_are_told(runner, bench, tmp_path):
    done = runner.run(bench.component("x = 1\n"))
    assert "does not define 'task'" in done["error"]["message"]
    broken = tmp_path / "broken"
    (broken / "kfp").mkdir(parents=True)
    (broken / "kfp" / "__init__.py").write_text("raise ImportError('half installed')\n")
    spec = bench.component("def task(): pass\n")
    spec["python"]["kfp_path"] = str(broken)
    done = runner.run(spec)
    assert done["error"]["code"] == "ENVIRONMENT_FAILED"
    assert "half installed" in done["error"]["message"]


def test_result_has_every_member_of_the_contract(runner, bench):
    done = runner.run(bench.component("def task(): pass\n"))
    assert set(done) == {
        "version", "state", "error", "parameters", "artifacts", "reads", "writes", "sockets", "env_read", "untraced",
        "random_state", "started_at", "finished_at", "exit_code", "max_rss",
    }  # fmt: skip
    assert done["reads"] is None
    assert done["finished_at"] >= done["started_at"]
    assert done["max_rss"] > 1_000_000
    assert json.loads((done.directory / "claim").read_text())["cookie"] == str(done.directory)


def test_tracebacks_name_the_file_and_line_that_code_was_written_in(runner, bench):
    source = """
    import math

    # line 7 "Cell In[3]"
    def helper(x):
        # a comment
        return math.sqrt(x)

    # line 0
    K = -1
    # line 40 "/srv/me/train.py"
    if True:
        def task() -> float:
            return helper(K)
    """
    done = runner.run(bench.component(source, returns="NUMBER_DOUBLE"))
    assert done["state"] == "FAILED"
    lines = [line.strip() for line in done["error"]["traceback"].splitlines()]
    assert 'File "/srv/me/train.py", line 42, in task' in lines
    assert lines[lines.index('File "Cell In[3]", line 9, in helper') + 1] == "return math.sqrt(x)"
    assert "return helper(K)" in lines
