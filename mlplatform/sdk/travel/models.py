"""Models: safetensors and skops, where what comes back is what went in."""

# What it handles are objects of other libraries, known only when it runs.
# pyright: basic

from __future__ import annotations

import collections
import importlib
import pickle
import sys
from typing import Any

from .classes import save_pickle


def save_tensor(value: Any, path: str) -> Any:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    single = type(value) is torch.Tensor
    if not single:
        if not (type(value) in (dict, collections.OrderedDict) and value):
            return None
        if not all(type(k) is str and type(v) is torch.Tensor for k, v in value.items()):
            return None
    tensors = {"tensor": value} if single else dict(value)
    if any(item.requires_grad or item.device.type != "cpu" or item.is_sparse for item in tensors.values()):
        return None
    pointers = [item.untyped_storage().data_ptr() for item in tensors.values()]
    if len(set(pointers)) != len(pointers):
        return None
    importlib.import_module("safetensors.torch").save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    metadata = {"format": "safetensors", "tensors": len(tensors)}
    metadata["order"] = list(tensors)
    return "system.Model", metadata


def save_estimator(value: Any, path: str) -> Any:
    base = sys.modules.get("sklearn.base")
    if base is None or not isinstance(value, base.BaseEstimator):
        return None
    metadata = {"framework": "scikit-learn", "estimator": type(value).__name__}
    try:
        skops = importlib.import_module("skops.io")
    except ImportError:
        _, pickled = save_pickle(value, path)
        pickled["note"] += "; with the package skops installed, scikit-learn models are stored in an open format"
        return "system.Model", dict(metadata, **pickled)
    try:
        if type(value).__module__.split(".")[0] != "sklearn":
            raise ValueError("an estimator of the user's own")
        text = skops.dumps(value)
        trusted = skops.get_untrusted_types(data=text)
        if any(name.split(".")[0] not in ("sklearn", "numpy", "scipy", "builtins", "collections") for name in trusted):
            raise ValueError("types of others inside")
        if not _same(value, skops.loads(text, trusted=trusted)):
            raise ValueError("it does not come back as it was")
    except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, ImportError, RecursionError):
        return "system.Model", dict(metadata, **save_pickle(value, path)[1])
    with open(path, "wb") as file:
        file.write(text)
    return "system.Model", dict(metadata, format="skops", trusted=list(trusted))


def _same(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two objects hold the same, as far as looking at them tells."""
    if type(one) is not type(other) or depth > 60:
        return False
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(one, numpy.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype.hasobject:
            return all(_same(a, b, depth + 1) for a, b in zip(one.ravel(), other.ravel()))  # noqa: B905
        if one.dtype.names:  # between its fields there are bytes that nobody wrote
            return all(_same(one[name].copy(), other[name].copy(), depth + 1) for name in one.dtype.names)
        return one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        keys = list(one)
        return len(keys) == len(other) and all(k in other and _same(one[k], other[k], depth + 1) for k in keys)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(_same(a, b, depth + 1) for a, b in zip(one, other))  # noqa: B905
    state = getattr(one, "__dict__", None)
    if state is not None and not isinstance(one, type):
        return _same(dict(state), dict(other.__dict__), depth + 1)
    if isinstance(one, type) or callable(one):
        return one is other
    if isinstance(one, (bool, int, float, complex, str, bytes, type(None))):
        return one == other or (one != one and other != other)
    try:
        made, again = one.__reduce_ex__(2), other.__reduce_ex__(2)
        return _same(made, again, depth + 1) if isinstance(made, tuple) else pickle.dumps(one) == pickle.dumps(other)
    except (pickle.PicklingError, TypeError, ValueError, AttributeError, NotImplementedError, RecursionError):
        return False


def load_safetensors(path: str, metadata: Any, scope: dict) -> Any:
    found = importlib.import_module("safetensors.torch").load_file(path)
    kind = str(metadata.get("python_type") or "")
    if kind.endswith("Tensor"):
        return found["tensor"]
    ordered = {name: found[name] for name in metadata.get("order") or found}
    return collections.OrderedDict(ordered) if kind.endswith("OrderedDict") else ordered


def load_skops(path: str, metadata: Any, scope: dict) -> Any:
    return importlib.import_module("skops.io").load(path, trusted=list(metadata.get("trusted") or ()))
