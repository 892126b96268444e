"""kfp files: which pipeline, the user's own words when it fails, and control flow that does not mean what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidPipeline, NotFound, Unsupported
from mlplatform.ir.load import loads
from mlplatform.sdk.kfp_traps import find_traps
from mlplatform.sdk.pipeline_file import compile_file
from tests.unit.cli.mistakes import NO_KFP, ONE_PY, PIPELINE_PY

HEAD = ONE_PY.split("@dsl.pipeline", 1)[0]


def put(folder: Path, text: str, name: str = "p.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_the_only_pipeline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = put(tmp_path, "print('loading')\n" + ONE_PY)
    compiled = compile_file(file)
    assert loads(compiled.document).name == "short"
    assert (compiled.name, compiled.warnings) == ("short", ())
    out, err = capfd.readouterr()
    assert out == ""
    assert "loading" in err
    assert "FutureWarning" not in err


def test_several_are_told_apart_by_name(tmp_path: Path) -> None:
    file = put(tmp_path, PIPELINE_PY)
    with pytest.raises(InvalidPipeline, match="There are 2 pipelines") as caught:
        compile_file(file)
    assert f"{file}:short\n  {file}:long" in caught.value.message
    assert loads(compile_file(file, "long").document).name == "long"
    assert loads(compile_file(file, "count").document).name == "count"
    with pytest.raises(NotFound) as missing:
        compile_file(file, "lonk")
    assert missing.value.hint == "Did you mean 'long'?"


def test_a_pipeline_that_is_imported_is_a_helper(tmp_path: Path) -> None:
    put(tmp_path, ONE_PY, "inner.py")
    text = "from inner import count, short\nfrom kfp import dsl\n@dsl.pipeline\ndef outer():\n    short(text='b')\n"
    assert loads(compile_file(put(tmp_path, text)).document).name == "outer"
    alone = "from inner import short\n"
    assert loads(compile_file(put(tmp_path, alone, "alone.py")).document).name == "short"


def test_it_runs_as_it_would_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder on sys.path, the caller's working folder, not as __main__."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "data.txt").write_text("from-cwd")
    put(tmp_path / "sub", "NAME = 'from-helper'\n", "helper.py")
    text = (
        "import helper\nassert __name__ != '__main__'\nNAME = helper.NAME + '-' + open('data.txt').read()\n"
        + HEAD
        + "@dsl.pipeline(name=NAME)\ndef p():\n    count(text='x')\n"
        + "if __name__ == '__main__':\n    raise SystemExit(1)\n"
    )
    file = put(tmp_path / "sub", text)
    monkeypatch.chdir(tmp_path)
    assert loads(compile_file(file).document).name == "from-helper-from-cwd"


def test_the_users_own_traceback(tmp_path: Path) -> None:
    put(tmp_path, "def deep():\n    return 1 / 0\n", "helper.py")
    file = put(tmp_path, "import helper\n" + ONE_PY.replace("    count(text=text)", "    helper.deep()"))
    with pytest.raises(InvalidPipeline) as caught:
        compile_file(file)
    (finding,) = caught.value.findings
    assert finding.path == f"{file}:12"
    assert finding.message == "ZeroDivisionError: division by zero"
    (trace,) = caught.value.__notes__
    assert "helper.py" in trace
    assert "return 1 / 0" in trace
    assert "site-packages" not in trace
    assert "mlplatform/sdk" not in trace


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("x = (\n", "SyntaxError: '(' was never closed", 1),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'", 1),
        ("import sys\nsys.exit(3)\n", "it calls sys.exit(3) when it is imported", 2),
    ],
)
def test_files_that_do_not_load(tmp_path: Path, text: str, message: str, line: int) -> None:
    file = put(tmp_path, text)
    with pytest.raises(InvalidPipeline) as caught:
        compile_file(file)
    assert caught.value.findings[0].path == f"{file}:{line}"
    assert caught.value.findings[0].message.startswith(message)


def test_a_file_that_takes_its_process_along(tmp_path: Path) -> None:
    with pytest.raises(InvalidPipeline, match="ended with status 9"):
        compile_file(put(tmp_path, "import os\nos._exit(9)\n"))


def test_no_pipeline_and_no_kfp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidPipeline, match="There is no pipeline in"):
        compile_file(put(tmp_path, HEAD))
    (tmp_path / "fake" / "kfp").mkdir(parents=True)
    put(tmp_path / "fake" / "kfp", NO_KFP, "__init__.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    with pytest.raises(Unsupported, match="needs kfp") as caught:
        compile_file(put(tmp_path, ONE_PY))
    assert "mlplatform[kfp]" in caught.value.hint


def test_kfp_stays_out_of_this_process() -> None:
    code = "import sys, mlplatform.sdk.kfp, mlplatform.sdk.submit; sys.exit('kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def traps(body: str, arguments: str = "n: int, flag: bool = True") -> list[tuple[int, str]]:
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    source = f"from kfp import dsl\n@dsl.pipeline(name='p')\ndef p({arguments}):\n{indented}"
    return [(trap.line - 3, trap.code) for trap in find_traps(source)]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("a = f()\nif a.output > 3:\n    g()", [(2, "a.output > 3")]),
        ("a = f()\nif a.outputs['x'] == 'y': g()", [(1 + 1, "a.outputs['x'] == 'y'")]),
        ("if flag: g()", [(1, "flag")]),
        ("if not flag: g()", [(1, "not flag")]),
        ("if n > 1:\n    pass\nelif n > 2:\n    pass", [(1, "n > 1"), (3, "n > 2")]),
        ("x = 1 if n else 2", [(1, "n")]),
        ("while n < 3: g()", [(1, "n < 3")]),
        ("assert n", [(1, "n")]),
        ("v = f().output\nif v: g()", [(2, "v")]),
        ("with dsl.If(f().output > 1 and n < 2): g()", [(1, "f().output > 1 and n < 2")]),
        ("with dsl.If(0 < n < 5): g()", [(1, "0 < n < 5")]),
        ("with dsl.If(not flag): g()", [(1, "not flag")]),
        ("with dsl.If(n in [1, 2]): g()", [(1, "n in [1, 2]")]),
        ("with dsl.ParallelFor([1, 2]) as item:\n    if item == 1: g()", [(2, "item == 1")]),
        ("if len(flag) > 3: g()", [(1, "len(flag) > 3")]),
        ("if n is None: g()", [(1, "n is None")]),
        # What is fine:
        ("with dsl.If(n > 3): g()", []),
        ("with dsl.If(f().output == 'a'): g()", []),
        ("for x in [1, 2]:\n    if x > 1: g(n=n)", []),
        ("import os\nif os.environ.get('X'): g()", []),
        ("t = f(n=n)\nif t: g()", []),
        ("def inner(y):\n    if y: return 1\nf(n=n)", []),
        ("g(text=f'{n}')", []),
    ],
)
def test_traps(body: str, found: list[tuple[int, str]]) -> None:
    assert traps(body) == found


def test_only_pipeline_functions_are_looked_at() -> None:
    source = "from kfp import dsl\n@dsl.component\ndef c(n: int):\n    if n > 3:\n        return\n"
    assert find_traps(source) == []
    assert find_traps("not python (") == []
    bare = "from kfp.dsl import pipeline\n@pipeline\ndef p(n: int):\n    if n: pass\n"
    assert [trap.line for trap in find_traps(bare)] == [4]


SDK_PY = """
import mlplatform as ml

FACTOR = 3

def scaled(x: int) -> int:
    return x * FACTOR

@ml.component
def triple(x: int) -> int:
    return scaled(x)

@ml.pipeline
def tripled(x: int = 2):
    return triple(x)
"""


def test_a_pipeline_of_the_sdk_needs_no_kfp(tmp_path: Path) -> None:
    file = put(tmp_path, "import sys\nsys.modules['kfp'] = None\n" + SDK_PY)
    compiled = compile_file(file)
    pipeline = loads(compiled.document)
    assert (compiled.name, pipeline.name) == ("tripled", "tripled")
    assert pipeline.root.inputs.parameters["x"].default == 2
    (executor,) = pipeline.executors.values()
    assert "return x * FACTOR" in executor.command[-1]


def test_kinds_of_pipelines_live_in_one_file(tmp_path: Path) -> None:
    file = put(tmp_path, ONE_PY + SDK_PY)
    with pytest.raises(InvalidPipeline, match="There are 2 pipelines"):
        compile_file(file)
    assert loads(compile_file(file, "tripled").document).name == "tripled"
    assert loads(compile_file(file, "short").document).name == "short"


def test_a_mistake_in_a_pipeline_of_the_sdk_names_its_line(tmp_path: Path) -> None:
    file = put(tmp_path, SDK_PY.replace("    return triple(x)\n", "    if triple(x):\n        return triple(x)\n"))
    with pytest.raises(InvalidPipeline, match="its own code failed") as caught:
        compile_file(file)
    (finding,) = caught.value.findings
    assert finding.path == f"{file}:15"
