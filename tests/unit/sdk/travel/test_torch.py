"""Tensors and models of torch as artifacts. torch is too large for the lock: run this where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mlplatform.sdk.travel import formats

_THERE = importlib.util.find_spec("torch") is not None
pytestmark = [
    pytest.mark.cannot_run_here("torch is installed by those who use it, not by the lock"),
    pytest.mark.skipif(not _THERE, reason="torch is not installed"),
]
torch: Any = importlib.import_module("torch") if _THERE else None


def there_and_back(value: Any, folder: Path) -> tuple[str, dict[str, Any], Any]:
    path = str(folder / "data")
    kind, metadata = formats.save(value, path)
    return kind, metadata, formats.load(path, metadata, kind)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool", "complex64"])
def test_tensors(tmp_path: Path, dtype: str) -> None:
    value = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype)).T
    kind, metadata, back = there_and_back(value, tmp_path)
    assert (kind, metadata["format"]) == ("system.Model", "safetensors")
    assert back.dtype == value.dtype
    assert torch.equal(back, value)


def test_a_model_is_its_weights_in_an_open_format_and_its_structure(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    model(torch.randn(8, 2))
    model[0].weight.requires_grad_(False)
    model.eval()
    kind, metadata, back = there_and_back(model, tmp_path)
    assert (kind, metadata["format"], metadata["framework"]) == ("system.Model", "torch", "pytorch")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["structure.pickle", "weights.safetensors"]
    assert list(back.state_dict()) == list(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), model.state_dict().values(), strict=True))
    assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in model.parameters()]
    assert isinstance(back[0].weight, torch.nn.Parameter)
    assert not back.training
    x = torch.randn(4, 2)
    assert torch.equal(back(x), model(x))


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    _, metadata, back = there_and_back(model, tmp_path)
    assert back["a"].weight is back["b"].weight
    assert metadata["tensors"] == 3


def test_weights_over_one_memory_are_pickled(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    model.register_buffer("part", model.weight.detach()[0])
    kind, metadata, back = there_and_back(model, tmp_path)
    assert (kind, metadata["format"]) == ("system.Model", "pickle")
    assert torch.equal(back.part, model.part)
