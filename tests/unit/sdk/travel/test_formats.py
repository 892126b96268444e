"""What goes into an artifact comes out of it: the same value of the same type, in an open format where there is one."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

from mlplatform.core.errors import ArtifactError
from mlplatform.sdk import values
from mlplatform.sdk.travel import formats


def there_and_back(value: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    _, metadata = values.save(value, folder)
    return values.load(folder / "data", metadata), metadata


def frames() -> dict[str, tuple[pd.DataFrame, str]]:
    base = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, math.nan, 2.0], "c": ["x", "y", None]})
    return {
        "plain": (base, "parquet"),
        "named index": (base.set_index("a"), "parquet"),
        "multi index": (base.set_index(["a", "b"]), "parquet"),
        "gaps in the index": (base.iloc[[0, 2]], "parquet"),
        "days": (base.set_index(pd.date_range("2024-01-31", periods=3, freq="ME")), "parquet"),
        "time zones": (pd.DataFrame({"t": pd.to_datetime(["2024-01-01"]).tz_localize("Europe/Berlin")}), "parquet"),
        "nanoseconds": (pd.DataFrame({"t": pd.to_datetime([1, 2], unit="ns")}), "parquet"),
        "categories": (base.assign(c=pd.Categorical(["x", "y", "x"], ["y", "x", "z"], ordered=True)), "parquet"),
        "nullable": (base.astype({"a": "Int64", "c": "string"}), "parquet"),
        "small types": (base.astype({"a": "int8", "b": "float32"}), "parquet"),
        "missing as NaN": (pd.DataFrame({"c": pd.Series(["x", math.nan], dtype=object)}), "parquet"),
        "missing both ways": (pd.DataFrame({"c": pd.Series(["x", math.nan, None], dtype=object)}), "pickle"),
        "objects": (pd.DataFrame({"c": pd.Series([{1}, [2]], dtype=object)}), "pickle"),
        "integers as objects": (pd.DataFrame({"c": pd.Series([1, 2], dtype=object)}), "pickle"),
        "tuples": (pd.DataFrame({"c": pd.Series([(1, 2), (3, 4)], dtype=object)}), "pickle"),
        "dates": (pd.DataFrame({"c": pd.Series([datetime.date(2024, 1, 1)], dtype=object)}), "parquet"),
        "numbers as names": (pd.DataFrame([[1, 2]], columns=[0, 1]), "parquet"),
        "two columns of one name": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "pickle"),
        "columns in two levels": (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "pickle"),
        "empty": (pd.DataFrame(), "parquet"),
        "no rows": (base.iloc[:0], "parquet"),
        "sparse": (pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1])}), "pickle"),
    }


@pytest.mark.parametrize("name", frames())
def test_frames(name: str, tmp_path: Path) -> None:
    frame, wanted = frames()[name]
    back, metadata = there_and_back(frame, tmp_path)
    pd.testing.assert_frame_equal(back, frame, check_freq=True)
    assert metadata["format"] == wanted
    for column in [name for name in frame.columns if frame.columns.is_unique and frame[name].dtype.kind == "O"]:
        assert [type(x) for x in back[column]] == [type(x) for x in frame[column]]
    assert getattr(back.index, "freq", None) == getattr(frame.index, "freq", None)


def test_what_hangs_on_a_frame(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": "cm"}
    frame.columns.name = "features"
    back, _ = there_and_back(frame, tmp_path)
    assert (back.attrs, back.columns.name) == ({"unit": "cm"}, "features")


def test_series(tmp_path: Path) -> None:
    series = pd.Series([1.5, 2.5], index=["x", "y"], name="weight")
    back, metadata = there_and_back(series, tmp_path)
    pd.testing.assert_series_equal(back, series)
    assert (metadata["format"], metadata["python_type"]) == ("parquet", "pandas.Series")


def test_polars_and_arrow(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, None], "b": [["x"], []], "c": [datetime.date(2024, 1, 1), None]})
    back, metadata = there_and_back(frame, tmp_path / "polars")
    assert back.equals(frame)
    assert back.schema == frame.schema
    assert metadata["python_type"] == "polars.DataFrame"
    table = pa.table({"a": pa.array([1, 2], pa.int8()), "d": pa.array(["x", "y"]).dictionary_encode()})
    again, told = there_and_back(table, tmp_path / "arrow")
    assert again.equals(table)
    assert (told["format"], told["python_type"]) == ("parquet", "pyarrow.Table")


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.arange(6, dtype="int16").reshape(2, 3), "npy"),
        (np.asfortranarray(np.ones((3, 2))), "npy"),
        (np.array(5.0), "npy"),
        (np.zeros((0, 3)), "npy"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "npy"),
        (np.array(["a", "bc"]), "npy"),
        (np.array([1, "x", None], dtype=object), "pickle"),
        (np.ma.masked_array([1, 2], [True, False]), "pickle"),
        (np.float32(1.5), "npy"),
    ],
)
def test_arrays(array: Any, wanted: str, tmp_path: Path) -> None:
    back, metadata = there_and_back(array, tmp_path)
    assert type(back) is type(array)
    assert metadata["format"] == wanted
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
    if isinstance(array, np.ndarray):
        assert back.flags.f_contiguous == array.flags.f_contiguous


def test_a_large_array_can_be_written_to_and_its_file_stays(tmp_path: Path) -> None:
    array = np.zeros(1 << 18)
    back, _ = there_and_back(array, tmp_path)
    back[0] = 7.0
    assert formats.load(str(tmp_path / "data"), {"format": "npy"})[0] == 0.0


@dataclasses.dataclass
class Point:
    x: int
    y: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Derived:
    x: int
    double: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.double = 2 * self.x


class Choice(BaseModel):
    name: str
    when: datetime.date


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, "json"),
        (True, "json"),
        (12345678901234567890, "json"),
        ("text \u00e9\n", "json"),
        ({"a": [1, 2.5, None, {"b": "c"}]}, "json"),
        (math.inf, "pickle"),
        ("\ud800", "pickle"),
        ((1, 2), "pickle"),
        ({1: "one"}, "pickle"),
        ({1, 2}, "pickle"),
        (b"bytes", "pickle"),
        (decimal.Decimal("1.10"), "pickle"),
        (collections.OrderedDict(a=1), "pickle"),
        (Point(1, [2]), "json"),
        (Derived(3), "pickle"),
        (Choice(name="a", when=datetime.date(2024, 2, 3)), "json"),
    ],
)
def test_plain_data(value: Any, wanted: str, tmp_path: Path) -> None:
    back, metadata = there_and_back(value, tmp_path)
    assert back == value
    assert type(back) is type(value)
    assert metadata["format"] == wanted
    if wanted == "pickle":
        assert "pickled" in metadata["note"]


def test_two_names_for_one_list_stay_two_names(tmp_path: Path) -> None:
    inner = [1]
    back, metadata = there_and_back([inner, inner], tmp_path)
    assert back[0] is back[1]
    assert metadata["format"] == "pickle"


def test_estimators(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    data, target = np.random.default_rng(0).normal(size=(20, 3)), [0, 1] * 10
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=3, random_state=0)).fit(data, target)
    back, metadata = there_and_back(forest, tmp_path / "a")
    np.testing.assert_array_equal(back.predict_proba(data), forest.predict_proba(data))
    assert (metadata["format"], metadata["framework"]) == ("skops", "scikit-learn")
    own = make_pipeline(FunctionTransformer(lambda x: x + 1)).fit(data)
    again, told = there_and_back(own, tmp_path / "b")
    np.testing.assert_array_equal(again.transform(data), data + 1)
    assert told["format"] == "pickle"


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    back, metadata = there_and_back(tmp_path / "in" / "notes.txt", tmp_path / "one")
    assert (back.name, back.read_text(), metadata["format"]) == ("notes.txt", "hello", "file")
    folder, told = there_and_back(tmp_path / "in", tmp_path / "two")
    assert ((folder / "notes.txt").read_text(), told["format"]) == ("hello", "folder")


def test_what_cannot_be_stored_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be stored.*return what can be written"):
        values.save((number for number in [1]), tmp_path)
    with pytest.raises(ArtifactError, match="does not exist"):
        values.save(tmp_path / "absent", tmp_path / "out")


def test_what_others_wrote(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    frame.to_parquet(tmp_path / "table")
    (tmp_path / "list").write_text("[1, 2]")
    (tmp_path / "other").write_text("a,b\n1,2\n")
    pd.testing.assert_frame_equal(values.load(tmp_path / "table", {}), frame)  # type: ignore[arg-type]
    assert values.load(tmp_path / "list", {}) == [1, 2]
    assert formats.load(str(tmp_path / "other"), {}, wanted=Path) == tmp_path / "other"
    with pytest.raises(ArtifactError, match=r"take it as a pathlib\.Path"):
        values.load(tmp_path / "other", {})
    with pytest.raises(ArtifactError, match="was removed or never written"):
        values.load(tmp_path / "absent", {"format": "npy"})


def test_a_class_that_the_reader_has_not(tmp_path: Path) -> None:
    """By value: the same bytes each time, and the reader's own class of that name where there is one."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("import dataclasses\n@dataclasses.dataclass\nclass Loose:\n    x: int = 1\n", space)
    first = values.save(space["Loose"](5), tmp_path / "one")[1]
    second = values.save(space["Loose"](5), tmp_path / "two")[1]
    assert first == second
    back: Any = values.load(tmp_path / "one" / "data", first)
    assert (type(back).__name__, back.x) == ("Loose", 5)
    found: Any = formats.load(str(tmp_path / "one" / "data"), first, scope=space)
    assert isinstance(found, space["Loose"])
    pickled = values.save({"in a": (space["Loose"](7),)}, tmp_path / "three")[1]
    nested: Any = formats.load(str(tmp_path / "three" / "data"), pickled, scope=space)
    assert isinstance(nested["in a"][0], space["Loose"])


def test_objects_of_runs_are_kept_by_content(tmp_path: Path) -> None:
    from mlplatform.engine.home import open_home

    home = open_home(tmp_path)
    one = values.keep(home, "frame", pd.DataFrame({"a": [1]}))
    same = values.keep(home, "other", pd.DataFrame({"a": [1]}))
    assert one.path == same.path
    assert one.digest.removeprefix("sha256:") == one.path.name
    assert list((tmp_path / "artifacts" / "values").glob(".new-*")) == []
