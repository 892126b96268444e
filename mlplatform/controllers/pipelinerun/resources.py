"""The kinds that this controller deals with."""

from __future__ import annotations

from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS

__all__ = ["PIPELINE_RUNS", "RECORDS"]
