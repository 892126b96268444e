"""Pipelines: functions that are run once to see what they do."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from mlplatform import __version__
from mlplatform.core.errors import InvalidParameters, InvalidPipeline
from mlplatform.ir import dump
from mlplatform.ir.model import Pipeline as Document
from mlplatform.ir.validate import require_valid
from mlplatform.sdk.define import scope
from mlplatform.sdk.define.boundary import input_of, outputs_of
from mlplatform.sdk.define.calls import plain_task
from mlplatform.sdk.define.channels import Channel, Placeholder
from mlplatform.sdk.define.embed import Captures
from mlplatform.sdk.define.emit import Emission, emit
from mlplatform.sdk.define.interface import annotations_of
from mlplatform.sdk.define.naming import pipeline_name
from mlplatform.sdk.define.secrets import refuse_secret
from mlplatform.sdk.define.tasks import InputSpec, Interface, OutputSpec
from mlplatform.sdk.define.types import ValueType

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run

P = ParamSpec("P")
R = TypeVar("R")
_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How runs of a pipeline are run; see :meth:`Pipeline.options`."""

    backend: str = "local"
    home: Any = None
    context: str = ""
    namespace: str = ""
    experiment: str = ""
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    cache: bool = True
    timeout: float | None = None
    priority: int = 0
    containers: str = ""
    setup: str = ""


@dataclass(frozen=True)
class Submission:
    """A pipeline with its arguments, ready to be handed to a service.

    Attributes:
        pipeline: KFP IR, typed.
        parameters: of the run, as JSON values.
        objects: Python objects that are root artifacts, by the name of the input: they are stored by content before
            the run starts.
        secrets: names of the secrets that its tasks ask for.
        options: how to run it.
    """

    pipeline: Document
    parameters: Mapping[str, Any]
    objects: Mapping[str, Any]
    secrets: tuple[str, ...]
    options: RunOptions

    def text(self) -> str:
        """The document that is submitted. JSON: nobody reads it, and it is many times faster than YAML."""
        return json.dumps(dump.to_json(self.pipeline))


class Pipeline(Generic[P, R]):
    """A function decorated with ``@ml.pipeline`` or ``@dsl.pipeline``.

    Called outside of a pipeline it runs as plain Python, task by task, right here; inside another pipeline it is a
    task. :meth:`run` runs it on the platform.
    """

    executed = False

    def __init__(
        self,
        function: Callable[P, R],
        *,
        kfp_style: bool,
        name: str = "",
        display_name: str = "",
        description: str = "",
        pipeline_root: str = "",
        config: Any = None,
        options: RunOptions = RunOptions(),
        first_look: bool = True,
    ) -> None:
        self.function = function
        self.name = pipeline_name(name or function.__name__)
        self.display_name = display_name
        self.description = description or _summary(function)
        self.pipeline_root = pipeline_root
        self.config = config
        self.run_options = options
        self._kfp_style = kfp_style
        functools.update_wrapper(cast(Any, self), function)
        self._interface: Interface | None = None
        if first_look:
            self._look()

    def _look(self) -> None:
        """Run the function once, so that mistakes are told where it is defined. What is not defined yet may come."""
        try:
            recording, interface, outputs = self._record({})
            emit_checks(recording, interface, outputs)
            self._interface = interface
        except NameError:
            return

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"

    # ------------------------------------------------------------------ as a component
    @property
    def interface(self) -> Interface:
        """Inputs and outputs."""
        _, interface, outputs = self._record({})
        return Interface(interface.inputs, {name: OutputSpec(type_) for name, (type_, _) in outputs.items()})

    def sub_pipeline(self, captures: Captures) -> Document:
        """As part of another pipeline."""
        document, objects = self._document({}, captures)
        if objects:
            raise InvalidPipeline(
                f"Pipeline {self.name!r} has Python objects as constants ({', '.join(objects)}): "
                "it cannot be part of another.",
                hint="Make them arguments of the pipeline function.",
            )
        return document

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if scope.current() is None:
            return self.function(*args, **kwargs)
        bound = inspect.signature(self.function).bind_partial(*args, **kwargs).arguments
        return cast(R, plain_task(self, (), bound))

    # ------------------------------------------------------------------ recording
    def _record(
        self, given: Mapping[str, Any]
    ) -> tuple[scope.Recording, Interface, dict[str, tuple[ValueType, Channel]]]:
        hints = annotations_of(self.function)
        inputs: dict[str, InputSpec] = {}
        arguments: dict[str, Any] = {}
        for name, parameter in inspect.signature(self.function).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise InvalidPipeline(
                    f"Pipeline {self.name!r}: *{name} cannot be an argument of a pipeline. Name each."
                )
            spec = input_of(name, hints.get(name, parameter.annotation), parameter.default, given, self._kfp_style)
            inputs[name] = spec
            arguments[name] = Channel(name, spec.type)
        with scope.record(self.name, formatting=self._kfp_style) as recording:
            returned = cast(Any, self.function)(**arguments)
        outputs = outputs_of(returned, hints.get("return", _EMPTY), self._kfp_style, self.name)
        if not recording.tasks:
            raise InvalidPipeline(
                f"Pipeline {self.name!r} has no task.",
                hint="Call components in it: functions decorated with @ml.component.",
            )
        return recording, Interface(inputs), outputs

    def _document(self, given: Mapping[str, Any], captures: Captures) -> tuple[Document, dict[str, Any]]:
        """The document, and the objects that are root artifacts: constants of the function, large captured values."""
        recording, interface, outputs = self._record(given)
        emission = Emission(captures)
        root = emit(recording, interface, outputs, emission)
        platforms = dict(emission.platforms)
        if self.config is not None and (settings := self.config.settings()):
            kubernetes = {**platforms.get("kubernetes", {}), "pipelineConfig": settings}
            platforms["kubernetes"] = kubernetes
        document = Document(
            name=self.name,
            root=root,
            components=emission.components,
            executors=emission.executors,
            sdk_version=f"mlplatform-{__version__}",
            display_name=self.display_name,
            description=self.description,
            default_pipeline_root=self.pipeline_root,
            platforms=platforms,
        )
        return document, {**recording.values, **emission.large}

    # ------------------------------------------------------------------ use
    def compile(self, path: str | Path | None = None) -> str:
        """KFP IR as YAML, for any KFP backend; written to ``path`` as well if one is given.

        Raises:
            InvalidPipeline, CannotCapture: with every finding.
        """
        text, _ = self.compiled()
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def compiled(self) -> tuple[str, dict[str, Any]]:
        """KFP IR as YAML, and the Python objects that it takes as root artifacts: constants that are no parameters, and
        large values that its components reach. By the name of the input.

        Raises:
            InvalidPipeline, CannotCapture: with every finding.
        """
        document, objects = self._document({}, Captures(portable=True))
        _validate(document)
        return dump.dump(document), objects

    def options(
        self,
        *,
        backend: str | None = None,
        home: Any = None,
        context: str | None = None,
        namespace: str | None = None,
        experiment: str | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        cache: bool | None = None,
        timeout: float | str | None = None,
        priority: int | None = None,
        containers: str | None = None,
        setup: str | Path | None = None,
    ) -> Pipeline[P, R]:
        """The pipeline with other settings for its runs: ``p.options(cache=False).run(lr=.1)``.

        Args:
            backend: ``"local"`` (this machine) or ``"kubernetes"`` (a PipelineRun of a cluster).
            home: the platform's folder; default ``MLPLATFORM_HOME`` or ``~/.mlplatform``, and for a cluster a folder
                of its namespace in there.
            context: the kubeconfig's context; default its current one.
            namespace: where runs go on a cluster; default the context's.
            experiment: what to compare them with; default ``Default``.
            name: of the run; default the pipeline's name and some letters.
            tags: texts by name, for finding runs again.
            cache: False: run every task.
            timeout: seconds, or ``"2h"``; then the run is cancelled.
            priority: runs with a higher one get cores first.
            containers: docker, podman or subprocess, for container tasks.
            setup: a setup file with secrets, config maps and claims.
        """
        from mlplatform.sdk.define.tasks import seconds

        changed = {
            "backend": backend, "home": home, "context": context, "namespace": namespace, "experiment": experiment,
            "name": name, "tags": dict(tags) if tags is not None else None, "cache": cache, "priority": priority,
            "timeout": seconds(timeout) if timeout is not None else None, "containers": containers,
            "setup": str(setup) if setup is not None else None,
        }  # fmt: skip
        options = replace(self.run_options, **{key: value for key, value in changed.items() if value is not None})
        return Pipeline(
            self.function,
            kfp_style=self._kfp_style,
            name=self.name,
            display_name=self.display_name,
            description=self.description,
            pipeline_root=self.pipeline_root,
            config=self.config,
            options=options,
            first_look=False,
        )

    def submission(self, *args: P.args, **kwargs: P.kwargs) -> Submission:
        """Everything a service needs to run the pipeline with these arguments.

        Raises:
            InvalidPipeline, InvalidParameters, CannotCapture: with every finding.
        """
        try:
            given = dict(inspect.signature(self.function).bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise InvalidParameters(
                f"{self.name}.run(): {error}.", hint=f"It takes {inspect.signature(self.function)}."
            ) from None
        for name, value in given.items():
            refuse_secret(name, value)
            if isinstance(value, Placeholder):
                raise InvalidParameters(f"{name} is {value._what()}: run() takes values.")
        document, objects = self._document(given, Captures(portable=self.run_options.backend != "local"))
        parameters: dict[str, Any] = {}
        for name, value in given.items():
            if name in document.root.inputs.parameters:
                if value is not None:
                    parameters[name] = value
            elif value is not None or not document.root.inputs.artifacts[name].is_optional:
                objects[name] = value
        _validate(document)
        return Submission(
            _with_deadline(document, self.run_options), parameters, objects, _secrets(document), self.run_options
        )

    def run(self, *args: P.args, **kwargs: P.kwargs) -> Run:
        """Start a run and return at once. Arguments are the pipeline function's, Python objects included.

        Raises:
            InvalidPipeline, InvalidParameters, CannotCapture: nothing was started.
            ServiceError: the local service cannot be started.
        """
        from mlplatform.sdk.submitting import submit

        return submit(self.submission(*args, **kwargs), self)

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """What :meth:`run` would do: for each task whether it would run or be reused, and why. Starts nothing."""
        from mlplatform.sdk.plan import make_plan

        return make_plan(self.submission(*args, **kwargs))


def _with_deadline(document: Document, options: RunOptions) -> Document:
    """A run's timeout, as KFP says it."""
    if options.timeout is None:
        return document
    kubernetes = dict(document.platforms.get("kubernetes", {}))
    seconds = max(1, round(options.timeout))
    kubernetes["pipelineConfig"] = {**kubernetes.get("pipelineConfig", {}), "activeDeadlineSeconds": seconds}
    return replace(document, platforms={**document.platforms, "kubernetes": kubernetes})


def _validate(document: Document) -> None:
    from mlplatform.planning.cel import check

    require_valid(document, check, f"pipeline {document.name!r}")


def emit_checks(
    recording: scope.Recording, interface: Interface, outputs: Mapping[str, tuple[ValueType, Channel]]
) -> None:
    """What can be told of a pipeline without capturing its functions. Raises InvalidPipeline."""
    from mlplatform.sdk.define.embed import NoCaptures

    emit(recording, interface, outputs, Emission(NoCaptures()))


def _secrets(document: Document) -> tuple[str, ...]:
    from mlplatform.sdk.define.secrets import STORE

    executors = document.platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    found: dict[str, None] = {}
    for config in executors.values():
        for entry in config.get("secretAsEnv", ()):
            if entry.get("secretName") == STORE:
                found.update({item["secretKey"]: None for item in entry["keyToEnv"]})
    return tuple(found)


def _summary(function: Callable[..., Any]) -> str:
    lines = (inspect.getdoc(function) or "").strip().split("\n\n")[0]
    return lines.strip()


# ------------------------------------------------------------------ decorators
@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *, name: str = "", description: str = "", display_name: str = "", experiment: str = ""
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(function: Callable[..., Any] | None = None, /, **given: Any) -> Any:
    """Make a function a pipeline: the components it calls are its tasks, in the order that their data needs.

    The function runs once now, to find mistakes, and once for each run, with placeholders for what only a run will
    have.

    Raises:
        InvalidPipeline: with what is wrong and the line.
    """
    experiment = given.pop("experiment", "")

    def decorate(function: Callable[..., Any]) -> Pipeline[..., Any]:
        return Pipeline(function, kfp_style=False, options=RunOptions(experiment=experiment), **given)

    return decorate(function) if function is not None else decorate


__all__ = ["Pipeline", "RunOptions", "Submission", "pipeline"]
