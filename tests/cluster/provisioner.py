"""Volumes for claims: a folder of this machine for each, as a provisioner of a real cluster would make disks.

    python -m tests.cluster.provisioner KUBECONFIG FOLDER

The storage class ``standard`` is the default one; any access mode will do, since there is one node. A volume goes with
its claim.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from tests.cluster.api import Api, Object, Refused

CLASS = "standard"
PROVISIONER = "mlplatform.test/folders"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"


def storage_class() -> Object:
    """The class that claims get where they name none."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def provide(api: Api, folder: Path, claim: Object) -> None:
    """Make the volume of a claim that has none yet. May be repeated."""
    spec = claim["spec"]
    if spec.get("storageClassName") != CLASS or spec.get("volumeName") or claim["metadata"].get("deletionTimestamp"):
        return
    metadata = claim["metadata"]
    name = f"pvc-{metadata['uid']}"
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o777)  # the kubelet gives folders of the machine to nobody, whatever fsGroup says
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    reference |= {key: metadata[key] for key in ("namespace", "name", "uid")}
    volume = {
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": spec["resources"]["requests"],
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Retain",  # this process removes it, nobody else knows how
            "storageClassName": CLASS,
            "claimRef": reference,
            "hostPath": {"path": str(place), "type": "Directory"},
        },
    }
    try:
        api.create(_VOLUMES, volume)
    except Refused as error:
        if error.status != 409:
            raise


def remove(api: Api, folder: Path, uid: str) -> None:
    """The volume of a claim that is gone."""
    api.delete(f"{_VOLUMES}/pvc-{uid}")
    shutil.rmtree(folder / f"pvc-{uid}", ignore_errors=True)


def look(api: Api, folder: Path) -> None:
    """All claims as they are, then what changes, until the API server ends the watch."""
    listed = api.get(_CLAIMS)
    for claim in listed["items"]:
        provide(api, folder, claim)
    there = {claim["metadata"]["uid"] for claim in listed["items"]}
    for place in folder.glob("pvc-*"):
        if place.name.removeprefix("pvc-") not in there:
            remove(api, folder, place.name.removeprefix("pvc-"))
    version = listed["metadata"]["resourceVersion"]
    for line in api.lines(f"{_CLAIMS}?watch=1&timeoutSeconds=300&resourceVersion={version}"):
        event = json.loads(line)
        if event["type"] == "ERROR":
            return
        if event["type"] == "DELETED":
            remove(api, folder, event["object"]["metadata"]["uid"])
        else:
            provide(api, folder, event["object"])


def main() -> None:
    """Look again and again."""
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    api = Api(Path(sys.argv[1]))
    while True:
        try:
            look(api, folder)
        except (Refused, OSError, ValueError) as error:
            print(f"again in a second: {error}", file=sys.stderr, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
