"""Tasks of a notebook side by side: what linear running gives, whatever they share behind its back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.home import TestHome, home_in
from tests.support.notebooks import Book, TaggedBook, in_folder, shown, task, texts, why

#: Work that takes a while, so that what begins beside it does so while it runs.
WORK = "import time\n_until = time.monotonic() + 0.8\nwhile time.monotonic() < _until:\n    pass\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    with home_in(tmp_path_factory.mktemp("parallel")) as home:
        yield home


def both(book: Book, *names: str) -> dict[str, Any]:
    """Run it side by side, knowing nothing of it, then in order: values and outputs are the same. The first run."""
    beside = book.run("--no-cache", "--parallel", "4")
    assert beside["state"] == "SUCCEEDED", beside["error"]
    linear = book.run("--no-cache")
    assert linear["state"] == "SUCCEEDED", linear["error"]
    assert book.values(beside, *names) == book.values(linear, *names)
    assert texts(beside) == texts(linear)
    return beside


def ran_beside(result: dict[str, Any], name: str) -> bool:
    return "ran in a process of its own beside" in why(result, name)


def test_independent_tasks_overlap(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "overlap"),
        make="base = [1, 2]\ndef grow(n):\n    return [*base, n]",
        one=WORK + "a = grow(3)\nprint('one')",
        two=WORK + "b = grow(4)\nprint('two')",
        three="c = b + [5]",
        end="total = sum(a) + sum(c)",
    )
    result = book.run("--parallel", "3")
    assert result["state"] == "SUCCEEDED", result["error"]
    one, two = task(result, "one"), task(result, "two")
    assert ran_beside(result, "two")
    assert two["started_at"] < one["finished_at"]
    assert not two["cached"]
    assert book.values(result, "a", "b", "c", "total") == {
        "a": [1, 2, 3],
        "b": [1, 2, 4],
        "c": [1, 2, 4, 5],
        "total": 18,
    }
    assert texts(result) == ["one\n", "two\n"]
    again = book.run("--parallel", "3")
    assert all(each["cached"] for each in again["tasks"])


def test_libraries_know_in_every_process_that_this_is_a_notebook(shared: TestHome) -> None:
    """pandas decides while it is imported how many columns it shows."""
    book = Book(
        in_folder(shared, "columns"),
        make="import pandas as pd\nimport matplotlib.pyplot as plt",
        work=WORK + "slow = 1",
        wide="wide = pd.DataFrame([range(15)], columns=[f'a_long_name_{n}' for n in range(15)])\nwide",
    )
    result = both(book, "slow")
    assert ran_beside(result, "wide")
    assert "..." not in "".join(shown(result)[0]["text/plain"])


def test_what_is_shared_behind_names_keeps_its_order(shared: TestHome) -> None:
    """Aliases, views, counters in closures, generators, later definitions: none of it is in the text of the tasks."""
    book = Book(
        in_folder(shared, "sharing"),
        make=(
            "import numpy as np, random\nnp.random.seed(1)\nrandom.seed(2)\n"
            "rows = []\nother = {'rows': rows}\narray = np.zeros(4)\nview = array[1:3]\n"
            "def counter():\n    n = 0\n    def step():\n        nonlocal n\n        n += 1\n        return n\n"
            "    return step\nstep = counter()\nalso = [step]\n"
            "def draw():\n    return float(np.random.rand()), random.random()\n"
            "def put(x):\n    rows.append(x)\n    array[2] = 7\n"
            "def later():\n    return helper()\n"
        ),
        change=WORK + "done = put(1)\nfirst = step()\ndrawn = draw()\ndef helper():\n    return 'now'",
        alias="seen = list(other['rows'])\nlooked = view.tolist()",
        closure="second = also[0]()",
        generator="drawn_later = draw()",
        function="try:\n    called = later()\nexcept NameError:\n    called = 'not there'",
        free="free = len('nothing of it')",
    )
    result = both(book, "first", "drawn", "rows", "other", "seen", "looked", "second", "drawn_later", "called", "free")
    values = book.values(result, "seen", "looked", "second", "called")
    assert values == {"seen": [1], "looked": [0.0, 7.0], "second": 2, "called": "now"}
    for name in ("alias", "closure", "generator", "function"):
        assert "beside change" not in why(result, name)


def test_settings_of_the_process_keep_their_order(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "settings"),
        make=(
            "import numpy as np, os, statistics\n"
            "def settle():\n    os.environ['PARALLEL_PROBE'] = 'set'\n    np.seterr(divide='raise')\n"
            "    statistics.mean = lambda xs: 'patched'\n"
        ),
        change=WORK + "done = settle()",
        settings="found = os.environ.get('PARALLEL_PROBE'), statistics.mean([1])",
        division=(
            "try:\n    divided = float(np.float64(1) / np.float64(0))\n"
            "except FloatingPointError:\n    divided = 'raised'"
        ),
    )
    result = both(book, "found", "divided")
    assert book.values(result, "found", "divided") == {"found": ("set", "patched"), "divided": "raised"}
    assert "was tried beside" in why(result, "division")


def test_files_and_programs_keep_their_order(shared: TestHome) -> None:
    home = in_folder(shared, "files")
    log = "with open('log.txt', 'a') as f:\n    f.write({!r})\n"
    book = Book(
        home,
        make="import os\nopen('log.txt', 'w').close()\nopen('old.txt', 'w').write('before')",
        slow=WORK + log.format("1") + "open('old.txt', 'w').write('after')",
        writes=log.format("2"),
        reads="content = open('old.txt').read()",
        program="found = os.system('echo 3 >> log.txt')",
        shell="!echo 4 >> log.txt",
        child="import subprocess\nsubprocess.run(['sh', '-c', 'echo 5 >> log.txt'], check=True)",
        looks="there = sorted(os.listdir('.'))",
        makes="os.makedirs('made', exist_ok=True)",
    )
    for words in (["--no-cache"], ["--no-cache", "--parallel", "4"]):
        for path in home.folder.glob("*.txt"):
            path.unlink()
        if (home.folder / "made").exists():
            (home.folder / "made").rmdir()
        result = book.run(*words)
        assert result["state"] == "SUCCEEDED", result["error"]
        assert (home.folder / "log.txt").read_text() == "123\n4\n5\n"
        values = book.values(result, "content", "found", "there")
        assert values["content"] == "after"
        assert "made" not in values["there"]


def test_what_cannot_be_handed_on_runs_in_order(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "kept"),
        make="import threading\nclass Item:\n    kind = 'old'\nx = 1",
        slow=WORK + "y = x + 1",
        lock="lock = threading.Lock()\nheld = lock.acquire(blocking=False)",
        redefined="class Item:\n    kind = 'new'\nitem = Item()",
        use="again = lock.acquire(blocking=False)\nkinds = (item.kind, isinstance(item, Item), Item.kind)",
    )
    result = both(book, "y", "held", "again", "kinds")
    assert book.values(result, "held", "again", "kinds") == {
        "held": True,
        "again": False,
        "kinds": ("new", True, "new"),
    }
    assert not ran_beside(result, "lock")


def test_a_warning_is_given_once(shared: TestHome) -> None:
    home = in_folder(shared, "warned")
    (home.folder / "quiet.py").write_text("import warnings\ndef say():\n    warnings.warn('only once', stacklevel=1)\n")
    book = Book(
        home,
        make="import quiet",
        slow=WORK + "a = quiet.say()",
        again="b = quiet.say()",
    )
    result = both(book, "a", "b")
    assert sum("only once" in text for text in texts(result)) == 1
    assert "a warning in quiet" in why(result, "again")


def test_a_failure_ends_what_ran_beside_it(shared: TestHome) -> None:
    book = Book(
        in_folder(shared, "failure"),
        make="x = 1",
        breaks=WORK + "1 / 0",
        beside="y = x + 1\nprint('beside')",
    )
    result = book.run("--parallel", "2")
    assert result["state"] == "FAILED"
    assert "ZeroDivisionError" in result["error"]["message"]
    cells = json.loads(Path(result["notebook"]).read_bytes())["cells"]
    assert cells[5]["execution_count"] is None
    assert cells[5]["outputs"] == []
    assert not (shared.root / "runs" / result["run_id"] / "notebook" / "beside").exists()
    mended = book.run("--parallel", "2", breaks="z = 0")
    assert book.values(mended, "y", "z") == {"y": 2, "z": 0}


def test_a_task_that_asks_for_something_has_a_process_of_its_own(shared: TestHome) -> None:
    """Kale's tags ask for resources and an image."""
    home = in_folder(shared, "own")
    cells = {
        "step:make": "import os\nrows = [1]\nalso = rows\nmade_in = os.getpid()",
        "step:train prev:make limit:cpu:1 image:example.org/train:1": "rows.append(2)\nran_in = os.getpid()",
        "step:look prev:train": "seen = also\nlooked_in = os.getpid()",
        "step:lock prev:look": "import threading\nlock = threading.Lock()\nlocked_in = os.getpid()",
        "step:big prev:lock limit:memory:1Gi": "held = lock.acquire()\nbig_in = os.getpid()",
    }
    book = TaggedBook(home, cells)
    result = book.run()
    assert result["state"] == "SUCCEEDED", result["error"]
    names = ["made_in", "ran_in", "looked_in", "locked_in", "big_in", "seen", "rows", "held"]
    values = book.values(result, *names)
    assert values["seen"] == values["rows"] == [1, 2]
    assert len({values["made_in"], values["ran_in"], values["looked_in"]}) == 3
    assert values["looked_in"] == values["locked_in"] == values["big_in"]
    assert values["held"] is True
    assert "it asks for 1 CPUs, image example.org/train:1: it has a process of its own" in why(result, "train")
    assert "shares a process with others all the same: lock" in why(result, "big")
    log = home.command("runs", "logs", result["run_id"], "train").stdout
    assert "image example.org/train:1 is for a cluster" in log


def test_cancelling_ends_what_was_begun_before_its_turn(shared: TestHome) -> None:
    home = in_folder(shared, "cancel")
    book = Book(
        home,
        make="x = 1",
        slow=WORK + "y = x + 1",
        beside="import time\nz = x\ntime.sleep(3600)",
    )
    started = book.run("--detach", "--parallel", "2")
    folder = shared.root / "runs" / started["run_id"] / "notebook" / "beside" / "0002"
    deadline = time.monotonic() + 240
    state = ""
    while state != "RUNNING" or not (folder / "began.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
        tasks = home.json("runs", "show", started["run_id"])["tasks"]
        state = next((each["state"] for each in tasks if each["name"] == "beside"), "")
    pid = json.loads((folder / "claim").read_bytes())["pid"]
    assert home.json("runs", "cancel", started["run_id"], timeout=240)["state"] == "CANCELLED"
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not folder.exists()
