"""The CRDs in the tree are what the dataclasses say, and every field tells what it is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from mlplatform.apis.crd import KINDS, crds

ROOT = Path(__file__).parents[3]


def _generator() -> Any:
    path = ROOT / "operators" / "base" / "crds" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_crds", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_the_dataclasses_say() -> None:
    assert _generator().drift() == [], "run: python operators/base/crds/generate.py"


def _undescribed(schema: dict[str, Any], path: str) -> list[str]:
    found: list[str] = []
    for name, inner in schema.get("properties", {}).items():
        if not inner.get("description") and path:
            found.append(f"{path}.{name}")
        found += _undescribed(inner, f"{path}.{name}" if path else name)
    if "items" in schema:
        found += _undescribed(schema["items"], f"{path}[]")
    return found


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_kubectl_explain_has_words_for_every_field(kind: str) -> None:
    schema = KINDS[kind].crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert _undescribed(schema, "") == []


def test_a_structural_schema_types_everything() -> None:
    def walk(schema: dict[str, Any], path: str) -> None:
        assert "type" in schema, path
        for name, inner in schema.get("properties", {}).items():
            walk(inner, f"{path}.{name}")
        if "items" in schema:
            walk(schema["items"], f"{path}[]")
        if isinstance(schema.get("additionalProperties"), dict):
            walk(schema["additionalProperties"], f"{path}.*")

    for name, crd in crds().items():
        walk(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], name)


def test_rules_ask_for_few_members_of_wide_objects() -> None:
    """Each one asked for costs the API server a table of all that stand beside it, at every write of a status."""
    schema = KINDS["TrainingJob"].crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    rules = [one["rule"] for one in schema["x-kubernetes-validations"]]
    asked = [re.findall(r"(?:self|oldSelf)\.(\w+)", rule) for rule in rules]
    assert sum(map(len, asked)) <= 70
    # what speaks of groups alone stands with their list
    assert [names for names in asked if set(names) == {"groups"}] == []
    assert len(schema["properties"]["groups"]["x-kubernetes-validations"]) == 3


def test_status_is_a_subresource_of_what_has_one() -> None:
    assert {kind: "subresources" in KINDS[kind].crd()["spec"]["versions"][0] for kind in KINDS} == {
        "PipelineRun": True,
        "RecurringRun": True,
        "TaskRecords": False,
        "TrainingJob": True,
    }
