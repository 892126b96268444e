"""What children tell their template to import ahead, and how many threads a child's libraries get."""

from __future__ import annotations

import json
import os
import sys
from types import ModuleType

import pytest

from mlplatform.launcher import preload


def told(allowed: list[str]) -> list[str]:
    reading, writing = os.pipe()
    try:
        preload.Report(writing, allowed).send()
        return json.loads(os.read(reading, 1 << 16))
    finally:
        os.close(reading)
        os.close(writing)


def test_children_name_public_modules_and_the_late_private_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "torch.nn", "torch.nn.functional", "torch._C", "torch._dynamo", "torch._dynamo.x", "mine"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert sorted(told(["torch"])) == ["torch", "torch._dynamo", "torch.nn"]


def test_what_does_not_fit_into_one_write_is_left_out_but_never_the_late_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "torch._dynamo", *(f"torch.{'x' * 90}{number:03d}" for number in range(100))):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    names = told(["torch"])
    assert {"torch", "torch._dynamo"} < set(names)
    assert len(json.dumps(names)) <= 4096


def test_a_loaded_torch_is_told_how_many_threads_a_task_has(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    torch = ModuleType("torch")
    torch.__dict__["set_num_threads"] = given.append
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(preload, "_thread_setters", [given.append])
    preload.set_threads({"env": {}, "cpus": 1.5})
    preload.set_threads({"env": {"OMP_NUM_THREADS": "3"}, "cpus": 1.5})
    assert given == [2, 2, 3, 3]


def test_a_task_that_is_forked_between_two_imports_looks_for_pools_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    def find() -> None:
        preload._unsearched.clear()  # pyright: ignore[reportPrivateUsage]
        preload._thread_setters.append(given.append)  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(preload, "_thread_setters", [])
    monkeypatch.setattr(preload, "find_thread_setters", find)
    preload.set_threads({"env": {}, "cpus": 2})
    assert given == []
    monkeypatch.setattr(preload, "_unsearched", ["numpy"])
    preload.set_threads({"env": {}, "cpus": 2})
    assert given == [2]
