"""The folder in which this machine keeps what it saw of a cluster's namespace: a home like that of local runs, with a
note of where its runs are. Everything that looks at runs (``--home``, the run object, the pages) works on it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.core.ids import slug
from mlplatform.engine.home import Home, default_home

if TYPE_CHECKING:
    from mlplatform.kube.target import Target

NOTE: Final = "cluster.json"
#: Packages that only working with a cluster needs.
_OF_CLUSTERS: Final = frozenset({"kubernetes", "prometheus_client", "urllib3"})
#: A namespace's name (RFC 1123 label).
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace of a cluster. ``kubeconfig`` and ``context`` as kubectl takes them; empty: its defaults."""

    namespace: str
    server: str
    context: str = ""
    kubeconfig: str = ""


def missing_packages(error: ModuleNotFoundError) -> Unsupported | None:
    """What to install, where a package of the extra is not there; None: the module should be there."""
    if (error.name or "").partition(".")[0] not in _OF_CLUSTERS:
        return None
    return Unsupported(
        f"Working with a cluster needs packages that are not installed ({error.name}).",
        hint="Install them: pip install 'mlplatform[kubernetes]'",
    )


def read_place(home: Home) -> Place | None:
    """Where the runs of this home are; None: on this machine."""
    try:
        told: dict[str, Any] = json.loads((home.root / NOTE).read_text(encoding="utf-8"))
        return Place(**{name: str(told.get(name) or "") for name in Place.__slots__})
    except (OSError, ValueError):
        return None


def cluster_home(
    context: str = "",
    namespace: str = "",
    home: str | os.PathLike[str] | None = None,
    target: Callable[[str | None, str | None], Target] | None = None,
) -> Home:
    """The home of a namespace; it is made at the first call.

    Args:
        context: the kubeconfig's context; empty: its current one (inside a pod: this cluster).
        namespace: empty: the context's.
        home: the folder; default: ``clusters/<server>-<namespace>`` in the default home.
        target: how a kubeconfig is read.

    Raises:
        KubernetesError: no cluster is configured.
        InvalidInput: this cannot be a namespace, or the folder holds runs of another place.
    """
    if target is None:
        try:
            from mlplatform.kube.transport import target
        except ModuleNotFoundError as error:
            raise (missing_packages(error) or error) from None
    kubeconfig = os.environ.get("KUBECONFIG", "")
    found = target(kubeconfig or None, context or None)
    name = namespace or found.namespace or "default"
    if not _NAMESPACE.fullmatch(name):
        raise InvalidInput(f"{name!r} cannot be the name of a namespace", hint="Use lower case letters, digits and -.")
    place = Place(name, found.server, context, kubeconfig)
    default = default_home() / "clusters" / f"{slug(found.server.partition('://')[2], 40)}-{name}"
    made = Home(Path(home or default).expanduser().resolve())
    known = read_place(made)
    if known is None and made.database.exists():
        raise InvalidInput(f"{made.root} holds runs of this machine", hint="Name another folder with --home.")
    if known is not None and (known.namespace, known.server) != (place.namespace, place.server):
        raise InvalidInput(
            f"{made.root} holds runs of namespace {known.namespace} of {known.server}",
            hint="Name another folder with --home.",
        )
    if known != place:
        made.prepare()
        temporary = made.root / f".{NOTE}-{os.getpid()}"
        temporary.write_text(json.dumps(asdict(place)), encoding="utf-8")
        os.replace(temporary, made.root / NOTE)
    return made
