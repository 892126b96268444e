"""Where a task wants to run, compared with this one machine. Nothing here keeps it from running: it is told."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from mlplatform.core.errors import PlanningError
from mlplatform.core.values import JsonValue
from mlplatform.ir.kubernetes import KubernetesConfig, SelectorRequirement
from mlplatform.planning.sources import SourceValues

_ARCHITECTURES: Final = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def machine_labels() -> dict[str, str]:
    """The well-known node labels that this machine would have."""
    machine = platform.machine()
    os_name = platform.system().lower()
    arch = _ARCHITECTURES.get(machine, machine)
    found = {"hostname": platform.node(), "os": os_name, "arch": arch}
    return {f"kubernetes.io/{name}": value for name, value in found.items()} | {
        "beta.kubernetes.io/os": os_name,
        "beta.kubernetes.io/arch": arch,
    }


def placement_notes(config: KubernetesConfig, values: SourceValues, labels: Mapping[str, str]) -> list[str]:
    """What of the task's wishes about nodes this machine does not fulfil, or cannot know.

    Raises:
        PlanningError: a JSON source has no value or is of the wrong form.
    """
    notes: list[str] = []
    if config.node_selector is not None:
        wanted: Mapping[str, str] = config.node_selector.labels
        if config.node_selector.json is not None:
            wanted = _texts(values.value(config.node_selector.json, "the node selector"), "the node selector")
        for key, value in wanted.items():
            notes += _told(f"{key}={value}", [labels.get(key)] == [value], key in labels)
    for term in config.node_affinity:
        kind = "prefers" if term.weight is not None else "asks for"
        expressions: Iterable[SelectorRequirement] = (*term.match_expressions, *term.match_fields)
        if term.json is not None:
            _json(values.value(term.json, "the node affinity"), "the node affinity")
            notes.append(f"{kind} nodes by an affinity in JSON, which is not compared with this machine")
        for expression in expressions:
            met = matches(expression, labels)
            if not met:
                notes.append(f"{kind} a node where {_words(expression)}; this machine runs it all the same")
    for term in config.pod_affinity:
        verb = "away from" if term.anti else "near"
        notes.append(f"wants to be {verb} other pods ({term.topology_key or 'any topology'}): there is one machine")
    for index, toleration in enumerate(config.tolerations):
        if toleration.json is not None:
            _json(values.value(toleration.json, f"toleration {index}"), f"toleration {index}")
    return notes


def matches(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    """Kubernetes' node selector operators."""
    have = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return have in requirement.values
        case "NotIn":
            return have not in requirement.values
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt" | "Lt":
            try:
                mine, theirs = int(have or ""), int(requirement.values[0])
            except (ValueError, IndexError):
                return False
            return mine > theirs if requirement.operator == "Gt" else mine < theirs
        case _:
            return False


def _told(what: str, met: bool, known: bool) -> list[str]:
    if met:
        return []
    why = "this machine is another" if known else "this machine has no such label"
    return [f"asks for a node with {what}: {why}; it runs here all the same"]


def _words(requirement: SelectorRequirement) -> str:
    return " ".join(
        [requirement.key, requirement.operator, *([", ".join(requirement.values)] * bool(requirement.values))]
    )


def _json(value: JsonValue, what: str) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            raise PlanningError(f"{what} is not JSON") from None
    return value


def _texts(value: JsonValue, what: str) -> Mapping[str, str]:
    data = _json(value, what)
    if not isinstance(data, dict):
        raise PlanningError(f"{what} must be an object of texts")
    return {str(key): str(item) for key, item in cast("dict[str, Any]", data).items()}
