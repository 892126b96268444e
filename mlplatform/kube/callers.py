"""Who speaks: a person whose request a server answers, or a pod, with the token that a kubelet gave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Final, NamedTuple

#: What the API server's TokenReview adds to the user of such a token.
_NAME: Final = "authentication.kubernetes.io/pod-name"
_UID: Final = "authentication.kubernetes.io/pod-uid"


#: Whose request is being answered, where a server answers those of others; empty: nobody's that the cluster knows.
CALLER: Final[ContextVar[str]] = ContextVar("CALLER", default="")


class BoundPod(NamedTuple):
    """The pod that a token is bound to."""

    namespace: str
    name: str
    uid: str


def bound_pod(user: str, extra: Mapping[str, Sequence[str]]) -> BoundPod | None:
    """The pod of a service account's token, from the name and the extras of a TokenReview's user; None: it is a
    person's, or a token that is bound to no pod."""
    words = user.split(":")
    name, uid = "".join(extra.get(_NAME) or ()), "".join(extra.get(_UID) or ())
    if words[:2] != ["system", "serviceaccount"] or len(words) != 4 or not name or not uid:
        return None
    return BoundPod(words[2], name, uid)
