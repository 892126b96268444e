"""A real Kubernetes on one Linux machine, for tests and for development.

``binaries`` builds it once from Go modules, ``supervisor`` runs its processes, ``cluster`` is what a test holds.
Fixtures: ``api_server``, ``cluster``, ``namespace`` (``fixtures``). By hand: ``make cluster-up`` (``up``).
"""
