"""Notebooks as pipelines: cells, data flow, tasks, the IR; executed notebooks back out."""
