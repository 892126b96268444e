"""Python objects as files and back: each kind in an open format; what fits none is pickled, and says so."""

# What it handles are objects of other libraries, known only when it runs.
# pyright: basic

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from .classes import AdapterError, class_metadata, find_class, load_pickle, qualified, save_pickle
from .models import load_module, load_safetensors, load_skops, save_estimator, save_module, save_tensor
from .tables import load_npy, load_parquet, save_numpy, save_table


# ------------------------------------------------------------------ saving
def save(value: Any, path: str) -> tuple[str, dict[str, Any]]:
    """Write ``value`` to the file (or folder) ``path``; returns (KFP type, metadata). Raises AdapterError."""
    for saver in (_save_path, save_numpy, save_table, save_tensor, save_module, save_estimator, _save_json):
        try:
            found = saver(value, path)
        except (AdapterError, MemoryError):
            raise
        except OSError as problem:
            raise AdapterError("%s cannot be written: %s" % (qualified(type(value)), problem)) from None
        except _refusals():  # the next format, in the end pickle
            found = None
        if found is not None:
            kind, metadata = found
            metadata.setdefault("python_type", qualified(type(value)))
            return kind, metadata
        _remove(path)
    return save_pickle(value, path)


def _refusals() -> tuple[type[BaseException], ...]:
    """How libraries say that a value is not for their format."""
    found: list[Any] = [ValueError, TypeError, LookupError, AttributeError, ImportError, ArithmeticError, RuntimeError]
    for module, name in (("pyarrow", "ArrowException"), ("polars.exceptions", "PolarsError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return (*found, AssertionError)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _save_path(value: Any, path: str) -> Any:
    if not isinstance(value, os.PathLike) or not type(value).__module__.startswith("pathlib"):
        return None
    source = os.fspath(value)
    name = os.path.basename(os.path.abspath(source))
    if os.path.isdir(source):
        shutil.copytree(source, path, symlinks=True, dirs_exist_ok=True)
        return "system.Artifact", {"format": "folder", "python_type": "pathlib.Path", "name": name}
    if not os.path.exists(source):
        raise AdapterError("the path %s does not exist: return a file or folder that was written" % source)
    shutil.copyfile(source, path)
    return "system.Artifact", {"format": "file", "python_type": "pathlib.Path", "name": name}


# ------------------------------------------------------------------ JSON
def _save_json(value: Any, path: str) -> Any:
    metadata: dict = {"format": "json"}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        if not _is_plain(plain) or not _rebuilds(value, plain):
            return None
        metadata.update(class_metadata(type(value)), kind="dataclass")
    elif hasattr(type(value), "model_validate_json") and hasattr(value, "model_dump_json"):
        cls: Any = type(value)
        made: Any = value
        text = made.model_dump_json()
        if cls.model_validate_json(text) != value:
            return None
        metadata.update(class_metadata(cls), kind="pydantic")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return "system.Artifact", metadata
    elif _is_plain(value):
        plain = value
    else:
        return None
    with open(path, "w", encoding="utf-8") as file:
        json.dump(plain, file)
    return "system.Artifact", metadata


def _is_plain(value: Any) -> bool:
    """Whether JSON gives exactly this back."""
    return _plain(value) and not _shared(value)


def _plain(value: Any) -> bool:
    if value is None or type(value) in (bool, int):
        return True
    if type(value) is str:
        return value.isascii() or _encodes(value)
    if type(value) is float:
        return value - value == 0  # neither infinite nor NaN
    if type(value) is list:
        return all(map(_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _plain(key) for key in value) and all(map(_plain, value.values()))
    return False


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _shared(value: Any) -> bool:
    """Two names for one list inside: JSON would make them two lists."""
    seen: set = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if type(item) in (list, dict):
            if id(item) in seen:
                return True
            seen.add(id(item))
            stack.extend(item.values() if type(item) is dict else item)
    return False


def _rebuilds(value: Any, plain: dict) -> bool:
    """Whether the dataclass made anew from its fields is the same (no field that __init__ does not take, no state
    beside the fields, nothing that __post_init__ turns into something else)."""
    fields = dataclasses.fields(value)
    if not all(item.init for item in fields):
        return False
    again = type(value)(**plain)
    return again == value and getattr(again, "__dict__", None) == getattr(value, "__dict__", None)


# ------------------------------------------------------------------ loading
def load(path: str, metadata: Any, type_: str = "", scope: dict[str, Any] | None = None, wanted: Any = None) -> Any:
    """The object that :func:`save` wrote. ``scope``: where to look for the reader's own classes. ``wanted``: the
    annotation of who reads, for artifacts that other programs wrote. Raises AdapterError."""
    if not os.path.exists(path):
        raise AdapterError("there is nothing at %s: the artifact was removed or never written" % path)
    metadata = metadata or {}
    format_ = metadata.get("format") or ""
    reader = _READERS.get(format_)
    if reader is None:
        return _foreign(path, wanted)
    try:
        return reader(path, metadata, scope or {})
    except AdapterError:
        raise
    except ImportError as problem:
        name = (problem.name or str(problem)).split(".")[0]
        raise AdapterError(
            "this artifact (%s, %s) needs the package %s: install it" % (metadata.get("python_type", ""), format_, name)
        ) from None
    except Exception as problem:  # noqa: BLE001 - a damaged file, or a class whose __setstate__ raises
        raise AdapterError(
            "the %s artifact at %s cannot be read as %s (%s: %s)"
            % (format_, path, metadata.get("python_type", "an object"), type(problem).__name__, problem)
        ) from None


def _load_file(path: str, metadata: Any, scope: dict) -> Any:
    """A path under the name that the file had, so that its suffix is there."""
    pathlib = importlib.import_module("pathlib")
    name = os.path.basename(str(metadata.get("name") or ""))
    if not name or name == os.path.basename(path):
        return pathlib.Path(path)
    link = os.path.join(tempfile.mkdtemp(prefix="mlplatform-"), name)
    os.symlink(os.path.abspath(path), link)
    return pathlib.Path(link)


def _load_json(path: str, metadata: Any, scope: dict) -> Any:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    kind = metadata.get("kind")
    if not kind:
        return json.loads(text)
    module, _, name = str(metadata.get("class") or "").partition(":")
    cls = find_class(module, name, str(metadata.get("definition") or ""), scope)
    return cls.model_validate_json(text) if kind == "pydantic" else cls(**json.loads(text))


_READERS: dict[str, Callable[[str, Any, dict], Any]] = {
    "file": _load_file,
    "folder": _load_file,
    "npy": load_npy,
    "parquet": load_parquet,
    "safetensors": load_safetensors,
    "skops": load_skops,
    "torch": load_module,
    "json": _load_json,
    "pickle": load_pickle,
}


def _foreign(path: str, wanted: Any) -> Any:
    """An artifact that another program wrote: by what the reader wants, then by how the file begins."""
    wanted_name = getattr(wanted, "__name__", str(wanted))
    if wanted_name in ("Path", "PosixPath", "PurePath"):
        return importlib.import_module("pathlib").Path(path)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            begin = file.read(8)
        if wanted_name == "bytes":
            with open(path, "rb") as file:
                return file.read()
        if begin.startswith(b"\x93NUMPY"):
            return load_npy(path, {}, {})
        if begin.startswith(b"PAR1"):
            kind = "polars.DataFrame" if "polars" in str(getattr(wanted, "__module__", "")) else "pandas.DataFrame"
            kind = "pyarrow.Table" if "pyarrow" in str(getattr(wanted, "__module__", "")) else kind
            return load_parquet(path, {"python_type": kind}, {})
        if begin[:1] in (b"{", b"["):
            try:
                return _load_json(path, {}, {})
            except ValueError:
                pass
    raise AdapterError(
        "the artifact at %s was not written by this platform, and its format is not known: take it as a pathlib.Path "
        "(annotate the argument so) and read it yourself" % path
    )
