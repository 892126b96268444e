"""The manifests of ``operators/``: kustomizations put together as ``kubectl kustomize`` does it, without kubectl.

Only what our own kustomizations use is understood (``resources``, JSON ``patches``); anything else is an error that
names it, so nothing is lost silently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import yaml

from mlplatform.core.errors import InternalError, InvalidInput
from mlplatform.kube.objects import BUILT_IN, Object, Resource, metadata

#: The namespace that the manifests name.
NAMESPACE: Final = "mlplatform-system"
#: The namespace whose runs the server of the manifests serves.
SERVED: Final = "default"
#: Parts that may be left out, and the operator's or server's variable by which the others know of them.
OPTIONAL: Final = {"server": "MLPLATFORM_SERVER", "mlflow": "MLPLATFORM_MLFLOW"}
#: Images are called so in the manifests, and as values of variables.
IMAGE_PREFIX: Final = "mlplatform/"

_MLFLOW: Final = "mlplatform-mlflow"
_UNDERSTOOD: Final = {"apiVersion", "kind", "resources", "patches"}
_KINDS: Final = {(one.api_version, one.kind): one for one in BUILT_IN}


def root() -> Path:
    """Where the manifests lie: in the package, or beside its sources."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "operators", package.parent / "operators"):
        if (place / "base" / "kustomization.yaml").is_file():
            return place
    raise InternalError("The manifests of the operators are missing from this installation.")


def variants(folder: Path | None = None) -> dict[str, Path]:
    """``base`` and the overlays by name."""
    where = folder or root()
    overlays = sorted(one.parent for one in (where / "overlays").glob("*/kustomization.yaml"))
    return {"base": where / "base", **{one.name: one for one in overlays}}


def load(folder: Path) -> list[Object]:
    """The objects of a kustomization, in the order in which they are to be made. Raises InternalError, InvalidInput."""
    objects = _load(folder.resolve())
    order = {(one.api_version, one.kind): place for place, one in enumerate(BUILT_IN)}
    strange = sorted({str(body.get("kind")) for body in objects} - {kind for _, kind in order})
    if strange:
        raise InvalidInput(
            f"{folder} has objects of a kind that is not installed from here: {', '.join(strange)}.",
            hint="Apply it with: kubectl apply -k",
        )
    return sorted(objects, key=lambda body: order[body["apiVersion"], body["kind"]])


def resource_of(body: Mapping[str, Any]) -> Resource:
    return _KINDS[body["apiVersion"], body["kind"]]


def adapted(objects: Sequence[Object], *, namespace: str, images: Mapping[str, str]) -> list[Object]:
    """The objects in another namespace, with real images (``operator`` -> its reference)."""

    def text(value: str) -> str:
        if value.startswith(IMAGE_PREFIX) and value.removeprefix(IMAGE_PREFIX) in images:
            return images[value.removeprefix(IMAGE_PREFIX)]
        return value.replace(NAMESPACE, namespace)

    return [_mapped(body, text) for body in objects]


def without(objects: Sequence[Object], parts: Sequence[str]) -> list[Object]:
    """The objects without these of ``OPTIONAL``; what is left does not look for them."""
    gone = {f"mlplatform-{part}" for part in parts}
    left = [body for body in objects if metadata(body).get("labels", {}).get("app.kubernetes.io/name") not in gone]
    variables = {OPTIONAL[part] for part in parts}
    return [_each_environment(body, lambda env: [one for one in env if one["name"] not in variables]) for body in left]


def with_mlflow(objects: Sequence[Object], url: str) -> list[Object]:
    """The objects with an MLflow that is somewhere already, instead of one of ours."""
    variable = OPTIONAL["mlflow"]

    def told(env: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"name": variable, "value": url} if one["name"] == variable else one for one in env]

    theirs = [_each_environment(body, told) for body in objects]
    return [body for body in theirs if metadata(body).get("labels", {}).get("app.kubernetes.io/name") != _MLFLOW]


def serving(objects: Sequence[Object], namespace: str) -> list[Object]:
    """The objects with a server that serves the runs of ``namespace``."""
    flag = f"--namespace={SERVED}"

    def text(value: str) -> str:
        return f"--namespace={namespace}" if value == flag else value

    found: list[Object] = []
    for body in objects:
        meta = metadata(body)
        moved = {**body, "metadata": {**meta, "namespace": namespace}} if meta.get("namespace") == SERVED else body
        if subjects := body.get("subjects"):  # those who live there move along
            there = [{**one, "namespace": namespace} if one.get("namespace") == SERVED else one for one in subjects]
            moved = {**moved, "subjects": there}
        found.append(_mapped(moved, text))
    return found


def _each_environment(body: Object, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Object:
    if body["kind"] != "Deployment":
        return body
    copied = copy.deepcopy(body)
    for container in copied["spec"]["template"]["spec"]["containers"]:
        if "env" in container:
            container["env"] = change(container["env"])
    return copied


def image_names(objects: Sequence[Object]) -> list[str]:
    """The images of ours that the objects name: ``launcher``, ``operator`` ..."""
    found: set[str] = set()

    def look(value: str) -> str:
        if value.startswith(IMAGE_PREFIX):
            found.add(value.removeprefix(IMAGE_PREFIX))
        return value

    for body in objects:
        _mapped(body, look)
    return sorted(found)


def dumped(objects: Sequence[Object]) -> str:
    """As YAML, for ``kubectl apply -f -``."""
    return yaml.safe_dump_all(objects, sort_keys=False, width=120)


def _mapped(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {key: _mapped(inner, text) for key, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_mapped(inner, text) for inner in cast("list[Any]", value)]
    return value


def _load(folder: Path) -> list[Object]:
    place = folder / "kustomization.yaml"
    said: dict[str, Any] = yaml.safe_load(place.read_text(encoding="utf-8"))
    unknown = sorted(set(said) - _UNDERSTOOD)
    if unknown:
        raise InternalError(f"{place} has {', '.join(unknown)}, which is not understood here.")
    objects: list[Object] = []
    for name in said.get("resources") or ():
        path = (folder / name).resolve()
        if path.is_dir():
            objects += _load(path)
        else:
            objects += [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
    for patch in said.get("patches") or ():
        target, operations = patch["target"], yaml.safe_load(patch["patch"])
        hit = [one for one in objects if _is(one, target)]
        if not hit or not isinstance(operations, list):
            raise InternalError(f"{place}: a patch that hits nothing, or is not a list of operations: {target}")
        for body in hit:
            _patch(body, cast("list[dict[str, Any]]", operations))
    return objects


def _is(body: Object, target: Mapping[str, str]) -> bool:
    return body["kind"] == target.get("kind", body["kind"]) and metadata(body)["name"] == target.get(
        "name", metadata(body)["name"]
    )


def _patch(body: Object, operations: Sequence[Mapping[str, Any]]) -> None:
    """JSON patch (RFC 6902): add, replace, remove."""
    for operation in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        holder: Any = body
        for part in way:
            holder = cast("Any", holder[int(part)] if isinstance(holder, list) else holder[part])
        value = copy.deepcopy(operation.get("value"))
        if isinstance(holder, list):
            items = cast("list[Any]", holder)
            if operation["op"] == "add":
                items.insert(len(items) if last == "-" else int(last), value)
                continue
            del items[int(last)]
            if operation["op"] == "replace":
                items.insert(int(last), value)
        elif operation["op"] == "remove":
            del holder[last]
        else:
            holder[last] = value


def image_options(given: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """``PART=REFERENCE`` of the command line. Raises InvalidInput."""
    images: dict[str, str] = {}
    for one in given:
        part, _, reference = one.partition("=")
        if part not in known or not reference:
            raise InvalidInput(f"--image {one} is not PART=REFERENCE.", hint=f"Parts: {', '.join(known)}.")
        images[part] = reference
    return images
