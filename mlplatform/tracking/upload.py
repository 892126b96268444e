"""Artifacts of a user's own MLflow that lie where its server takes no uploads (s3, gs, ...): MLflow's own client brings
them there, in the interpreter that has it, with that user's credentials."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mlplatform.core.errors import MlPlatformError
from mlplatform.tracking.deliver import Uploader
from mlplatform.tracking.environment import server_python
from mlplatform.tracking.settings import Settings, Target
from mlplatform.tracking.upstream import Refused, Unavailable

_CODE = """
import os, shutil, sys, tempfile
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
root, path, file = sys.argv[1:]
folder, name = os.path.split(path)
with tempfile.TemporaryDirectory() as scratch:
    os.symlink(file, os.path.join(scratch, name))
    get_artifact_repository(root).log_artifact(os.path.join(scratch, name), folder or None)
"""


def upload_with_mlflow(settings: Settings, target: Target) -> Uploader:
    """An uploader for ``target``; it raises Unavailable if the store cannot be reached, Refused if it never can."""

    def upload(root: str, path: str, file: Path) -> None:
        options = settings.server_options()
        try:
            python = server_python([options.get("python", "")], options.get("maker", ""), install=True)
        except MlPlatformError as error:
            raise Unavailable(error.message) from error
        env = {**os.environ, **target.env, "MLFLOW_TRACKING_URI": target.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
        answer = subprocess.run(
            [python, "-c", _CODE, root, path, str(file)], env=env, capture_output=True, text=True, check=False
        )
        if answer.returncode != 0:
            last = answer.stderr.strip().splitlines()[-1:] or [""]
            if "No module named" in last[0] or "Could not find a registered" in last[0]:
                raise Refused(400, "NO_UPLOADER", last[0])
            raise Unavailable(f"the artifact store {root.split('?')[0]} does not take a file: {last[0]}")

    return upload
