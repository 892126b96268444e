from __future__ import annotations

import pytest

from mlplatform.core.errors import InvalidInput
from mlplatform.images.references import LayoutReference, Reference, parse_source

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("team/model", "docker.io/team/model:latest"),
        ("index.docker.io/team/model:1", "docker.io/team/model:1"),
        ("localhost/model", "localhost/model:latest"),
        ("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1"),
        ("registry.example.com/model", "registry.example.com/model:latest"),
        (f"registry.example.com/model@{DIGEST}", f"registry.example.com/model@{DIGEST}"),
        (f"registry.example.com/model:v1@{DIGEST}", f"registry.example.com/model:v1@{DIGEST}"),
        ("[::1]:5000/model:v1", "[::1]:5000/model:v1"),
    ],
)
def test_names_are_read_as_docker_reads_them(text: str, whole: str) -> None:
    found = Reference.parse(text)
    assert str(found) == whole
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("registry.example.com/UPPER:bad tag", ["repository", "tag"]),
        ("model@sha256:12", ["digest"]),
        ("model@", ["digest"]),
        ("", ["repository"]),
        ("registry.example.com/../etc:v1", ["repository"]),
        ("https://registry.example.com/model", ["host", "repository"]),
    ],
)
def test_every_mistake_in_a_name_is_told_at_once(text: str, fields: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Reference.parse(text)
    found = [finding.path for finding in caught.value.findings]
    assert set(found) & set(fields)
    assert len(found) == len(set(found))


def test_sources_may_be_layouts() -> None:
    assert parse_source("oci:/tmp/x") == LayoutReference("/tmp/x")
    assert parse_source("oci:/tmp/x:v1") == LayoutReference("/tmp/x", "v1")
    assert parse_source("oci-archive:x.tar") == LayoutReference("x.tar")
    assert str(parse_source("docker://python:3")) == "docker.io/library/python:3"
    with pytest.raises(InvalidInput, match="names no folder"):
        parse_source("oci:")
