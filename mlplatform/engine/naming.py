"""Small choices about a task's surroundings: folder and file names, runtime versions, words for the installer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mlplatform.core.ids import slug
from mlplatform.core.model import TaskKey
from mlplatform.engine.env_kfp import NEWEST_KNOWN, version_key
from mlplatform.ir.model import Component

#: Below an attempt's folder: local copies of inputs that lie elsewhere.
REMOTE_INPUTS = "inputs"


def runtime_version(named: str) -> str:
    """The kfp runtime for a component: the one it names, but none older than the one everything is tested with.

    A newer runtime runs every older component, while documents made from kfp's main branch name releases that lack what
    they use. One runtime for all of a machine's tasks also means one warm interpreter.
    """
    return named if version_key(named) > version_key(NEWEST_KNOWN) else NEWEST_KNOWN


def tracking_names(spec: Mapping[str, Any]) -> list[str]:
    """Variables of the task that lead to the tracking server: a container gets them too."""
    return [name for name in spec["env"] if name.startswith("MLFLOW_")]


def pip_words(options: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A component's index settings as pip's command line has them: the first index replaces the default one."""
    words: list[str] = []
    for position, url in enumerate(options.get("index_urls", ())):
        words += ["--extra-index-url" if position else "--index-url", url]
    for host in options.get("trusted_hosts", ()):
        words += ["--trusted-host", host]
    return tuple(words)


def list_outputs(component: Component) -> frozenset[str]:
    return frozenset(name for name, spec in component.outputs.artifacts.items() if spec.is_list)


def folder_name(key: TaskKey) -> str:
    digest = hashlib.sha256(str(key).encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{slug(key.path[-1], 40)}-{digest}"


def file_name(name: str) -> str:
    """Output names become file names; those that are no plain words get a digest instead of tricks."""
    if name.replace("_", "").replace("-", "").isalnum() and name.isascii() and len(name) < 100:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{slug(name, 40)}-{digest}"
