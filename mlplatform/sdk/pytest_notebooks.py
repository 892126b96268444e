"""``pytest --mlplatform-notebooks``: every notebook runs linearly and as a pipeline, and both must give the same.

It also fails where nbval would be green without a word: unknown magics, failing shell commands, errors in cells whose
output is ignored, outputs that the file shows and running does not give. It is imported in every pytest process: what
it needs is imported where it is used.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from mlplatform.notebook.linear import Linear
    from mlplatform.notebook.model import Notebook
    from mlplatform.sdk.testing import LocalPlatform

OPTION: Final = "--mlplatform-notebooks"
#: Folders that are no part of what a notebook works with.
_LEFT_OUT: Final = shutil.ignore_patterns(
    ".git", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints", ".mlplatform", "mlruns", ".*_cache"
)
#: Bytes of a notebook's folder above which it is not copied.
_MOST: Final = 500 * 1024 * 1024


_PLATFORM: Final = pytest.StashKey["tuple[TemporaryDirectory[str], LocalPlatform]"]()


class Findings(Exception):
    """The notebook has findings; the text is what pytest shows."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mlplatform", "notebooks as pipelines")
    group.addoption(
        OPTION, action="store_true", help="run notebooks (.ipynb) linearly and as pipelines, and compare them"
    )
    group.addoption(
        "--mlplatform-cell-timeout", type=int, default=600, metavar="SECONDS", help="what one cell may take (600)"
    )
    parser.addini("mlplatform_notebooks", f"as {OPTION}: true or false", type="bool", default=False)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    config = parent.config
    if file_path.suffix != ".ipynb" or ".ipynb_checkpoints" in file_path.parts:
        return None
    if not (config.getoption(OPTION) or config.getini("mlplatform_notebooks")):
        return None
    make: Any = NotebookFile
    return make.from_parent(parent, path=file_path)


class NotebookFile(pytest.File):
    """A notebook; one test: its pipeline run equals its linear run."""

    def collect(self) -> Iterable[pytest.Item]:
        make: Any = NotebookItem
        return [make.from_parent(self, name="pipeline")]


class NotebookItem(pytest.Item):
    """Runs the notebook both ways, in copies of its folder, and tells everything that is wrong at once."""

    def runtest(self) -> None:
        from mlplatform.notebook.read import read_notebook

        notebook = read_notebook(str(self.path))
        timeout: Any = self.config.getoption("--mlplatform-cell-timeout")
        found = check(notebook, self.path, _platform(self.config), int(timeout))
        if found:
            raise Findings("\n".join(found))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from mlplatform.core.errors import MlPlatformError

        if isinstance(excinfo.value, (Findings, MlPlatformError)):
            return f"{self.path.name}:\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"notebook: {self.path.name}"


def check(notebook: Notebook, path: Path, platform: LocalPlatform, timeout: int = 600) -> list[str]:
    """Everything that is wrong with a notebook; empty if nothing is.

    Args:
        path: the notebook's file; it runs in copies of its folder.
        platform: where it runs as a pipeline.
        timeout: seconds that one cell may take in the linear run.
    """
    from mlplatform.notebook.linear import run_linear
    from mlplatform.notebook.verdict import (
        linear_findings,
        output_differences,
        pipeline_findings,
        value_differences,
    )

    with _copy(path.parent) as folder:
        linear = run_linear(notebook, folder, timeout=timeout)
    found = linear_findings(notebook, linear.document, linear.error)
    if linear.error is not None:
        return found
    with _copy(path.parent) as folder:
        executed, values, failure = _as_pipeline(platform, folder / path.name, list(linear.values))
    if failure:
        return [*found, f"the pipeline run fails where the linear run does not: {failure}"]
    outputs = output_differences(notebook, linear.document, executed)
    final = value_differences(linear.values, values)
    if outputs or final:
        outputs, final = _without_chance(notebook, path, timeout, linear, outputs, final)
    return found + pipeline_findings(outputs, final)


def _without_chance(
    notebook: Notebook, path: Path, timeout: int, linear: Linear, outputs: dict[int, str], values: dict[str, str]
) -> tuple[dict[int, str], dict[str, str]]:
    """The differences but for what differs between two linear runs as well: clocks, and draws that nobody seeded."""
    from mlplatform.notebook.linear import run_linear
    from mlplatform.notebook.verdict import output_differences, value_differences

    with _copy(path.parent) as folder:
        again = run_linear(notebook, folder, timeout=timeout)
    chance = output_differences(notebook, linear.document, again.document)
    changing = value_differences(linear.values, again.values)
    return (
        {index: words for index, words in outputs.items() if index not in chance},
        {name: words for name, words in values.items() if name not in changing},
    )


def _as_pipeline(platform: LocalPlatform, path: Path, names: list[str]) -> tuple[dict[str, Any], dict[str, bytes], str]:
    """The executed notebook, final variables, and why it failed ("" if it did not)."""
    import json

    from mlplatform.sdk.notebook import NotebookPipeline
    from mlplatform.sdk.notebook_values import read_values

    client = platform.client
    with pytest.MonkeyPatch.context() as patch:
        for name, value in platform.environment.items():
            patch.setenv(name, value)
        run = NotebookPipeline(path, client.home).run()
    for _ in client.watch(run.run_id):
        pass
    report = run.report()
    if report["state"] != "SUCCEEDED":
        failed = next((task for task in report["tasks"] if task["error"]), None)
        error = (failed or report)["error"] or {"message": report["state"].lower(), "traceback": ""}
        return {}, {}, f"{error['message']}\n{error.get('traceback') or ''}".rstrip()
    executed = json.loads(Path(report["notebook"]).read_text(encoding="utf-8"))
    return executed, read_values(client.home, run.run_id, names), ""


def _platform(config: pytest.Config) -> LocalPlatform:
    """One platform for all notebooks of a session, gone when it ends."""
    from mlplatform.sdk.testing import LocalPlatform

    if _PLATFORM not in config.stash:
        home = TemporaryDirectory(prefix="mlplatform-pytest-", ignore_cleanup_errors=True)
        config.stash[_PLATFORM] = home, LocalPlatform(Path(home.name))
    return config.stash[_PLATFORM][1]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _PLATFORM in config.stash:
        home, platform = config.stash[_PLATFORM]
        platform.close()
        home.cleanup()


@contextmanager
def _copy(folder: Path) -> Generator[Path]:
    """A copy of the notebook's folder, so that what one run writes there is not found by the next.

    Raises:
        pytest.UsageError: it is too large for that.
    """
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not _is_left_out(folder, file))
    if size > _MOST:
        raise pytest.UsageError(
            f"{folder} holds {size >> 20} MiB: it is not copied for each run. Keep notebooks apart from large data."
        )
    with TemporaryDirectory(prefix="mlplatform-notebook-", ignore_cleanup_errors=True) as place:
        yield Path(shutil.copytree(folder, Path(place) / folder.name, ignore=_LEFT_OUT, symlinks=True))


def _is_left_out(folder: Path, file: Path) -> bool:
    parts = file.relative_to(folder).parts
    return any(_LEFT_OUT(str(folder), [part]) for part in parts)
