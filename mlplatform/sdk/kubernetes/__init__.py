"""Runs on a cluster, in the same hands as those of one machine."""
