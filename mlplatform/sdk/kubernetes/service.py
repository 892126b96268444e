"""What the local service does for a server on one machine, done for one in a cluster: runs are objects."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

from mlplatform.apis.codec import encode
from mlplatform.apis.objects import pipeline_run_object
from mlplatform.apis.pipelinerun import MAX_DOCUMENT, ArtifactRef, EnvVar, PipelineRunSpec, Store, Ttl
from mlplatform.core.errors import Finding, InvalidInput, InvalidParameters, NotFound, Unsupported
from mlplatform.core.ids import slug
from mlplatform.core.model import Artifact, ArtifactValue, RunRecord
from mlplatform.engine.submission import read_setup, root_artifacts
from mlplatform.ir import load
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.documents import read_documents
from mlplatform.ir.model import Pipeline
from mlplatform.kube.client import Client
from mlplatform.kube.errors import AlreadyExists, ObjectNotFound
from mlplatform.kube.objects import Key, Object
from mlplatform.kube.ours import PIPELINE_RUNS
from mlplatform.planning.checking import require_runnable
from mlplatform.sdk.kubernetes.history import ANNOTATION_TAGS, PLACE

#: An object's name with room for what the operator adds to it.
_NAME: Final = 40


class Runs(Protocol):
    """What the server keeps of runs."""

    def get_run(self, run_id: str) -> RunRecord: ...
    def delete_run(self, run_id: str) -> None: ...


class ClusterService:
    """``take`` copies a new object into the store at once and returns the run's id; ``defaults`` is what every run of
    this server gets: its store, its TTL, its service account."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        runs: Callable[[], Runs],
        take: Callable[[Object], str],
        defaults: Mapping[str, Any],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._runs = runs
        self._take = take
        self._defaults = dict(defaults)

    @property
    def store(self) -> dict[str, Any]:
        """Where artifacts of its runs go, as a spec says it; empty: nowhere."""
        found: Any = self._defaults.get("store")
        return dict(encode(found)) if found is not None else {}

    def submit(self, request: Mapping[str, Any]) -> str:
        """Create a run; returns its id once it is durable. ``request`` is what the local service takes; interpreter,
        working folder and environment of a machine mean nothing here and are left out.

        Raises:
            InvalidPipeline, InvalidParameters: with every finding.
            KubernetesError: the API server refuses it (rights, quota, policy) or cannot be reached.
        """
        document = str(request.get("document") or "")
        pipeline = load.loads(document)
        require_runnable(pipeline)
        parameters = dict(request.get("parameters") or {})
        artifacts = _artifacts(pipeline, request)
        _, findings = check_arguments(pipeline, parameters, artifacts)
        if findings:
            raise InvalidParameters(f"pipeline {pipeline.name!r} cannot be run with these", findings=findings)
        if len(document.encode("utf-8", "surrogatepass")) > MAX_DOCUMENT:
            raise InvalidInput(
                f"the pipeline document has more than {MAX_DOCUMENT} bytes, which is what the cluster keeps of one",
                hint="Split the pipeline, or move large constants into artifacts.",
            )
        name = str(request.get("name") or pipeline.name or "run")
        spec = PipelineRunSpec(
            **_given(document),
            parameters=parameters,
            artifacts={
                name: ArtifactRef(found.uri, found.type, found.metadata, found.digest)
                for name, found in artifacts.items()
                if isinstance(found, Artifact)
            },
            display_name=name[:256],
            experiment=str(request.get("experiment") or ""),
            cache=bool(request.get("cache", True)),
            **self._defaults,
        )
        tags = dict(request.get("tags") or {})
        annotations = {ANNOTATION_TAGS: json.dumps(tags, sort_keys=True)} if tags else {}
        for _ in range(5):
            wanted = f"{slug(name, _NAME)}-{secrets.token_hex(3)}"
            body = pipeline_run_object(wanted, self._namespace, spec, annotations=annotations)
            try:
                return self._take(self._client.create(PIPELINE_RUNS, body))
            except AlreadyExists:
                continue
        raise InvalidInput(f"no free name was found for {name!r}")

    def cancel(self, run_id: str, *, force: bool = False) -> str:
        """Ask for its end. Raises NotFound: the run's object is gone."""
        self._patch(run_id, {"cancel": True})
        return run_id

    def resume(self, run_id: str, **_: Any) -> str:
        """Go on with a failed or cancelled run. Raises NotFound: the run's object is gone."""
        key, body = self._object(run_id)
        spec: dict[str, Any] = body.get("spec") or {}
        version = body["metadata"]["resourceVersion"]
        change = {"cancel": None, "resume": int(spec.get("resume") or 0) + 1}
        self._take(self._client.patch(PIPELINE_RUNS, key, {"metadata": {"resourceVersion": version}, "spec": change}))
        return run_id

    def delete(self, run_id: str) -> str:
        """The object and what the store kept of it."""
        record = self._runs().get_run(run_id)
        key, uid = _place(record)
        try:
            self._client.delete(PIPELINE_RUNS, key, uid=uid)
        except ObjectNotFound:
            pass
        self._runs().delete_run(run_id)
        return run_id

    def _patch(self, run_id: str, spec: Mapping[str, Any]) -> None:
        key, body = self._object(run_id)
        uid = body["metadata"]["uid"]
        self._take(self._client.patch(PIPELINE_RUNS, key, {"metadata": {"uid": uid}, "spec": spec}))

    def _object(self, run_id: str) -> tuple[Key, Object]:
        key, uid = _place(self._runs().get_run(run_id))
        try:
            body = self._client.get(PIPELINE_RUNS, key)
        except ObjectNotFound:
            body = {}
        if not body or body["metadata"]["uid"] != uid:
            raise NotFound(f"run {run_id} is history: its PipelineRun was deleted", hint="Run its pipeline again.")
        return key, body

    # ------------------------------------------------------------------ what a machine's service can besides
    def running(self) -> bool:
        return True

    def status(self) -> dict[str, Any]:
        return {"kind": "kubernetes", "namespace": self._namespace}

    def schedules_changed(self) -> None:
        """Recurring runs are RecurringRun objects here; the server has none of its own."""

    def cache_clear(self, **_: Any) -> Any:
        raise Unsupported(
            "results on a cluster are kept with their runs",
            hint="Delete the runs they came from, or run with the cache switched off.",
        )


def _given(document: str) -> dict[str, Any]:
    """The document as the spec takes it. Its platforms part goes beside it: so the admission policy sees which secrets
    and claims a run names, and asks its author for no others."""
    found = [cast("dict[str, Any]", part) for part in read_documents(document) if isinstance(part, dict)]
    platforms = [part for part in found if "platforms" in part]
    others = [part for part in found if "platforms" not in part]
    if len(platforms) == 1 and len(others) == 1 and "root" in others[0]:
        return {"pipeline_spec": others[0], "platform_spec": platforms[0]}
    return {"document": document}


def _artifacts(pipeline: Pipeline, request: Mapping[str, Any]) -> dict[str, ArtifactValue]:
    """Artifacts that the run is given, by the setup file or with the submission.

    Raises:
        InvalidParameters: they lie on this machine, or the setup gives what belongs into the cluster.
    """
    setup = read_setup(str(request.get("setup_path") or ""))
    types = {name: spec.type.schema_title for name, spec in pipeline.root.inputs.artifacts.items()}
    found = root_artifacts(setup, types, request.get("artifacts") or None)
    findings = [
        Finding(f"artifacts.{name}", f"{value.uri!r} is a place of this machine", "unreachable", "use s3:// or gs://")
        for name, value in found.items()
        if isinstance(value, Artifact) and (value.uri.startswith(("/", "file:")) or "://" not in value.uri)
    ]
    for section, kind in (("secrets", "Secrets"), ("config_maps", "ConfigMaps"), ("pvcs", "claims")):
        if getattr(setup, section):
            hint = f"make them there: kubectl create {section.rstrip('s').replace('_', '')} ..."
            findings.append(Finding(section, f"{kind} are the cluster's own", "unsupported", hint))
    if findings:
        raise InvalidParameters(f"pipeline {pipeline.name!r} cannot be run on a cluster with these", findings=findings)
    return found


def _place(record: RunRecord) -> tuple[Key, str]:
    """Raises NotFound: the run is of another kind."""
    found = record.context.get(PLACE)
    if not isinstance(found, Mapping):
        raise NotFound(f"run {record.run_id} is not one of this cluster")
    return Key(str(found.get("namespace")), str(found.get("name"))), str(found.get("uid"))  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]


def defaults_of(settings: Mapping[str, str]) -> dict[str, Any]:
    """What every run of this server gets, from its variables (``MLPLATFORM_RUNS_...``).

    Raises:
        InvalidInput: a number that is none.
    """
    found: dict[str, Any] = {}
    uri, claim = settings.get("MLPLATFORM_RUNS_STORE", ""), settings.get("MLPLATFORM_RUNS_CLAIM", "")
    if uri or claim:
        found["store"] = Store(
            uri=uri,
            endpoint=settings.get("MLPLATFORM_RUNS_STORE_ENDPOINT", ""),
            region=settings.get("MLPLATFORM_RUNS_STORE_REGION", ""),
            secret_name=settings.get("MLPLATFORM_RUNS_STORE_SECRET", ""),
            claim_name="" if uri else claim,
        )
    if account := settings.get("MLPLATFORM_RUNS_SERVICE_ACCOUNT", ""):
        found["service_account_name"] = account
    if uri := settings.get("MLPLATFORM_RUNS_MLFLOW", ""):
        found["env"] = (EnvVar("MLFLOW_TRACKING_URI", uri),)
    if text := settings.get("MLPLATFORM_RUNS_TTL_SECONDS", ""):
        if not text.isdigit():
            raise InvalidInput(f"MLPLATFORM_RUNS_TTL_SECONDS is {text!r}, which is no number of seconds")
        found["ttl"] = Ttl(after_finished=int(text))
    return found
