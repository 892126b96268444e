"""Artifact stores by URI scheme behind one door: local files, S3, Google Cloud Storage, HTTP. Nothing but the standard
library is imported until a store is used."""

from __future__ import annotations

from mlplatform.artifacts.facade import Artifacts

__all__ = ["Artifacts"]
