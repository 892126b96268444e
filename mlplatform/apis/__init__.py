"""The platform's Kubernetes API: its objects as typed frozen dataclasses, from which the CRDs are generated."""
