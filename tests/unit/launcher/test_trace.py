"""What the interposer sees of real libraries: a changed file is a change, a touched one is not."""

# ruff: noqa: E501 - a table of one-line programs

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.launcher.native import build
from mlplatform.launcher.verify import check_reads

ROOT = Path(__file__).parents[3]
DATA = "a,b\n1,2\n3,4\n"
pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None,
    reason="needs a C compiler",
)


def _csv(path: Path) -> None:
    path.write_text(DATA)


def _parquet(path: Path) -> None:
    import pandas

    pandas.DataFrame({"a": [1, 2]}).to_parquet(path)


def _h5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["a"] = [1, 2, 3]


def _npy(path: Path) -> None:
    import numpy

    numpy.save(path.with_suffix(".tmp.npy"), numpy.arange(5))
    path.with_suffix(".tmp.npy").replace(path)


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (x)")
        connection.execute("insert into t values (1)")
    connection.close()


READERS = {
    "open": (_csv, "open(path).read()"),
    "io.open binary": (_csv, "open(path, 'rb').read()"),
    "os.open": (_csv, "os.close(os.open(path, os.O_RDONLY))"),
    "pathlib": (_csv, "import pathlib; pathlib.Path(path).read_text()"),
    "relative": (_csv, "os.chdir(os.path.dirname(path)); open('./' + os.path.basename(path)).read()"),
    "dotdot": (_csv, "open(os.path.dirname(path) + '/../project/' + os.path.basename(path)).read()"),
    "pandas csv": (_csv, "import pandas; pandas.read_csv(path)"),
    "pandas csv pyarrow": (_csv, "import pandas; pandas.read_csv(path, engine='pyarrow')"),
    "pandas parquet": (_parquet, "import pandas; pandas.read_parquet(path)"),
    "pyarrow parquet": (_parquet, "import pyarrow.parquet as q; q.read_table(path)"),
    "pyarrow csv": (_csv, "import pyarrow.csv as c; c.read_csv(path)"),
    "pyarrow memory map": (_csv, "import pyarrow as pa; pa.memory_map(path).read()"),
    "pyarrow dataset": (_parquet, "import pyarrow.dataset as d; d.dataset(path).to_table()"),
    "polars csv": (_csv, "import polars; polars.read_csv(path)"),
    "polars parquet": (_parquet, "import polars; polars.read_parquet(path)"),
    "polars scan": (_csv, "import polars; polars.scan_csv(path).collect()"),
    "numpy load": (_npy, "import numpy; numpy.load(path)"),
    "numpy memmap": (_npy, "import numpy; numpy.load(path, mmap_mode='r').sum()"),
    "numpy loadtxt": (_csv, "import numpy; numpy.loadtxt(path, delimiter=',', skiprows=1)"),
    "numpy fromfile": (_npy, "import numpy; numpy.fromfile(path)"),
    "h5py": (_h5, "import h5py; h5py.File(path, 'r')['a'][:]"),
    "sqlite3": (_sqlite, "import sqlite3; sqlite3.connect(path).execute('select * from t').fetchall()"),
    "os.path.exists": (_csv, "os.path.exists(path)"),
    "os.stat": (_csv, "os.stat(path)"),
    "os.access": (_csv, "os.access(path, os.R_OK)"),
    "getsize": (_csv, "os.path.getsize(path)"),
    "scandir stat": (_csv, "[entry.stat().st_size for entry in os.scandir(os.path.dirname(path))]"),
    "dir fd": (_csv, "d = os.open(os.path.dirname(path), os.O_RDONLY); os.close(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=d))"),
    "child": (_csv, "import subprocess; subprocess.run(['cat', path], check=True)"),
    "shell": (_csv, "os.system('cat < \"' + path + '\"')"),
    "grandchild": (_csv, "import subprocess; subprocess.run(['sh', '-c', 'sh -c \"$1\" \"$0\"', path, 'cat \"$0\"'], check=True)"),
    "child python": (_csv, "import subprocess, sys; subprocess.run([sys.executable, '-c', 'open(%r)' % path], check=True)"),
    "multiprocessing fork": (_csv, "import multiprocessing as m; p = m.get_context('fork').Process(target=open, args=(path,)); p.start(); p.join()"),
    "thread": (_csv, "import threading; t = threading.Thread(target=open, args=(path,)); t.start(); t.join()"),
    "shutil copy": (_csv, "import shutil; shutil.copy(path, os.environ['TMPDIR'] + '/copy')"),
    "closed descriptors": (_csv, "os.closerange(3, 1000); open(path).read()"),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_a_change_of_what_was_read_is_seen(forking, bench, name):
    make, code = READERS[name]
    path = bench.project / "data file.bin"
    make(path)
    source = f"import os\ndef task(path: str):\n    {code}\n"
    done = forking.run(bench.component(source, parameters={"path": str(path)}, trace=True))
    assert done["state"] == "SUCCEEDED", done.log
    assert done["untraced"] == ""
    assert [read for read in done["reads"] if read["path"] == str(path)], done["reads"]
    assert done["writes"] == []
    assert check_reads(done["reads"]) is None
    os.utime(path, ns=(1, 1))
    assert check_reads(done["reads"]) is None
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    difference = check_reads(done["reads"])
    assert difference is not None
    assert str(path) in difference


@pytest.mark.parametrize(
    "code",
    ["os.listdir(path)", "list(os.scandir(path))", "import glob; glob.glob(path + '/*.csv')", "list(os.walk(path))",
     "import pathlib; list(pathlib.Path(path).glob('*'))", "os.system('ls ' + path)",
     "d = os.open(path, os.O_RDONLY); os.listdir(d)"],
)  # fmt: skip
def test_listings(forking, bench, code):
    folder = bench.project / "parts"
    folder.mkdir()
    (folder / "one.csv").write_text("1")
    source = f"import os\ndef task(path: str):\n    {code}\n"
    done = forking.run(bench.component(source, parameters={"path": str(folder)}, trace=True))
    assert done["untraced"] == ""
    assert check_reads(done["reads"]) is None
    (folder / "__pycache__").mkdir()
    assert check_reads(done["reads"]) is None
    (folder / "two.csv").write_text("2")
    assert check_reads(done["reads"]) == f"other files are in {folder}, which it listed"


def _task(forking, bench, body: str, **more):
    lines = "\n".join("    " + line for line in body.splitlines())
    spec = bench.component(
        f"import os\ndef task(project: str):\n{lines}\n",
        parameters={"project": str(bench.project)},
        trace=True,
        **more,
    )
    done = forking.run(spec)
    assert done["state"] == "SUCCEEDED", done.log
    return done


def test_looking_for_installed_packages_lists_no_project(forking, bench):
    body = "import importlib.metadata as m, importlib_metadata as n\nm.version('kfp'), n.version('kfp'), list(m.distributions())"
    done = _task(forking, bench, body, sys_path=[str(bench.project)], cwd=str(bench.project))
    (bench.project / "unrelated.csv").write_text("1")
    assert check_reads(done["reads"]) is None


def _contents(done) -> list[str]:
    """Paths of reads but for programs that were run, and names of modules and settings that were looked for in vain."""
    reads = [read["path"] for read in done["reads"] if read["kind"] not in ("missing", "absent")]
    return [path for path in reads if not path.startswith(("/usr/bin/", "/bin/", sys.prefix))]


def test_what_was_not_there_and_is_now(forking, bench):
    done = _task(forking, bench, "try: open(project + '/settings.json')\nexcept OSError: pass")
    assert done["reads"] == [{"path": f"{bench.project}/settings.json", "kind": "missing"}]
    (bench.project / "settings.json").write_text("{}")
    assert "is there now" in (check_reads(done["reads"]) or "")


def test_reading_back_what_it_wrote_is_no_read(forking, bench):
    done = _task(
        forking,
        bench,
        "os.makedirs(project + '/out', exist_ok=True)\n"
        "assert not os.path.exists(project + '/out/x.csv')\n"
        "open(project + '/out/x.csv', 'w').write('1')\n"
        "open(project + '/out/x.csv').read()\n"
        "os.listdir(project + '/out')\n"
        "open(project + '/out/tmp', 'w').write('2')\n"
        "os.rename(project + '/out/tmp', project + '/out/y.csv')\n"
        "open(os.environ['TMPDIR'] + '/scratch', 'w').write('3')\n",
    )
    assert done["untraced"] == ""
    assert sorted(done["writes"]) == [
        f"{bench.project}/out",
        f"{bench.project}/out/x.csv",
        f"{bench.project}/out/y.csv",
    ]
    assert [read for read in done["reads"] if "/out/" in read["path"]] == []
    assert check_reads(done["reads"]) is None


def test_changing_or_removing_what_others_made_is_not_kept(forking, bench):
    (bench.project / "state").write_text("1")
    done = _task(forking, bench, "n = open(project + '/state').read()\nopen(project + '/state', 'w').write(n + n)")
    assert done["untraced"] == f"it changed {bench.project}/state, which it had read"
    assert done["writes"] == [f"{bench.project}/state"]
    done = _task(forking, bench, "os.unlink(project + '/state')")
    assert done["untraced"] == f"it removed {bench.project}/state"
    _sqlite(bench.project / "db")
    done = _task(
        forking,
        bench,
        "import sqlite3\nc = sqlite3.connect(project + '/db')\nc.execute('insert into t values (2)')\nc.commit()",
    )
    assert done["untraced"] == f"it changed {bench.project}/db, which it had read"


def test_links(forking, bench):
    (bench.project / "v1").write_text("one")
    (bench.project / "v2").write_text("two")
    (bench.project / "current").symlink_to("v1")
    done = _task(forking, bench, "open(project + '/current').read(); os.readlink(project + '/current')")
    assert check_reads(done["reads"]) is None
    (bench.project / "current").unlink()
    (bench.project / "current").symlink_to("v2")
    assert check_reads(done["reads"]) is not None


def test_imports_of_the_project_count_and_new_files_beside_them_do_not(forking, bench):
    (bench.project / "helpers.py").write_text("VALUE = 1\n")
    body = "import helpers, json, wave, telnetlib, chunk, sunau, colorsys"
    done = _task(forking, bench, body, sys_path=[str(bench.project)], cwd=str(bench.project))
    assert done["untraced"] == ""
    assert done["writes"] == []
    (bench.project / "unrelated.csv").write_text("1")
    assert check_reads(done["reads"]) is None
    done = _task(forking, bench, body, sys_path=[str(bench.project)], cwd=str(bench.project))
    (bench.project / "wave.py").write_text("")
    assert "wave.py is there now" in (check_reads(done["reads"]) or "")
    (bench.project / "wave.py").unlink()
    (bench.project / "helpers.py").write_text("VALUE = 2\n")
    assert "helpers.py" in (check_reads(done["reads"]) or "")


@pytest.mark.parametrize(
    "body",
    [
        "import pandas, numpy\npandas.DataFrame({'a': numpy.arange(9)}).groupby('a').sum()",
        "from sklearn.linear_model import LogisticRegression\nfrom sklearn.datasets import load_digits\n"
        "x, y = load_digits(return_X_y=True)\nLogisticRegression(max_iter=20).fit(x, y)",
        "from sklearn.ensemble import HistGradientBoostingClassifier as H\nimport numpy\nH(max_iter=3).fit(numpy.eye(40), numpy.arange(40) % 2)",
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as p\np.plot([1, 2])\np.savefig(os.environ['TMPDIR'] + '/x.png')",
        "import polars\npolars.DataFrame({'a': [1, 2]}).group_by('a').len()",
        "import joblib\njoblib.Parallel(2, backend='threading')(joblib.delayed(abs)(n) for n in range(4))",
    ],
    ids=["pandas", "sklearn", "boosting", "matplotlib", "polars", "joblib"],
)  # fmt: skip
def test_ordinary_work_depends_on_nothing_that_changes(forking, bench, body):
    done = _task(forking, bench, body)
    assert done["untraced"] == ""
    assert done["writes"] == []
    assert done["sockets"] == []
    assert _contents(done) == []


def test_worker_processes_are_watched_and_ended(forking, bench):
    body = "import joblib\nprint(joblib.Parallel(2)(joblib.delayed(abs)(n) for n in range(4)))"
    done = _task(forking, bench, body)
    assert done["untraced"] == ""
    assert (done["writes"], done["sockets"]) == ([], [])
    # A fresh interpreter lists the folders on its path; that cannot be told from a listing its code asked for.
    assert set(_contents(done)) <= set(sys.path) | {str(ROOT)}
    assert "[0, 1, 2, 3]" in done.log


def test_inputs_and_outputs_are_not_reads(forking, bench):
    data = bench.project / "input"
    data.write_text("x")
    source = """
    def task(data: Input[Dataset], out: Output[Dataset]):
        open(out.path, "w").write(open(data.path).read())
        open(out.path).read()
    """
    artifact = {"name": "data", "uri": str(data), "type": {"schemaTitle": "system.Dataset"}}
    spec = bench.component(source, inputs={"data": artifact}, out_artifacts={"out": "system.Dataset"}, trace=True)
    done = forking.run(spec)
    assert (done["reads"], done["writes"], done["untraced"]) == ([], [], "")


def test_variables(forking, bench):
    env = {"READ": "1", "NOT_READ": "2", "SECRET": "hush", "PWD": "/here", "OWN": "3"}
    done = _task(
        forking,
        bench,
        "os.environ['READ']; os.getenv('ABSENT'); os.environ.get('SECRET')\n"
        "os.environ['OWN'] = 'x'; os.environ['OWN']; os.environ['TMPDIR']",
        env=env,
        secrets=["hush"],
    )
    assert set(done["env_read"]) == {"READ", "ABSENT", "CLUSTER_SPEC"}
    assert done["env_read"]["ABSENT"] is None
    assert done["env_read"]["READ"] == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    done = _task(forking, bench, "import subprocess; subprocess.run(['true'])", env=env)
    assert {"READ", "NOT_READ", "SECRET"} <= set(done["env_read"])
    assert not {"PWD", "MLPLATFORM_ATTEMPT", "TMPDIR", "LD_PRELOAD"} & set(done["env_read"])


def test_what_libraries_ask_of_terminals_does_not_count(forking, bench):
    body = "import rich.console; rich.console.Console(); os.environ.get('COLORTERM')"
    done = _task(forking, bench, body, env={"TERM": "xterm", "COLUMNS": "80"})
    assert "COLORTERM" in done["env_read"]
    assert not {"TERM", "COLUMNS", "NO_COLOR"} & set(done["env_read"])


def test_sockets(forking, bench):
    done = _task(
        forking,
        bench,
        "import socket\ns = socket.socket()\ns.settimeout(0.2)\ntry: s.connect(('192.0.2.1', 81))\nexcept OSError: pass",
    )
    assert done["sockets"] == ["192.0.2.1:81"]
    done = _task(
        forking,
        bench,
        "import socket\na = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(a.getsockname())",
    )
    assert done["sockets"] == []
    done = _task(  # IPv4 by a socket of the newer kind, as torch's are
        forking,
        bench,
        "import socket\na = socket.create_server(('127.0.0.1', 0))\ns = socket.socket(socket.AF_INET6)\n"
        "s.connect(('::ffff:127.0.0.1', a.getsockname()[1]))",
    )
    assert done["sockets"] == []
    done = _task(
        forking,
        bench,
        "import socket\ns = socket.socket()\ntry: s.connect(('127.0.0.1', 59998))\nexcept OSError: pass",
        env={"MLFLOW_TRACKING_URI": "http://localhost:59998"},
    )
    assert done["sockets"] == []


def test_children_that_cannot_be_watched_are_told(forking, bench, tmp_path):
    source = tmp_path / "static.c"
    source.write_text("int main(void) { return 0; }\n")
    program = tmp_path / "static"
    built = subprocess.run(["cc", "-static", "-o", str(program), str(source)], capture_output=True, check=False)
    body = f"import subprocess; subprocess.run(['{program}'])"
    if built.returncode == 0:
        done = _task(forking, bench, body)
        assert done["untraced"] == f"it ran {program}, which could not be watched"
    done = _task(forking, bench, "import subprocess; subprocess.run(['/bin/true'], env={})")
    assert done["untraced"] == "it ran /bin/true, which could not be watched"


def test_a_file_that_changes_meanwhile_is_told(forking, bench):
    (bench.project / "moving").write_text("1")
    done = _task(
        forking,
        bench,
        "open(project + '/moving').read()\nos.environ.pop('LD_PRELOAD')\n"
        "import ctypes; ctypes.CDLL(None).mlp_trace_pause(1)\n"
        "open(project + '/moving', 'w').write('22')\nctypes.CDLL(None).mlp_trace_pause(0)",
    )
    assert done["untraced"] == f"{bench.project}/moving changed while the task ran"


def test_a_program_that_ran_counts(forking, bench):
    script = bench.project / "tool.sh"
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    done = _task(forking, bench, "import subprocess; subprocess.run([project + '/tool.sh'], check=True)")
    assert done["untraced"] == ""
    script.write_text("#!/bin/sh\necho other\n")
    assert check_reads(done["reads"]) == f"{script}, which it read, changed"


def test_spawned_attempts_are_traced_too(bench, runner):
    _csv(bench.project / "data.csv")
    source = "def task(path: str):\n    import pandas\n    pandas.read_csv(path)\n"
    done = runner.run(bench.component(source, parameters={"path": f"{bench.project}/data.csv"}, trace=True))
    assert _contents(done) == [f"{bench.project}/data.csv"]
    assert done["untraced"] == ""


def test_commands_are_traced(forking, bench):
    _csv(bench.project / "data.csv")
    done = forking.run(
        bench.command("sh", "-c", f"cat {bench.project}/data.csv; test -e {bench.project}/no", trace=True)
    )
    assert done["state"] == "FAILED"
    done = forking.run(bench.command("cat", f"{bench.project}/data.csv", trace=True))
    assert f"{bench.project}/data.csv" in [read["path"] for read in done["reads"]]
    assert done["untraced"] == ""


@pytest.mark.cannot_run_here("where the interposer is packaged, a launcher cannot be without it")
def test_the_floor_sees_python_and_doubts_the_rest(bench):
    _csv(bench.project / "data.csv")
    source = (
        "import os\ndef task(p: str):\n    open(p + '/data.csv').read(); os.path.exists(p + '/no'); os.listdir(p)\n"
    )
    done = bench.bare(bench.component(source, parameters={"p": str(bench.project)}, trace=True))
    if (Path(build.__file__).parent / build.NAME).exists():
        pytest.skip("the interposer is packaged")
    assert done["untraced"] == ""
    kinds = {
        (read["path"].removeprefix(str(bench.project)), read["kind"])
        for read in done["reads"]
        if "kfp" not in read["path"]
    }
    assert kinds == {("/data.csv", "file"), ("/no", "missing"), ("", "listing")}
    source = "def task():\n    import pandas\n"
    done = bench.bare(bench.component(source, trace=True))
    assert done["untraced"] == "pandas can read files in native code, which nothing watches here"
    source = "def task():\n    import subprocess; subprocess.run(['true'])\n"
    done = bench.bare(bench.component(source, trace=True))
    assert done["untraced"] == "it started another process, and nothing watches those here"
