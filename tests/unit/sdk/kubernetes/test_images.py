"""Images for components that name none."""

from __future__ import annotations

from collections.abc import Collection, Generator
from importlib import metadata
from pathlib import Path

import numpy
import pytest

import mlplatform as ml
from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.images.environment import read_environment
from mlplatform.images.references import Reference
from mlplatform.images.registry import Registry
from mlplatform.images.registry.transport import Transport
from mlplatform.ir.load import loads
from mlplatform.ir.model import ContainerExecutor
from mlplatform.sdk.kubernetes import images
from mlplatform.sdk.kubernetes.images import BASE, PACKAGES, REGISTRY, Build, Wanted, wanted_of, with_environment
from tests.support.environments import small_environment
from tests.support.images import archive
from tests.support.registry import RegistryServer, running_registry

NAME = "r.test/team/mlplatform-environment@sha256:" + "a" * 64


@ml.component
def uses(x: int) -> float:
    return float(numpy.ones(x).sum())


@ml.component
def plain(x: float) -> float:
    return x + 1


@ml.component(packages=["numpy==1.26"])
def installs(x: float) -> float:
    return float(numpy.ones(int(x)).sum())


@ml.component(image="registry.example.com/mine:1")
def named(x: float) -> float:
    return float(numpy.ones(int(x)).sum())


@ml.pipeline
def mixed(x: int = 3) -> float:
    return named(installs(plain(uses(x))))


def images_of(document: str) -> dict[str, str]:
    found = loads(document).executors
    return {name: one.image for name, one in found.items() if isinstance(one, ContainerExecutor)}


def test_who_names_no_image_and_needs_one_gets_it() -> None:
    asked: list[tuple[Wanted, set[str]]] = []

    def build(wanted: Wanted) -> Build:
        def made(packages: Collection[str]) -> str:
            asked.append((wanted, set(packages)))
            return NAME

        return made

    before = mixed.compile()
    after = with_environment(before, {REGISTRY: "r.test/team"}, build)
    assert images_of(after) == images_of(before) | {"exec-uses": NAME}
    assert images_of(after)["exec-named"] == "registry.example.com/mine:1"
    assert asked == [(Wanted("r.test/team"), {"numpy"})]
    assert with_environment(after, {}) == after  # it has one now


def test_without_a_registry_it_is_said_what_to_set() -> None:
    with pytest.raises(Unsupported) as raised:
        with_environment(mixed.compile(), {})
    assert [finding.path for finding in raised.value.findings] == ["components.exec-uses"]
    assert "uses numpy" in raised.value.findings[0].message
    assert REGISTRY in raised.value.hint
    assert "@component(image=...)" in raised.value.hint


def test_what_the_variables_say() -> None:
    assert wanted_of({}) is None
    assert wanted_of({REGISTRY: "http://10.0.0.1:5000/a/", BASE: "b:1", PACKAGES: "needed"}) == Wanted(
        "10.0.0.1:5000/a", "b:1", insecure=True, only_needed=True
    )
    for wrong in ({REGISTRY: "ftp://r/a"}, {REGISTRY: "r/a", PACKAGES: "some"}):
        with pytest.raises(InvalidInput):
            wanted_of(wrong)


def test_only_what_is_needed_and_what_that_requires() -> None:
    others = images._others({"pandas"})
    there = {images._normal(found.metadata["Name"] or "") for found in metadata.distributions()}
    assert {"pandas", "numpy", "python-dateutil", "six"} <= there - others
    assert {"scikit-learn", "mlflow", "pytest"} <= others


@pytest.fixture
def registry() -> Generator[RegistryServer]:
    with running_registry() as server:
        yield server


def test_it_is_built_and_pushed(registry: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real image of a small environment, in a real registry, found again by the name that the pipeline has."""
    small = small_environment(tmp_path)
    monkeypatch.setattr("mlplatform.images.build.read_environment", lambda exclude, _: read_environment(exclude, small))
    wanted = Wanted(f"{registry.host}/team", f"oci-archive:{archive('python311')}")
    name = images._building(wanted)({"cronsim"})
    assert name.startswith(f"{registry.host}/team/mlplatform-environment@sha256:")
    data, found = Registry(Transport(registry.host)).manifest(Reference.parse(name))
    assert found.digest == name.partition("@")[2]
    assert data
    before = len(registry.requests("PATCH") + registry.requests("PUT"))
    assert images._building(wanted)({"cronsim"}) == name
    assert len(registry.requests("PATCH") + registry.requests("PUT")) == before
