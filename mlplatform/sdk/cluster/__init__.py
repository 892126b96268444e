"""Runs on Kubernetes as the SDK, the command line and the server see them."""
