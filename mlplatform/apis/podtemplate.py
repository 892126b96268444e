"""The part of a pod template that training jobs rely on. The rest is kept as it is given, and judged by the API server
when a pod is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from mlplatform.apis.fields import About, Rule, anything, same, told

#: Variables that the platform sets in every rank, by the form of their names.
RESERVED: Final = (
    "^(MLP_.*|PET_.*|MASTER_ADDR|MASTER_PORT|WORLD_SIZE|RANK|LOCAL_RANK|LOCAL_WORLD_SIZE|GROUP_RANK"
    "|JAX_COORDINATOR_ADDRESS|JAX_NUM_PROCESSES|JAX_PROCESS_ID|RAY_ADDRESS|RAY_AUTH_MODE"
    "|OMPI_MCA_orte_default_hostfile|OMPI_MCA_orte_keep_fqdn_hostnames|OMPI_MCA_plm_rsh_args"
    "|MLFLOW_TRACKING_URI|MLFLOW_EXPERIMENT_ID|MLFLOW_RUN_ID|MLFLOW_SYSTEM_METRICS_NODE_ID)$"
)


@dataclass(frozen=True, slots=True)
class TemplateVariable:
    """A variable of a container."""

    OPEN: ClassVar = True

    name: str = told(
        "The variable; those that the platform sets itself (MLP_*, PET_*, MASTER_ADDR, RANK, WORLD_SIZE ...) are not "
        "taken.",
        not_pattern=RESERVED,
        max_length=253,
    )
    value: str = told("Its value.", "", max_length=131072)


@dataclass(frozen=True, slots=True)
class TemplateContainer:
    """A container, as in a Pod."""

    OPEN: ClassVar = True

    name: str = told("Its name.", min_length=1, max_length=63)
    image: str = told("Its image.", "", max_length=1024)
    command: tuple[str, ...] = told(
        "What runs, in place of the image's own.", (), max_items=256, each=About("", max_length=131072)
    )
    args: tuple[str, ...] = told("Its arguments.", (), max_items=1024, each=About("", max_length=131072))
    env: tuple[TemplateVariable, ...] = told("Its variables.", (), max_items=500)


@dataclass(frozen=True, slots=True)
class TemplatePodSpec:
    """A pod's spec, as in a Pod. Names, addresses and restarts are the platform's."""

    OPEN: ClassVar = True
    RULES: ClassVar = (
        Rule(
            "!has(self.restartPolicy) || self.restartPolicy == 'Never'",
            "restartPolicy can only be Never: ranks are started again as a gang, by failurePolicy",
            ".restartPolicy",
        ),
        Rule(
            "!has(self.hostname) && !has(self.subdomain)",
            "hostname and subdomain are set by the platform: ranks find each other by them",
        ),
        Rule("!has(self.nodeName)", "nodeName would pass the scheduler by: use nodeSelector", ".nodeName"),
        # They stand here and not with the group: each step of a path costs the API server, at every write of a status.
        *(
            Rule(same(name), f"{name} of a template cannot be changed: create another job", f".{name}")
            for name in ("containers", "initContainers", "volumes", "securityContext", "serviceAccountName")
        ),
    )

    containers: tuple[TemplateContainer, ...] = told(
        "Its containers: the first one is the rank, the others come and go with it. None: one container, all defaults.",
        (),
        max_items=10,
    )
    init_containers: tuple[TemplateContainer, ...] = told("What runs before.", (), max_items=10)
    ephemeral_containers: tuple[Any, ...] = told(
        "Not to be set: they are added to pods that are there.", (), max_items=0, any_json=True
    )
    volumes: tuple[Any, ...] = told("Its volumes.", (), max_items=64, any_json=True)
    node_selector: Mapping[str, str] = told(
        "Labels of the nodes it may run on.", factory=dict, max_properties=64, each=About("", max_length=63)
    )
    tolerations: tuple[Any, ...] = told("Taints that it stands.", (), max_items=64, any_json=True)
    affinity: Mapping[str, Any] = anything("Where it likes to run.")
    security_context: Mapping[str, Any] = anything("How it may run.")
    service_account_name: str = told("Its service account.", "", max_length=253)
    restart_policy: str = told("Never.", "", max_length=16)
    hostname: str = told("Not to be set.", "", max_length=63)
    subdomain: str = told("Not to be set.", "", max_length=63)
    node_name: str = told("Not to be set.", "", max_length=253)


@dataclass(frozen=True, slots=True)
class TemplateMeta:
    """Labels and annotations of the pods."""

    labels: Mapping[str, str] = told("Labels.", factory=dict, max_properties=64, each=About("", max_length=63))
    annotations: Mapping[str, str] = told(
        "Annotations.", factory=dict, max_properties=64, each=About("", max_length=65536)
    )


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """What the pods of a group are made of."""

    metadata: TemplateMeta = told("Labels and annotations.", factory=TemplateMeta, given=True)
    spec: TemplatePodSpec = told("The pod.", factory=TemplatePodSpec, given=True)
