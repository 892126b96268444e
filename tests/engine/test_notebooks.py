"""Notebooks on the real engine: what linear running gives, after edits, failures and deaths too."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.sdk.notebook import notebook
from tests.support.home import TestHome, home_in
from tests.support.notebooks import Book, in_folder, ran, shown, texts, why


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    with home_in(tmp_path_factory.mktemp("notebooks")) as home:
        yield home


def test_edits_rerun_what_they_reach_and_nothing_else(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "edits"),
        make="import numpy as np\nlog = ['start']\nbase = 10\nnp.random.seed(1)",
        grow="log.append(base + 1)",
        other="unrelated = sum(range(100))\nalso = unrelated",
        draw="drawn = np.random.rand(2).tolist()",
        use="n = len(log)\nlast = log[-1]\nprint(n, last)",
    )
    first = book.run()
    assert first["state"] == "SUCCEEDED", first["error"]
    assert ran(first) == ["make", "grow", "other", "draw", "use"]
    again = book.run()
    assert ran(again) == []
    edited = book.run(grow="log.append(base + 100)  # more")
    assert ran(edited) == ["grow", "use"]
    assert "cell 3 changed" in why(edited, "grow")
    assert "variable log, which it read, changed" in why(edited, "use")
    values = book.values(edited, "log", "last", "drawn", "unrelated")
    assert values["log"] == ["start", 110]
    assert values["drawn"] == book.values(first, "drawn")["drawn"]
    assert ran(book.run(other="unrelated = 5 # a comment\nalso = unrelated")) == ["other"]
    assert ran(book.run(other="unrelated = 5\nalso  =  unrelated")) == []


def test_what_shares_memory_and_what_a_module_holds_are_seen(shared: TestHome) -> None:
    """A restored column is a copy as soon as it is changed; data of the project's modules is state."""
    book = Book(
        in_folder(shared, "sharing"),
        make="import sys\nimport pandas as pd\nsys.dont_write_bytecode = True\n"
        "open('level_of.py', 'w').write('LEVEL = 1\\n')\nimport level_of\n"
        "df = pd.DataFrame({'a': [1.0, 2.0], 's': ['x', 'y']})\ncol = df['a']\nwords = df['s']",
        pick="pick = 0",
        level="level_of.LEVEL = 5",
        change="col.iloc[pick] = 9.0\nwords.iloc[pick] = 'z'\nfirst = (float(df['a'].iloc[pick]), df['s'].iloc[pick])",
        use="found = level_of.LEVEL",
        other="rest = len('abc')",
    )
    first = book.run()
    assert book.values(first, "first", "found") == {"first": (1.0, "x"), "found": 5}, first["error"]
    picked = book.run(pick="pick = 1")
    assert book.values(picked, "first", "found") == {"first": (2.0, "y"), "found": 5}
    assert ran(picked) == ["pick", "change"]
    raised = book.run(level="level_of.LEVEL = 7")
    assert book.values(raised, "first", "found") == {"first": (2.0, "y"), "found": 7}
    assert "other" not in ran(raised)


def test_a_file_that_stays_open_is_written_by_whoever_writes_into_it(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "open"),
        open="log = open('log.txt', 'w')\n_ = log.write('one\\n')",
        more="_ = log.write('two\\n')\nlog.flush()",
        close="log.close()\nlines = open('log.txt').read().split()\nlooking = open('log.txt')\n_ = next(looking)",
        look="second = next(looking).strip()\nlooking.close()",
        end="count = len(lines)",
    )
    assert book.values(book.run(), "lines", "second") == {"lines": ["one", "two"], "second": "two"}
    other = book.run(more="_ = log.write('zwei\\n')\nlog.flush()")
    assert book.values(other, "lines", "second") == {"lines": ["one", "zwei"], "second": "zwei"}
    back = book.run(more="_ = log.write('two\\n')\nlog.flush()", end="count = len(lines) + 1")
    assert book.values(back, "lines", "second", "count") == {"lines": ["one", "two"], "second": "two", "count": 3}


def test_nothing_of_ours_keeps_an_object_alive(shared: TestHome) -> None:
    """What cannot be kept for another process is given up at its end as it is anywhere."""
    book = Book(
        in_folder(shared, "weak"),
        make="import weakref\nsrc = iter([1, 2, 3])\ntwice = map(str, src)\nclass Node:\n"
        "    known = weakref.WeakValueDictionary()\n"
        "    def __init__(self, key): self.key = key; Node.known[key] = self\nkept = Node(0)",
        other="other = Node(7)\nthere = sorted(Node.known)",
        gone="del other\nleft = sorted(Node.known)",
    )
    assert book.values(book.run(), "there", "left") == {"there": [0, 7], "left": [0]}


def test_a_session_that_goes_on_from_a_state_is_the_notebook_s_still(shared: TestHome) -> None:
    """What was typed before, how many columns of a table are shown, figures that an earlier cell made, ``%store``."""
    book = Book(
        in_folder(shared, "history"),
        make="import pandas as pd\nimport matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\nplt.close(figure)",
        wide="wide = pd.DataFrame([range(30)], columns=[f'a_long_name_{n}' for n in range(30)])",
        before="before = 'x'",
        word="before * 2",
        look="typed = (In[2], _i, _ii)\nno_store = get_ipython().find_line_magic('store') is None",
        give="len(before)",
        under="under = (_, __)",
        show="wide.iloc[:, :15]",
        draw="axes.set_title('late')\nfigure",
    )
    first = book.run()
    again = book.run(
        look="typed = (In[2], _i, _ii)\nno_store = get_ipython().find_line_magic('store') is None\nmore = 1",
        give="len(before) + 1",
        show="wide.iloc[:, :15]  # as before\npass\nwide.iloc[:, :15]",
        draw="axes.set_title('late')\naxes.set_xlabel('x')\nfigure",
    )
    assert book.values(first, "under") == {"under": (1, "xx")}
    assert book.values(again, "under") == {"under": (2, "xx")}
    third = book.run(give="len(before) + 2")
    assert book.values(third, "under") == {"under": (3, "xx")}, third["error"]
    wanted = {"typed": (book.cells["wide"], book.cells["word"], book.cells["before"]), "no_store": False}
    assert ran(again) == ["look", "give", "under", "show", "draw"]
    for result in (first, again):
        assert book.values(result, "typed", "no_store") == wanted, result["error"]
        _, _, table, figure = shown(result)
        text = "".join(table["text/plain"])
        assert "..." not in text
        assert "a_long_name_14" in text
        assert "image/png" in figure


def test_what_cannot_be_kept_merges_and_says_so(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "merge"),
        make="import threading\nlock = threading.Lock()\ncount = 0",
        work="with lock:\n    count += 1",
        end="total = count + 1",
    )
    assert book.run()["state"] == "SUCCEEDED"
    assert ran(book.run()) == []
    edited = book.run(end="total = count + 2")
    assert ran(edited) == ["make", "work", "end"]
    assert "lock" in why(edited, "make")
    assert book.values(edited, "total", "lock") == {"total": 3}
    to = str(book.home.folder / "some.pkl")
    told = book.home.json("runs", "values", edited["run_id"], "total", "lock", "nothing", "--to", to)
    assert told["left_out"] == {
        "lock": "it could not be kept when the run ended, or what was kept of it is gone",
        "nothing": "the notebook did not end with a variable of this name",
    }


def test_a_failure_is_the_users_own_and_the_next_run_goes_on_behind_what_is_done(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "failure"),
        make="import time\nstamp = time.time_ns()",
        breaks="def f(x):\n    return 1 / x\nprint('before')\nf(0)",
        end="done = stamp",
    )
    failed = book.run()
    assert failed["state"] == "FAILED"
    error = next(task["error"] for task in failed["tasks"] if task["name"] == "breaks")
    assert error["message"] == "ZeroDivisionError: division by zero"
    assert "return 1 / x" in error["traceback"]
    assert "cell 3" in error["traceback"]
    assert "mlplatform" not in error["traceback"].replace(str(shared.folder), "")
    cells = json.loads(Path(failed["notebook"]).read_bytes())["cells"]
    assert [output["output_type"] for output in cells[3]["outputs"]] == ["stream", "error"]
    assert cells[5]["execution_count"] is None
    mended = book.run(breaks="def f(x):\n    return 1 / x\nf(1)")
    assert ran(mended) == ["breaks", "end"]


def test_files_between_tasks(shared: TestHome) -> None:
    home = in_folder(shared, "files")
    (home.folder / "given.txt").write_text("2")
    book = Book(
        home,
        write="given = int(open('given.txt').read())\nwith open('out.txt', 'w') as f:\n    f.write(str(given * 2))",
        free="unrelated = 1",
        read="found = open('out.txt').read()",
    )
    assert book.run()["state"] == "SUCCEEDED"
    assert ran(book.run()) == []
    (home.folder / "out.txt").unlink()
    assert ran(book.run()) == []
    assert (home.folder / "out.txt").read_text() == "4"
    (home.folder / "given.txt").write_text("3")
    changed = book.run()
    assert ran(changed) == ["write", "read"]
    assert book.values(changed, "found") == {"found": "6"}
    (home.folder / "out.txt").write_text("mine")
    edited = book.run()
    assert "write" in ran(edited)
    assert book.values(edited, "found") == {"found": "6"}


def test_hidden_state_crosses_into_another_process(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "hidden"),
        settings=(
            "import os, random, decimal, warnings, statistics, json\nimport numpy as np\n"
            "os.environ['BOOK'] = 'set'\nos.makedirs('sub', exist_ok=True)\nos.chdir('sub')\n"
            "random.seed(3)\nnp.random.seed(4)\n"
            "np.seterr(divide='raise')\ndecimal.getcontext().prec = 5\n"
            "warnings.simplefilter('error', UserWarning)\n"
            "old = statistics.mean\nstatistics.mean = lambda xs: old(xs) + 1000\n"
            "first = random.random(), np.random.rand()"
        ),
        look=(
            "def attempt(f):\n    try:\n        return f()\n"
            "    except Exception as e:\n        return type(e).__name__\n"
            "seen = [os.environ.get('BOOK'), os.path.basename(os.getcwd()), random.random(),\n"
            "    float(np.random.rand()), attempt(lambda: np.array([1.0]) / 0), str(decimal.Decimal(1) / 3),\n"
            "    attempt(lambda: warnings.warn('x')),\n"
            "    statistics.mean([1])]"
        ),
    )
    first = book.run()
    assert first["state"] == "SUCCEEDED", first["error"]
    linear = book.values(first, "seen")["seen"]
    assert linear[:2] == ["set", "sub"]
    assert linear[4:] == ["FloatingPointError", "0.33333", "UserWarning", 1001]
    edited = book.run(look=book.cells["look"] + "\nmore = 1")
    assert ran(edited) == ["look"]
    assert book.values(edited, "seen")["seen"] == linear


def test_what_a_notebook_registers_is_there_in_another_process(shared: TestHome) -> None:
    """Accessors, magics, handlers of logs, the time zone and words of the command line are in no variable."""
    book = Book(
        in_folder(shared, "registered"),
        make=(
            "import logging, os, sys, time\nimport pandas as pd\n"
            "from IPython.core.magic import register_line_magic\n"
            "@pd.api.extensions.register_dataframe_accessor('probe')\n"
            "class Probe:\n    def __init__(self, frame):\n        self.rows = len(frame)\n"
            "@register_line_magic\ndef twice(line):\n    return 2 * int(line)\ndel twice\n"
            "logging.getLogger('mine').addHandler(logging.StreamHandler(sys.stdout))\n"
            "logging.getLogger('mine').propagate = False\n"
            "os.environ['TZ'] = 'Asia/Tokyo'\ntime.tzset()\nsys.argv.append('--epochs=3')"
        ),
        use="n = 1",
        end=(
            "four = %twice 2\nlogging.getLogger('mine').warning('said')\n"
            "found = (n, pd.DataFrame({'a': [1, 2]}).probe.rows, time.localtime(0).tm_hour, sys.argv[1:])"
        ),
    )
    first = book.run()
    assert first["state"] == "SUCCEEDED", first["error"]
    again = book.run(use="n = 5")
    assert again["state"] == "SUCCEEDED", again["error"]
    assert ran(again) == ["use", "end"]
    assert book.values(again, "four", "found") == {"four": 4, "found": (5, 2, 9, ["--epochs=3"])}
    assert texts(again) == texts(first) == ["said\n"]


def test_the_session_is_killed_in_a_cell(tmp_path: Path) -> None:
    with home_in(tmp_path) as home:
        book = Book(home, make="import os, time\nx = [1]", dies="os.kill(os.getpid(), 9)", end="y = x + [2]")
        failed = book.run()
        assert failed["state"] == "FAILED"
        assert "SIGKILL" in failed["error"]["message"]
        mended = book.run(dies="x.append(5)")
        assert ran(mended) == ["dies", "end"]
        assert book.values(mended, "y") == {"y": [1, 5, 2]}


def test_the_service_is_killed_while_a_cell_runs(tmp_path: Path) -> None:
    """The session finishes its cell; the next service finds its result and goes on in another session."""
    with home_in(tmp_path) as home:
        flag, go = tmp_path / "began", tmp_path / "go"
        cell = f"import os, time\nopen({str(flag)!r}, 'a').write('x')\nwhile not os.path.exists({str(go)!r}):\n"
        cell += "    time.sleep(0.05)\nx.append(2)"
        book = Book(home, make="x = [1]", waits=cell, end="y = x + [3]")
        started = book.run("--detach")
        deadline = time.monotonic() + 120
        while not flag.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        service = json.loads((home.root / "service.json").read_bytes())
        os.kill(service["pid"], signal.SIGKILL)
        go.touch()
        state = home.json("runs", "resume", started["run_id"], timeout=300)
        assert state["state"] == "SUCCEEDED", state["error"]
        assert book.values(state, "y") == {"y": [1, 2, 3]}
        assert flag.read_text() == "x"


def test_resuming_with_an_edited_notebook_keeps_what_is_done(tmp_path: Path) -> None:
    with home_in(tmp_path) as home:
        book = Book(
            home,
            make="import time\nstamp = time.time_ns()",
            grow="rows = [1, 2]",
            breaks="total = sum(rows) / 0",
            end="done = (total, stamp)",
        )
        failed = book.run()
        assert failed["state"] == "FAILED"
        stamp = book.values(failed, "stamp")["stamp"]
        book.write(breaks="total = sum(rows)")
        resumed = home.json("runs", "resume", failed["run_id"], str(book.path), timeout=300)
        assert resumed["run_id"] == failed["run_id"]
        assert resumed["state"] == "SUCCEEDED", resumed["error"]
        assert book.values(resumed, "done") == {"done": (3, stamp)}


def test_run_resume_takes_the_edited_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with home_in(tmp_path) as home:
        book = Book(
            home,
            make="import time\nstamp = time.time_ns()",
            grow="rows = [1, 2]\ngrown = time.time_ns()",
            breaks="total = sum(rows) / 0",
        )
        book.write()
        run = notebook(book.path, home=home.root).run().wait(check=False, timeout=300)
        assert run.state == "FAILED"
        before = book.values({"run_id": run.run_id}, "stamp", "grown")
        book.write(grow="rows = [1, 2, 3]\ngrown = time.time_ns()", breaks="total = sum(rows)")
        run.resume().wait(timeout=300)
        told = capsys.readouterr().out
        assert "book.ipynb" in told
        assert "runs again: grow, breaks; 1 task stays as it is" in told
        after = book.values({"run_id": run.run_id}, "stamp", "grown", "total")
        assert after["total"] == 6
        assert after["stamp"] == before["stamp"]
        assert after["grown"] > before["grown"]


def test_an_alias_that_comes_later_is_changed_too(shared: TestHome) -> None:
    """A task that changes what it found in place must run again when another name has come to share it."""
    book = Book(
        in_folder(shared, "alias"),
        make="rows = [1]\nother = 0",
        between="unrelated = 1",
        change="rows.append(2)",
        end="seen = other",
    )
    assert book.run()["state"] == "SUCCEEDED"
    edited = book.run(between="other = rows")
    assert "change" in ran(edited)
    assert book.values(edited, "rows", "other", "seen") == {"rows": [1, 2], "other": [1, 2], "seen": [1, 2]}


def test_what_importing_does_besides_is_there_in_another_process(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "imports"),
        make="import xml.dom.minidom\nx = 1",
        use="tag = xml.dom.minidom.parseString('<a/>').documentElement.tagName",
    )
    first = book.run()
    assert first["state"] == "SUCCEEDED", first["error"]
    edited = book.run(use=book.cells["use"] + "\nmore = x")
    assert edited["state"] == "SUCCEEDED", edited["error"]
    assert ran(edited) == ["use"]


def test_what_does_not_come_back_as_it_was_is_noticed_where_it_is_written(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "roundtrip"),
        make=(
            "class Loses:\n    def __init__(self):\n        self.kept, self.lost = 1, 2\n"
            "    def __getstate__(self):\n        return {'kept': self.kept}\n"
            "    def __setstate__(self, state):\n        self.kept, self.lost = state['kept'], 0\n"
            "class Breaks:\n    def __reduce__(self):\n        return (int, ('no number',))\n"
            "class Ends:\n    def __reduce__(self):\n        import os\n        return (os._exit, (3,))\n"
            "import threading\n"
            "class Keeps:\n    def __init__(self):\n        self.n, self.lock = 5, threading.Lock()\n"
            "    def __getstate__(self):\n        return {'n': self.n}\n"
            "    def __setstate__(self, state):\n        self.__init__()\n        self.n = state['n']\n"
            "keeps = Keeps()"
        ),
        objects="loses, breaks, ends = Loses(), Breaks(), Ends()",
        change="loses.lost = 7",
        end="seen = (loses.lost, type(breaks).__name__, type(ends).__name__, keeps.n)",
    )
    first = book.run()
    assert first["state"] == "SUCCEEDED", first["error"]
    assert book.values(first, "seen") == {"seen": (7, "Breaks", "Ends", 5)}
    log = shared.command("runs", "logs", first["run_id"], "objects").stdout
    assert "loses cannot be kept for later runs: it does not come back as it was (loses.lost)" in log
    assert "breaks cannot be kept for later runs: it cannot be loaded again" in log
    assert "ends cannot be kept for later runs: loading it again ends the process" in log
    assert "keeps" not in log
    edited = book.run(change="loses.lost = 8")
    assert book.values(edited, "seen") == {"seen": (8, "Breaks", "Ends", 5)}
    assert ran(edited) == ["objects", "change", "end"]
    assert ran(book.run()) == []


def test_a_change_of_what_is_not_kept_is_a_change(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "unseen"),
        make=(
            "class Model:\n    def __init__(self):\n        self.count = 0\n"
            "    def __getstate__(self):\n        return {}\n"
            "    def __setstate__(self, state):\n        self.count = 0\n"
            "model = Model()"
        ),
        use="model.count = model.count",
        end="seen = model.count",
    )
    assert book.run()["state"] == "SUCCEEDED"
    edited = book.run(use="model.count += 1")
    assert book.values(edited, "seen") == {"seen": 1}
