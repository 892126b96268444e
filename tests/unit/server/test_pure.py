"""What needs no server: signed words, graphs of documents, packed tables, cursors, kinds of files, KFP's filters."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidInput
from mlplatform.core.model import RunRecord, TaskError, TaskKey, TaskRecord
from mlplatform.core.queries import Column, Operator, Sort
from mlplatform.core.states import RunState, TaskState
from mlplatform.ir.load import loads
from mlplatform.server import kinds, words
from mlplatform.server.graphs import pipeline_graph
from mlplatform.server.kfp.filters import Page, paged, predicates
from mlplatform.server.kfp.runs import query_of
from mlplatform.server.kfp.times import from_rfc3339, to_rfc3339
from mlplatform.server.signing import sign, verify
from tests.support.pipelines import chain


# ------------------------------------------------------------------ signed words
@given(st.text(), st.text(), st.integers(1, 10**9))
def test_a_signed_word_is_good_for_one_thing_and_one_time(token: str, about: str, expires: int) -> None:
    word = sign(token, "content", about, expires)
    assert verify(token, "content", about, word, expires - 1)
    assert not verify(token, "content", about, word, expires)
    assert not verify(token, "ticket", about, word, 0)
    assert not verify(token, "content", about + "x", word, 0)
    assert not verify(token + "x", "content", about, word, 0)
    assert not verify(token, "content", about, "z" + word, 0)


@pytest.mark.parametrize("word", ["", ".", "a", "a.", ".a", "\u0661.x", "zzzzzzzzzzzzzzzzzz.a", "-1.x", "a.b.c"])
def test_what_is_no_word_is_refused(word: str) -> None:
    assert not verify("t", "content", "x", word, 0.0)


# ------------------------------------------------------------------ graphs
def test_a_chain_is_nodes_and_edges_in_order() -> None:
    nodes, edges = pipeline_graph(loads(chain(3).text()))
    assert [(node.node_id, node.kind, node.parent) for node in nodes] == [
        ("t0", "task", ""), ("t1", "task", ""), ("t2", "task", ""),
    ]  # fmt: skip
    assert [(edge.source, edge.target) for edge in edges] == [("t0", "t1"), ("t1", "t2")]


def test_groups_are_nodes_around_their_tasks() -> None:
    inner = {"tasks": {"work": {"componentRef": {"name": "comp-work"}, "taskInfo": {"name": "work"}}}}
    document = {
        "pipelineInfo": {"name": "g"},
        "schemaVersion": "2.1.0",
        "root": {
            "dag": {
                "tasks": {
                    "for-loop-1": {
                        "componentRef": {"name": "comp-loop"},
                        "taskInfo": {"name": "for-loop-1"},
                        "parameterIterator": {"itemInput": "i", "items": {"raw": "[1, 2]"}},
                    },
                    "condition-1": {
                        "componentRef": {"name": "comp-if"},
                        "taskInfo": {"name": "condition-1"},
                        "triggerPolicy": {"condition": "true"},
                        "dependentTasks": ["for-loop-1"],
                    },
                }
            }
        },
        "components": {
            "comp-loop": {"dag": inner, "inputDefinitions": {"parameters": {"i": {"parameterType": "NUMBER_INTEGER"}}}},
            "comp-if": {"dag": inner},
            "comp-work": {"executorLabel": "e"},
        },
        "deploymentSpec": {"executors": {"e": {"container": {"image": "x"}}}},
    }
    nodes, edges = pipeline_graph(loads(json.dumps(document)))
    assert {node.node_id: (node.kind, node.parent) for node in nodes} == {
        "for-loop-1": ("loop", ""),
        "condition-1": ("condition", ""),
        "for-loop-1/work": ("task", "for-loop-1"),
        "condition-1/work": ("task", "condition-1"),
    }
    assert [(edge.source, edge.target) for edge in edges] == [("for-loop-1", "condition-1")]
    assert next(node.detail for node in nodes if node.kind == "condition") == "true"


# ------------------------------------------------------------------ tables and cursors
def test_a_packed_table_tells_each_text_once() -> None:
    run = RunRecord("r1", "n", "p", RunState.RUNNING, "sha256:0", created_at=100.0)
    task = TaskRecord(TaskKey(("l", "t"), (0,)), TaskState.SUCCEEDED, "c", attempt=1, created_at=100.25)
    failed = replace(
        task, key=TaskKey(("l", "t"), (1,)), state=TaskState.FAILED, error=TaskError("X", "no"), started_at=101.5
    )
    table = words.task_table(run, [task, failed], 7)
    assert table["dictionaries"]["name"] == ["l/t"]
    assert table["columns"]["iteration"] == [[0], [1]]
    assert table["columns"]["state"] == [0, 1]
    assert table["columns"]["created"] == [250, 250]
    assert table["columns"]["started"] == [None, 1500]
    assert (table["columns"]["error"], table["dictionaries"]["error"]) == ([-1, 0], ["no"])


@given(st.one_of(st.text(), st.floats(allow_nan=False, allow_infinity=False)), st.text())
def test_a_cursor_comes_back(value: Any, run: str) -> None:
    assert words.from_cursor(words.to_cursor((value, run)), ((str, int, float), (str,))) == (value, run)


@pytest.mark.parametrize("text", ["x", "!!", "W10", words.to_cursor((1,)), words.to_cursor((1, 2)), "\u00fc", "A" * 99])
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        words.from_cursor(text, ((str, int, float), (str,)))


# ------------------------------------------------------------------ files
@pytest.mark.parametrize(
    ("name", "type_", "head", "kind"),
    [
        ("a.png", "", b"", "image"),
        ("plot", "", b"\x89PNG\r\n\x1a\n...", "image"),
        ("page", "system.HTML", b"<b>x</b>", "html"),
        ("page", "", b"  <!DOCTYPE html><p>", "html"),
        ("note", "system.Markdown", b"# x", "markdown"),
        ("data", "system.Dataset", b"a,b\n1,2\n3,4\n", "csv"),
        ("data", "system.Dataset", b"one line, with a comma", "text"),
        ("data", "system.Dataset", b"PAR1....", "parquet"),
        ("nb", "", b'{"cells": [], "nbformat": 4}', "notebook"),
        ("x", "", b'{"a": 1}', "json"),
        ("model", "system.Model", b"\x80\x04\x95\0\0", "binary"),
        ("text", "", "ende: ü".encode()[:-1], "text"),
        (".html", "", b"\0\1", "binary"),
    ],
)
def test_kinds(name: str, type_: str, head: bytes, kind: str) -> None:
    assert kinds.kind_of(name, type_, head)[0] == kind


def test_kfp_metrics_however_they_are_wrapped() -> None:
    plain = {
        "annotationSpecs": [{"displayName": "a"}, {"displayName": "b"}],
        "rows": [{"row": [1, 2]}, {"row": [3, 4]}],
    }
    for wrapped in (plain, {"struct": plain}, json.dumps(plain)):
        assert kinds.confusion_matrix({"confusionMatrix": wrapped}) == (["a", "b"], [[1, 2], [3, 4]])
    points = [{"confidenceThreshold": 0.5, "falsePositiveRate": 0.1, "recall": 0.9}]
    for curve in (points, {"list": points}):
        assert kinds.roc_curve({"confidenceMetrics": curve}) == [[0.1, 0.9, 0.5]]
    assert kinds.confusion_matrix({"confusionMatrix": "not json"}) == ([], [])


# ------------------------------------------------------------------ KFP's filters
@pytest.mark.parametrize("operation", [1, "1", "EQUALS", "equals"])
@pytest.mark.parametrize("name", ["stringValue", "string_value"])
@pytest.mark.parametrize("key", ["displayName", "display_name"])
def test_a_filter_in_all_its_spellings(operation: Any, name: str, key: str) -> None:
    text = json.dumps({"predicates": [{"operation": operation, "key": key, name: "x"}]})
    assert [(one.key, one.operator, one.value) for one in predicates(text)] == [("display_name", Operator.EQUALS, "x")]


def test_lists_and_long_numbers() -> None:
    text = json.dumps(
        {"predicates": [{"operation": 8, "key": "id", "longValues": {"values": ["9007199254740993", 2]}}]}
    )
    assert predicates(text)[0].value == (9007199254740993, 2)


@pytest.mark.parametrize(
    "text",
    [
        "x", "[]", "{}", '{"predicates": [1]}', '{"predicates": [{"key": "a", "stringValue": "x"}]}',
        '{"predicates": [{"operation": 4, "key": "a", "stringValue": "x"}]}',
        '{"predicates": [{"operation": 1, "stringValue": "x"}]}', '{"predicates": [{"operation": 1, "key": "a"}]}',
        '{"predicates": [{"operation": 8, "key": "a", "stringValue": "x"}]}',
        '{"predicates": [{"operation": 1, "key": "a", "timestampValue": "soon"}]}',
        '{"predicates": [{"operation": 1, "key": "a", "longValue": "1e9"}]}',
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        predicates(text)


def test_a_list_of_runs_as_a_query() -> None:
    text = json.dumps(
        {
            "predicates": [
                {"operation": "EQUALS", "key": "storage_state", "stringValue": "ARCHIVED"},
                {"operation": "EQUALS", "key": "state", "stringValue": "CANCELED"},
                {"operation": "GREATER_THAN", "key": "created_at", "timestampValue": "2026-01-01T00:00:00Z"},
            ]
        }
    )
    query = query_of(Page(text, "name desc", "", 7))
    assert (query.archived, query.sort, query.descending, query.limit) == (True, Sort.NAME, True, 8)
    state, created = query.where
    assert (state.column, state.value) == (Column.STATE, "CANCELLED")
    assert (created.column, created.operator) == (Column.CREATED_AT, Operator.GREATER_EQUAL)
    assert created.value > from_rfc3339("2026-01-01T00:00:00Z")
    with pytest.raises(InvalidInput, match="colour"):
        query_of(Page('{"predicates": [{"operation": 1, "key": "colour", "stringValue": "x"}]}'))
    with pytest.raises(InvalidInput, match="sorted"):
        query_of(Page("", "colour"))


@given(st.integers(0, 30), st.integers(1, 9))
def test_pages_of_a_list_are_the_list(count: int, size: int) -> None:
    token, seen = "", list[int]()
    while True:
        found, total, token = paged(range(count), Page("", "n desc", token, size), {"n": lambda n: n}, "n")
        seen += found
        assert total == count
        if not token:
            break
    assert seen == list(reversed(range(count)))


@given(st.floats(0, 4e9))
def test_a_time_there_and_back_is_the_same_microsecond(time: float) -> None:
    text = to_rfc3339(time)
    assert text is not None
    assert 0 <= time - from_rfc3339(text) < 1.5e-6
