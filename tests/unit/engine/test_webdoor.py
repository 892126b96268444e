"""The port of the pages: open from the beginning, a server behind it when somebody comes, the same port ever after."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from mlplatform.engine.home import Home
from mlplatform.engine.webdoor import WebDoor, default_port, server_pid, stop_server

#: Answers one connection with its pid, then leaves (or stays, holding the lock as a real server does).
ONE = """
import fcntl, os, socket, sys
lock = open(sys.argv[2] + "/server.lock", "ab")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.truncate(0); lock.write(str(os.getpid()).encode()); lock.flush()
listener = socket.socket(fileno=int(sys.argv[1]))
listener.setblocking(True)
while True:
    connection, _ = listener.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.close()
    if sys.argv[3] == "once":
        break
"""


def home_in(folder: Path) -> Home:
    home = Home(folder / "home")
    home.prepare()
    return home


def door_of(home: Home, how: str, knocks: list[float] | None = None) -> WebDoor:
    def command(number: int) -> list[str]:
        return [sys.executable, "-c", ONE, str(number), str(home.server), how]

    return WebDoor(home, command, (lambda: knocks.append(time.monotonic())) if knocks is not None else None)


def knock(port: int) -> int:
    """The pid of the server that answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        return int(connection.recv(100))


def with_loop(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 120))  # type: ignore[arg-type]


def test_nothing_runs_until_somebody_comes_and_again_after_it_left(tmp_path: Path) -> None:
    home, knocks = home_in(tmp_path), list[float]()

    async def work() -> None:
        door = door_of(home, "once", knocks)
        door.open()
        assert home.web_port() == door.port > 0
        await asyncio.sleep(0.2)
        assert (server_pid(home), knocks) == (0, [])
        first = await asyncio.to_thread(knock, door.port)
        second = await asyncio.to_thread(knock, door.port)
        assert first != second
        assert len(knocks) == 2
        door.close()

    with_loop(work)


def test_the_next_service_has_the_same_port(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    ports: list[int] = []

    async def work() -> None:
        door = door_of(home, "once")
        door.open()
        ports.append(door.port)
        door.close()

    for _ in range(3):
        with_loop(work)
    assert len(set(ports)) == 1
    assert default_port(home) == default_port(Home(home.root))


def test_a_taken_port_is_left_to_its_owner(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", default_port(home)))
        other.listen(1)

        async def work() -> None:
            door = door_of(home, "once")
            door.open()
            assert door.port not in (0, default_port(home))
            assert await asyncio.to_thread(knock, door.port) > 0
            door.close()

        with_loop(work)


def test_a_server_outlives_its_service_and_keeps_the_port(tmp_path: Path) -> None:
    home = home_in(tmp_path)

    async def work() -> None:
        first = door_of(home, "stay")
        first.open()
        port = first.port
        pid = await asyncio.to_thread(knock, port)
        first.close()  # the service is gone, the server is not
        assert server_pid(home) == pid
        assert await asyncio.to_thread(knock, port) == pid
        second = door_of(home, "once")
        second.open()
        assert second.port == port
        await asyncio.sleep(0.6)
        assert await asyncio.to_thread(knock, port) == pid
        stop_server(home)
        while server_pid(home) == pid:
            await asyncio.sleep(0.05)
        while True:  # until the new service has taken the port
            try:
                assert await asyncio.to_thread(knock, port) != pid
                break
            except OSError:
                await asyncio.sleep(0.05)
        second.close()

    with_loop(work)


def test_a_server_that_dies_at_once_is_not_started_for_ever(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    starts: list[int] = []

    async def work() -> None:
        def command(number: int) -> list[str]:
            starts.append(number)
            return [sys.executable, "-c", "raise SystemExit(3)"]

        door = WebDoor(home, command)
        door.open()
        with socket.create_connection(("127.0.0.1", door.port), timeout=30):
            await asyncio.sleep(4.0)
        door.close()

    with_loop(work)
    assert 1 <= len(starts) <= 6


def test_a_strangers_pid_is_not_believed(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    home.server.mkdir()
    (home.server / "server.lock").write_text(str(os.getpid()))
    assert server_pid(home) == 0
    before = signal.getsignal(signal.SIGTERM)
    stop_server(home)
    assert signal.getsignal(signal.SIGTERM) is before
