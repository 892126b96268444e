"""kfp.dsl's own decorators and settings: the same words with the same meaning, and the same IR."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar, overload

from mlplatform.core.errors import InvalidPipeline
from mlplatform.sdk.define.commands import Packages
from mlplatform.sdk.define.components import PythonComponent, TaskOptions
from mlplatform.sdk.define.pipelines import Pipeline
from mlplatform.sdk.define.where import user_line

P = ParamSpec("P")
R = TypeVar("R")

PIPELINE_JOB_NAME_PLACEHOLDER: Final = "{{$.pipeline_job_name}}"
PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER: Final = "{{$.pipeline_job_resource_name}}"
PIPELINE_JOB_ID_PLACEHOLDER: Final = "{{$.pipeline_job_uuid}}"
PIPELINE_TASK_NAME_PLACEHOLDER: Final = "{{$.pipeline_task_name}}"
PIPELINE_TASK_ID_PLACEHOLDER: Final = "{{$.pipeline_task_uuid}}"
PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER: Final = "{{$.outputs.output_file}}"
PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER: Final = "{{$}}"
PIPELINE_ROOT_PLACEHOLDER: Final = "{{$.pipeline_root}}"
PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER: Final = "{{$.pipeline_job_create_time_utc}}"
PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER: Final = "{{$.pipeline_job_schedule_time_utc}}"
WORKSPACE_PATH_PLACEHOLDER: Final = "{{$.workspace_path}}"

_SIZE: Final = re.compile(r"(?:0|[1-9]\d*)(?:\.\d+)?(?:Ki|Mi|Gi|Ti|Pi|Ei|K|M|G|T|P|E)?")


@overload
def component(function: Callable[P, R], /) -> PythonComponent[P, R]: ...
@overload
def component(
    *,
    base_image: str | None = None,
    target_image: str | None = None,
    packages_to_install: Iterable[str] | None = None,
    pip_index_urls: Iterable[str] | None = None,
    output_component_file: str | None = None,
    install_kfp_package: bool = True,
    kfp_package_path: str | None = None,
    pip_trusted_hosts: Iterable[str] | None = None,
    use_venv: bool = False,
    additional_funcs: Iterable[Callable[..., Any]] | None = None,
) -> Callable[[Callable[P, R]], PythonComponent[P, R]]: ...
def component(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """kfp's ``@dsl.component``: parameters and artifacts only, in kfp's runtime. Helpers of the file go along.

    Raises:
        InvalidPipeline: with every finding; Unsupported settings (``target_image``) are findings too.
    """
    if options.get("target_image"):
        raise InvalidPipeline(
            f"target_image builds an image with kfp's command line, which is not done here ({user_line()}).",
            hint="Leave it out: the function's code and packages_to_install travel without an image of their own.",
        )

    def decorate(function: Callable[..., Any]) -> PythonComponent[..., Any]:
        hosts = options.get("pip_trusted_hosts")
        packages = Packages(
            names=tuple(options.get("packages_to_install") or ()),
            index_urls=tuple(options.get("pip_index_urls") or ()),
            trusted_hosts=None if hosts is None else tuple(hosts),
            kfp=options.get("install_kfp_package", True),
            kfp_path=options.get("kfp_package_path") or "",
            use_venv=bool(options.get("use_venv")),
        )
        image = options.get("base_image") or ""
        return PythonComponent(function, objects=False, options=TaskOptions(), packages=packages, image=image)

    return decorate(function) if function is not None else decorate


@dataclass
class KubernetesWorkspaceConfig:
    """``pvcSpecPatch`` is laid over the claim of the workspace."""

    pvcSpecPatch: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class WorkspaceConfig:
    """A folder that all tasks of a run share; ``size`` such as ``"10Gi"``."""

    size: str
    kubernetes: KubernetesWorkspaceConfig = field(default_factory=KubernetesWorkspaceConfig)

    def __post_init__(self) -> None:
        if not _SIZE.fullmatch(str(self.size).strip()):
            raise InvalidPipeline(
                f"{self.size!r} is no size of a workspace ({user_line()}).", hint="Write '10Gi' or '500Mi'."
            )


@dataclass
class PipelineConfig:
    """Settings of a whole pipeline; times in seconds."""

    workspace: WorkspaceConfig | None = None
    ttl_seconds_after_finished: int | None = None
    ttl_seconds_after_success: int | None = None
    ttl_seconds_after_failure: int | None = None
    active_deadline_seconds: int | None = None

    def settings(self) -> Mapping[str, Any]:
        """As the platform document of the IR has them."""
        found: dict[str, Any] = {
            "resourceTtlOnCompletion": self.ttl_seconds_after_finished,
            "resourceTtlOnSuccess": self.ttl_seconds_after_success,
            "resourceTtlOnFailure": self.ttl_seconds_after_failure,
            "activeDeadlineSeconds": self.active_deadline_seconds,
        }
        if self.workspace is not None:
            workspace = {"size": str(self.workspace.size).strip()}
            patch = dict(self.workspace.kubernetes.pvcSpecPatch)
            found["workspace"] = {**workspace, "kubernetes": {"pvcSpecPatch": patch} if patch else {}}
        return {name: value for name, value in found.items() if value is not None}


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *,
    name: str | None = None,
    description: str | None = None,
    pipeline_root: str | None = None,
    display_name: str | None = None,
    pipeline_config: PipelineConfig | None = None,
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(function: Callable[..., Any] | None = None, /, **given: Any) -> Any:
    """kfp's ``@dsl.pipeline``."""

    def decorate(function: Callable[..., Any]) -> Pipeline[..., Any]:
        return Pipeline(
            function,
            kfp_style=True,
            name=given.get("name") or "",
            description=given.get("description") or "",
            display_name=given.get("display_name") or "",
            pipeline_root=given.get("pipeline_root") or "",
            config=given.get("pipeline_config"),
        )

    return decorate(function) if function is not None else decorate
