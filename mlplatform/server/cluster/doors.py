"""Who comes in where the server is one of a cluster: bearers of tokens that the API server knows, with the rights that
they have there; and pods of tasks, which may go nowhere but to what is meant for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import anyio.to_thread
from starlette.types import Scope

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.callers import CALLER
from mlplatform.kube.objects import Resource
from mlplatform.server.access import Refused
from mlplatform.server.cluster.pods import PodCaller, Pods
from mlplatform.server.cluster.reviews import AUDIENCES, Reviews, kind_of, verb_of
from mlplatform.server.settings import Settings

#: Where a token comes along when the API server passes a request on: it keeps ``Authorization`` to itself.
PASSED_ON: Final = "x-mlplatform-authorization"
#: What tokens open: the APIs, MLflow's too. Pages are for browsers, which come by a link.
_APIS: Final = ("/api/", "/apis/", "/mlflow/")
#: For pods alone, known by their own tokens.
PODS_ONLY: Final = "/api/v1/pods/"
#: Below it tasks log; they show what they were given for that (``api.pods``), which the API server does not know.
LOGGING: Final = "/api/v1/pods/mlflow/"
_LONGEST: Final = 16_384


class Doors:
    """Implements ``access.Doors``."""

    def __init__(self, settings: Settings, reviews: Reviews, pods: Pods) -> None:
        self._token = settings.token
        self._reviews = reviews
        self._pods = pods

    async def admit(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """See ``access.Doors``. The server's own token is not for us to say."""
        if scope["path"].startswith(LOGGING):
            return True
        passed_on = headers.get(PASSED_ON, "")
        scheme, _, token = (passed_on or headers.get("authorization", "")).partition(" ")
        token = token.strip()
        if scope["path"].startswith(PODS_ONLY):
            if scheme.lower() != "bearer" or not token or len(token) > _LONGEST or not token.isascii():
                raise _unknown_pod()
            pod = await anyio.to_thread.run_sync(self._pod, token)
            scope.setdefault("state", {})["caller"] = f"pod {pod.namespace}/{pod.pod}"
            scope["state"]["pod"] = pod
            return True
        if scheme.lower() != "bearer" or not token or token == self._token:
            return False
        if not passed_on and not scope["path"].startswith(_APIS):
            return False  # with what is passed on, pages too: the name they are asked by is the API server's
        if len(token) > _LONGEST or not token.isascii():
            raise _unknown()
        verb = verb_of(scope["method"], scope["path"])
        name = await anyio.to_thread.run_sync(self._known, token, verb, kind_of(scope["path"]))
        scope.setdefault("state", {})["caller"] = name
        CALLER.set(name)  # what is changed is changed in their name
        return True

    def _pod(self, token: str) -> PodCaller:
        try:
            found = self._pods.of(token)
        except KubernetesError as error:
            message = f"the cluster could not be asked which pod this is: {error.message}"
            raise Refused(503, "UNAVAILABLE", message, "Try again in a moment.") from None
        if found is None:
            raise _unknown_pod()
        return found

    def _known(self, token: str, verb: str, kind: Resource) -> str:
        try:
            person = self._reviews.who(token)
            if person is None:
                raise _unknown()
            if not self._reviews.may(person, verb, kind):
                raise Refused(
                    403,
                    "FORBIDDEN",
                    f"{person.name} may not {verb} {kind.plural} in this namespace",
                    "Whoever runs the cluster can give that right: a Role with this verb, bound to this user.",
                )
        except KubernetesError as error:
            message = f"the cluster could not be asked who this is: {error.message}"
            raise Refused(503, "UNAVAILABLE", message, "Try again in a moment.") from None
        return person.name


def _unknown_pod() -> Refused:
    return Refused(401, "UNAUTHENTICATED", "this address is for pods of runs, by the token that each of them has")


def _unknown() -> Refused:
    return Refused(
        401,
        "UNAUTHENTICATED",
        "the cluster does not know this token, or it was made for something else",
        f"kubectl create token NAME --audience {AUDIENCES[0]} makes one.",
    )
