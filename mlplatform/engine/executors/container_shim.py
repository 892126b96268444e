"""Runs one container to its end, as a child of the launcher. Standard library only; started as a script with one
argument, the file that says what to run (it may hold secrets and is removed as soon as it was read).

Standing between launcher and engine it outlives the service: whatever becomes of that, the container is stopped when
the attempt is cancelled, removed when it has ended, and why it failed is written down for the service.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from types import FrameType
from typing import Any

#: Statuses by which the clients of Docker and Podman speak of themselves.
ENGINE_FAILED, CANNOT_INVOKE, NOT_FOUND = 125, 126, 127
#: The status of a process ended by SIGKILL, as a shell tells it.
KILLED = 137
_TAIL = 4096
#: Folders in memory.
_MEMORY = ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR", ""))  # noqa: S108 - the folder made there is private


class Shim:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.engine: str = plan["engine"]
        self.name: str = plan["name"]
        self.env: dict[str, str] = {**plan["client_env"], **plan["env"]}
        self.stopping = False
        self.private: list[str] = []

    def run(self) -> int:
        """Run the container and give the status to end with."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.stop)
        start = os.path.getsize(self.plan["log"]) if os.path.exists(self.plan["log"]) else 0
        try:
            options = [*self.plan["options"], *self.owner(), *self.files()]
            words = [self.engine, *options, *self.plan["rest"]]
            stdin = None if self.plan.get("interactive") else subprocess.DEVNULL
            process = subprocess.Popen(words, stdin=stdin, env=self.env)
            status = self.wait(process)
            self.explain(status, start)
        finally:
            self.clean()
        return status if 0 <= status < 256 else 128 + abs(status)

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait()
            except InterruptedError:
                continue

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Cancelled: the container gets its grace, then is killed."""
        if not self.stopping:
            self.stopping = True
            words = [self.engine, "stop", "--time", str(self.plan["grace"]), self.name]
            subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env
            )

    # -------------------------------------------------------------- parts
    def owner(self) -> list[str]:
        """A label that tells a container whose shim is gone from one that is looked after."""
        return ["--label", f"{self.plan['owner_label']}={os.getpid()} {self.plan['boot']}"]

    def files(self) -> list[str]:
        """Secrets and config maps as files: in memory where the system has such a place, gone with the container."""
        words: list[str] = []
        for mount in self.plan["files"]:
            folder = tempfile.mkdtemp(prefix="mlplatform-", dir=next(filter(_usable, _MEMORY), None))
            self.private.append(folder)
            for name, text in mount["files"].items():
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
                    file.write(text)
            words += ["--volume", f"{folder}:{mount['target']}:ro"]
        return words

    def explain(self, status: int, start: int) -> None:
        """Write down what an exit status alone does not say."""
        if status == 0 or self.stopping:
            return
        state = self.state()
        told = reason(status, state, self.plan, _tail(self.plan["log"], start))
        if told is not None:
            with open(self.plan["error"], "w", encoding="utf-8") as file:
                json.dump(told, file)

    def state(self) -> dict[str, Any]:
        words = [self.engine, "inspect", "--type", "container", "--format", "{{json .State}}", self.name]
        told = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, env=self.env, check=False)
        try:
            return json.loads(told.stdout) or {}
        except ValueError:
            return {}

    def clean(self) -> None:
        words = [self.engine, *self.plan["remove"], self.name]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, env=self.env, check=False)
        for folder in self.private:
            shutil.rmtree(folder, ignore_errors=True)


def reason(status: int, state: dict[str, Any], plan: dict[str, Any], tail: str) -> dict[str, str] | None:
    """The error of a container that failed, where there is more to say than its exit status."""
    image = plan["image"]
    limit = plan.get("memory")
    size = f" (limit {limit >> 20} MiB)" if limit else ""
    if state.get("OOMKilled"):
        return _error("OUT_OF_MEMORY", f"the container ran out of memory{size}", "Raise the task's memory limit.")
    if status == KILLED and limit:  # older engines do not tell why
        text = f"the container was ended by SIGKILL: most likely it ran out of memory{size}"
        return _error("OUT_OF_MEMORY", text, "Raise the task's memory limit.")
    started = bool(state) and not str(state.get("StartedAt", "")).startswith("0001")
    words = str(state.get("Error") or "") or tail
    if status in (CANNOT_INVOKE, NOT_FOUND) and not started:
        command = plan["command"] or "its entry point"
        verb = "cannot be started" if status == CANNOT_INVOKE else "is not there"
        text = f"{command} {verb} in the image {image}"
        return _error("TASK_FAILED", text, "Check the component's command, or choose an image that has it.")
    if status == ENGINE_FAILED and not started:
        return _error("ENVIRONMENT", f"the container could not be started: {words}", "See the task's log for more.")
    if status >= 128 or status < 0:
        number = status - 128 if status >= 128 else -status
        try:
            name = signal.Signals(number).name
        except ValueError:
            return None
        return _error("TASK_FAILED", f"the container was ended by {name}", "")
    return _error("TASK_FAILED", f"the container ended with exit status {status}", "")


def _error(code: str, message: str, hint: str) -> dict[str, str]:
    return {"code": code, "message": message, "hint": hint}


def _usable(place: str) -> bool:
    return bool(place) and os.path.isdir(place) and os.access(place, os.W_OK)


def _tail(log: str, start: int) -> str:
    """The last line the client wrote."""
    try:
        with open(log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(start, size - _TAIL))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""


def main() -> int:
    with open(sys.argv[1], encoding="utf-8", errors="surrogatepass") as file:
        plan = json.load(file)
    os.unlink(sys.argv[1])
    return Shim(plan).run()


if __name__ == "__main__":
    sys.exit(main())
