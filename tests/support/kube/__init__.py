"""Kubernetes for tests: an API server in memory that is verified against the real one, and tools to break either."""
