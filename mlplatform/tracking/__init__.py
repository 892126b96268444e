"""MLflow, and the only door to it: a queue on disk, a gateway for user code, delivery in order."""
