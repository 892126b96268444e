"""A PipelineRun lends its author nothing: who creates one must be allowed to do what it will do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden, Invalid
from mlplatform.kube.objects import Key, Object, Resource
from mlplatform.kube.transport import target
from tests.cluster.cluster import Cluster
from tests.cluster.operators.conftest import eventually, impersonating

RUNS = Resource("pipelines.mlplatform.dev", "v1alpha1", "pipelineruns", "PipelineRun")
RECURRING = Resource("pipelines.mlplatform.dev", "v1alpha1", "recurringruns", "RecurringRun")

PODS = {"resources": ["pods"], "verbs": ["create"]}
ALL_SECRETS = {"resources": ["secrets"]}
SECRET_A = {"resources": ["secrets"], "resourceNames": ["a"]}
ALL_MAPS = {"resources": ["configmaps"]}
ALL_CLAIMS = {"resources": ["persistentvolumeclaims"]}
MAKE_CLAIMS = {"resources": ["persistentvolumeclaims"], "verbs": ["create"]}
ACT_AS = {"resources": ["serviceaccounts"], "verbs": ["impersonate"], "resourceNames": ["robot"]}

DOCUMENT = "pipelineInfo: {name: p}\nschemaVersion: 2.1.0\n"


def pipeline(image: str = "alpine:3.20") -> Object:
    return {
        "pipelineInfo": {"name": "p"},
        "schemaVersion": "2.1.0",
        "root": {"dag": {"tasks": {"t": {"componentRef": {"name": "comp-t"}, "taskInfo": {"name": "t"}}}}},
        "components": {"comp-t": {"executorLabel": "exec-t"}},
        "deploymentSpec": {"executors": {"exec-t": {"container": {"image": image}}}},
    }


def platform(**executor: Any) -> Object:
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-t": executor}}}}}


def trained(**checkpoint: Any) -> Object:
    training = {"framework": "torch", "groups": [{"name": "worker"}], "checkpoint": checkpoint}
    return {"platforms": {"mlplatform": {"deploymentSpec": {"executors": {"exec-t": {"training": training}}}}}}


def constant(name: str) -> Object:
    return {"runtimeValue": {"constant": name}}


ENV = {"keyToEnv": [{"secretKey": "k", "envVar": "K"}]}
MAP_ENV = {"keyToEnv": [{"configMapKey": "k", "envVar": "K"}]}

CASES: list[tuple[str, Object, list[Object], list[Object]]] = [
    # what is asked for, the spec, rights that are too few, rights that are enough
    ("a plain run", {"pipelineSpec": pipeline()}, [], [PODS]),
    ("a plain document", {"document": DOCUMENT}, [], [PODS]),
    (
        "a secret by name",
        {"pipelineSpec": pipeline(), "platformSpec": platform(secretAsEnv=[{"secretName": "a", **ENV}])},
        [PODS],
        [PODS, SECRET_A],
    ),
    (
        "another secret",
        {"pipelineSpec": pipeline(), "platformSpec": platform(secretAsVolume=[{"secretName": "b", "mountPath": "/b"}])},
        [PODS, SECRET_A],
        [PODS, ALL_SECRETS],
    ),
    (
        "a secret as kfp writes it now",
        {
            "pipelineSpec": pipeline(),
            "platformSpec": platform(secretAsEnv=[{"secretNameParameter": constant("a"), **ENV}]),
        },
        [PODS],
        [PODS, SECRET_A],
    ),
    (
        "two names for one secret: both count",
        {
            "pipelineSpec": pipeline(),
            "platformSpec": platform(secretAsEnv=[{"secretName": "a", "secretNameParameter": constant("b"), **ENV}]),
        },
        [PODS, SECRET_A],
        [PODS, ALL_SECRETS],
    ),
    (
        "a secret whose name comes from a parameter",
        {
            "pipelineSpec": pipeline(),
            "platformSpec": platform(secretAsEnv=[{"secretNameParameter": {"componentInputParameter": "x"}, **ENV}]),
        },
        [PODS, SECRET_A],
        [PODS, ALL_SECRETS],
    ),
    (
        "a secret whose name has a placeholder",
        {
            "pipelineSpec": pipeline(),
            "platformSpec": platform(secretAsEnv=[{"secretNameParameter": constant("{{$.inputs.x}}"), **ENV}]),
        },
        [PODS, SECRET_A],
        [PODS, ALL_SECRETS],
    ),
    (
        "a registry's login",
        {"pipelineSpec": pipeline(), "platformSpec": platform(imagePullSecret=[{"secretName": "a"}])},
        [PODS],
        [PODS, SECRET_A],
    ),
    (
        "a registry's login for the whole run",
        {"document": DOCUMENT, "imagePullSecrets": ["a"]},
        [PODS],
        [PODS, SECRET_A],
    ),
    (
        "the login of the store",
        {"document": DOCUMENT, "store": {"uri": "s3://b/p", "secretName": "a"}},
        [PODS],
        [PODS, SECRET_A],
    ),
    ("a shared claim", {"document": DOCUMENT, "store": {"claimName": "c"}}, [PODS], [PODS, ALL_CLAIMS]),
    (
        "a config map",
        {"pipelineSpec": pipeline(), "platformSpec": platform(configMapAsEnv=[{"configMapName": "m", **MAP_ENV}])},
        [PODS],
        [PODS, ALL_MAPS],
    ),
    (
        "a claim",
        {"pipelineSpec": pipeline(), "platformSpec": platform(pvcMount=[{"constant": "c", "mountPath": "/c"}])},
        [PODS],
        [PODS, {**ALL_CLAIMS, "resourceNames": ["c"]}],
    ),
    (
        "a claim that a task names",
        {
            "pipelineSpec": pipeline(),
            "platformSpec": platform(
                pvcMount=[{"taskOutputParameter": {"producerTask": "t", "outputParameterKey": "n"}, "mountPath": "/c"}]
            ),
        },
        [PODS, {**ALL_CLAIMS, "resourceNames": ["c"]}],
        [PODS, ALL_CLAIMS],
    ),
    ("a new claim", {"pipelineSpec": pipeline("argostub/createpvc")}, [PODS], [PODS, MAKE_CLAIMS]),
    (
        "a claim for checkpoints",
        {"pipelineSpec": pipeline(), "platformSpec": trained(claimSpec={"resources": {}})},
        [PODS],
        [PODS, MAKE_CLAIMS],
    ),
    (
        "checkpoints on a claim that is there",
        {"pipelineSpec": pipeline(), "platformSpec": trained(claimName="c")},
        [PODS, MAKE_CLAIMS],
        [PODS, {**ALL_CLAIMS, "resourceNames": ["c"]}],
    ),
    (
        "a claim for checkpoints in a document",
        {"document": DOCUMENT + "---\nplatforms: {mlplatform: {x: {checkpoint: {claimSpec: {}}}}}\n"},
        [PODS, ALL_SECRETS, ALL_MAPS, ALL_CLAIMS],
        [PODS, ALL_SECRETS, ALL_MAPS, ALL_CLAIMS, MAKE_CLAIMS],
    ),
    ("a service account", {"document": DOCUMENT, "serviceAccountName": "robot"}, [PODS], [PODS, ACT_AS]),
    (
        "a document with a platforms part",
        {"document": DOCUMENT + "---\nplatforms: {}\n"},
        [PODS, SECRET_A],
        [PODS, ALL_SECRETS, ALL_MAPS, ALL_CLAIMS],
    ),
    (
        "one that hides it behind an escape",
        {"document": DOCUMENT + '---\n"\\x70latforms": {}\n'},
        [PODS, ALL_SECRETS],
        [PODS, ALL_SECRETS, ALL_MAPS, ALL_CLAIMS, MAKE_CLAIMS],
    ),
    (
        "one that hides it behind the end of a line",
        {"document": DOCUMENT + '---\n? "plat\\\n   forms"\n: {}\n'},
        [PODS, ALL_SECRETS],
        [PODS, ALL_SECRETS, ALL_MAPS, ALL_CLAIMS],
    ),
    (
        "code with backslashes is no trouble",
        {"document": DOCUMENT + 'x: "print(\\"a\\\\x41\\")\\n\\\n  done \\xE4"\n'},
        [],
        [PODS],
    ),
]


def run(namespace: str, spec: Object, name: str = "run") -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


@pytest.mark.parametrize(("spec", "few", "enough"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_a_run_uses_its_author_may_use(
    person: Callable[..., Client], namespace: str, spec: Object, few: list[Object], enough: list[Object]
) -> None:
    some = person("able", *enough)
    eventually(lambda: some.create(RUNS, run(namespace, spec, "able"), dry_run=True))
    less = person("unable", *few)
    if few:
        eventually(lambda: less.create(RUNS, run(namespace, {"pipelineSpec": pipeline()}, "plain"), dry_run=True))

    def refused() -> str:
        try:
            less.create(RUNS, run(namespace, spec, "unable"), dry_run=True)
        except Forbidden as error:
            if "cannot create resource" in str(error):  # that they may make runs at all is not seen yet
                raise
            return str(error)
        return "nothing was wrong"

    assert "needs the right" in eventually(refused)
    template = {"schedule": "0 * * * *", "template": {"spec": spec}}
    with pytest.raises(Forbidden, match="needs the right"):
        less.create(RECURRING, run(namespace, template, "unable"), dry_run=True)
    some.create(RECURRING, run(namespace, template, "able"), dry_run=True)


def test_other_spellings_are_refused(person: Callable[..., Client], namespace: str) -> None:
    """Names in snake case mean the same to the planner, and would pass unseen here."""
    ann = person("ann", PODS)
    eventually(lambda: ann.create(RUNS, run(namespace, {"pipelineSpec": pipeline()}), dry_run=True))
    for spec in (
        {"pipelineSpec": pipeline(), "platformSpec": platform(secret_as_env=[{"secretName": "a", **ENV}])},
        {"pipelineSpec": pipeline(), "platformSpec": platform(secretAsEnv=[{"secret_name": "a", **ENV}])},
        {
            "pipelineSpec": pipeline(),
            "platformSpec": {"platforms": {"kubernetes": {"deployment_spec": {"executors": {}}}}},
        },
        {"pipelineSpec": {**pipeline(), "deployment_spec": pipeline("argostub/createpvc")["deploymentSpec"]}},
    ):
        with pytest.raises(Forbidden, match="as the kfp compiler does"):
            ann.create(RUNS, run(namespace, spec), dry_run=True)


def test_many_names_are_not_too_dear(person: Callable[..., Client], namespace: str) -> None:
    """Each question about rights costs the API server a third of what it grants one expression."""
    mounts = [{"constant": f"claim-{number}", "mountPath": f"/c{number}"} for number in range(12)]
    maps = [{"configMapName": f"map-{number}", **MAP_ENV} for number in range(12)]
    spec = {"pipelineSpec": pipeline(), "platformSpec": platform(pvcMount=mounts, configMapAsEnv=maps)}
    ann = person("ann", PODS, ALL_CLAIMS, ALL_MAPS)
    eventually(lambda: ann.create(RUNS, run(namespace, spec), dry_run=True))


def _named(resource: str, *names: str) -> Object:
    return {"resources": [resource], "resourceNames": list(names)}


def test_who_may_read_some_by_name_may_use_as_many_as_can_be_asked_about(
    person: Callable[..., Client], namespace: str
) -> None:
    secrets, maps, claims = ([f"{kind}-{number}" for number in range(9)] for kind in ("secret", "map", "claim"))
    rights = [_named("secrets", *secrets), _named("configmaps", *maps), _named("persistentvolumeclaims", *claims)]
    ann = person("ann", PODS, *rights)

    def spec(few: list[str], **more: Any) -> Object:
        mounts = [{"constant": name, "mountPath": f"/{name}"} for name in claims[:6]]
        given = [{"configMapName": name, **MAP_ENV} for name in maps[:6]]
        read = [{"secretName": name, **ENV} for name in few] * 3  # by several tasks
        return {
            "pipelineSpec": pipeline(),
            "platformSpec": platform(secretAsEnv=read, configMapAsEnv=given, pvcMount=mounts, **more),
        }

    eventually(lambda: ann.create(RUNS, run(namespace, spec(secrets[:8])), dry_run=True))
    with pytest.raises(Forbidden, match=r"At most 8 secrets can be asked about one by one: .* the right to get all"):
        ann.create(RUNS, run(namespace, spec(secrets)), dry_run=True)
    with pytest.raises(Forbidden, match="needs the right to get the secrets"):
        ann.create(RUNS, run(namespace, spec([*secrets[:7], "others"])), dry_run=True)
    with pytest.raises(Forbidden, match="needs the right to get the secrets"):
        ann.create(RUNS, run(namespace, {**spec(secrets[:7]), "imagePullSecrets": ["others"]}), dry_run=True)


def test_a_change_of_the_spec_is_looked_at_and_nothing_else(
    person: Callable[..., Client], rules: Client, namespace: str
) -> None:
    body = run(namespace, {"document": DOCUMENT, "imagePullSecrets": ["a"]})
    eventually(lambda: rules.create(RUNS, body))
    ann = person("ann")
    key = Key(namespace, "run")
    eventually(lambda: ann.patch(RUNS, key, {"metadata": {"labels": {"a": "b"}}}))
    with pytest.raises(Forbidden, match="needs the right to create pods"):
        ann.patch(RUNS, key, {"spec": {"displayName": "x"}})
    ann.delete(RUNS, key)


def test_the_operators_own_writes_pass(rules: Client, api_server: Cluster, namespace: str) -> None:
    eventually(lambda: rules.create(RUNS, run(namespace, {"document": DOCUMENT})))
    operator = impersonating(
        target(str(api_server.kubeconfig)), "system:serviceaccount:mlplatform-system:mlplatform-operator"
    )
    key = Key(namespace, "run")
    told = eventually(lambda: operator.patch(RUNS, key, {"status": {"state": "RUNNING"}}, subresource="status"))
    assert told["status"]["state"] == "RUNNING"
    operator.transport.close()


def test_an_invalid_run_is_refused_with_every_field(rules: Client, namespace: str) -> None:
    spec = {"parallelism": 0, "store": {"uri": "ftp://x"}, "env": [{"name": "no good"}]}
    with pytest.raises(Invalid) as raised:
        rules.create(RUNS, run(namespace, spec))
    named = {finding.path for finding in raised.value.findings}
    assert {"spec.parallelism", "spec.store.uri", "spec.env[0].name"} <= named
