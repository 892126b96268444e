"""Cells in the image that their task asks for: as in the notebook's own Python, and told where they cannot."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from mlplatform.launcher.notebook import guest
from tests.support.home import TestHome, home_in
from tests.support.notebook_image import cells_image, plain_image
from tests.support.notebooks import TaggedBook, in_folder, ran, task, why
from tests.support.podman import podman


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    with home_in(tmp_path_factory.mktemp("images"), **podman().env) as home:
        yield home
    assert podman().names() == []


MAKE = """
import os, random
import numpy as np
rows = [1]
also = rows
table = np.arange(5.0)
class Point:
    weight = 3
point = Point()
random.seed(3)
os.environ["STAGE"] = "two"
open("a.txt", "w").write("one")
"""
INSIDE = """
import os, random, sys
rows.append(point.weight)
inside = os.path.exists("/etc/debian_version"), sys.executable
drawn = random.random()
stage = os.environ["STAGE"]
text = open("a.txt").read()
open("b.txt", "w").write("from inside")
print("inside", text)
"""
AFTER = "seen = also\nmore = random.random()\nb = open('b.txt').read()\ntotal = float(table.sum())"


def test_a_task_runs_in_its_image_with_the_notebooks_variables(shared: TestHome) -> None:
    image = cells_image()
    tags = f"step:train prev:make image:{image}"
    book = TaggedBook(in_folder(shared, "image"), {"step:make": MAKE, tags: INSIDE, "step:look prev:train": AFTER})
    result = book.run("--containers", "podman")
    assert result["state"] == "SUCCEEDED", result["error"]
    values = book.values(result, "inside", "drawn", "stage", "text", "seen", "more", "b", "total")
    assert values["inside"] == (True, "/usr/bin/python3")
    assert values["seen"] == [1, 3]
    assert (values["stage"], values["text"], values["b"], values["total"]) == ("two", "one", "from inside", 10.0)
    linear = __import__("random").Random(3)
    assert [values["drawn"], values["more"]] == [linear.random(), linear.random()]
    assert f"it asks for image {image}: it has a process of its own" in why(result, "train")
    log = shared_log(book, result, "train")
    assert re.search(r"left out, since the image cannot load it: .*table", log), log
    assert os.stat(book.home.folder / "b.txt").st_uid == os.getuid()
    again = book.run("--containers", "podman")
    assert ran(again) == [], why(again, "train")
    assert ran(book.run("--containers", "podman", **{"step:look prev:train": AFTER + "\nmore_of_it = 1"})) == ["look"]
    assert "train" in ran(book.run()), "in the notebook's own Python it is another task"
    needs = INSIDE + "\nlast = table[-1]"
    failed = book.run("--containers", "podman", **{tags: needs})
    assert task(failed, "train")["state"] == "FAILED"
    assert "cannot take over the variable" in failed["error"]["message"]
    assert "numpy is not installed in it" in failed["error"]["message"]


def shared_log(book: TaggedBook, result: dict[str, object], name: str) -> str:
    return book.home.command("runs", "logs", str(result["run_id"]), name).stdout


def test_why_an_image_cannot_run_cells(shared: TestHome) -> None:
    book = TaggedBook(in_folder(shared, "cannot"), {})

    def told(image: str, before: str = "x = 1") -> str:
        book.cells = {"step:make": before, f"step:train prev:make image:{image}": "y = 2"}
        result = book.run("--containers", "podman")
        assert result["state"] == "FAILED"
        return f"{result['error']['message']} {result['error']['hint']}"

    assert "IPython and cloudpickle are not installed in it" in told(plain_image())
    assert f"python3 is not there in the image {podman().image}" in told(podman().image)
    assert "localhost/nobody/has:this" in told("localhost/nobody/has:this")
    locked = told(cells_image(), "import threading\nlock = threading.Lock()")
    assert "cannot be brought there: lock" in locked
    assert "without --containers" in locked


def test_another_python_is_refused() -> None:
    with pytest.raises(
        guest.Unfit, match=r"the image old:1 has Python 3\.\d+, and the notebook's Python is 2\.7"
    ) as found:
        guest.check({"name": "old:1", "python": "2.7.18"})
    assert "Take an image with Python 2.7" in found.value.args[1]
