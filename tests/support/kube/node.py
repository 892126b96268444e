"""A node without containers: pods of tasks run as processes of this machine, through the launcher that real pods have.

The pods are what the controller made: their request, variables, claims and secrets count. What only a container has (an
image, mounts at absolute paths, a user) does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlplatform.apis.times import told_time
from mlplatform.kube.client import Client
from mlplatform.kube.objects import CONFIG_MAPS, PODS, Key, Object, key_of

BASE = "/var/run/mlplatform"
ROOT = Path(__file__).parents[3]


@dataclass
class Node:
    """``secrets`` and ``config_maps``: by name. ``claims``: folder of each claim. ``cwd``: where relative paths of
    commands lead. ``env``: variables that an image would have."""

    client: Client
    folder: Path
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    workdir: Path | None = None
    width: int = 4
    running: dict[str, tuple[Key, subprocess.Popen[bytes], Path]] = field(default_factory=dict[str, Any])
    logs: dict[str, Path] = field(default_factory=dict[str, Any])
    started: list[str] = field(default_factory=list[str])

    # ------------------------------------------------------------------ a moment
    def step(self) -> bool:
        """Start what can start, report what has ended. True: something changed."""
        changed = False
        for uid, (key, process, place) in list(self.running.items()):
            if process.poll() is not None:
                del self.running[uid]
                self._ended(key, uid, process.returncode, place)
                changed = True
        for pod in self.client.list(PODS, "default").items:
            uid = pod["metadata"]["uid"]
            deleting = pod["metadata"].get("deletionTimestamp")
            if deleting and uid in self.running:
                self.running[uid][1].terminate()
            if pod["status"].get("phase", "Pending") != "Pending" or uid in self.running:
                continue
            if deleting:
                self._status(key_of(pod), uid, "Failed", {"exitCode": 137, "reason": "Deleted"})
            elif len(self.running) < self.width:
                self._start(pod)
            changed = True
        return changed

    def read_log(self, namespace: str, pod: str, container: str, lines: int) -> list[str]:
        return self.logs[pod].read_text(encoding="utf-8").splitlines()[-lines:]

    def close(self) -> None:
        for _, process, _ in self.running.values():
            process.kill()
            process.wait()

    # ------------------------------------------------------------------ pods
    def _start(self, pod: Object) -> None:
        key, uid = key_of(pod), pod["metadata"]["uid"]
        place = self.folder / key.name
        place.mkdir(parents=True)
        self.logs[key.name] = place / "pod.log"
        self.started.append(key.name)
        main = pod["spec"]["containers"][0]
        problem = self._mounts(pod, main, place)
        env, missing = self._variables(pod, main)
        if problem or missing:
            waiting = {"reason": "CreateContainerConfigError", "message": problem or missing}
            self._write(key, uid, "Pending", {"waiting": waiting})
            return
        request = env.pop("MLPLATFORM_REQUEST", "")
        if not request:
            name = next(v["configMap"]["name"] for v in pod["spec"]["volumes"] if v["name"] == "mlplatform-request")
            request = self.client.get(CONFIG_MAPS, Key(key.namespace, name))["data"]["request.json"]
        request = request.replace(BASE, str(place))
        file = place / "request.json"
        file.write_text(request, encoding="utf-8")
        env |= {
            "MLPLATFORM_REQUEST_FILE": str(file),
            "MLPLATFORM_POD_BASE": str(place),
            "MLPLATFORM_TERMINATION_LOG": str(place / "termination-log"),
            "PYTHONPATH": str(ROOT),
        }
        with open(place / "pod.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlplatform.launcher.pod", "run"],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=place,
            )
        self.running[uid] = (key, process, place)
        self._write(key, uid, "Running", {"running": {}})

    def _mounts(self, pod: Object, main: Object, place: Path) -> str:
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for mount in main["volumeMounts"]:
            claim = volumes[mount["name"]].get("persistentVolumeClaim")
            if claim and mount["mountPath"].startswith(BASE):
                folder = self.folder / "claims" / claim["claimName"] / mount.get("subPath", "")
                folder.mkdir(parents=True, exist_ok=True)
                (place / mount["mountPath"][len(BASE) + 1 :]).symlink_to(folder)
        return ""

    def _variables(self, pod: Object, main: Object) -> tuple[dict[str, str], str]:
        bin_folder = str(Path(sys.executable).parent)
        env = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        env |= self.env
        if extra := env.pop("EXTRA_PATH", ""):
            env["PATH"] = f"{extra}:{env['PATH']}"
        for entry in main["env"]:
            if "value" in entry:
                env[entry["name"]] = entry["value"].replace("$$", "$")
                continue
            source = entry["valueFrom"]
            for kind, table, word in (
                ("secretKeyRef", self.secrets, "secret"),
                ("configMapKeyRef", self.config_maps, "configmap"),
            ):
                if kind in source:
                    reference = source[kind]
                    found = table.get(reference["name"])
                    if found is None and not reference.get("optional"):
                        return env, f'{word} "{reference["name"]}" not found'
                    if found is not None and reference["key"] in found:
                        env[entry["name"]] = found[reference["key"]]
            if "fieldRef" in source:
                env[entry["name"]] = _field(pod, source["fieldRef"]["fieldPath"])
        return env, ""

    def _ended(self, key: Key, uid: str, code: int, place: Path) -> None:
        file = place / "termination-log"
        message = file.read_text(encoding="utf-8") if file.exists() else ""
        assert len(message) <= 4096, "more than a kubelet reads"
        if not message and code:
            message = (place / "pod.log").read_text(encoding="utf-8", errors="replace")[-2000:]
        ended = {"exitCode": code & 0xFF, "reason": "Error" if code else "Completed", "message": message}
        self._status(key, uid, "Failed" if code else "Succeeded", ended)

    def _status(self, key: Key, uid: str, phase: str, ended: dict[str, Any]) -> None:
        self._write(key, uid, phase, {"terminated": {**ended, "finishedAt": told_time(1_700_000_000.0)}})

    def _write(self, key: Key, uid: str, phase: str, state: dict[str, Any]) -> None:
        pod = self.client.get(PODS, key)
        if pod["metadata"]["uid"] != uid:
            return
        main: dict[str, Any] = {"name": "main", "state": state}
        if "waiting" not in state:  # every name stands for one image
            image = pod["spec"]["containers"][0]["image"]
            main["imageID"] = f"{image}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"
        status = {"phase": phase, "containerStatuses": [main]}
        self.client.replace_status(PODS, {**pod, "status": {**pod.get("status", {}), **status}})


def _field(pod: Object, path: str) -> str:
    meta = pod["metadata"]
    for kind in ("labels", "annotations"):
        if path.startswith(f"metadata.{kind}['"):
            return str(meta.get(kind, {}).get(path[len(f"metadata.{kind}['") : -2], ""))
    known = {"metadata.name": meta["name"], "metadata.namespace": meta["namespace"], "metadata.uid": meta["uid"]}
    return str(known.get(path) or json.dumps(path))
