"""Whatever is loaded: a pipeline, or InvalidPipeline with findings. Nothing else may come out."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.dump import dump, to_json
from mlplatform.ir.load import loads
from mlplatform.ir.package import read_bytes
from mlplatform.ir.validate import validate


def _base() -> dict[str, Any]:
    """The document of conftest.py, which is not importable by name under importlib import mode."""
    spec = importlib.util.spec_from_file_location("ir_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(json.dumps(module.DOCUMENT))


BASE = _base()
PLATFORM: dict[str, Any] = {
    "kubernetes": {
        "pipelineConfig": {"workspace": {"size": "1Gi"}},
        "deploymentSpec": {
            "executors": {
                "exec-use": {
                    "secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "E"}]}],
                    "pvcMount": [{"componentInputParameter": "flag", "mountPath": "/x"}],
                    "tolerations": [{"tolerationJson": {"componentInputParameter": "flag"}}],
                }
            }
        },
    }
}
EXAMPLES = int(os.environ.get("MLPLATFORM_FUZZ_EXAMPLES", "400"))
QUICK = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])

WORDS = sorted(
    {key for text in [json.dumps(BASE)] for key in text.replace('"', " ").split() if key.isidentifier()}
    | {"{{$.inputs.parameters['n']}}", "{{$", '{"Concat": [', "platforms", "make", "", "\0", "é", "pipelineSpec"}
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=20)
    | st.just(10**30)
    | st.just("x" * 5000)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def outcome(text: str | bytes) -> str:
    """Load, validate, resolve, write and load again; says how far it came."""
    try:
        pipeline = loads(text)
    except InvalidPipeline as error:
        well_formed = bool(error.findings) and all(finding.message for finding in error.findings)
        json.dumps(error.to_json()).encode()
        str(error).encode("utf-8", "backslashreplace")
        return "refused" if well_formed else "refused without saying why"
    findings = validate(pipeline, lambda text: None if text.isascii() else "not ASCII")
    check_arguments(pipeline, {"n": 1, "m": None})
    assert loads(dump(pipeline)) == pipeline
    assert loads(json.dumps(to_json(pipeline))) == pipeline
    return "invalid" if findings else "valid"


@given(st.binary(max_size=300))
@QUICK
def test_bytes(data: bytes) -> None:
    assert outcome(data) == "refused"
    for magic in (b"PK\x03\x04", b"\x1f\x8b\x08\x00"):
        with pytest.raises(InvalidPipeline):
            read_bytes(magic + data)


@given(st.text(alphabet=st.sampled_from("{}[]:,-?&*!|>'\"%@`#\n\t  aA1.~<=\\\0\x85\ufeff"), max_size=60))
@QUICK
def test_yaml_like_text(text: str) -> None:
    outcome(text)
    outcome("root: " + text)
    outcome("{" + text)


@given(VALUES)
@QUICK
def test_any_value(value: Any) -> None:
    outcome(json.dumps(value))
    outcome(json.dumps({"pipelineSpec": value, "platformSpec": value}))
    outcome(json.dumps({"pipelineInfo": {"name": "x"}, "root": value, "components": value, "deploymentSpec": value}))


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        found += places(item, (*place, key))
    return found


WHOLE: dict[str, Any] = {"pipelineSpec": BASE, "platformSpec": {"platforms": PLATFORM}}
PLACES = [place for place in places(WHOLE) if place]


def mutate(document: dict[str, Any], place: tuple[Any, ...], action: int, value: Any) -> None:
    parent: Any = document
    try:
        for step in place[:-1]:
            parent = parent[step]
    except (LookupError, TypeError):
        return  # an earlier change took it away
    last = place[-1]
    if isinstance(parent, dict):
        if action == 0:
            parent.pop(last, None)
        elif action == 1:
            parent[last] = value
        elif action == 2 and last in parent:
            parent[str(value)[:50]] = parent.pop(last)
        else:
            parent[str(value)[:50]] = value
    elif isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        if action == 0:
            del parent[last]
        else:
            parent[last] = value


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 3), VALUES), min_size=1, max_size=4))
@QUICK
def test_mutated_documents(changes: list[tuple[tuple[Any, ...], int, Any]]) -> None:
    document = copy.deepcopy(WHOLE)
    for place, action, value in changes:
        mutate(document, place, action, value)
    outcome(json.dumps(document))


def test_the_unmutated_document_is_valid() -> None:
    assert outcome(json.dumps(WHOLE)) == "valid"


@given(st.integers(0, 2**32), st.integers(1, 30))
@QUICK
def test_scrambled_text(seed: int, count: int) -> None:
    chance = random.Random(seed)
    for text in (yaml.safe_dump(BASE), json.dumps(BASE)):
        data = bytearray(text.encode())
        for _ in range(count):
            at = chance.randrange(len(data))
            if chance.random() < 0.3:
                del data[at : at + chance.randrange(20)]
            else:
                data[at] = chance.randrange(256) if chance.random() < 0.3 else chance.choice(b"{}[]:,-'\"&*!?\n #|>")
        outcome(bytes(data))
