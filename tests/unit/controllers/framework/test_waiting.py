"""Statuses that wait to be written: of which object as it was when, and since when."""

from __future__ import annotations

from mlplatform.controllers.framework.waiting import Waiting
from mlplatform.kube.objects import Key, Object

A = Key("default", "a")


def body(version: str, uid: str = "u") -> Object:
    return {"metadata": {"namespace": "default", "name": "a", "uid": uid, "resourceVersion": version}}


def test_it_is_of_the_object_as_it_was() -> None:
    waiting = Waiting()
    assert waiting.of(body("1")) is None
    assert waiting.wait(A, body("1"), {"phase": "x"}, 10.0) == 10.0
    assert waiting.of(body("1")) == {"phase": "x"}
    # somebody changed the object: what was decided for the old one is not planned from
    assert waiting.of(body("2")) is None
    # ... but it has not waited less for that
    assert waiting.wait(A, body("2"), {"phase": "y"}, 11.0) == 10.0
    assert waiting.of(body("2")) == {"phase": "y"}


def test_another_object_of_that_name_begins_anew() -> None:
    waiting = Waiting()
    waiting.wait(A, body("1"), {"phase": "x"}, 10.0)
    assert waiting.of(body("1", uid="v")) is None
    assert waiting.wait(A, body("3", uid="v"), {"phase": "y"}, 12.0) == 12.0
    waiting.done(A)
    assert waiting.of(body("3", uid="v")) is None
    waiting.done(A)


def test_what_somebody_asks_for_has_waited_long_enough() -> None:
    waiting = Waiting()
    waiting.hurry(A)
    assert len(waiting) == 0
    waiting.wait(A, body("1"), {"phase": "x"}, 10.0)
    waiting.hurry(A)
    assert waiting.wait(A, body("1"), {"phase": "y"}, 11.0) == float("-inf")
    assert len(waiting) == 1
