"""The rights of the operator of RecurringRuns are what it uses."""

from __future__ import annotations

import yaml

from mlplatform.cli.manifests import root
from mlplatform.kube.wire import Request
from tests.support.kube.faults import Recording
from tests.unit.controllers.recurringrun.test_recurring import Clockwork

Rights = set[tuple[str, str]]
FOR_OWNER_REFERENCES = {("update", "recurringruns.pipelines.mlplatform.dev/finalizers")}


def held() -> Rights:
    found: Rights = set()
    for body in yaml.safe_load_all((root() / "recurringrun" / "rights.yaml").read_text(encoding="utf-8")):
        for rule in body.get("rules") or ():
            [group] = rule["apiGroups"]
            for name in rule["resources"]:
                plural, _, part = name.partition("/")
                found |= {(verb, f"{plural}.{group}" + (f"/{part}" if part else "")) for verb in rule["verbs"]}
    return found


def test_each_verb_is_used_and_none_else() -> None:
    clock = Clockwork(intervalSeconds=60, successfulRunsHistoryLimit=1)
    recording = Recording(clock.fake)
    clock.operator = clock.start(recording)
    made: list[Request] = []

    def twice(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("/pipelineruns") and not made:
            made.append(request)
            assert clock.fake.send(request).status == 201

    clock.fake.before.append(twice)
    for seconds in (61, 122, 183):
        clock.at(seconds)
        clock.end()
    clock.operator.start(60)
    clock.operator.stop(30)
    assert recording.used - held() == set()
    assert held() - recording.used - FOR_OWNER_REFERENCES == set()
