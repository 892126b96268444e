"""Compile ``pipelines/*.py`` into the YAML beside them (the demo's goes into the package).

python .ci/compile_pipelines.py            write what changed
python .ci/compile_pipelines.py --check    write nothing; exit status 1 where a file is not up to date
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from kfp import compiler
from kfp.dsl.graph_component import GraphComponent

from mlplatform.sdk.define.pipelines import Pipeline

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "pipelines").glob("*.py"))


def target(source: Path) -> Path:
    return ROOT / "mlplatform/demo/pipeline.yaml" if source.stem == "demo" else source.with_suffix(".yaml")


def compiled(source: Path) -> str:
    """The document of the pipeline that ``source`` holds (its last one)."""
    spec = importlib.util.spec_from_file_location(f"pipelines_{source.stem}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ours = [value for value in vars(module).values() if isinstance(value, Pipeline)]
    if ours:
        return ours[-1].compile()
    pipelines = [value for value in vars(module).values() if isinstance(value, GraphComponent)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipelines[-1], str(file))
        return file.read_text(encoding="utf-8")


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = 0
    for source in SOURCES:
        file, text = target(source), compiled(source)
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if not check:
            file.write_text(text, encoding="utf-8")
        print(f"{file.relative_to(ROOT)} {'does not follow from' if check else 'written from'} {source.name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
