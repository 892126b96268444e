"""Never silently stale: everything a task depends on makes it run again and is named; nothing else does."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.home import TestHome, home_in
from tests.support.pipelines import Builder
from tests.support.podman import podman


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    with home_in(tmp_path_factory.mktemp("cache")) as home:
        yield home


def reader(name: str, body: str, *, constants: dict | None = None, comment: str = "") -> Builder:
    """A pipeline of one cached task that returns a text."""
    builder = Builder(f"probe-{name}")
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    inputs = dict.fromkeys(constants or {}, "STRING")
    arguments = ", ".join(f"{key}: str" for key in (constants or {}))
    source = f"def probe({arguments}) -> str:\n{comment}{lines}"
    builder.component("probe", source, inputs=inputs, outputs={"Output": "STRING"})
    builder.task("probe", constants=constants, cache=True)
    builder.output("text", "probe", "Output", "STRING")
    return builder


def outcome(home: TestHome, builder: Builder, **kwargs: object) -> tuple[str, str, str]:
    """(state of the task, its output, why)."""
    result = home.run(builder, **kwargs)
    assert result["state"] == "SUCCEEDED", result
    (task,) = [task for task in result["tasks"] if task["name"] == "probe"]
    return task["state"], result["outputs"]["text"], task["why"]


# ------------------------------------------------------------------ what the key holds
def test_source(home: TestHome) -> None:
    assert outcome(home, reader("source", "return 'a'"))[:2] == ("SUCCEEDED", "a")
    assert outcome(home, reader("source", "return 'a'"))[:2] == ("CACHED", "a")
    state, text, why = outcome(home, reader("source", "return 'b'"))
    assert (state, text) == ("SUCCEEDED", "b")
    assert "code changed" in why


def test_comments_and_formatting_do_not_count(home: TestHome) -> None:
    outcome(home, reader("comment", "x = 'a'\nreturn x"))
    assert outcome(home, reader("comment", "x   =   'a'\nreturn (x)", comment="    # words\n"))[0] == "CACHED"
    assert outcome(home, reader("comment", "x = 'a'\nreturn x", comment="    '''Doc.'''\n"))[0] == "CACHED"


def test_argument(home: TestHome) -> None:
    outcome(home, reader("argument", "return x", constants={"x": "a"}))
    state, text, why = outcome(home, reader("argument", "return x", constants={"x": "b"}))
    assert (state, text) == ("SUCCEEDED", "b")
    assert "parameter 'x' changed" in why


def test_display_name_does_not_count(home: TestHome) -> None:
    outcome(home, reader("name", "return 'a'"))
    other = reader("name", "return 'a'")
    other.tasks["probe"]["taskInfo"]["name"] = "Another name"
    assert outcome(home, other)[0] == "CACHED"


def test_environment_variable_that_is_read(home: TestHome) -> None:
    pipeline = reader("env", "import os\nreturn os.environ.get('PROBE', 'none')")
    assert outcome(home, pipeline, env={"PROBE": "a"})[:2] == ("SUCCEEDED", "a")
    assert outcome(home, pipeline, env={"PROBE": "a", "UNREAD": "1"})[:2] == ("CACHED", "a")
    state, text, why = outcome(home, pipeline, env={"PROBE": "b"})
    assert (state, text) == ("SUCCEEDED", "b")
    assert "PROBE" in why
    assert outcome(home, pipeline)[:2] == ("SUCCEEDED", "none")


def test_version_of_a_package(home: TestHome) -> None:
    """Packages beside the interpreter's own, as PYTHONPATH may name them; the task need not import them."""
    packages = home.folder / "site-packages"
    pipeline = reader("package", "import importlib.metadata as m\nreturn m.version('probed')")

    def install(version: str) -> None:
        shutil.rmtree(packages, ignore_errors=True)
        about = packages / f"probed-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: probed\nVersion: {version}\n")
        (about / "RECORD").write_text("")

    env = {"PYTHONPATH": str(packages)}
    install("1.0")
    assert outcome(home, pipeline, env=env)[:2] == ("SUCCEEDED", "1.0")
    assert outcome(home, pipeline, env=env)[:2] == ("CACHED", "1.0")
    install("2.0")
    state, text, why = outcome(home, pipeline, env=env)
    assert (state, text) == ("SUCCEEDED", "2.0")
    assert "packages changed" in why or "probed" in why


def test_digest_of_an_image(tmp_path: Path) -> None:
    """The same name is another image now; another name is the same image."""
    real = podman()
    name = f"localhost/probe-{tmp_path.name.lower().replace('_', '-')}"
    builder = Builder("probe-image")
    builder.components["comp-probe"] = {"executorLabel": "exec-probe"}
    builder.task("probe", cache=True)

    def run(tag: str) -> tuple[str, str]:
        builder.executors["exec-probe"] = {"container": {"image": f"{name}:{tag}", "command": ["echo", "here"]}}
        result = home.run(builder, "--containers", "podman")
        assert result["state"] == "SUCCEEDED", result["error"]
        return result["tasks"][0]["state"], result["tasks"][0]["why"]

    real.run("tag", real.image, f"{name}:one")
    try:
        with home_in(tmp_path, **real.env) as home:
            assert run("one")[0] == "SUCCEEDED"
            assert run("one")[0] == "CACHED"
            real.run("tag", real.image, f"{name}:two")
            assert run("two")[0] == "CACHED"
            container = real.run("create", real.image, "true").strip()
            real.run("commit", "--quiet", "--change", "LABEL changed=yes", container, f"{name}:one")
            real.run("rm", container)
            state, why = run("one")
            assert state == "SUCCEEDED"
            assert "the container image changed" in why
    finally:
        real.run("rmi", "--force", f"{name}:one", f"{name}:two")


def test_artifact_content_under_the_same_uri(home: TestHome) -> None:
    data = home.folder / "imported.txt"
    builder = Builder("probe-artifact")
    builder.components["comp-importer"] = {
        "executorLabel": "exec-importer",
        "inputDefinitions": {"parameters": {"uri": {"parameterType": "STRING"}}},
        "outputDefinitions": {
            "artifacts": {"artifact": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}}
        },
    }
    builder.executors["exec-importer"] = {
        "importer": {
            "artifactUri": {"constant": str(data)},
            "typeSchema": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
        }
    }
    builder.task("importer", constants={"uri": str(data)})
    source = "def probe(data: Input[Dataset]) -> str:\n    with open(data.path) as f:\n        return f.read()\n"
    builder.component("probe", source, artifacts_in={"data": "system.Dataset"}, outputs={"Output": "STRING"})
    builder.task("probe", artifacts={"data": ("importer", "artifact")}, cache=True)
    builder.output("text", "probe", "Output", "STRING")
    data.write_text("one")
    assert outcome(home, builder)[:2] == ("SUCCEEDED", "one")
    assert outcome(home, builder)[:2] == ("CACHED", "one")
    data.write_text("two")
    state, text, why = outcome(home, builder)
    assert (state, text) == ("SUCCEEDED", "two")
    assert "artifact 'data'" in why


# ------------------------------------------------------------------ what it looked at
def write_sqlite(path: Path, value: str) -> None:
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (v text)")
        connection.execute("insert into t values (?)", (value,))
    connection.close()


def write_frame(kind: str) -> Callable[[Path, str], None]:
    def write(path: Path, value: str) -> None:
        import pandas as pd

        frame = pd.DataFrame({"v": [value]})
        if kind == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=False)

    return write


def write_npy(path: Path, value: str) -> None:
    import numpy as np

    np.save(path, np.array([ord(value)]))


def write_h5(path: Path, value: str) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["v"] = ord(value)


def write_text(path: Path, value: str) -> None:
    path.write_text(value)


@dataclass(frozen=True)
class Probe:
    name: str
    body: str
    write: Callable[[Path, str], None]
    suffix: str = ".bin"
    needs: str = ""


PROBES = [
    Probe("open", "return open(p).read()", write_text),
    Probe("path-read", "import pathlib\nreturn pathlib.Path(p).read_text()", write_text),
    Probe("pandas-csv", "import pandas as pd\nreturn str(pd.read_csv(p).v[0])", write_frame("csv"), ".csv", "pandas"),
    Probe(
        "pandas-parquet",
        "import pandas as pd\nreturn str(pd.read_parquet(p).v[0])",
        write_frame("parquet"),
        ".parquet",
        "pyarrow",
    ),
    Probe(
        "pyarrow-csv",
        "import pyarrow.csv as c\nreturn str(c.read_csv(p)['v'][0])",
        write_frame("csv"),
        ".csv",
        "pyarrow",
    ),
    Probe(
        "pyarrow-parquet",
        "import pyarrow.parquet as q\nreturn str(q.read_table(p)['v'][0])",
        write_frame("parquet"),
        ".parquet",
        "pyarrow",
    ),
    Probe(
        "polars-read",
        "import polars as pl\nreturn str(pl.read_parquet(p)['v'][0])",
        write_frame("parquet"),
        ".parquet",
        "polars",
    ),
    Probe(
        "polars-scan",
        "import polars as pl\nreturn str(pl.scan_csv(p).collect()['v'][0])",
        write_frame("csv"),
        ".csv",
        "polars",
    ),
    Probe("numpy", "import numpy as np\nreturn chr(int(np.load(p)[0]))", write_npy, ".npy", "numpy"),
    Probe(
        "numpy-mmap", "import numpy as np\nreturn chr(int(np.load(p, mmap_mode='r')[0]))", write_npy, ".npy", "numpy"
    ),
    Probe("h5py", "import h5py\nreturn chr(int(h5py.File(p)['v'][()]))", write_h5, ".h5", "h5py"),
    Probe(
        "sqlite3",
        "import sqlite3\nreturn sqlite3.connect(p).execute('select v from t').fetchone()[0]",
        write_sqlite,
        ".db",
    ),
    Probe(
        "child-process",
        "import subprocess\nreturn subprocess.run(['cat', p], capture_output=True, text=True).stdout",
        write_text,
    ),
]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_file_that_is_read(home: TestHome, probe: Probe) -> None:
    if probe.needs:
        pytest.importorskip(probe.needs)
    path = home.folder / f"{probe.name}{probe.suffix}"
    pipeline = reader(probe.name, probe.body, constants={"p": str(path)})
    probe.write(path, "a")
    assert outcome(home, pipeline)[:2] == ("SUCCEEDED", "a")
    state, _, why = outcome(home, pipeline)
    assert state == "CACHED", why
    os.utime(path)
    state, _, why = outcome(home, pipeline)
    assert state == "CACHED", f"touched but unchanged: {why}"
    probe.write(path, "b")
    state, text, why = outcome(home, pipeline)
    assert (state, text) == ("SUCCEEDED", "b")
    assert path.name in why


def test_existence(home: TestHome) -> None:
    path = home.folder / "flag"
    pipeline = reader("exists", "import os\nreturn str(os.path.exists(p))", constants={"p": str(path)})
    assert outcome(home, pipeline)[:2] == ("SUCCEEDED", "False")
    assert outcome(home, pipeline)[0] == "CACHED"
    path.write_text("")
    state, text, why = outcome(home, pipeline)
    assert (state, text) == ("SUCCEEDED", "True")
    assert "flag" in why


@pytest.mark.parametrize(
    "call", ["os.listdir(p)", "[e.name for e in os.scandir(p)]", "[os.path.basename(x) for x in glob.glob(p + '/*')]"]
)
def test_listing(home: TestHome, call: str) -> None:
    name = "listing-" + call.partition("(")[0].strip("[").replace(".", "-").replace(" ", "-")
    folder = home.folder / name
    folder.mkdir()
    (folder / "a").write_text("")
    pipeline = reader(name, f"import os, glob\nreturn ','.join(sorted({call}))", constants={"p": str(folder)})
    assert outcome(home, pipeline)[:2] == ("SUCCEEDED", "a")
    assert outcome(home, pipeline)[0] == "CACHED"
    (folder / "b").write_text("")
    state, text, why = outcome(home, pipeline)
    assert (state, text) == ("SUCCEEDED", "a,b")
    assert name in why


# ------------------------------------------------------------------ what is not kept, and what is put back
def test_a_task_that_talks_to_the_network_is_not_reused(home: TestHome) -> None:
    body = "import socket\ns = socket.socket()\ns.settimeout(1)\ns.connect_ex(('127.0.0.1', 9))\ns.close()\nreturn 'x'"
    outcome(home, reader("socket", body))
    state, _, why = outcome(home, reader("socket", body))
    assert state == "SUCCEEDED"
    assert "network" in why or "no earlier result" in why


def test_a_written_project_file_is_put_back_and_never_overwritten(home: TestHome) -> None:
    path = home.folder / "report.txt"
    pipeline = reader("writes", "open(p, 'w').write('made')\nreturn 'x'", constants={"p": str(path)})
    outcome(home, pipeline)
    path.unlink()
    assert outcome(home, pipeline)[0] == "CACHED"
    assert path.read_text() == "made"
    path.write_text("edited by hand")
    state, _, why = outcome(home, pipeline)
    assert state == "SUCCEEDED"
    assert "report.txt" in why


def test_failures_are_never_reused(home: TestHome) -> None:
    pipeline = reader("fails", "raise RuntimeError('no')")
    for _ in range(2):
        result = home.run(pipeline)
        assert result["state"] == "FAILED"
        assert [task["state"] for task in result["tasks"]] == ["FAILED"]


def test_no_cache_runs_everything(home: TestHome) -> None:
    pipeline = reader("nocache", "return 'a'")
    outcome(home, pipeline)
    result = home.run(pipeline, "--no-cache")
    assert [task["state"] for task in result["tasks"]] == ["SUCCEEDED"]


def test_a_lost_output_is_made_again(home: TestHome) -> None:
    builder = Builder("probe-lost")
    source = "def probe(out: Output[Dataset]) -> str:\n    open(out.path, 'w').write('bytes')\n    return 'x'\n"
    builder.component("probe", source, outputs={"Output": "STRING"}, artifacts_out={"out": "system.Dataset"})
    builder.task("probe", cache=True)
    builder.output("text", "probe", "Output", "STRING")
    result = home.run(builder)
    uri = next(t for t in result["tasks"] if t["name"] == "probe")["outputs"]["out"]["uri"]
    Path(uri).write_text("other")
    state, _, why = outcome(home, builder)
    assert state == "SUCCEEDED"
    assert "'out'" in why
