"""What the store promises, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from mlplatform.core.errors import InvalidInput, NotFound, StoreError
from mlplatform.core.model import AttemptRecord, RunRecord, TaskError, TaskKey, Values
from mlplatform.core.records import ArtifactLink, Batch
from mlplatform.core.states import RunState, TaskState
from mlplatform.store import open_store
from mlplatform.store.runstore import SqlRunStore
from mlplatform.store.writes import document_digest
from tests.unit.store.records import DOCUMENT, artifact, entry, made, run, task


def ids(runs: list[RunRecord]) -> list[int]:
    return [int(item.run_id[3:]) for item in runs]


# ------------------------------------------------------------------ runs
def test_a_run_and_its_first_event(store: SqlRunStore) -> None:
    first = run(
        context={"cwd": "/x", "options": {"cache": True}},
        parameters={"n": 2, "x": 2.0, "s": "2", "none": None},
        artifacts={"data": artifact(), "many": (artifact("/b"), artifact("/c")), "none": ()},
        tags={"team": "a"},
        note="hello",
        priority=-3,
    )
    store.create_run(first, DOCUMENT)
    assert store.get_run(first.run_id) == first
    assert [type(value) for value in store.get_run(first.run_id).parameters.values()] == [int, float, str, type(None)]
    assert store.document(first.spec_digest) == DOCUMENT
    events = store.events(run_id=first.run_id)
    assert [(event.at, event.kind, dict(event.body)) for event in events] == [
        (1.0, "run", {"state": "PENDING", "error": None})
    ]
    store.create_run(first, DOCUMENT)
    assert store.events() == events
    with pytest.raises(InvalidInput, match="another run"):
        store.create_run(replace(first, name="other"), DOCUMENT)
    with pytest.raises(InvalidInput, match="spec_digest"):
        store.create_run(run(2), b"something else")
    assert ids(store.list_runs()) == [1]


def test_what_is_not_there(store: SqlRunStore) -> None:
    for call in (
        lambda: store.get_run("nothing"),
        lambda: store.document("sha256:0"),
        lambda: store.annotate("nothing", note="x"),
        lambda: store.save_run(run()),
        lambda: store.apply(Batch("nothing", run())),
        lambda: store.apply(Batch("nothing", tasks=[task()])),
        lambda: store.apply(Batch("nothing", events=[(1.0, "run", {})])),
        lambda: store.find_run("latest"),
        lambda: store.find_run(""),
    ):
        with pytest.raises(NotFound):
            call()
    assert store.list_runs() == store.tasks("nothing") == store.attempts("nothing") == store.events() == []
    store.delete_run("nothing")


def test_finding_a_run(store: SqlRunStore) -> None:
    for number, name in ((1, "a"), (2, "b"), (3, "a"), (11, "run000002"), (12, "x'; DROP TABLE mlp_runs; --%_")):
        store.create_run(run(number, name=name), DOCUMENT)
    assert store.find_run("latest").run_id == "run000012"
    assert store.find_run("a").run_id == "run000003"
    assert store.find_run("run000002").run_id == "run000002"
    assert store.find_run("x'; DROP TABLE mlp_runs; --%_").run_id == "run000012"
    with pytest.raises(NotFound, match="several runs begin with 'run00001': run000012, run000011"):
        store.find_run("run00001")
    assert store.find_run("run000003"[:9]).run_id == "run000003"
    with pytest.raises(NotFound):
        store.find_run("run%")
    store.delete_run("run000012")
    assert store.find_run("run00001").run_id == "run000011"


def test_pages_and_filters(store: SqlRunStore) -> None:
    states = [RunState.SUCCEEDED, RunState.FAILED, RunState.RUNNING]
    for number in range(1, 31):
        store.create_run(
            run(
                number,
                state=states[number % 3],
                experiment="even" if number % 2 == 0 else "odd",
                pipeline=f"p{number % 5}",
                tags={"five": str(number % 5), "all": "yes"},
            ),
            DOCUMENT,
        )
    everything = list(range(30, 0, -1))
    assert ids(store.list_runs()) == everything
    assert ids(store.list_runs(limit=3)) == [30, 29, 28]
    assert ids(store.list_runs(limit=3, before="run000028")) == [27, 26, 25]
    assert store.list_runs(limit=0) == []
    some = [RunState.FAILED, RunState.RUNNING]
    assert ids(store.list_runs(states=some)) == [n for n in everything if n % 3]
    assert ids(store.list_runs(states=some, limit=4, before="run000020")) == [19, 17, 16, 14]
    assert ids(store.list_runs(experiment="even", states=[RunState.FAILED])) == [28, 22, 16, 10, 4]
    assert ids(store.list_runs(pipeline="p2", experiment="odd")) == [27, 17, 7]
    assert ids(store.list_runs(tags={"five": "2", "all": "yes"}, limit=3)) == [27, 22, 17]
    assert ids(store.list_runs(tags={"five": "2"}, states=[RunState.FAILED], before="run000022")) == [7]
    assert ids(store.list_runs(tags={"five": "2"}, states=some, pipeline="p2", experiment="even")) == [22, 2]
    assert store.list_runs(tags={"five": "9"}) == store.list_runs(experiment="none") == []


def test_annotations_and_batches_do_not_overwrite_each_other(store: SqlRunStore) -> None:
    store.create_run(run(tags={"a": "1", "b": "2"}), DOCUMENT)
    store.annotate("run000001", tags={"a": "", "c": "3"}, note="mine")
    driven = run(state=RunState.RUNNING, tags={"a": "1", "b": "2"}, started_at=5.0)
    store.apply(Batch("run000001", driven))
    assert store.get_run("run000001") == replace(driven, tags={"b": "2", "c": "3"}, note="mine")
    assert ids(store.list_runs(tags={"c": "3"})) == [1]
    assert store.list_runs(tags={"a": "1"}) == []
    store.annotate("run000001", tags={"b": "", "c": ""})
    assert store.get_run("run000001").note == "mine"
    assert store.get_run("run000001").tags == {}
    saved = run(tags={"z": "9"}, note="", experiment="other")
    store.save_run(saved)
    assert store.get_run("run000001") == saved
    assert ids(store.list_runs(tags={"z": "9"}, experiment="other")) == [1]


def test_retention(store: SqlRunStore) -> None:
    for number, (state, ended) in enumerate(
        [(RunState.SUCCEEDED, 50.0), (RunState.FAILED, 10.0), (RunState.RUNNING, None), (RunState.CANCELLED, 20.0),
         (RunState.PENDING, 5.0)], 1,
    ):  # fmt: skip
        store.create_run(run(number, state=state, finished_at=ended), DOCUMENT)
    assert store.expired(51.0) == ["run000002", "run000004", "run000001"]
    assert store.expired(50.0) == ["run000002", "run000004"]
    assert store.expired(51.0, keep=1) == ["run000002", "run000001"]
    assert store.expired(51.0, keep=2) == ["run000001"]
    assert store.expired(51.0, keep=3) == []


# ------------------------------------------------------------------ batches
def test_a_batch_is_all_there_and_again_is_the_same(store: SqlRunStore) -> None:
    store.create_run(run(), DOCUMENT)
    failed = TaskError("TASK_FAILED", "boom", "Traceback ...", "try")
    batch = Batch(
        "run000001",
        run(state=RunState.RUNNING, started_at=2.0, error=failed),
        tasks=[
            task("a", component="comp-a", attempt=2, failures=1, cache_key="k", waiting_for="w", retry_at=3.5),
            task("loop", 0, state=TaskState.FAILED, error=failed, is_group=True, outputs=Values({"x": [1, 2.0]})),
            task("loop", 10, state=TaskState.RUNNING, mlflow_run_id="m", cached_from="r:t", cache_note="because"),
        ],
        attempts=[
            AttemptRecord(TaskKey(("a",)), 1, TaskState.FAILED, "/runs/1", 77, "9", "boot", 1.0, 2.0, failed, -9),
            AttemptRecord(TaskKey(("a",)), 2, TaskState.RUNNING, "/runs/2"),
        ],
        cache=[entry()],
        events=[(2.0, "task", {"name": "a"}), (2.0, "task", {"name": "loop"})],
    )
    for _ in range(3):
        store.apply(batch)
        assert store.get_run("run000001") == batch.run
        assert store.tasks("run000001") == batch.tasks
        assert store.attempts("run000001") == batch.attempts
        assert store.attempts("run000001", TaskKey(("a",))) == batch.attempts
        assert store.attempts("run000001", TaskKey(("a",), (0,))) == []
        assert store.cache_candidates("k") == [entry()]
        assert [event.body.get("name") for event in store.events()] == [None, "a", "loop"]


def test_a_later_record_replaces_the_earlier_in_its_place(store: SqlRunStore) -> None:
    store.create_run(run(), DOCUMENT)
    store.apply(Batch("run000001", tasks=[task("a"), task("b", state=TaskState.RUNNING, inputs=Values({"x": 1}))]))
    store.apply(Batch("run000001", tasks=[task("c"), task("b", outputs=Values({"y": 2}))]))
    assert store.tasks("run000001") == [task("a"), task("b", outputs=Values({"y": 2})), task("c")]


def test_nothing_of_a_bad_batch_stays(store: SqlRunStore) -> None:
    store.create_run(run(), DOCUMENT)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    bad = [
        Batch("run000001", run(name="x"), tasks=[task("a"), task("b", inputs=Values({"x": {1, 2}}))]),  # type: ignore[dict-item]
        Batch("run000001", run(name="x"), tasks=[task("a", outputs=Values({"x": deep}))]),
        Batch("run000001", run(name="x"), tasks=[task("a")], events=[(1.0, "x", {"x": object()})]),
    ]
    for batch in bad:
        with pytest.raises(InvalidInput, match="cannot be stored"):
            store.apply(batch)
    with pytest.raises(NotFound):  # a cache entry of a run that is not there, after everything else was written
        store.apply(Batch("run000001", run(name="x"), tasks=[task("a")], cache=[entry(run_id="gone")]))
    assert store.get_run("run000001") == run()
    assert store.tasks("run000001") == []
    assert len(store.events()) == 1


def test_a_resumed_run_brings_a_changed_document(store: SqlRunStore) -> None:
    store.create_run(run(1), DOCUMENT)
    store.create_run(run(2), DOCUMENT)
    changed = b"changed" * 1000
    for number in (1, 2):
        resumed = run(number, spec_digest=document_digest(changed))
        store.apply(Batch(resumed.run_id, resumed, document=changed))
        assert store.document(document_digest(changed)) == changed
        if number == 1:
            assert store.document(document_digest(DOCUMENT)) == DOCUMENT
    with pytest.raises(NotFound):
        store.document(document_digest(DOCUMENT))


# ------------------------------------------------------------------ events
def test_event_numbers_grow_and_are_never_used_again(store: SqlRunStore) -> None:
    for number in (1, 2):
        store.create_run(run(number), DOCUMENT)
        store.apply(Batch(f"run{number:06d}", events=[(float(n), "task", {"n": n}) for n in range(5)]))
    seen = [event.seq for event in store.events()]
    assert seen == sorted(set(seen))
    assert len(seen) == 12
    assert [event.seq for event in store.events(after=seen[3], limit=4)] == seen[4:8]
    assert [event.body for event in store.events(run_id="run000002", after=seen[8])] == [{"n": n} for n in (2, 3, 4)]
    store.delete_run("run000002")
    assert [event.seq for event in store.events()] == seen[:6]
    store.create_run(run(3), DOCUMENT)
    assert store.events(run_id="run000003")[0].seq > seen[-1]


def test_the_same_change_at_another_time_is_another_event(store: SqlRunStore) -> None:
    store.create_run(run(), DOCUMENT)
    for at, state in ((1.0, "A"), (1.0, "B"), (1.0, "A"), (2.0, "A")):
        store.apply(Batch("run000001", events=[(at, "task", {"state": state})]))
    assert [event.body["state"] for event in store.events(after=1)] == ["A", "B", "A", "A"]


# ------------------------------------------------------------------ cache
def test_cache_newest_first(store: SqlRunStore) -> None:
    store.create_run(run(1), DOCUMENT)
    store.create_run(run(2), DOCUMENT)
    kept = [entry(1), entry(2), entry(3, run_id="run000002", key="other"), entry(4, identity="j", trace=())]
    for item in kept:
        store.apply(Batch(item.run_id, cache=[item]))
    assert store.cache_candidates("k") == [kept[3], kept[1], kept[0]]
    assert store.cache_candidates("k", limit=1) == [kept[3]]
    assert store.cache_similar("i") == [kept[2]]
    assert store.cache_similar("i", limit=9) == [kept[2], kept[1], kept[0]]
    assert store.clear_cache(run_id="run000001", identity="j") == 1
    assert store.clear_cache(identity="j") == 0
    store.delete_run("run000002")
    assert store.cache_similar("i") == [kept[1]]
    assert store.clear_cache() == 2
    assert store.cache_candidates("k") == []


def test_traces_are_stored_once_and_go_with_their_last_entry(store: SqlRunStore) -> None:
    store.create_run(run(1), DOCUMENT)
    store.create_run(run(2), DOCUMENT)
    store.apply(Batch("run000001", cache=[entry(n) for n in range(20)]))
    store.apply(Batch("run000002", cache=[entry(1, run_id="run000002")]))
    count = "SELECT COUNT(*) FROM mlp_documents"
    assert store._database.rows(count) == [(2,)]
    store.delete_run("run000001")
    assert store.cache_candidates("k") == [entry(1, run_id="run000002")]
    store.clear_cache(run_id="run000002")
    assert store._database.rows(count) == [(1,)]
    store.delete_run("run000002")
    assert store._database.rows(count) == [(0,)]


# ------------------------------------------------------------------ lineage
def test_lineage(store: SqlRunStore) -> None:
    data, model = artifact("/data", name="data", type="system.Dataset"), artifact("/model")
    store.create_run(run(1, artifacts={"data": data}), DOCUMENT)
    store.apply(
        Batch("run000001", tasks=[task("train", state=TaskState.RUNNING, inputs=made(data), outputs=made(model))])
    )
    assert store.artifact_links(uri="/model") == []
    for _ in range(2):
        store.apply(
            Batch(
                "run000001",
                run(1, state=RunState.SUCCEEDED, artifacts={"data": data}, outputs=made(model)),
                tasks=[
                    task("train", 0, inputs=made(data), outputs=made(model)),
                    task("g", is_group=True, outputs=made(model)),
                ],
            )
        )
    store.create_run(run(2), DOCUMENT)
    both = Values(artifacts={"models": (model, artifact("/other"))})
    store.apply(
        Batch(
            "run000002", tasks=[task("train", 0, state=TaskState.CACHED, outputs=made(model)), task("use", inputs=both)]
        )
    )
    links = store.artifact_links(uri="/model")
    assert [(link.run_id, str(link.task), link.role, link.name, link.position) for link in links] == [
        ("run000001", "None", "reuse", "model", 0),
        ("run000001", "train[0]", "output", "model", 0),
        ("run000002", "train[0]", "reuse", "model", 0),
        ("run000002", "use", "input", "models", 0),
    ]
    assert links[1] == ArtifactLink(
        "run000001", TaskKey(("train",), (0,)), "output", "model", 0, "/model", model.digest, model.type, 3
    )
    assert len(store.artifact_links(digest=model.digest, run_id="run000001")) == 4
    with pytest.raises(InvalidInput):
        store.artifact_links()
    assert store.unreferenced_uris(["run000001"]) == []
    assert store.unreferenced_uris(["run000001", "run000002"]) == ["/model"]
    store.delete_run("run000002")
    assert store.unreferenced_uris(["run000001"]) == ["/model"]
    store.delete_run("run000001")
    assert store.artifact_links(uri="/model") == []


def test_a_task_that_runs_again_leaves_no_old_lineage(store: SqlRunStore) -> None:
    store.create_run(run(), DOCUMENT)
    store.apply(Batch("run000001", tasks=[task("t", outputs=made(artifact("/old"), artifact("/more", name="more")))]))
    store.apply(Batch("run000001", tasks=[task("t", outputs=made(artifact("/new")))]))
    assert [link.uri for link in store.artifact_links(run_id="run000001")] == ["/new"]


# ------------------------------------------------------------------ the rest
def test_deleting_a_run_leaves_no_row_of_it(store: SqlRunStore) -> None:
    store.create_run(run(1, tags={"a": "1"}, artifacts={"x": artifact()}), DOCUMENT)
    store.apply(
        Batch(
            "run000001",
            tasks=[task("a", outputs=made(artifact()))],
            attempts=[AttemptRecord(TaskKey(("a",)), 1, TaskState.SUCCEEDED, "/d")],
            cache=[entry()],
            events=[(1.0, "x", {})],
        )
    )
    store.delete_run("run000001")
    store.compact()
    for table in ("runs", "run_tags", "documents", "tasks", "attempts", "events", "cache", "artifacts"):
        assert store._database.rows(f"SELECT COUNT(*) FROM mlp_{table}") == [(0,)], table


def test_it_is_there_after_opening_again(store: SqlRunStore, target: str) -> None:
    store.create_run(run(), DOCUMENT)
    store.apply(Batch("run000001", tasks=[task()]))
    again = open_store(target)
    assert again.get_run("run000001") == run()
    assert again.tasks("run000001") == [task()]
    again.close()
    again.close()
    for call in (lambda: again.get_run("run000001"), lambda: again.delete_run("run000001")):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_many_threads_write_and_read(store: SqlRunStore) -> None:
    for number in range(1, 7):
        store.create_run(run(number), DOCUMENT)

    def drive(number: int) -> int:
        run_id = f"run{number:06d}"
        for step in range(20):
            store.apply(Batch(run_id, tasks=[task("t", step)], events=[(float(step), "task", {"step": step})]))
            assert len(store.tasks(run_id)) == step + 1
        return len(store.events(run_id=run_id))

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(drive, range(1, 7))) == [21] * 6
    events = store.events(limit=1000)
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert len(events) == 126


def test_somebody_who_follows_events_misses_none(store: SqlRunStore, target: str) -> None:
    """Two services on one store: numbers become visible in their order, whoever commits."""
    other = open_store(target)
    for number in (1, 2):
        store.create_run(run(number), DOCUMENT)
    writers = ((store, "run000001"), (other, "run000002"))
    followed: list[int] = []

    def write(pair: tuple[SqlRunStore, str]) -> None:
        for step in range(100):
            pair[0].apply(Batch(pair[1], events=[(float(step), "task", {"step": step})] * (1 + step % 3)))

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(write, pair) for pair in writers]
        while True:
            done = all(future.done() for future in running)
            new = store.events(after=followed[-1] if followed else 0, limit=7)
            followed += [event.seq for event in new]
            if done and not new:
                break
    other.close()
    assert followed == [event.seq for event in store.events(limit=10_000)]
    assert [future.result() for future in running] == [None, None]
