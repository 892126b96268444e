from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.images.registry.credentials import Credentials, find_credentials

HOST = "registry.example.com"


def auth(user: str = "user", password: str = "secret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(home: Path, config: dict[str, Any], place: str = ".docker/config.json") -> None:
    (home / place).parent.mkdir(parents=True, exist_ok=True)
    (home / place).write_text(json.dumps(config))


def helper(folder: Path, name: str, script: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\nread host\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_nothing_known_is_nothing_found(tmp_path: Path) -> None:
    write(tmp_path, {"auths": {"other.example.com": auth()}})
    assert find_credentials(HOST, {}, tmp_path) is None


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v2/"])
def test_docker_logins_are_found(tmp_path: Path, key: str) -> None:
    write(tmp_path, {"auths": {key: auth("me", "p:w")}})
    found = find_credentials(HOST, {}, tmp_path)
    assert found is not None
    assert (found.username, found.password) == ("me", "p:w")
    assert found.basic() == "Basic " + base64.b64encode(b"me:p:w").decode()


def test_the_hub_is_known_by_its_old_name(tmp_path: Path) -> None:
    write(tmp_path, {"auths": {"https://index.docker.io/v1/": auth("hub")}})
    found = find_credentials("docker.io", {}, tmp_path)
    assert found is not None
    assert found.username == "hub"


def test_podmans_file_counts_too(tmp_path: Path) -> None:
    write(tmp_path, {"auths": {HOST: auth("podman")}}, "run/containers/auth.json")
    found = find_credentials(HOST, {"XDG_RUNTIME_DIR": str(tmp_path / "run")}, tmp_path)
    assert found is not None
    assert found.username == "podman"


def test_variables_come_first_and_for_their_registry_only(tmp_path: Path) -> None:
    write(tmp_path, {"auths": {HOST: auth("file"), "other": auth("other")}})
    environ = {
        "MLPLATFORM_REGISTRY": HOST,
        "MLPLATFORM_REGISTRY_USERNAME": "variable",
        "MLPLATFORM_REGISTRY_PASSWORD": "x",
    }
    found = find_credentials(HOST, environ, tmp_path)
    other = find_credentials("other", environ, tmp_path)
    assert found is not None
    assert other is not None
    assert (found.username, other.username) == ("variable", "other")
    ci = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {HOST: auth("ci")}})}
    told = find_credentials(HOST, ci, tmp_path)
    assert told is not None
    assert told.username == "ci"


def test_helpers_are_asked(tmp_path: Path) -> None:
    environ = helper(tmp_path / "bin", "mine", 'echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"s\\"}"')
    write(tmp_path, {"credHelpers": {HOST: "mine"}, "auths": {HOST: auth("file")}})
    found = find_credentials(HOST, environ, tmp_path)
    assert found is not None
    assert (found.username, found.password, found.origin) == (HOST, "s", "docker-credential-mine")


def test_a_token_from_a_helper_is_a_token(tmp_path: Path) -> None:
    environ = helper(tmp_path / "bin", "store", 'echo \'{"Username": "<token>", "Secret": "t"}\'')
    write(tmp_path, {"credsStore": "store"})
    found = find_credentials(HOST, environ, tmp_path)
    assert found is not None
    assert (found.username, found.password, found.token) == ("", "", "t")


def test_a_helper_that_knows_nothing_is_no_failure(tmp_path: Path) -> None:
    environ = helper(tmp_path / "bin", "store", "echo 'credentials not found in native keychain'; exit 1")
    write(tmp_path, {"credsStore": "store"})
    assert find_credentials(HOST, environ, tmp_path) is None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo s3cr3t >&2; exit 3", "gave no credentials"),
        ("echo s3cr3t", "is not a JSON object"),
        (None, "not on PATH"),
    ],
)
def test_a_helper_that_fails_is_told_without_what_it_wrote(tmp_path: Path, script: str | None, words: str) -> None:
    environ = helper(tmp_path / "bin", "mine" if script else "other", script or "")
    write(tmp_path, {"credHelpers": {HOST: "mine"}})
    with pytest.raises(EnvironmentFailed, match=words) as caught:
        find_credentials(HOST, environ, tmp_path)
    assert "s3cr3t" not in str(caught.value)


def test_a_helpers_name_is_no_path(tmp_path: Path) -> None:
    write(tmp_path, {"credHelpers": {HOST: "../../bin/sh"}})
    with pytest.raises(EnvironmentFailed, match="not on PATH"):
        find_credentials(HOST, {"PATH": "/usr/bin"}, tmp_path)


@pytest.mark.parametrize("text", ["{s3cr3t", "[1]", json.dumps({"auths": {HOST: {"auth": "s3cr3t!"}}})])
def test_a_broken_file_is_told_without_its_content(tmp_path: Path, text: str) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(text)
    with pytest.raises(EnvironmentFailed) as caught:
        find_credentials(HOST, {}, tmp_path)
    assert "config.json" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_a_secret_is_in_no_repr() -> None:
    assert "secret" not in repr(Credentials("user", "secret", "secret-token", "file"))
