"""Where things are: in a task's pod, and in the artifact store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mlplatform.apis.pipelinerun import PipelineRun, Store
from mlplatform.core.model import TaskKey
from mlplatform.planning.naming import file_name, folder_name
from mlplatform.render.names import shortened

BASE: Final = "/var/run/mlplatform"
LAUNCHER: Final = f"{BASE}/launcher"
WORK: Final = f"{BASE}/work"
STORE: Final = f"{BASE}/store"
STORE_SECRET: Final = f"{BASE}/store-secret"
REQUEST: Final = f"{BASE}/request"
TOKEN: Final = f"{BASE}/token"
OUTPUTS: Final = f"{WORK}/outputs"
#: As in KFP.
WORKSPACE: Final = "/kfp-workspace"
#: Where kfp's own runtime looks for the bytes of a URI of these schemes.
KFP_FOLDERS: Final = {"s3": "/s3", "gcs": "/gcs", "minio": "/minio", "oci": "/oci"}

#: Stands for the store where none is configured: nothing can be kept there.
NOWHERE: Final = "nowhere:"


@dataclass(frozen=True, slots=True)
class RunStore:
    """The store of one run. ``root``: the URI of the run's own folder; ``mounted``: it is a claim in every pod."""

    root: str
    mounted: bool = False
    prefix: str = ""

    def path_of(self, uri: str) -> str:
        """Where a URI of a mounted store is in a pod, "" for any other."""
        if self.mounted and uri.startswith(self.prefix + "/"):
            return STORE + uri[len(self.prefix) :]
        return ""

    @property
    def shared(self) -> str:
        """What the URIs of all runs of the namespace in this store begin with: a reused result lies with its run."""
        return self.root if self.root == NOWHERE else self.root.rpartition("/")[0] + "/"

    def output(self, key: TaskKey, attempt: int, name: str) -> str:
        """The URI of an output artifact of an attempt: no two attempts share one."""
        return f"{self.root}/{folder_name(key)}/{attempt}/{file_name(name)}"

    def values(self, key: TaskKey, attempt: int) -> str:
        """The URI below which large values of an attempt are kept, "" where there is no store."""
        return "" if self.root == NOWHERE else f"{self.root}/{folder_name(key)}/{attempt}/values"

    def log(self, key: TaskKey, attempt: int) -> str:
        """The URI of an attempt's log, "" where there is no store."""
        return "" if self.root == NOWHERE else f"{self.root}/{folder_name(key)}/{attempt}/task.log"


def run_store(run: PipelineRun) -> RunStore:
    """Where a run's artifacts go."""
    store: Store | None = run.spec.store
    own = f"{run.namespace}/{shortened(run.name, 100)}-{run.uid[:8]}"
    if store is None:
        return RunStore(NOWHERE)
    if store.claim_name:
        prefix = f"pvc://{store.claim_name}"
        if folder := store.sub_path.strip("/"):
            prefix += f"/{folder}"
        return RunStore(f"{prefix}/{own}", mounted=True, prefix=prefix)
    return RunStore(f"{store.uri.rstrip('/')}/{own}")
