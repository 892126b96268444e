"""``mlplatform compile`` and ``mlplatform validate``: pipeline files without running them. They work everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlplatform.cli.options import common, give, write
from mlplatform.cli.style import Style, counted, style_of_output, table
from mlplatform.core.errors import InvalidInput

if TYPE_CHECKING:
    from mlplatform.sdk.submit import Source


@click.command("compile")
@click.argument("file", metavar="FILE")
@click.argument("out", metavar="[OUT]", required=False)
@click.option("-o", "--out", "out_option", metavar="OUT", help="The file to write; - is standard output.")
@common
def compile_(file: str, out: str | None, out_option: str | None, home: str | None, output: str) -> None:
    """Compile a notebook, or a .py with a dsl.pipeline, to YAML.

    OUT is FILE with .yaml at its end, if not given.
    """
    from mlplatform.sdk.submit import read_source, split_reference

    if out and out_option:
        raise InvalidInput("The file to write is named twice.", hint=f"Leave out {out!r} or -o {out_option!r}.")
    path, _ = split_reference(file)
    if not path.endswith((".py", ".ipynb")):
        raise InvalidInput(
            f"{path!r} is neither a notebook nor a .py file.",
            hint=f"To check a compiled pipeline: mlplatform validate {path}",
        )
    source = read_source(file)
    for warning in source.warnings:
        write(f"warning: {warning}", error=True)
    target = out or out_option or os.path.splitext(path)[0] + ".yaml"
    text = source.text
    if source.notebook is not None:
        from mlplatform.ir.dump import dump

        text = dump(source.pipeline)
    if target == "-":
        data = {"pipeline": source.pipeline.name, "document": text, "warnings": list(source.warnings)}
        give(output, data, lambda: text.rstrip("\n"))
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{target!r} cannot be written: {error.strerror}.", hint="Name another file.") from None
    for word in source.artifacts:
        note = f"note: {word} is a value of {path}, not in {target}: whoever runs that gives it in --setup"
        write(note, error=True)
    data = {"pipeline": source.pipeline.name, "file": target, "warnings": list(source.warnings)}
    told = [f"{target} written: run it with mlplatform run {target}"]
    give(output, data, lambda: [*told, *notebook_words(source, style_of_output())])


@click.command()
@click.argument("file", metavar="FILE")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="Check this parameter as well.")
@click.option("--params", "params_file", default="", metavar="FILE.json", help="Check these parameters as well.")
@common
def validate(file: str, params: tuple[str, ...], params_file: str, home: str | None, output: str) -> None:
    """Check a pipeline without running it; every finding is told. Exit status 2 if there is one.

    With parameters, these are checked too.
    """
    from mlplatform.core.errors import InvalidParameters
    from mlplatform.ir.arguments import check_arguments
    from mlplatform.sdk.submit import read_parameters, read_source

    source = read_source(file)
    for warning in source.warnings:
        write(f"warning: {warning}", error=True)
    if params or params_file:
        quoted = source.notebook is not None
        values = read_parameters(source.pipeline, params, params_file, quoted=quoted)
        _, findings = check_arguments(source.pipeline, values)
        findings = tuple(finding for finding in findings if not finding.path.startswith("artifacts."))
        if findings:
            raise InvalidParameters(
                f"Pipeline {source.pipeline.name!r} cannot be run with these parameters.", findings=findings
            )
    data = _description(source)
    give(output, data, lambda: _words(data, style_of_output(), source))


def _description(source: Source) -> dict[str, Any]:
    pipeline = source.pipeline
    inputs = pipeline.root.inputs
    more: dict[str, Any] = {}
    if source.notebook is not None:
        from mlplatform.notebook.show import describe

        more = {"notebook": describe(source.notebook)}
    dags = [c.dag for c in (pipeline.root, *pipeline.components.values()) if c.dag is not None]
    return {
        "valid": True,
        "pipeline": pipeline.name,
        "tasks": sum(len(dag.tasks) for dag in dags),
        "components": len(pipeline.components),
        "parameters": {
            name: {
                "type": spec.type.value,
                "required": not (spec.has_default or spec.is_optional),
                "default": spec.default,
                "description": spec.description,
            }
            for name, spec in inputs.parameters.items()
        },
        "artifacts": {
            name: {"type": spec.type.schema_title, "of_file": name in source.artifacts}
            for name, spec in inputs.artifacts.items()
        },
        "outputs": [*pipeline.root.outputs.parameters, *pipeline.root.outputs.artifacts],
        "sdk_version": pipeline.sdk_version,
        "warnings": list(source.warnings),
        **more,
    }


def _words(data: dict[str, Any], style: Style, source: Source) -> list[str]:
    import json

    if source.notebook is not None:
        return [*_pipeline_words(data, style, json.dumps), *notebook_words(source, style)]
    return _pipeline_words(data, style, json.dumps)


def notebook_words(source: Source, style: Style) -> list[str]:
    """How a notebook was split: a line for each task, and what there is to say of it."""
    from mlplatform.notebook.show import rows

    plan = source.notebook
    if plan is None:
        return []
    how = {
        "tags": "its tasks are its tagged steps",
        "sections": "its tasks are its sections",
        "data flow": "without sections, its tasks are cells that belong together",
        "one task": "it runs as one task: sections (Markdown headings) would make more of it",
    }[plan.split_by]
    lines = ["", how, *table(rows(plan))]
    return [*lines, *(f"  {style.paint('note: ' + note, 'dim')}" for note in plan.notes)]


def _pipeline_words(data: dict[str, Any], style: Style, text: Callable[..., str]) -> list[str]:

    tasks, components = counted(data["tasks"], "task"), counted(data["components"], "component")
    lines = [f"{style.glyph('SUCCEEDED')} {data['pipeline']} can be run: {tasks}, {components}"]
    rows: list[list[str]] = []
    for name, about in data["parameters"].items():
        default = "required" if about["required"] else f"default {text(about['default'], ensure_ascii=False)}"
        rows.append([f"  -p {name}", about["type"], default])
    for name, about in data["artifacts"].items():
        whence = "artifact, a value of the file" if about["of_file"] else "artifact, given in --setup"
        rows.append([f"  {name}", about["type"], whence])
    return [*lines, *table(rows)]
