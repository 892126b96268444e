"""Kale's tags, as Kale writes them, and what is nearly one of them."""

from __future__ import annotations

import pytest

from mlplatform.core.errors import Finding
from mlplatform.notebook.model import Settings
from mlplatform.notebook.tags import defaults, merged, read_tags


def test_what_tags_say() -> None:
    findings: list[Finding] = []
    told = read_tags(
        [
            "step:train_model",
            "prev:load",
            "prev:split",
            "limit:memory:4Gi",
            "limit:nvidia.com/gpu:1",
            "annotation:sidecar.istio.io/inject:false",
            "label:team:a:b",
            "image:repo/train:1.2",
            "cache:disabled",
            "my-own-tag",
        ],
        "cells[0]",
        findings,
    )
    assert findings == []
    assert (told.step, told.prev) == ("train_model", ["load", "split"])
    assert told.settings == Settings(
        "repo/train:1.2",
        {"memory": "4Gi", "nvidia.com/gpu": "1"},
        {"team": "a:b"},
        {"sidecar.istio.io/inject": "false"},
        False,
    )


@pytest.mark.parametrize("role", ["imports", "functions", "pipeline-parameters", "pipeline-metrics"])
def test_roles(role: str) -> None:
    assert read_tags([role], "", []).role == role


@pytest.mark.parametrize("tag", ["step:", "block:"])
def test_an_empty_step_is_no_step(tag: str) -> None:
    findings: list[Finding] = []
    assert (read_tags([tag], "", findings).step, findings) == ("", [])


@pytest.mark.parametrize(
    ("tag", "hint"),
    [
        ("step:9 lives", "step:NAME"),
        ("prev:", "prev:NAME"),
        ("limit:memory", "limit:RESOURCE:AMOUNT"),
        ("cache:maybe", "cache:enabled"),
        ("annotation:x", "annotation:KEY:VALUE"),
        ("image:", "image:NAME"),
    ],
)
def test_what_cannot_be_understood_is_told(tag: str, hint: str) -> None:
    findings: list[Finding] = []
    read_tags([tag], "cells[3].metadata.tags", findings)
    assert [(each.path, each.code) for each in findings] == [("cells[3].metadata.tags", "bad-tag")]
    assert hint in findings[0].hint


def test_two_steps_in_one_cell_contradict() -> None:
    findings: list[Finding] = []
    read_tags(["step:a", "step:b"], "", findings)
    assert [each.code for each in findings] == ["conflict"]


def test_a_steps_own_settings_win() -> None:
    default = defaults({"kubeflow_notebook": {"steps_defaults": ["limit:cpu:1", "label:a:b"], "docker_image": "base"}})
    assert default == Settings("base", {"cpu": "1"}, {"a": "b"}, {}, None)
    own = Settings("", {"cpu": "4"}, {}, {}, False)
    assert merged(own, default) == Settings("base", {"cpu": "4"}, {"a": "b"}, {}, False)


@pytest.mark.parametrize("metadata", [{}, {"kubeflow_notebook": 3}, {"kubeflow_notebook": {"steps_defaults": "x"}}])
def test_notebooks_without_defaults(metadata: dict[str, object]) -> None:
    assert defaults(metadata) == Settings()
