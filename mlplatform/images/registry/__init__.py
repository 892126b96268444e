"""The distribution API of container registries: pull and push, with credentials from the usual places."""

from __future__ import annotations

from mlplatform.images.registry.client import Registry, Told, pull, push

__all__ = ["Registry", "Told", "pull", "push"]
