"""Whatever goes in comes out: values, types, texts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlplatform.core.errors import NotFound
from mlplatform.core.model import Artifact, AttemptRecord, CacheEntry, RunRecord, TaskError, TaskKey, TaskRecord, Values
from mlplatform.core.records import Batch
from mlplatform.core.states import RunState, TaskState
from mlplatform.store import codec
from mlplatform.store.runstore import SqlRunStore
from mlplatform.store.writes import document_digest
from tests.unit.store.records import DOCUMENT, artifact, entry, made, run, task

#: Surrogates too: file names that are no UTF-8 have them. Not in pairs: those come back as the character they form.
TEXT = st.text(st.characters(exclude_categories=()), max_size=12).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
NUMBER = st.integers() | st.floats(allow_nan=False) | st.integers(2**62, 2**70)
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
    max_leaves=8,
)
STRUCT = st.dictionaries(TEXT, VALUE, max_size=3)
TIME = st.floats(0, 4e9)
MAYBE_TIME = st.none() | TIME
COUNT = st.integers(-(2**63), 2**63 - 1)
KEY = st.builds(
    TaskKey,
    st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    st.lists(st.integers(0, 10**6), max_size=3).map(tuple),
)
ARTIFACT = st.builds(Artifact, TEXT, TEXT, TEXT, STRUCT, TEXT, st.none() | COUNT)
ARTIFACTS = st.dictionaries(TEXT, ARTIFACT | st.lists(ARTIFACT, max_size=2).map(tuple), max_size=2)
VALUES = st.builds(Values, STRUCT, ARTIFACTS)
ERROR = st.none() | st.builds(TaskError, TEXT, TEXT, TEXT, TEXT)
TASK = st.builds(
    TaskRecord, KEY, st.sampled_from(TaskState), TEXT, st.booleans(), COUNT, COUNT, VALUES, VALUES, ERROR,
    MAYBE_TIME, MAYBE_TIME, MAYBE_TIME, MAYBE_TIME, TEXT, TEXT, TEXT, TEXT, TEXT,
)  # fmt: skip
ATTEMPT = st.builds(
    AttemptRecord, KEY, COUNT, st.sampled_from(TaskState), TEXT, st.none() | COUNT, TEXT, TEXT, MAYBE_TIME, MAYBE_TIME,
    ERROR, st.none() | COUNT,
)  # fmt: skip
RUN = st.builds(
    RunRecord, st.just("r1"), TEXT, TEXT, st.sampled_from(RunState), st.just(document_digest(DOCUMENT)), TEXT, STRUCT,
    ARTIFACTS, VALUES, STRUCT, ERROR, COUNT, TIME, MAYBE_TIME, MAYBE_TIME, MAYBE_TIME, TEXT, TEXT,
    st.dictionaries(TEXT, TEXT.filter(bool), max_size=3), TEXT,
)  # fmt: skip
TRACE = st.lists(STRUCT, max_size=2).map(tuple)
ENTRY = st.builds(CacheEntry, TEXT, st.just("r1"), KEY, VALUES, TIME, TEXT, STRUCT, TRACE, TRACE)


def same(left: Any, right: Any) -> bool:
    """Equal, and equal in the types of everything inside (``2 == 2.0 == True`` is not enough)."""
    return left == right and repr(left) == repr(right)


def by_key(records: Any) -> list[Any]:
    return sorted(records, key=lambda record: (record.key, getattr(record, "attempt", 0)))


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    first=RUN,
    later=RUN,
    tasks=st.lists(TASK, max_size=3, unique_by=lambda record: record.key),
    attempts=st.lists(ATTEMPT, max_size=3, unique_by=lambda record: (record.key, record.attempt)),
    entries=st.lists(ENTRY, max_size=2, unique_by=lambda item: (item.key, item.task)),
    events=st.lists(st.tuples(TIME, TEXT, STRUCT), max_size=3),
)
def test_records(
    store: SqlRunStore, first: RunRecord, later: RunRecord, tasks: Any, attempts: Any, entries: Any, events: Any
) -> None:
    store.delete_run("r1")
    store.create_run(first, DOCUMENT)
    assert same(store.get_run("r1"), first)
    store.save_run(later)
    assert same(store.list_runs(), [later])
    assert same(store.list_runs(experiment=later.experiment, tags=later.tags, states=[later.state]), [later])
    assert later.name in ("", "latest") or same(store.find_run(later.name), later)
    begin = store.events()[-1].seq
    store.apply(Batch("r1", first, tasks, attempts, entries, events))
    assert same(by_key(store.tasks("r1")), by_key(tasks))
    assert same(by_key(store.attempts("r1")), by_key(attempts))
    for item in entries:
        assert any(same(item, found) for found in store.cache_candidates(item.key))
        assert any(same(item, found) for found in store.cache_similar(item.identity, limit=9))
    assert same([(e.at, e.kind, e.body) for e in store.events(after=begin)], events)


@given(text=st.text(st.characters(exclude_categories=())))
def test_text_columns_keep_texts_apart(text: str) -> None:
    stored = codec.to_text(text)
    stored.encode("utf-8")
    assert "\0" not in stored
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert codec.from_text(stored) == joined
    assert codec.to_text(joined) == stored or joined != text


def test_types_are_kept(store: SqlRunStore) -> None:
    values = {"a": 2, "b": 2.0, "c": "2", "d": True, "e": None, "f": [1, 1.0, "1", [], {}], "g": -0.0, "h": 2**64}
    store.create_run(run(), DOCUMENT)
    store.apply(Batch("run000001", tasks=[task(outputs=Values(values))]))
    [found] = store.tasks("run000001")
    assert repr(found.outputs.parameters) == repr(values)


def test_numbers_that_json_lacks(store: SqlRunStore) -> None:
    store.create_run(run(parameters={"nan": math.nan, "inf": [math.inf, -math.inf]}), DOCUMENT)
    found = store.get_run("run000001").parameters
    assert math.isnan(found["nan"])
    assert found["inf"] == [math.inf, -math.inf]


@pytest.mark.parametrize("text", ["x" * 2**20, "ü" * 2**20, "\0" * 2**18, "\udcff" * 2**18, "'\"\n\t\r\\{{$.x}}%s?;--"])
def test_long_and_hostile_texts(store: SqlRunStore, text: str) -> None:
    first = run(note=text, parameters={text: text}, tags={"t": "v"})
    store.create_run(first, DOCUMENT)
    assert store.get_run("run000001") == first
    second = run(2, name=text, pipeline=text, experiment=text, tags={text: text})
    store.create_run(second, DOCUMENT)
    assert store.find_run(text) == second
    assert store.list_runs(experiment=text, tags={text: text}) == [second]
    long = artifact(text, name=text, digest=text)
    hostile = task(text, outputs=made(long), cache_key=text)
    cached = entry(key=text, identity=text, task=hostile.key)
    attempt = AttemptRecord(hostile.key, 1, TaskState.SUCCEEDED, text)
    for _ in range(2):
        store.apply(Batch("run000001", tasks=[hostile], attempts=[attempt], cache=[cached]))
        assert store.tasks("run000001") == [hostile]
        assert store.attempts("run000001", hostile.key) == [attempt]
        assert store.cache_candidates(text) == store.cache_similar(text) == [cached]
    [link] = store.artifact_links(uri=text, digest=text)
    assert (link.task, link.name, link.uri) == (hostile.key, text, text)
    assert store.unreferenced_uris(["run000001"]) == [text]
    assert store.clear_cache(identity=text) == 1
    store.annotate("run000001", note=text[::-1])
    assert store.get_run("run000001").note == text[::-1]
    with pytest.raises(NotFound):
        store.find_run("'" + text)


@pytest.mark.parametrize("size", [0, 1, 5 * 2**20])
def test_documents(store: SqlRunStore, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"\0" * (size % 256)
    store.create_run(run(spec_digest=document_digest(body)), body)
    assert store.document(document_digest(body)) == body
