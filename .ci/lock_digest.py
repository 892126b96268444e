"""Print the digest of the requirements that pyproject.toml states (standard library, Python 3.11+)."""

import hashlib
import json
import tomllib
from pathlib import Path


def digest(pyproject: Path) -> str:
    data = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = data["project"]
    stated = [
        project["requires-python"],
        project["dependencies"],
        project["optional-dependencies"],
        data["dependency-groups"],
        data["build-system"]["requires"],
        data.get("tool", {}).get("uv", {}),
    ]
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:32]


if __name__ == "__main__":
    print(digest(Path(__file__).resolve().parent.parent / "pyproject.toml"))
