"""One case of the KFP conformance suite on a real cluster: what ``check.py`` runs in place of ``mlplatform run``.

    python -m tests.conformance.on_cluster FILE --params P.json --home DIR [--setup S.json] --output json

The pipeline becomes a PipelineRun in a namespace of the home folder's own; the report is made from what the API server
then says of it. What a case takes from the machine it runs on (files of its folder, programs in its ``bin``) is mounted
into pods by an admission policy of the tests (``policy``), since no pipeline says so itself; such a namespace cannot
forbid paths of the node, every other enforces the restricted pod security standard.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplatform.core.errors import MlPlatformError
from mlplatform.ir.package import read_file
from mlplatform.sdk.kubernetes.reading import read_objects, records_of
from mlplatform.sdk.report import refusal, run_report
from tests.cluster.api import Object, Refused
from tests.cluster.cluster import Cluster

LABEL = "mlplatform.test/conformance"
FOLDER = "mlplatform.test/folder"
#: What the harness tells: cluster's folder, store (``spec.store`` without the run's own part), the bucket on disk.
VARIABLE = "MLPLATFORM_CONFORMANCE_CLUSTER"
_API = "/apis/pipelines.mlplatform.dev/v1alpha1/namespaces"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main() -> int:
    """Exit status as the command's: 0 for SUCCEEDED."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--setup", type=Path)
    parser.add_argument("--output")
    given = parser.parse_args()
    setup: dict[str, Any] = json.loads(given.setup.read_text(encoding="utf-8")) if given.setup else {}
    try:
        report = Case(given.file, json.loads(given.params.read_text(encoding="utf-8")), given.home, setup).run()
    except MlPlatformError as error:
        report = refusal(error)
    print(json.dumps(report))
    return 0 if report["state"] == "SUCCEEDED" else 1


class Case:
    """One run of one case."""

    def __init__(self, file: Path, parameters: Mapping[str, Any], home: Path, setup: Mapping[str, Any]) -> None:
        told = json.loads(os.environ[VARIABLE])
        self.cluster = Cluster.find(Path(told["cluster"]))
        self.store, self.bucket = told["store"], Path(told["bucket"])
        self.document = read_file(file).data.decode()  # what is no text at all never leaves this machine
        self.parameters, self.home, self.setup = parameters, home, setup
        self.folder = home.parent
        self.namespace = f"conf-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"
        self.runs = f"{_API}/{self.namespace}/pipelineruns"

    def run(self) -> dict[str, Any]:
        """The report. Raises what the client's side refuses."""
        reaches = self._reaches_the_machine()
        self._namespace(reaches)
        env = self._environment() if reaches else {}
        spec = {"document": self.document, "parameters": self.parameters, "env": _pairs(env)}
        spec["store"] = {**self.store, "uri": f"{self.store['uri']}/{self.namespace}"}
        spec["artifacts"] = self.setup.get("artifacts") or {}
        name = f"run-{int(time.time() * 1000):x}"
        try:
            self.cluster.api.create(self.runs, _object("PipelineRun", name, spec=spec))
        except Refused as error:
            return _refused(error.body.get("message", str(error)))
        body = self.cluster.api.wait(f"{self.runs}/{name}", _ended, 1200)
        return self._report(body)

    def _report(self, body: Object) -> dict[str, Any]:
        chunks = self.cluster.api.get(f"{_API}/{self.namespace}/taskrecords")["items"]
        mine = [chunk for chunk in chunks if chunk["spec"]["run"] == body["metadata"]["name"]]
        records = records_of(read_objects(body, mine), time.time())
        report = run_report(records.run, records.tasks)
        self._fetch_logs(body["metadata"]["name"])
        return self._with_paths(report)

    # What the case needs on the cluster

    def _reaches_the_machine(self) -> bool:
        told = json.dumps([self.parameters, self.setup]) + self.document
        return str(self.folder) in told or (self.folder / "bin").is_dir() or "pip" in self.setup.get("allow", ())

    def _environment(self) -> dict[str, str]:
        env = {"PATH": f"{self.folder}/bin:{_PATH}"}
        certificates = os.environ.get("PIP_CERT")
        if certificates:  # packages come through the machine's own way to the world
            env["PIP_CERT"] = str(shutil.copy(certificates, self.folder / "certificates.crt"))
        for name in ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT"):
            if name in os.environ:
                env[name] = os.environ[name]
        return env

    def _namespace(self, reaches: bool) -> None:
        api, place = self.cluster.api, f"/api/v1/namespaces/{self.namespace}"
        labels = {LABEL: "reaches" if reaches else "restricted"}
        labels["pod-security.kubernetes.io/enforce"] = "privileged" if reaches else "restricted"
        metadata = {"labels": labels, "annotations": {FOLDER: str(self.folder)}}
        api.apply(place, _core("Namespace", self.namespace, **metadata))
        api.wait(f"{place}/serviceaccounts/default", lambda _: True)
        if reaches:  # whoever the pods run as
            for folder, _, files in os.walk(self.folder):
                os.chmod(folder, 0o777)
                for name in files:
                    file = Path(folder, name)
                    with contextlib.suppress(PermissionError):  # a pod's own
                        file.chmod(file.stat().st_mode | 0o666)
        login = {"AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"]}
        login["AWS_SECRET_ACCESS_KEY"] = os.environ["AWS_SECRET_ACCESS_KEY"]
        api.apply(f"{place}/secrets/{self.store['secretName']}", _secret(self.store["secretName"], login))
        for name, data in self._given("secrets"):
            api.apply(f"{place}/secrets/{name}", _secret(name, data))
        for name, data in self._given("config_maps"):
            api.apply(f"{place}/configmaps/{name}", {**_core("ConfigMap", name), "data": data})
        for name, claim in self._given("pvcs"):
            room = {"requests": {"storage": claim.get("size", "1Gi")}}
            spec = {"accessModes": ["ReadWriteMany"], "resources": room}
            api.apply(f"{place}/persistentvolumeclaims/{name}", {**_core("PersistentVolumeClaim", name), "spec": spec})

    def _given(self, part: str) -> list[tuple[str, dict[str, str]]]:
        given: dict[str, dict[str, str]] = self.setup.get(part) or {}
        return list(given.items())

    # What came of it

    def _fetch_logs(self, run: str) -> None:
        place = f"/api/v1/namespaces/{self.namespace}/pods"
        logs = self.home / "logs"
        logs.mkdir(exist_ok=True)
        for pod in self.cluster.api.get(place)["items"]:
            name = pod["metadata"]["name"]
            if pod["metadata"]["labels"].get("pipelines.mlplatform.dev/run") == run:
                try:
                    (logs / f"{name}.log").write_bytes(self.cluster.api.request("GET", f"{place}/{name}/log"))
                except Refused as error:  # a container that never started has none
                    (logs / f"{name}.log").write_text(str(error))

    def _with_paths(self, value: Any) -> Any:
        """Artifacts of the store also by the path at which this machine has them."""
        if isinstance(value, list):
            return [self._with_paths(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(value, dict):
            return value
        found = {str(key): self._with_paths(item) for key, item in value.items()}  # pyright: ignore
        uri = found.get("uri")
        if isinstance(uri, str) and uri.startswith(self.store["uri"]):
            found["path"] = str(self.bucket) + uri.removeprefix(self.store["uri"])
        return found


def policy() -> list[Object]:
    """The admission policy that gives pods of a namespace the folder its annotation names, and its binding."""
    path = f"namespaceObject.metadata.annotations['{FOLDER}']"
    volume = f"Object.spec.volumes{{name: 'machine', hostPath: Object.spec.volumes.hostPath{{path: {path}}}}}"
    mounts = "[Object.spec.containers.volumeMounts{name: 'machine', mountPath: " + path + "}]"
    container = f"Object.spec.containers{{name: c.name, volumeMounts: {mounts}}}"
    expression = (
        f"Object{{spec: Object.spec{{volumes: [{volume}], containers: object.spec.containers.map(c, {container})}}}}"
    )
    match = {
        "namespaceSelector": {"matchLabels": {LABEL: "reaches"}},
        "resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        ],
    }
    patch = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
    spec = {"matchConstraints": match, "failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": [patch]}
    group = "admissionregistration.k8s.io/v1"
    name = {"name": "conformance-folder"}
    return [
        {"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": name, "spec": spec},
        {
            "apiVersion": group,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": name,
            "spec": {"policyName": "conformance-folder"},
        },
    ]


def _ended(body: Object) -> bool:
    return bool(body.get("status", {}).get("finishedAt"))


def _pairs(env: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in env.items()]


def _object(kind: str, name: str, **rest: Any) -> Object:
    return {"apiVersion": "pipelines.mlplatform.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, **rest}


def _core(kind: str, name: str, **metadata: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **metadata}}


def _secret(name: str, data: Mapping[str, str]) -> Object:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {**_core("Secret", name), "data": encoded}


def _refused(message: str) -> dict[str, Any]:
    error = {"code": "refused", "message": message}
    return {"run_id": None, "state": "INVALID", "outputs": {}, "tasks": [], "error": error}


if __name__ == "__main__":
    sys.exit(main())
