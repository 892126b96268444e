"""Secrets: named in pipelines, never written into them."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import re
from typing import Any, Final

from mlplatform.core.errors import InvalidInput
from mlplatform.sdk.define import scope
from mlplatform.sdk.define.channels import misuse
from mlplatform.sdk.define.where import user_line

#: The Kubernetes secret whose keys are the secrets of ``ml.secret``.
STORE: Final = "mlplatform"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Secret:
    """Stands for a secret in a pipeline; a task gets the text itself when it runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.variable = f"MLPLATFORM_SECRET_{name}"

    def __repr__(self) -> str:
        return f"<secret {self.name}>"

    def __str__(self) -> str:
        raise misuse(f"secret {self.name!r}", "become text", "Pass it to a component: train(token=ml.secret(...)).")

    def __format__(self, spec: str) -> str:
        return self.__str__()

    def ask_for(self, task: Any) -> None:
        """Have the task get it: as KFP says it, a key of a Kubernetes secret as an environment variable."""
        wanted = task._settings.platform.setdefault("kubernetes", {}).setdefault("secretAsEnv", [])
        entry = {
            "secretName": STORE,
            "keyToEnv": [{"secretKey": self.name, "envVar": self.variable}],
            "secretNameParameter": {"runtimeValue": {"constant": STORE}},
            "optional": False,
        }
        if entry not in wanted:
            wanted.append(entry)


def secret(name: str) -> Any:
    """A secret by name: in a pipeline function what stands for it, elsewhere its text.

    Its text is the environment variable ``name`` of who starts the run, or the entry ``name`` of ``secrets.json`` in
    the home folder (a JSON object, mode 0600). On a cluster: the key ``name`` of the Kubernetes secret ``mlplatform``.

    Raises:
        InvalidInput: the name cannot be one, or there is no such secret.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} cannot be the name of a secret: use letters, digits and underscores.")
    if scope.current() is not None:
        return Secret(name)
    from mlplatform.sdk.secretstore import find_secret

    return find_secret(name)


def refuse_secret(name: str, value: Any) -> None:
    """Raises InvalidInput for a value that looks like a secret, or is called one. The text is in no message."""
    if not isinstance(value, (str, list, dict)):
        return
    from mlplatform.capture.secrets import in_value

    told = next(iter(in_value(name, value)), "")
    if told:
        place = user_line().partition(":")[0]
        variable = re.sub(r"\W+", "_", name).upper() or "NAME"
        raise InvalidInput(
            f"The value of {told}{f' ({place})' if place else ''}: it would be stored with the run, for "
            "everybody to read.",
            hint=f"Set the environment variable {variable} and pass ml.secret({variable!r}) in the pipeline function.",
        )
