"""On which nodes the ranks of a job land, and why they land nowhere: the table, on the real scheduler over one set of
kwok's nodes. Nothing else than what the table says keeps ranks from the other nodes of the set."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from mlplatform.kube.objects import NAMESPACES, NODES, Key, Object, Resource
from mlplatform.kube.ours import TRAINING_JOBS
from mlplatform.kube.transport import connect
from tests.cluster.cluster import Cluster
from tests.support.kube.arena import make_namespace
from tests.support.kube.platform import apply_crds
from tests.support.kube.scheduled import GPU, Site, ranks
from tests.support.kube.training import job

SLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", namespaced=False)
CLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)
RACK = "placement.mlplatform.test/rack"
TEAM = {"key": "placement.mlplatform.test/team", "value": "red", "effect": "NoSchedule"}


@pytest.fixture(scope="module")
def site(api_server: Cluster) -> Generator[Site]:
    apply_crds(api_server)
    client = connect(str(api_server.kubeconfig))
    word = uuid.uuid4().hex[:6]
    made = Site(api_server, client, f"placement-{word}", word)
    spaces = [made.namespace, f"{made.namespace}-other"]
    for name in spaces:
        make_namespace(client, name)
    operators = [made.operator(name) for name in spaces]
    _nodes(made)
    try:
        yield made
    finally:
        for name in spaces:
            for body in client.list(TRAINING_JOBS, name).items:
                made.remove(Key(name, body["metadata"]["name"]))
            client.delete(NAMESPACES, Key("", name))
        for one in operators:
            one.stop(10)
        for name in made.nodes:
            client.delete(NODES, Key("", made.named(name)))
        client.transport.close()


def _nodes(site: Site) -> None:
    present = {"key": GPU, "value": "present", "effect": "NoSchedule"}
    for number in range(2):
        site.node(f"small-{number}", "T4", gpus=2)
    site.node("big-0", "A100", [present], gpus=4, memory=81920)
    site.node("parts-0", "A100-MIG", [present], room={"nvidia.com/mig-1g.10gb": "4", "nvidia.com/mig-3g.40gb": "1"})
    site.node("red-0", "L4", [TEAM], gpus=1)
    for name in ("a-0", "a-1", "b-0", "b-1"):
        site.node(f"rack-{name}", "H100", gpus=1, labels={RACK: f"{site.word}-{name[0]}"})
    for number in range(2):
        site.node(f"dra-{number}", "none")
    site.await_nodes()


def gpu(site: Site, *products: str, **more: Any) -> Object:
    return {"products": [site.named(one) for one in products], **more}


#: What a rank asks for, how many ranks, and the nodes: or why they have none.
TABLE: list[tuple[str, int, tuple[str, ...], Object, Sequence[Object], list[str] | str]] = [
    ("product", 2, ("T4",), {}, (), ["small", "small"]),
    ("a node fills up", 4, ("T4",), {}, (), ["small-0", "small-0", "small-1", "small-1"]),
    ("several products", 3, ("T4", "A100"), {"count": 2}, (), ["big-0 small-0 small-1", "big-0 big-0 small"]),
    ("memory", 2, ("T4", "A100"), {"minMemoryMiB": 81920}, (), ["big-0", "big-0"]),
    ("a part", 4, (), {"resourceName": "nvidia.com/mig-1g.10gb"}, (), ["parts-0"] * 4),
    ("a part of a product", 1, ("A100-MIG",), {"resourceName": "nvidia.com/mig-3g.40gb"}, (), ["parts-0"]),
    ("a taint that is tolerated", 1, ("L4",), {}, (TEAM,), ["red-0"]),
    ("a taint that is not", 1, ("L4",), {}, (), "had untolerated taint"),
    ("too much memory", 1, ("T4", "A100"), {"minMemoryMiB": 81921}, (), "didn't match Pod's node affinity/selector"),
    ("no such product", 1, ("V100",), {}, (), "didn't match Pod's node affinity/selector"),
    ("more than a node has", 1, ("T4",), {"count": 3}, (), "Insufficient nvidia.com/gpu"),
    ("more than all have", 5, ("T4",), {}, (), "no place for worker-"),
    ("a whole one where there are parts", 1, ("A100-MIG",), {}, (), "Insufficient nvidia.com/gpu"),
    ("too many parts", 2, ("A100-MIG",), {"resourceName": "nvidia.com/mig-3g.40gb"}, (), "Insufficient nvidia.com/mig"),
]


@pytest.mark.parametrize(
    ("replicas", "products", "asked", "tolerates", "expected"),
    [row[1:] for row in TABLE],
    ids=[row[0].replace(" ", "-") for row in TABLE],
)
def test_ranks_are_where_the_table_says(
    site: Site,
    replicas: int,
    products: tuple[str, ...],
    asked: Object,
    tolerates: Sequence[Object],
    expected: list[str] | str,
) -> None:
    key = site.submit(job(ranks(replicas, gpu(site, *products, **asked), tolerates)))
    if isinstance(expected, str):
        words = site.told(key, expected)
        assert words.startswith("no place for worker-")
        assert "" in site.places(key)
        assert site.status(key)["phase"] == "Starting"
    else:
        found = site.running(key)
        alternatives = [one.split() for one in expected] if " " in expected[0] else [expected]
        assert any(
            all(at.startswith(wanted) for at, wanted in zip(found, places, strict=True)) for places in alternatives
        ), found
    site.remove(key)


def test_full_nodes_are_waited_for(site: Site) -> None:
    first = site.submit(job(ranks(2, gpu(site, "T4", count=2)), name="first"))
    assert site.running(first) == ["small-0", "small-1"]
    second = site.submit(job(ranks(1, gpu(site, "T4")), name="second"))
    assert "no place for worker-0" in site.told(second, "Insufficient nvidia.com/gpu")
    assert site.places(second) == [""]
    site.remove(first)
    [where] = site.running(second)
    assert where in ("small-0", "small-1")
    site.remove(second)


def rack_of(places: list[str]) -> set[str]:
    return {where[: len("rack-a")] for where in places}


def test_jobs_keep_to_their_racks_and_others_out(site: Site) -> None:
    topology = {"key": RACK, "exclusive": True}

    def body(name: str, replicas: int = 1, **more: Any) -> Object:
        return job(ranks(replicas, gpu(site, "H100"), topology={**topology, **more}), name=name)

    first = site.submit(body("first", 2))
    racks = [site.running(first)]
    # of the same name in another namespace, it is another job
    second = site.submit(body("first"), f"{site.namespace}-other")
    racks.append(site.running(second))
    assert [len(rack) for rack in map(rack_of, racks)] == [1, 1]
    assert rack_of(racks[0]) != rack_of(racks[1])
    third = site.submit(body("third"))
    words = site.told(third, "anti-affinity rules")
    assert "no place for worker-0" in words
    site.remove(second)
    assert rack_of(site.running(third)) == rack_of(racks[1])
    site.remove(first, third)
    wide = site.submit(body("wide", 3))
    assert "no place for worker-" in site.told(wide, "pod affinity rules")
    site.remove(wide)
    loose = site.submit(body("loose", 3, mode="Preferred"))
    assert len(set(site.running(loose))) == 3
    site.remove(loose)


def test_devices_are_claimed_by_their_product(site: Site) -> None:
    """No driver is there: the test tells of devices as a driver does, and the scheduler allocates them."""
    driver = f"{site.word}.gpu.mlplatform.test"
    selector = {"cel": {"expression": f"device.driver == '{driver}'"}}
    class_ = {"metadata": {"name": driver}, "spec": {"selectors": [selector]}}
    site.client.create(CLASSES, {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", **class_})
    for node, product in (("dra-0", "T4"), ("dra-1", "A100")):
        devices = [{"name": f"gpu-{n}", "attributes": {"product": {"string": product}}} for n in range(2)]
        name = site.named(node)
        pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
        spec: Object = {"driver": driver, "nodeName": name, "pool": pool, "devices": devices}
        body: Object = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name}}
        site.client.create(SLICES, {**body, "spec": spec})

    def asked(product: str, count: int = 1) -> Object:
        cel = f"device.attributes['{driver}'].product == '{product}'"
        return {"via": "DRA", "deviceClassName": driver, "count": count, "selector": cel}

    try:
        for name, product, count, replicas, expected in (
            ("a", "A100", 1, 2, ["dra-1", "dra-1"]),
            ("t", "T4", 2, 1, ["dra-0"]),
        ):
            key = site.submit(job(ranks(replicas, asked(product, count)), name=name))
            assert site.running(key) == expected
        # what is taken is taken, and what is not there cannot be had
        for name, product in (("full", "T4"), ("none", "V100")):
            key = site.submit(job(ranks(1, asked(product)), name=name))
            assert "no place for worker-0" in site.told(key, "cannot allocate all claims")
            assert site.places(key) == [""]
        site.remove(*(Key(site.namespace, name) for name in ("a", "t", "none")))
        assert site.running(Key(site.namespace, "full")) == ["dra-0"]
        site.remove(Key(site.namespace, "full"))
    finally:
        for node in ("dra-0", "dra-1"):
            site.client.delete(SLICES, Key("", site.named(node)))
        site.client.delete(CLASSES, Key("", driver))
