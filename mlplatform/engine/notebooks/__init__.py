"""Notebooks as the engine sees them: what a task depends on, which earlier results stand, where a session goes on."""
