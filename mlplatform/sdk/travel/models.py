"""Models: safetensors and skops, where what comes back is what went in."""

# What it handles are objects of other libraries, known only when it runs.
# pyright: basic

from __future__ import annotations

import collections
import importlib
import os
import pickle
import sys
from typing import Any

from .classes import load_pickle, save_pickle

_WEIGHTS, _STRUCTURE = "weights.safetensors", "structure.pickle"


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


def save_module(value: Any, path: str) -> Any:
    """A torch model as a folder: its weights as safetensors, and what it is, pickled without them."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.nn.Module):
        return None
    metadata: dict = {"framework": "pytorch", "model": type(value).__name__}
    held: dict = {}  # weights that are tied have several names and are kept once
    for name, item in value.state_dict(keep_vars=True).items():
        if isinstance(item, torch.Tensor):
            held.setdefault(id(item), (name, item))
    plain = all(
        type(item) in (torch.Tensor, torch.nn.Parameter) and item.device.type == "cpu" and not item.is_sparse
        for _, item in held.values()
    )
    pointers = [item.untyped_storage().data_ptr() for _, item in held.values() if item.numel()] if plain else []
    try:
        safetensors = importlib.import_module("safetensors.torch")
    except ImportError:
        safetensors = None
    if not plain or len(set(pointers)) != len(pointers) or safetensors is None or not held:
        return "system.Model", dict(metadata, **save_pickle(value, path)[1])
    os.makedirs(path)
    weights = {name: item.detach().contiguous() for name, item in held.values()}
    safetensors.save_file(weights, os.path.join(path, _WEIGHTS))
    elsewhere = {
        key: (name, isinstance(item, torch.nn.Parameter), bool(item.requires_grad))
        for key, (name, item) in held.items()
    }
    _, pickled = save_pickle(value, os.path.join(path, _STRUCTURE), elsewhere)
    metadata.update(pickled, format="torch", tensors=len(weights))
    metadata["note"] = "weights are safetensors; the model's structure is " + pickled["note"]
    return "system.Model", metadata


def load_module(path: str, metadata: Any, scope: dict) -> Any:
    torch = importlib.import_module("torch")
    weights = importlib.import_module("safetensors.torch").load_file(os.path.join(path, _WEIGHTS))
    made: dict = {}

    def tensor(name: str, parameter: bool, requires_grad: bool) -> Any:
        if name not in made:
            found = weights[name]
            made[name] = torch.nn.Parameter(found, requires_grad) if parameter else found.requires_grad_(requires_grad)
        return made[name]

    return load_pickle(os.path.join(path, _STRUCTURE), metadata, scope, tensor)


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
