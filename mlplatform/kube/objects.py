"""What Kubernetes objects are said in: resources, keys, metadata. Pure: planners use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

#: An object as the API server sends it. Whoever is handed one may change it: caches hand out copies.
Object = dict[str, Any]

#: The one field manager under which everything of ours is applied.
FIELD_MANAGER: Final = "mlplatform"


class Key(NamedTuple):
    """Names one object of a kind. ``namespace`` is empty for cluster-scoped ones."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API server keeps it. ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def name(self) -> str:
        """``pods`` or ``pipelineruns.pipelines.mlplatform.dev``: as ``kubectl get`` takes it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of a collection, an object, or a part of it. No namespace: all of them."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [self.plural, *(part for part in (name, subresource) if part)]
        return "/".join(parts)


NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES: Final = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS: Final = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
SERVICES: Final = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
CLAIMS: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES: Final = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS: Final = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CUSTOM_RESOURCES: Final = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
NETWORK_POLICIES: Final = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
INGRESSES: Final = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
ADMISSION_POLICIES: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
ADMISSION_BINDINGS: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding",
    namespaced=False,
)

RESOURCE_QUOTAS: Final = Resource("", "v1", "resourcequotas", "ResourceQuota")

#: Kinds that every cluster has, in the order in which to make what an installation needs.
BUILT_IN: Final = (
    NAMESPACES,
    CUSTOM_RESOURCES,
    SERVICE_ACCOUNTS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
    ROLES,
    ROLE_BINDINGS,
    ADMISSION_POLICIES,
    ADMISSION_BINDINGS,
    SECRETS,
    CONFIG_MAPS,
    CLAIMS,
    VOLUMES,
    SERVICES,
    NETWORK_POLICIES,
    DISRUPTION_BUDGETS,
    STATEFUL_SETS,
    DEPLOYMENTS,
    INGRESSES,
    PODS,
    NODES,
    LEASES,
    EVENTS,
)


def metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` of an object, empty where it has none."""
    found: dict[str, Any] | None = body.get("metadata")
    return found if found is not None else {}


def key_of(body: Mapping[str, Any]) -> Key:
    meta = metadata(body)
    return Key(meta.get("namespace") or "", meta.get("name") or "")


def uid_of(body: Mapping[str, Any]) -> str:
    return str(metadata(body).get("uid") or "")


def version_of(body: Mapping[str, Any]) -> str:
    """``metadata.resourceVersion``."""
    return str(metadata(body).get("resourceVersion") or "")


def labels_of(body: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] | None = metadata(body).get("labels")
    return found if found is not None else {}


def being_deleted(body: Mapping[str, Any]) -> bool:
    return bool(metadata(body).get("deletionTimestamp"))


def has_finalizer(body: Mapping[str, Any], finalizer: str) -> bool:
    return finalizer in (metadata(body).get("finalizers") or ())


def controller_of(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The owner reference with ``controller: true``, if the object has one."""
    owners: Iterable[dict[str, Any]] = metadata(body).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """What makes ``owner`` the controller of another object; the garbage collector removes that one with it."""
    meta = metadata(owner)
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
