"""Who comes in where the server is one of a cluster: bearers of tokens that the API server knows, with the rights that
they have there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import anyio.to_thread
from starlette.types import Scope

from mlplatform.core.errors import KubernetesError
from mlplatform.server.access import Refused
from mlplatform.server.cluster.reviews import AUDIENCES, Reviews, verb_of
from mlplatform.server.settings import Settings

#: What tokens open: the APIs. Pages are for browsers, which come by a link.
_APIS: Final = ("/api/", "/apis/")
_LONGEST: Final = 16_384


class Doors:
    """Implements ``access.Doors``."""

    def __init__(self, settings: Settings, reviews: Reviews) -> None:
        self._token = settings.token
        self._reviews = reviews

    async def admit(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """See ``access.Doors``. The server's own token is not for us to say."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or token == self._token or not scope["path"].startswith(_APIS):
            return False
        if len(token) > _LONGEST or not token.isascii():
            raise _unknown()
        verb = verb_of(scope["method"], scope["path"])
        name = await anyio.to_thread.run_sync(self._known, token, verb)
        scope.setdefault("state", {})["caller"] = name
        return True

    def _known(self, token: str, verb: str) -> str:
        try:
            person = self._reviews.who(token)
            if person is None:
                raise _unknown()
            if not self._reviews.may(person, verb):
                raise Refused(
                    403,
                    "FORBIDDEN",
                    f"{person.name} may not {verb} pipelineruns in this namespace",
                    "Whoever runs the cluster can give that right: a Role with this verb, bound to this user.",
                )
        except KubernetesError as error:
            message = f"the cluster could not be asked who this is: {error.message}"
            raise Refused(503, "UNAVAILABLE", message, "Try again in a moment.") from None
        return person.name


def _unknown() -> Refused:
    return Refused(
        401,
        "UNAUTHENTICATED",
        "the cluster does not know this token, or it was made for something else",
        f"kubectl create token NAME --audience {AUDIENCES[0]} makes one.",
    )
