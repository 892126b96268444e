"""``/api/v1``: one module a subject. Handlers are plain functions where they read the store (they run in threads)."""
