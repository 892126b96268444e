"""The controllers of the operator: each observes caches, plans (pure) and leaves the writing to the framework."""
