"""Snapshots: what is loaded is the same graph of objects, bound to the live namespace."""

from __future__ import annotations

import functools
import io
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.launcher.notebook import rebuild
from mlplatform.launcher.notebook.comparing import look, shared_roots
from mlplatform.launcher.notebook.keeping import keep, load
from mlplatform.launcher.notebook.pickling import Refused


@pytest.fixture
def namespace() -> Iterator[dict[str, Any]]:
    """A notebook's namespace: code runs in it as ``__main__``."""
    module = types.ModuleType("__main__")
    rebuild.bind(vars(module))
    yield vars(module)
    rebuild.bind({})


def run(namespace: dict[str, Any], source: str) -> None:
    exec(compile(source, "<cell>", "exec"), namespace)


def roots(values: dict[str, Any], namespace: dict[str, Any]) -> frozenset[int]:
    seen = [look(value, namespace) for value in values.values()]
    return shared_roots(seen)


def again(namespace: dict[str, Any], folder: Path, *names: str) -> dict[str, Any]:
    """The values as another process would have them."""
    values = {name: namespace[name] for name in names}
    with (folder / "group").open("wb") as file:
        keep(values, namespace, file, roots(values, namespace))
    return load(str(folder / "group"))


def test_aliases_stay_aliases(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(namespace, "a = [1, 2]\nb = a\npair = {'x': a, 'y': b}")
    found = again(namespace, tmp_path, "a", "b", "pair")
    assert found["a"] is found["b"] is found["pair"]["x"] is found["pair"]["y"]
    assert found["a"] == [1, 2]


def test_functions_meet_later_globals(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(namespace, "K = 1\ndef scale(x, *, by=2):\n    return x * K * by")
    scale = again(namespace, tmp_path, "scale")["scale"]
    namespace["K"] = 5
    assert scale(2) == 20
    assert scale.__globals__ is namespace
    assert (scale.__name__, scale.__kwdefaults__) == ("scale", {"by": 2})


def test_two_functions_share_a_closure_cell(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(
        namespace,
        "def make():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n"
        "    def get():\n        return n\n    return up, get\nup, get = make()\nup()",
    )
    found = again(namespace, tmp_path, "up", "get")
    found["up"]()
    assert found["get"]() == 2


def test_a_function_may_refer_to_itself(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(
        namespace,
        "def outer():\n    def f(n):\n        return 1 if n == 0 else n * f(n - 1)\n    return f\nf = outer()",
    )
    assert again(namespace, tmp_path, "f")["f"](5) == 120


def test_two_versions_of_a_class(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(namespace, "class P:\n    def val(self): return 1\np = P()\n")
    run(namespace, "class P:\n    def val(self): return -1\nq = P()")
    found = again(namespace, tmp_path, "p", "q", "P")
    assert (found["p"].val(), found["q"].val()) == (1, -1)
    assert isinstance(found["q"], found["P"])
    assert not isinstance(found["p"], found["P"])


def test_dataclasses_enums_and_super(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(
        namespace,
        "import dataclasses, enum\n@dataclasses.dataclass\nclass D:\n    a: int\n"
        "    b: list = dataclasses.field(default_factory=list)\n"
        "class E(enum.Enum):\n    X = 1\nclass S(D):\n    def __init__(self):\n        super().__init__(3)\n"
        "d = D(1)\ns = S()\ne = E.X",
    )
    found = again(namespace, tmp_path, "D", "E", "S", "d", "s", "e")
    fields = namespace["dataclasses"].fields(found["D"])
    assert [f.name for f in fields] == ["a", "b"]
    assert (found["d"], found["s"].a, found["e"] is found["E"].X) == (found["D"](1), 3, True)


def test_arrays_over_one_memory(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(
        namespace,
        "import numpy as np\nbig = np.ones((3, 4))\nrow = big[1]\nturned = big.T\nalone = np.arange(9)[2:5]",
    )
    found = again(namespace, tmp_path, "big", "row", "turned", "alone")
    found["row"][0] = -1
    assert found["big"][1, 0] == -1
    assert found["turned"][0, 1] == -1
    assert found["big"].flags.owndata
    assert found["alone"].tolist() == [2, 3, 4]


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_kind(namespace: dict[str, Any], tmp_path: Path, order: Any) -> None:
    namespace["a"] = np.asarray(np.arange(6, dtype="i4").reshape(2, 3), order=order)
    namespace["e"] = np.empty((0, 3))
    namespace["o"] = np.array([{"x": 1}, None], dtype=object)
    namespace["r"] = np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
    namespace["z"] = np.array(5)
    namespace["w"] = np.arange(3)
    namespace["w"].flags.writeable = False
    found = again(namespace, tmp_path, "a", "e", "o", "r", "z", "w")
    assert np.array_equal(found["a"], namespace["a"])
    assert found["a"].flags.f_contiguous == namespace["a"].flags.f_contiguous
    assert (found["e"].shape, found["o"][0], found["r"].dtype, int(found["z"])) == (
        (0, 3),
        {"x": 1},
        namespace["r"].dtype,
        5,
    )
    assert not found["w"].flags.writeable
    assert found["a"].flags.writeable


def test_frames_and_series_over_one_memory(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(
        namespace,
        "import pandas as pd\ndf = pd.DataFrame({'a': [3, 1], 'b': list('xy')})\nsame = df\nsub = df[df.a > 1]",
    )
    found = again(namespace, tmp_path, "df", "same", "sub")
    assert found["same"] is found["df"]
    assert found["sub"].equals(namespace["sub"])


CHANGES = {
    "a column": ("part = df['a']", "part.iloc[0] = 99.0"),
    "texts": ("part = df['s']", "part.iloc[0] = 'changed'"),
    "dates": ("part = df['t']", "part.iloc[0] = pd.Timestamp('1999')"),
    "the table": ("part = df['a']", "df.loc[0, 'a'] = -1.0\ndf['b'] = 0.0"),
    "some rows": ("part = df.iloc[1:]", "part.iloc[0, 0] = 99.0"),
    "a shallow copy": ("part = df.copy(deep=False)", "part.loc[0, 'b'] = 99.0"),
    "the index": ("part = df.set_index('a').index\nrow = pd.Series(part)", "row.iloc[0] = 99.0"),
    "an array": ("part = df['a'].to_numpy()", "df.loc[0, 'a'] = -1.0"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_to_what_shares_memory_in_pandas_goes_no_further(
    name: str, namespace: dict[str, Any], tmp_path: Path
) -> None:
    make, change = CHANGES[name]
    run(
        namespace,
        "import pandas as pd\ndf = pd.DataFrame({'a': [1.0, 2, 3], 'b': [4.0, 5, 6], 's': list('xyz'),"
        " 't': pd.date_range('2020', periods=3)})\nrow = None\n" + make,
    )
    found = again(namespace, tmp_path, "df", "part", "row")
    expected = {key: namespace[key] for key in found}
    for space in (expected, found):
        exec(change, {"pd": namespace["pd"]}, space)
    assert {key: str(value) for key, value in found.items()} == {key: str(value) for key, value in expected.items()}


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), (n for n in range(3)), memoryview(b"abc"), io.open(__file__)],  # noqa: SIM115, UP020
    ids=["lock", "generator", "memoryview", "file"],
)
def test_what_cannot_come_back_is_refused(namespace: dict[str, Any], tmp_path: Path, value: Any) -> None:
    namespace["v"] = {"inside": value}
    with pytest.raises((TypeError, Refused)):
        again(namespace, tmp_path, "v")


def test_a_filled_cache_is_refused_and_an_unused_one_is_not(namespace: dict[str, Any], tmp_path: Path) -> None:
    run(
        namespace,
        "from functools import lru_cache\n@lru_cache(None)\ndef fib(n):\n"
        "    return n if n < 2 else fib(n - 1) + fib(n - 2)",
    )
    found = again(namespace, tmp_path, "fib")["fib"]
    assert isinstance(found, type(functools.lru_cache(lambda: None)))
    namespace["fib"](5)
    before = look(namespace["fib"], namespace).digest
    namespace["fib"](6)
    assert look(namespace["fib"], namespace).digest != before
    with pytest.raises(Refused, match="lru_cache"):
        again(namespace, tmp_path, "fib")


def test_a_closed_file_comes_back_closed(namespace: dict[str, Any], tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("w") as namespace["f"]:
        namespace["f"].write("x")
    found = again(namespace, tmp_path, "f")["f"]
    assert (found.closed, found.name, found.mode) == (True, str(tmp_path / "a.txt"), "w")


def test_line_numbers_count_for_nothing_in_a_comparison(namespace: dict[str, Any]) -> None:
    run(namespace, "def f(x):\n    return x + 1")
    first = look(namespace["f"], namespace)
    run(namespace, "\n\n# moved\ndef f(x):\n\n    return x + 1")
    assert look(namespace["f"], namespace).digest == first.digest
    run(namespace, "def f(x):\n    return x + other")
    assert look(namespace["f"], namespace).digest != first.digest
    assert "other" in look(namespace["f"], namespace).names


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
        max_leaves=20,
    ),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_any_graph_of_containers_comes_back_as_the_same_graph(tmp_path_factory: Any, value: Any, edges: Any) -> None:
    """Ten lists that hold each other in any way, cycles too, and a value in the first."""
    folder = tmp_path_factory.mktemp("graph")
    nodes: list[list[Any]] = [[] for _ in range(10)]
    nodes[0].append(value)
    for start, end in edges:
        nodes[start].append(nodes[end])
    namespace = {f"n{i}": node for i, node in enumerate(nodes)}
    found = again(namespace, folder, *namespace)
    assert _shape([found[f"n{i}"] for i in range(10)]) == _shape(nodes)
    assert found["n0"][0] == value


def _shape(nodes: list[list[Any]]) -> list[list[Any]]:
    place = {id(node): index for index, node in enumerate(nodes)}
    return [[place.get(id(item), "value") for item in node] for node in nodes]
