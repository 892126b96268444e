"""Names of folders and files of tasks and outputs, and words for the installer: the same wherever a task runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from mlplatform.core.ids import slug
from mlplatform.core.model import TaskKey
from mlplatform.ir.model import Component


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
