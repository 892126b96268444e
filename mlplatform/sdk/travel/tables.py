"""Arrays and tables: npy and Parquet, where what comes back is what went in."""

# What it handles are objects of other libraries, known only when it runs.
# pyright: basic

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


def save_numpy(value: Any, path: str) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None or not (type(value) is numpy.ndarray or isinstance(value, numpy.generic)):
        return None
    array = numpy.asarray(value)
    if array.dtype.hasobject or (array.dtype.metadata is not None):
        return None
    with open(path, "wb") as file:
        numpy.save(file, array, allow_pickle=False)
    kind = {"format": "npy", "shape": list(array.shape), "dtype": str(array.dtype)}
    if isinstance(value, numpy.generic):
        kind["scalar"] = True
    return "system.Dataset", kind


def save_table(value: Any, path: str) -> Any:
    root = type(value).__module__.split(".")[0]
    if root == "pandas":
        return _save_pandas(value, path)
    if root == "polars":
        return _save_polars(value, path)
    if root == "pyarrow":
        return _save_arrow(value, path)
    return None


def _save_pandas(value: Any, path: str) -> Any:
    pandas = sys.modules["pandas"]
    series = type(value) is pandas.Series
    if not series and type(value) is not pandas.DataFrame:
        return None
    frame = value.to_frame(name="values") if series else value
    if (
        not frame.columns.is_unique
        or frame.columns.nlevels > 1
        or not all(type(n) in (str, int) for n in frame.columns)
    ):
        return None
    objects: Any = {}
    for position in range(frame.shape[1]):
        column = frame.iloc[:, position]
        if column.dtype == object:
            kind = _plain_objects(pandas, column)
            if kind is None:
                return None
            objects[str(position)] = kind
    for level in range(frame.index.nlevels):
        values = frame.index.get_level_values(level)
        if values.dtype == object and _plain_objects(pandas, values.to_series()) is None:
            return None
    arrow = importlib.import_module("pyarrow")
    table = arrow.Table.from_pandas(frame)
    back = table.slice(0, min(len(frame), 1000)).to_pandas()
    head = frame.iloc[:1000]
    _as_objects(back, objects)
    if not _same_frame(pandas, back, head):
        return None
    importlib.import_module("pyarrow.parquet").write_table(table, path)
    metadata = {"format": "parquet", "rows": len(frame), "columns": [str(name) for name in frame.columns][:200]}
    if objects:
        metadata["object_columns"] = objects
    frequency = getattr(frame.index, "freqstr", None) if type(frame.index) is pandas.DatetimeIndex else None
    if frequency:
        metadata["index_freq"] = frequency
    if frame.attrs:
        metadata["attrs"] = json.loads(json.dumps(frame.attrs))
        if metadata["attrs"] != frame.attrs:
            return None
    if series:
        if value.name is not None and type(value.name) not in (str, int):
            return None
        metadata["series_name"] = value.name
    return "system.Dataset", metadata


def _as_objects(frame: Any, columns: Any) -> None:
    """Columns of Python objects, which readers of Parquet make something else: what is missing is None or NaN."""
    pandas = sys.modules["pandas"]
    for position, kind in columns.items():
        column = frame.iloc[:, int(position)]
        values = column.to_numpy(dtype=object, copy=True)
        values[column.isna().to_numpy()] = None if kind == "none" else float("nan")
        frame.isetitem(int(position), pandas.Series(values, index=frame.index, dtype=object))


def _plain_objects(pandas: Any, column: Any) -> str | None:
    """Whether a column of Python objects comes back as it was: "none" or "nan" (what is missing), None if not."""
    kind = pandas.api.types.infer_dtype(column, skipna=True)
    if kind not in ("string", "bytes", "date", "decimal", "boolean", "empty"):
        return None
    if kind == "boolean" and not column.isna().any():
        return None
    absent = column[column.isna()]
    nan = sum(1 for item in absent if isinstance(item, float))
    if nan == 0 and all(item is None for item in absent):
        return "none"
    return "nan" if nan == len(absent) else None


def _same_frame(pandas: Any, one: Any, other: Any) -> bool:
    if list(one.dtypes) != list(other.dtypes) or type(one.index) is not type(other.index):
        return False
    try:
        pandas.testing.assert_frame_equal(one, other, check_freq=False, check_flags=False, check_exact=True)
    except AssertionError:
        return False
    return True


def _save_polars(value: Any, path: str) -> Any:
    polars = sys.modules["polars"]
    if type(value) is polars.DataFrame:
        frame = value
    elif type(value) is polars.Series:
        frame = value.to_frame()
    else:
        return None
    frame.write_parquet(path)
    if polars.read_parquet_schema(path) != frame.schema:
        return None
    metadata = {"format": "parquet", "rows": frame.height, "columns": frame.columns[:200]}
    return "system.Dataset", metadata


def _save_arrow(value: Any, path: str) -> Any:
    arrow = sys.modules["pyarrow"]
    if type(value) is not arrow.Table:
        return None
    parquet = importlib.import_module("pyarrow.parquet")
    parquet.write_table(value, path)
    if not parquet.read_schema(path).equals(value.schema, check_metadata=True):
        return None
    return "system.Dataset", {"format": "parquet", "rows": value.num_rows, "columns": value.column_names[:200]}


def load_npy(path: str, metadata: Any, scope: dict) -> Any:
    numpy = importlib.import_module("numpy")
    if metadata.get("scalar"):
        return numpy.load(path, allow_pickle=False)[()]
    size = os.path.getsize(path)
    # Mapped copy-on-write: pages come when they are touched, and what is written stays here.
    array = numpy.load(path, mmap_mode="c" if size > 1 << 20 else None, allow_pickle=False)
    return numpy.asarray(array) if type(array) is numpy.ndarray else array.view(numpy.ndarray)


def load_parquet(path: str, metadata: Any, scope: dict) -> Any:
    kind = str(metadata.get("python_type") or "pandas.DataFrame")
    if kind.startswith("polars"):
        polars = importlib.import_module("polars")
        frame = polars.read_parquet(path)
        return frame.to_series() if kind.endswith("Series") else frame
    table = importlib.import_module("pyarrow.parquet").read_table(path, partitioning=None)
    if kind.startswith("pyarrow"):
        return table
    frame = table.to_pandas()
    _as_objects(frame, metadata.get("object_columns") or {})
    if metadata.get("index_freq"):
        frame.index.freq = metadata["index_freq"]
    frame.attrs = dict(metadata.get("attrs") or {})
    if kind.endswith("Series"):
        name = metadata.get("series_name")
        frame = frame["values"].rename(int(name) if isinstance(name, float) else name)
    return frame
