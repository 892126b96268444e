"""What the platform relies on of an API server, held against the real one and the one in memory alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.errors import AlreadyExists, Conflict, Gone, Invalid, ObjectNotFound
from mlplatform.kube.events import Recorder
from mlplatform.kube.objects import CONFIG_MAPS, EVENTS, LEASES, NAMESPACES, PODS, Key, Object, owner_reference
from mlplatform.kube.watch import Watch, WatchEvent
from tests.kube.conftest import WIDGETS, Server

FINALIZER = "contract.mlplatform.dev/hold"


def widget(server: Server, name: str, **more: Any) -> Object:
    meta = {"name": name, "namespace": server.namespace, **more.pop("metadata", {})}
    return {"apiVersion": WIDGETS.api_version, "kind": "Widget", "metadata": meta, "spec": {"size": 1}, **more}


def pod(server: Server, name: str, **meta: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": server.namespace, **meta},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "localhost/none:1"}]},
    }


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def gone(server: Server, resource, name: str) -> bool:
    try:
        server.client.get(resource, server.key(name))
    except ObjectNotFound:
        return True
    return False


# Objects and their versions


def test_created_objects_get_identity(server: Server) -> None:
    made = server.client.create(WIDGETS, widget(server, "a", status={"given": "is dropped"}))
    meta = made["metadata"]
    assert meta["uid"]
    assert meta["resourceVersion"].isdigit()
    assert meta["generation"] == 1
    assert meta["creationTimestamp"].endswith("Z")
    assert "status" not in made
    assert server.client.get(WIDGETS, server.key("a"))["metadata"]["uid"] == meta["uid"]


def test_a_name_is_taken_once(server: Server) -> None:
    server.client.create(WIDGETS, widget(server, "a"))
    with pytest.raises(AlreadyExists):
        server.client.create(WIDGETS, widget(server, "a"))


def test_names_are_made_up(server: Server) -> None:
    body = {"metadata": {"generateName": "made-", "namespace": server.namespace}, "data": {}}
    names = {server.client.create(CONFIG_MAPS, body)["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("made-") and len(name) > 5 for name in names)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Not A Name"}, "metadata.name"),
        ({"labels": {"a": "not a label!"}}, "metadata.labels"),
    ],
)
def test_bad_metadata_is_named(server: Server, change: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as raised:
        server.client.create(WIDGETS, widget(server, "a", metadata=change))
    assert field in [finding.path for finding in raised.value.findings]


def test_a_namespace_has_to_be_there(server: Server) -> None:
    body = widget(server, "a")
    body["metadata"]["namespace"] = "there-is-none"
    with pytest.raises(ObjectNotFound):
        server.client.create(WIDGETS, body)


def test_what_is_not_there(server: Server) -> None:
    for ask in (
        lambda: server.client.get(WIDGETS, server.key("a")),
        lambda: server.client.delete(WIDGETS, server.key("a")),
        lambda: server.client.patch(WIDGETS, server.key("a"), {"spec": {}}),
        lambda: server.client.patch(WIDGETS, server.key("a"), {"status": {}}, subresource="status"),
        lambda: server.client.apply(WIDGETS, {**widget(server, "a"), "status": {}}, subresource="status"),
    ):
        with pytest.raises(ObjectNotFound):
            ask()


def test_versions_guard_against_what_changed(server: Server) -> None:
    first = server.client.create(WIDGETS, widget(server, "a"))
    second = server.client.replace(WIDGETS, {**first, "spec": {"size": 2}})
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    assert second["metadata"]["generation"] == 2
    with pytest.raises(Conflict):
        server.client.replace(WIDGETS, {**first, "spec": {"size": 3}})
    guard = {"resourceVersion": first["metadata"]["resourceVersion"]}
    with pytest.raises(Conflict):
        server.client.patch(WIDGETS, server.key("a"), {"metadata": guard, "spec": {"size": 3}})
    with pytest.raises(Conflict):
        server.client.patch(
            WIDGETS, server.key("a"), {"metadata": guard, "status": {"done": True}}, subresource="status"
        )
    with pytest.raises(Invalid):
        server.client.patch(WIDGETS, server.key("a"), {"metadata": {"uid": "another"}, "spec": {"size": 3}})


def test_a_custom_resource_is_not_replaced_blindly(server: Server) -> None:
    server.client.create(WIDGETS, widget(server, "a"))
    with pytest.raises(Invalid):
        server.client.replace(WIDGETS, widget(server, "a"))


def test_writing_the_same_again_is_no_change(server: Server) -> None:
    first = server.client.create(WIDGETS, widget(server, "a"))
    again = server.client.patch(WIDGETS, server.key("a"), {"spec": {"size": 1}})
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_status_is_written_by_itself(server: Server) -> None:
    made = server.client.create(WIDGETS, widget(server, "a"))
    patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "status": {"n": 1, "list": [1, 2]}}
    told = server.client.patch(WIDGETS, server.key("a"), {**patch, "spec": {"size": 9}}, subresource="status")
    assert (told["status"], told["spec"]) == ({"n": 1, "list": [1, 2]}, {"size": 1})
    assert told["metadata"]["generation"] == 1
    other = server.client.patch(WIDGETS, server.key("a"), {"status": {"n": 9}, "spec": {"size": 2}})
    assert (other["status"]["n"], other["spec"]["size"], other["metadata"]["generation"]) == (1, 2, 2)
    less = server.client.patch(WIDGETS, server.key("a"), {"status": {"n": None}}, subresource="status")
    assert less["status"] == {"list": [1, 2]}
    whole = server.client.replace_status(WIDGETS, {**less, "status": {"whole": True}})
    assert whole["status"] == {"whole": True}


def test_dry_runs_write_nothing(server: Server) -> None:
    server.client.create(WIDGETS, widget(server, "a"), dry_run=True)
    assert gone(server, WIDGETS, "a")
    server.client.apply(WIDGETS, widget(server, "b"), dry_run=True)
    assert gone(server, WIDGETS, "b")


# Patches


def test_json_patches_test_before_they_write(server: Server) -> None:
    made = server.client.create(WIDGETS, widget(server, "a", metadata={"finalizers": ["x.dev/1", FINALIZER]}))
    remove = {"op": "remove", "path": "/metadata/finalizers/1"}
    with pytest.raises(Invalid):
        server.client.patch(
            WIDGETS,
            server.key("a"),
            [{"op": "test", "path": "/metadata/finalizers/1", "value": "no"}, remove],
            kind="json",
        )
    with pytest.raises(Invalid):
        server.client.patch(WIDGETS, server.key("a"), [{"op": "remove", "path": "/metadata/finalizers/7"}], kind="json")
    left = server.client.remove_finalizer(WIDGETS, made, FINALIZER)
    assert left is not None
    assert left["metadata"]["finalizers"] == ["x.dev/1"]
    assert server.client.remove_finalizer(WIDGETS, left, "x.dev/1") is not None


# Server-side apply


def test_apply_makes_and_mends(server: Server) -> None:
    made = server.client.apply(WIDGETS, widget(server, "a"))
    assert made["metadata"]["generation"] == 1
    same = server.client.apply(WIDGETS, widget(server, "a"))
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    server.other("somebody").patch(WIDGETS, server.key("a"), {"spec": {"size": 5, "theirs": True}})
    mended = server.client.apply(WIDGETS, widget(server, "a"))
    assert mended["spec"] == {"size": 1, "theirs": True}


def test_what_is_no_longer_applied_goes_away(server: Server) -> None:
    body = widget(server, "a", metadata={"labels": {"x": "1", "y": "2"}})
    body["spec"] = {"size": 1, "more": {"deep": 1}}
    server.client.apply(WIDGETS, body)
    less = server.client.apply(WIDGETS, widget(server, "a", metadata={"labels": {"x": "1"}}))
    assert less["metadata"]["labels"] == {"x": "1"}
    assert "deep" not in (less["spec"].get("more") or {})
    assert less["spec"]["size"] == 1


def test_without_force_others_fields_conflict(server: Server) -> None:
    server.other("somebody").apply(WIDGETS, widget(server, "a"))
    body = widget(server, "a")
    server.client.apply(WIDGETS, body, force=False)  # the same value: shared
    body["spec"] = {"size": 2}
    with pytest.raises(Conflict) as raised:
        server.client.apply(WIDGETS, body, force=False)
    assert "somebody" in str(raised.value)
    assert server.client.apply(WIDGETS, body)["spec"]["size"] == 2
    with pytest.raises(Conflict, match="mlplatform"):
        server.other("somebody").apply(WIDGETS, widget(server, "a"), force=False)


def test_apply_leaves_the_status_alone(server: Server) -> None:
    server.client.apply(WIDGETS, widget(server, "a"))
    server.client.patch(WIDGETS, server.key("a"), {"status": {"n": 1}}, subresource="status")
    again = server.client.apply(WIDGETS, {**widget(server, "a"), "status": {"n": 2}})
    assert again["status"] == {"n": 1}
    told = server.client.apply(WIDGETS, {**widget(server, "a"), "status": {"n": 3}}, subresource="status")
    assert told["status"] == {"n": 3}


def test_owner_references_of_two_managers_are_both_there(server: Server) -> None:
    owners = [server.client.create(WIDGETS, widget(server, name)) for name in ("o1", "o2")]
    refs = [{**owner_reference(owner), "controller": False} for owner in owners]
    server.client.apply(WIDGETS, widget(server, "a", metadata={"ownerReferences": refs[:1]}))
    both = server.other("somebody").apply(WIDGETS, widget(server, "a", metadata={"ownerReferences": refs[1:]}))
    assert len(both["metadata"]["ownerReferences"]) == 2


# Pods


def test_a_pods_spec_stays_as_it_was_made(server: Server) -> None:
    made = server.client.create(PODS, pod(server, "p"))
    assert made["status"]["phase"] == "Pending"
    with pytest.raises(Invalid):
        server.client.patch(PODS, server.key("p"), {"spec": {"containers": None}})
    with pytest.raises(Invalid):
        server.client.patch(PODS, server.key("p"), {"spec": {"schedulerName": "another"}})
    told = server.client.patch(PODS, server.key("p"), {"status": {"phase": "Succeeded"}}, subresource="status")
    assert told["status"]["phase"] == "Succeeded"


def test_a_pod_without_a_node_goes_at_once(server: Server) -> None:
    server.client.create(PODS, pod(server, "p"))
    server.client.delete(PODS, server.key("p"))
    assert gone(server, PODS, "p")


def test_a_finished_pod_waits_for_its_finalizer_only(server: Server) -> None:
    made = server.client.create(PODS, pod(server, "p", finalizers=[FINALIZER]))
    server.client.patch(PODS, server.key("p"), {"status": {"phase": "Succeeded"}}, subresource="status")
    told = server.client.delete(PODS, server.key("p"))
    assert told["metadata"]["deletionTimestamp"]
    again = server.client.delete(PODS, server.key("p"))  # asking again changes nothing
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    server.client.remove_finalizer(PODS, server.client.get(PODS, server.key("p")), FINALIZER)
    assert gone(server, PODS, "p")


# Deletion


def test_finalizers_hold_a_deletion(server: Server) -> None:
    server.client.create(WIDGETS, widget(server, "a", metadata={"finalizers": [FINALIZER]}))
    server.client.delete(WIDGETS, server.key("a"))
    held = server.client.get(WIDGETS, server.key("a"))
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["generation"] == 2
    told = server.client.patch(WIDGETS, server.key("a"), {"status": {"n": 1}}, subresource="status")
    assert told["status"] == {"n": 1}
    patch = {"metadata": {"finalizers": [FINALIZER, "new.dev/2"]}}
    with pytest.raises(KubernetesError):
        server.client.patch(WIDGETS, server.key("a"), patch)
    server.client.remove_finalizer(WIDGETS, server.client.get(WIDGETS, server.key("a")), FINALIZER)
    assert gone(server, WIDGETS, "a")


def test_deletions_are_guarded(server: Server) -> None:
    made = server.client.create(WIDGETS, widget(server, "a"))
    with pytest.raises(Conflict):
        server.client.delete(WIDGETS, server.key("a"), uid="another")
    with pytest.raises(Conflict):
        server.client.delete(WIDGETS, server.key("a"), resource_version="1")
    server.client.delete(WIDGETS, server.key("a"), uid=made["metadata"]["uid"])
    assert gone(server, WIDGETS, "a")


def test_what_only_a_deleted_owner_owned_goes_too(server: Server) -> None:
    owners = [server.client.create(WIDGETS, widget(server, name)) for name in ("o1", "o2")]
    ref = owner_reference(owners[0])
    shared = [{**ref, "controller": False}, {**owner_reference(owners[1]), "controller": False}]
    server.client.create(CONFIG_MAPS, {"metadata": {**widget(server, "one")["metadata"], "ownerReferences": [ref]}})
    server.client.create(CONFIG_MAPS, {"metadata": {**widget(server, "two")["metadata"], "ownerReferences": shared}})
    held = {"ownerReferences": [ref], "finalizers": [FINALIZER]}
    server.client.create(CONFIG_MAPS, {"metadata": {**widget(server, "held")["metadata"], **held}})
    server.client.delete(WIDGETS, server.key("o1"))
    until(lambda: gone(server, CONFIG_MAPS, "one"))
    waits = until(
        lambda: (
            found := server.client.get(CONFIG_MAPS, server.key("held")),
            found if found["metadata"].get("deletionTimestamp") else None,
        )[1]
    )
    server.client.remove_finalizer(CONFIG_MAPS, waits, FINALIZER)
    assert not gone(server, CONFIG_MAPS, "two")


# Lists and watches


def test_lists_in_pages_and_by_selectors(server: Server) -> None:
    for number in range(7):
        labels = {"n": str(number), "odd": str(number % 2)}
        server.client.create(CONFIG_MAPS, {"metadata": {**widget(server, f"c{number}")["metadata"], "labels": labels}})
    pages = list(server.client.pages(CONFIG_MAPS, server.namespace, labels="n", limit=3))
    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert len({page.resource_version for page in pages}) == 1

    def names(**selectors: str) -> list[str]:
        items = server.client.list(CONFIG_MAPS, server.namespace, **selectors).items
        return [one["metadata"]["name"] for one in items if one["metadata"]["name"] != "kube-root-ca.crt"]

    assert names(labels="odd=1") == ["c1", "c3", "c5"]
    assert names(labels="odd!=1,n") == ["c0", "c2", "c4", "c6"]
    assert names(labels="n in (1, 2),odd=0") == ["c2"]
    assert names(labels="n notin (1,2,3,4,5),n") == ["c0", "c6"]
    assert names(labels="!n") == []
    assert names(fields="metadata.name=c4") == ["c4"]
    everything = server.client.list(CONFIG_MAPS, labels="odd=1").items
    assert {one["kind"] for one in everything} == {"ConfigMap"}


def collect(watch: Watch, wanted: Callable[[list[WatchEvent]], bool]) -> list[WatchEvent]:
    """Events until there are those that are wanted."""
    events: list[WatchEvent] = []
    timer = threading.Timer(60, watch.close)
    timer.start()
    with watch:
        for event in watch:
            events.append(event)
            if wanted([one for one in events if one.type != "BOOKMARK"]):
                break
    timer.cancel()
    return [one for one in events if one.type != "BOOKMARK"]


def test_a_watch_tells_what_happened_since(server: Server) -> None:
    server.client.create(WIDGETS, widget(server, "before"))
    version = server.client.list(WIDGETS, server.namespace).resource_version
    server.client.create(WIDGETS, widget(server, "a"))
    server.client.patch(WIDGETS, server.key("a"), {"spec": {"size": 2}})
    server.client.delete(WIDGETS, server.key("a"))
    watch = server.client.watch(WIDGETS, server.namespace, resource_version=version)
    events = collect(watch, lambda seen: len(seen) == 3)
    assert [(one.type, one.meta.name) for one in events] == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(one.meta.resource_version) for one in events]
    assert versions == sorted(versions)
    assert len(set(versions)) == 3
    again = collect(
        server.client.watch(WIDGETS, server.namespace, resource_version=str(versions[0])), lambda seen: len(seen) == 2
    )
    assert [one.type for one in again] == ["MODIFIED", "DELETED"]


def test_a_watch_with_a_selector_tells_what_comes_and_goes(server: Server) -> None:
    version = server.client.list(WIDGETS, server.namespace).resource_version
    watch = server.client.watch(WIDGETS, server.namespace, resource_version=version, labels="in=1")
    server.client.create(WIDGETS, widget(server, "a", metadata={"labels": {"in": "0"}}))
    for value in ("1", "0"):
        server.client.patch(WIDGETS, server.key("a"), {"metadata": {"labels": {"in": value}}})
    events = collect(watch, lambda seen: len(seen) == 2)
    assert [one.type for one in events] == ["ADDED", "DELETED"]


def test_a_watch_ends_after_its_time(server: Server) -> None:
    version = server.client.list(WIDGETS, server.namespace).resource_version
    began = time.monotonic()
    with server.client.watch(WIDGETS, server.namespace, resource_version=version, seconds=1) as watch:
        assert [one for one in watch if one.type != "BOOKMARK"] == []
    assert 0.5 < time.monotonic() - began < 60


def test_a_version_that_is_forgotten_is_gone(server: Server) -> None:
    if server.fake is not None:
        server.fake.store.compact()
    with pytest.raises(Gone):
        list(server.client.watch(WIDGETS, server.namespace, resource_version="1", seconds=2))


def test_a_deletion_is_seen_with_a_newer_version(server: Server) -> None:
    """Expectations rely on it: what a write answers is reached by the watch."""
    made = server.client.create(WIDGETS, widget(server, "a", metadata={"finalizers": [FINALIZER]}))
    version = made["metadata"]["resourceVersion"]
    watch = server.client.watch(WIDGETS, server.namespace, resource_version=version)
    told = server.client.delete(WIDGETS, server.key("a"))
    left = server.client.remove_finalizer(WIDGETS, told, FINALIZER)
    assert left is not None
    events = collect(watch, lambda seen: seen[-1].type == "DELETED")
    assert int(events[-1].meta.resource_version) > int(told["metadata"]["resourceVersion"])
    assert int(events[-1].meta.resource_version) >= int(left["metadata"]["resourceVersion"])


# Others that we use


def test_leases_are_plain_objects_with_guards(server: Server) -> None:
    body = {"metadata": {"name": "l", "namespace": server.namespace}, "spec": {"holderIdentity": "a"}}
    made = server.client.create(LEASES, body)
    guard = {"resourceVersion": made["metadata"]["resourceVersion"], "uid": made["metadata"]["uid"]}
    spec = {"holderIdentity": "b", "acquireTime": "2026-01-31T12:00:00.123456Z", "leaseDurationSeconds": 15}
    server.client.patch(LEASES, server.key("l"), {"metadata": guard, "spec": spec})
    with pytest.raises(Conflict):
        server.client.patch(LEASES, server.key("l"), {"metadata": guard, "spec": spec})


def test_events_are_taken(server: Server) -> None:
    recorder = Recorder(server.client, "mlplatform.dev/test", "test-0")
    regarding = server.client.create(WIDGETS, widget(server, "a"))
    for _ in range(3):
        recorder.record(regarding, "Warning", "Waiting", "no room")
    recorder.flush()
    assert recorder.dropped == 0
    [event] = server.client.list(EVENTS, server.namespace).items
    assert event["series"]["count"] == 3


def test_a_namespace_that_goes_takes_no_more(server: Server) -> None:
    name = f"{server.namespace}-x"
    server.client.create(NAMESPACES, {"metadata": {"name": name, "finalizers": [FINALIZER]}})
    server.client.delete(NAMESPACES, Key("", name))
    body = widget(server, "a")
    body["metadata"]["namespace"] = name
    with pytest.raises(KubernetesError) as raised:
        server.client.create(WIDGETS, body)
    assert raised.value.status in (403, 404)
    server.client.remove_finalizer(NAMESPACES, server.client.get(NAMESPACES, Key("", name)), FINALIZER)
