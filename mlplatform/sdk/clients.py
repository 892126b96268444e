"""Which client a home needs: its own service's, or its cluster's."""

from __future__ import annotations

import os

from mlplatform.engine.home import Home, open_home
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.kubernetes.home import NOTE


def client_of(home: str | os.PathLike[str] | Home | None = None) -> LocalClient:
    """The client of a home (see :mod:`mlplatform.sdk.kubernetes.home` for those of clusters)."""
    found = home if isinstance(home, Home) else open_home(home)
    if is_cluster(found):
        from mlplatform.sdk.kubernetes.client import ClusterClient

        return ClusterClient(found)
    return LocalClient(found)


def is_cluster(home: Home) -> bool:
    """Whether the runs of this home are on a cluster."""
    return (home.root / NOTE).exists()


def refreshed(home: str | os.PathLike[str] | Home | None = None) -> Home:
    """The home, with what is known of its cluster by now. Raises KubernetesError."""
    found = home if isinstance(home, Home) else open_home(home)
    if is_cluster(found):
        from mlplatform.sdk.kubernetes.client import follow_all

        follow_all(found)
    return found
