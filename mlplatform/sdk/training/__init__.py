"""Distributed training as users ask for it: a description, and what became of it."""
