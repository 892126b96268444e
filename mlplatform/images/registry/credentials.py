"""Who we are to a registry. A secret is in no message and in no ``repr``.

Looked for in this order; the first that knows the host wins:

1. ``MLPLATFORM_REGISTRY_USERNAME`` and ``MLPLATFORM_REGISTRY_PASSWORD``, for the host in ``MLPLATFORM_REGISTRY``
2. ``DOCKER_AUTH_CONFIG`` (the content of such a file), ``REGISTRY_AUTH_FILE``
3. ``$DOCKER_CONFIG/config.json`` or ``~/.docker/config.json``, ``$XDG_RUNTIME_DIR/containers/auth.json``,
   ``~/.config/containers/auth.json``; in each: the credential helper of the host, its ``auths``, the ``credsStore``
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.images.references import HUB, HUB_HOST

#: What Docker writes for its own registry.
_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://index.docker.io/v1")
_HELPER: Final = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_TIMEOUT: Final = 60.0
#: What a helper says when it knows nothing of a host.
_UNKNOWN: Final = "credentials not found"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or an identity token (``token``) to trade for access. ``origin``: where it was found."""

    username: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)
    origin: str = ""

    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find_credentials(host: str, environ: Mapping[str, str], home: Path | None = None) -> Credentials | None:
    """Credentials for a registry; None if nothing names it.

    Raises:
        EnvironmentFailed: a file cannot be read, or a credential helper fails.
    """
    if environ.get("MLPLATFORM_REGISTRY_PASSWORD") and environ.get("MLPLATFORM_REGISTRY", "") == host:
        user = environ.get("MLPLATFORM_REGISTRY_USERNAME", "")
        return Credentials(user, environ["MLPLATFORM_REGISTRY_PASSWORD"], origin="MLPLATFORM_REGISTRY_PASSWORD")
    for origin, config in _configurations(environ, home or Path.home()):
        found = _in_config(config, host, origin, environ)
        if found is not None:
            return found
    return None


def _configurations(environ: Mapping[str, str], home: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if text := environ.get("DOCKER_AUTH_CONFIG"):
        yield "DOCKER_AUTH_CONFIG", _object(text, "DOCKER_AUTH_CONFIG")
    files = [Path(environ["REGISTRY_AUTH_FILE"])] if environ.get("REGISTRY_AUTH_FILE") else []
    docker = Path(environ["DOCKER_CONFIG"]) if environ.get("DOCKER_CONFIG") else home / ".docker"
    files.append(docker / "config.json")
    if environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    config = Path(environ["XDG_CONFIG_HOME"]) if environ.get("XDG_CONFIG_HOME") else home / ".config"
    files.append(config / "containers" / "auth.json")
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentFailed(f"{file} cannot be read: {error}") from None
        yield str(file), _object(text, str(file))


def _object(text: str, origin: str) -> Mapping[str, Any]:
    """Raises EnvironmentFailed without a word of what is in it."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EnvironmentFailed(f"{origin} is not a JSON object.", hint="Log in again, or repair it.")
    return found  # pyright: ignore[reportUnknownVariableType]


def _in_config(config: Mapping[str, Any], host: str, origin: str, environ: Mapping[str, str]) -> Credentials | None:
    keys = _keys(host)
    helpers: Mapping[str, str] = config.get("credHelpers") or {}
    for key in keys:
        if helpers.get(key):
            return _from_helper(helpers[key], key, environ)
    auths: Mapping[str, Mapping[str, str]] = config.get("auths") or {}
    for key in keys:
        found = _from_entry(auths.get(key) or {}, f"{origin} ({key})")
        if found is not None:
            return found
    if config.get("credsStore"):
        for key in keys:
            found = _from_helper(str(config["credsStore"]), key, environ)
            if found is not None:
                return found
    return None


def _keys(host: str) -> tuple[str, ...]:
    if host in (HUB, HUB_HOST):
        return _HUB_KEYS
    return (host, f"https://{host}", f"http://{host}", f"https://{host}/", f"https://{host}/v1/", f"https://{host}/v2/")


def _from_entry(entry: Mapping[str, str], origin: str) -> Credentials | None:
    token = entry.get("identitytoken") or ""
    user, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise EnvironmentFailed(f"{origin}: its auth is not a user and a password in base64.", hint="Log in again.")
    if not (token or password):
        return None
    return Credentials(user, password.rstrip("\0"), token, origin)


def _from_helper(name: str, key: str, environ: Mapping[str, str]) -> Credentials | None:
    """Ask ``docker-credential-NAME``. Raises EnvironmentFailed."""
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environ.get("PATH")) if _HELPER.fullmatch(name) else None
    if path is None:
        raise EnvironmentFailed(
            f"The credential helper {program}, which the Docker configuration names, is not on PATH.",
            hint="Install it, or log in without it.",
        )
    try:
        done = subprocess.run(
            [path, "get"], input=key, capture_output=True, text=True, timeout=_HELPER_TIMEOUT, check=False,
            env=dict(environ),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        raise EnvironmentFailed(f"The credential helper {program} could not be run, or did not end.") from None
    if done.returncode:
        if _UNKNOWN in (done.stdout + done.stderr).lower():
            return None
        raise EnvironmentFailed(f"The credential helper {program} gave no credentials for {key}.")
    said = _object(done.stdout, program)
    user, secret = str(said.get("Username") or ""), str(said.get("Secret") or "")
    if user == "<token>":
        return Credentials("", "", secret, program)
    return Credentials(user, secret, "", program)
