"""A real Kueue beside a cluster of ours: its manager (``tests.cluster.kueue_program``), its kinds, its webhooks."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.binaries import CannotBuild
from tests.cluster.certificates import Authority
from tests.cluster.cluster import Cluster
from tests.cluster.components import free_port
from tests.cluster.kueue_program import MODULE, VERSION, go, program
from tests.cluster.network import CannotRun

Object = dict[str, Any]

#: The one kind whose Workloads are made by us.
EXTERNAL = "TrainingJob.v1alpha1.training.mlplatform.dev"
_WEBHOOKS = ("workload", "clusterqueue", "cohort", "resourceflavor")
#: Kinds whose older version looks different.
_CONVERTED = ("clusterqueues", "cohorts", "localqueues", "multikueueclusters", "workloads")
_HERE = "127.0.0.1"


@lru_cache(maxsize=1)
def _sources() -> Path:
    """The module's folder: its kinds and webhooks are told there."""
    done = subprocess.run(
        [go(), "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise CannotBuild(f"{MODULE}@{VERSION} cannot be had: {done.stdout[-2000:]}")
    return Path(json.loads(done.stdout)["Dir"])


class Kueue:
    """A manager for one cluster of ours (one with a folder). It needs a user who may mount: it reads a certificate
    from a fixed place below /etc, which it gets of its own."""

    def __init__(self, cluster: Cluster) -> None:
        if cluster.folder is None:
            raise CannotRun("Kueue is started for a cluster of ours only")
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            raise CannotRun("needs root, to give Kueue a folder /etc of its own")
        self._program = program()
        self._cluster = cluster
        self._folder = cluster.folder / "kueue"
        self._process: subprocess.Popen[bytes] | None = None
        authority = Authority(cluster.folder / "pki")
        pair = authority.issue("kueue", "kueue", names=[_HERE])
        certificates = self._folder / "etc" / "kueue" / "metrics" / "certs"
        certificates.mkdir(parents=True)
        for name, path in (("tls.crt", pair.certificate), ("tls.key", pair.key)):
            shutil.copy(path, certificates / name)
        self._ca = base64.b64encode(authority.certificate.read_bytes()).decode()
        self._ports = {name: free_port(_HERE) for name in ("webhook", "health", "metrics")}
        self._install()

    def _install(self) -> None:
        """Its kinds, and the webhooks of those."""
        config, api = _sources() / "config" / "components", self._cluster.api
        kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        names: list[str] = []
        for path in sorted((config / "crd" / "bases").glob("*.yaml")):
            body: Object = yaml.safe_load(path.read_text(encoding="utf-8"))
            if body["spec"]["names"]["plural"] in _CONVERTED:
                hook = {"clientConfig": self._client("/convert"), "conversionReviewVersions": ["v1"]}
                body["spec"]["conversion"] = {"strategy": "Webhook", "webhook": hook}
            names.append(body["metadata"]["name"])
            api.apply(f"{kinds}/{names[-1]}", body)
        for name in names:
            api.wait(f"{kinds}/{name}", _established)
        text = (config / "webhook" / "manifests.yaml").read_text(encoding="utf-8")
        for body in yaml.safe_load_all(text):
            hooks = [one for one in body["webhooks"] if one["name"][1:].partition(".")[0] in _WEBHOOKS]
            for hook in hooks:
                hook["clientConfig"] = self._client(hook["clientConfig"]["service"]["path"])
            body["webhooks"] = hooks
            plural = f"{body['kind'].lower()}s"
            body["metadata"]["name"] = f"kueue-{body['metadata']['name']}"
            api.apply(f"/apis/admissionregistration.k8s.io/v1/{plural}/{body['metadata']['name']}", body)

    def _client(self, path: str) -> Object:
        return {"url": f"https://{_HERE}:{self._ports['webhook']}{path}", "caBundle": self._ca}

    def start(self, **settings: Any) -> None:
        """``settings``: of its configuration (waitForPodsReady, say)."""
        etc = self._folder / "etc"
        config: Object = {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": "kueue-system",
            "health": {"healthProbeBindAddress": f"{_HERE}:{self._ports['health']}"},
            "metrics": {"bindAddress": f"{_HERE}:{self._ports['metrics']}"},
            "webhook": {"host": _HERE, "port": self._ports["webhook"], "certDir": "/etc/kueue/metrics/certs"},
            "internalCertManagement": {"enable": False},
            "leaderElection": {"leaderElect": False},
            "integrations": {"frameworks": ["batch/job"], "externalFrameworks": [EXTERNAL]},
            "featureGates": {"VisibilityOnDemand": False},
            **settings,
        }
        (self._folder / "config.json").write_text(json.dumps(config))
        script = 'mount --bind "$0" /etc && exec "$@"'
        command = [str(self._program), "--config", str(self._folder / "config.json"), "--zap-log-level=2"]
        environment = {**os.environ, "KUBECONFIG": str(self._cluster.kubeconfig)}
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(etc), *command],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._await_ready()

    def _await_ready(self) -> None:
        """It answers for its kinds: the one question that goes through its webhook and changes nothing."""
        flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "nobody"}}
        end = time.monotonic() + 120
        while True:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                raise CannotRun(f"Kueue does not start:\n{self.log[-3000:]}")
            try:
                self._cluster.api.create("/apis/kueue.x-k8s.io/v1beta2/resourceflavors?dryRun=All", flavor)
                return
            except Exception:
                time.sleep(0.2)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None


def _established(crd: Mapping[str, Any]) -> bool:
    conditions: list[Object] = (crd.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)
