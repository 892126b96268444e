"""Logs of pods, kept as files."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.objects import Key
from mlplatform.kube.wire import Stream
from mlplatform.sdk.kubernetes.logs import Logs

POD = Key("team", "run-abc-1")


class Pod:
    """What one request for a log gets."""

    @property
    def status(self) -> int:
        return 200

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def chunks(self) -> Iterator[bytes]:
        return self._parts

    def read(self) -> bytes:
        return b"".join(self._parts)

    def close(self) -> None:
        return None


class Kubelet(Client):
    """``written`` is what the pod has written; ``live`` brings more to those who follow, None ends it."""

    def __init__(self) -> None:
        self.written = b""
        self.live: queue.Queue[bytes | None] = queue.Queue()
        self.gone = False
        self.asked: list[bool] = []

    def logs(self, key: Key, *, container: str = "", follow: bool = False, tail: int | None = None) -> Stream:
        assert (key, container) == (POD, "main")
        self.asked.append(follow)
        if self.gone:
            raise ObjectNotFound("no such pod", status=404)
        return Pod(self._following() if follow else iter([self.written]))

    def _following(self) -> Iterator[bytes]:
        yield self.written
        while (part := self.live.get(timeout=30)) is not None:
            yield part


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not met():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


def read(folder: Path) -> bytes:
    place = folder / "task.log"
    return place.read_bytes() if place.exists() else b""


def test_the_log_of_an_ended_attempt_is_fetched_once(kubelet: Kubelet, tmp_path: Path) -> None:
    logs = Logs(kubelet)
    kubelet.written = b"one\ntwo\n"
    logs.ended(POD, tmp_path / "a")
    until(lambda: (tmp_path / "a" / "complete").exists())
    assert read(tmp_path / "a") == b"one\ntwo\n"
    logs.ended(POD, tmp_path / "a")
    logs.close()
    assert kubelet.asked == [False]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["complete", "task.log"]


def test_a_followed_log_grows_and_the_whole_one_begins_alike(kubelet: Kubelet, tmp_path: Path) -> None:
    logs = Logs(kubelet)
    kubelet.written = b"one\n"
    logs.follow(POD, tmp_path)
    logs.follow(POD, tmp_path)
    until(lambda: read(tmp_path) == b"one\n")
    kubelet.live.put(b"two\n")
    until(lambda: read(tmp_path) == b"one\ntwo\n")
    kubelet.live.put(None)
    until(lambda: not logs._followed)  # pyright: ignore[reportPrivateUsage]
    assert kubelet.asked == [True]
    kubelet.written = b"one\ntwo\nthree\n"
    logs.follow(POD, tmp_path)
    until(lambda: read(tmp_path) == b"one\ntwo\nthree\n")
    kubelet.live.put(None)
    logs.ended(POD, tmp_path)
    until(lambda: (tmp_path / "complete").exists())
    assert read(tmp_path) == b"one\ntwo\nthree\n"
    logs.close()


def test_a_pod_that_is_gone_leaves_what_was_kept(kubelet: Kubelet, tmp_path: Path) -> None:
    logs = Logs(kubelet)
    kubelet.written = b"one\n"
    logs.follow(POD, tmp_path)
    until(lambda: read(tmp_path) == b"one\n")
    kubelet.live.put(None)
    until(lambda: not logs._followed)  # pyright: ignore[reportPrivateUsage]
    kubelet.gone = True
    logs.ended(POD, tmp_path)
    until(lambda: len(kubelet.asked) == 2)
    logs.close()
    assert read(tmp_path) == b"one\n"
    assert not (tmp_path / "complete").exists()
