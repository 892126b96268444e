"""TrainingJob: distributed training as groups of ranks that start, fail and start again together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from mlplatform.apis.fields import About, Rule, anything, same, told
from mlplatform.apis.names import TRAINING_CONTROLLER
from mlplatform.apis.podtemplate import PodTemplate

#: A host name ``<job>-<group>-a<attempt>-<rank>`` has at most 63 characters.
MAX_NAME: Final = 40
NAME_RULE: Final = Rule(
    f"self.metadata.name.matches('^[a-z]([-a-z0-9]{{0,{MAX_NAME - 2}}}[a-z0-9])?$')",
    f"the name must be an RFC 1035 label of at most {MAX_NAME} characters, so that the ranks' host names fit into 63",
)
#: Reasons that the platform finds for the end of a rank.
FAILURE_REASONS: Final = (
    "OOMKilled",
    "NodeLost",
    "Evicted",
    "Preempted",
    "Hung",
    "ImagePull",
    "DeadlineExceeded",
    "Deleted",
    "StartupTimeout",
    "CheckpointFailed",
    "Straggler",
)
_GROUP_NAME: Final = About("", max_length=12)


def _fixed(name: str) -> Rule:
    """An optional member that stays as it is."""
    return Rule(same(name), f"{name} cannot be changed: create another job")


def _while_suspended(name: str) -> Rule:
    """The same, but for jobs that rest."""
    return Rule(f"oldSelf.suspend || {same(name)}", f"{name} can be changed only while the job is suspended")


@dataclass(frozen=True, slots=True)
class Queue:
    """Where the job waits for its share of the cluster."""

    name: str = told("The queue of the namespace (a Kueue LocalQueue).", "", max_length=253)
    priority_class_name: str = told("Its priority in the queue (a WorkloadPriorityClass).", "", max_length=253)
    preemptible: bool = told(
        "Whether jobs of a higher priority may take its place. Kueue cannot promise that they will not: with false, a "
        "job whose place would be Kueue's to give waits, and says so.",
        True,
        given=True,
    )
    max_requeues: int | None = told(
        "How often it may be put back (preempted, evicted, not whole in time) since it was made or resumed; once more, "
        "and it fails with RequeueLimitExceeded. Unset: as often as it comes.",
        None,
        minimum=0,
        maximum=1000,
    )


@dataclass(frozen=True, slots=True)
class Gang:
    """How ranks get their places together."""

    mode: str = told(
        "Auto: by the queue where one is named and Kueue is there, else Own. Own: all ranks are made at once and taken "
        "back together where they are not all placed in time. PodGroup: as Own, until Kubernetes' own pod groups are "
        "done here. None: ranks may come one by one.",
        "Auto",
        enum=("Auto", "Kueue", "PodGroup", "Own", "None"),
        given=True,
    )
    schedule_timeout_seconds: int = told(
        "After this time without a place for all, all are taken back and tried again later.",
        600,
        minimum=10,
        given=True,
    )


@dataclass(frozen=True, slots=True)
class Elastic:
    """Within which sizes training goes on."""

    RULES: ClassVar = (Rule("self.min <= self.max", "elastic.min must not exceed elastic.max"),)

    min: int = told("The least ranks.", minimum=1, maximum=5000)
    max: int = told("The most ranks.", minimum=1, maximum=5000)
    cooldown_seconds: int = told("Time between two changes that the platform makes itself.", 60, minimum=0, given=True)


@dataclass(frozen=True, slots=True)
class GroupDependency:
    """Another group that has to be ready or complete first."""

    group: str = told("The group; it stands before this one in the list.", max_length=12)
    status: str = told("What is waited for.", "Complete", enum=("Ready", "Complete"), given=True)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What each rank computes on."""

    RULES: ClassVar = (
        Rule("self.via != 'DRA' || has(self.deviceClassName)", "via DRA needs deviceClassName", ".deviceClassName"),
    )

    via: str = told(
        "How it is asked for: as an extended resource of nodes, or as a claim on a device.",
        "DevicePlugin",
        enum=("DevicePlugin", "DRA"),
        given=True,
    )
    resource_name: str = told(
        "The extended resource; a part of a GPU is nvidia.com/mig-1g.10gb and the like.",
        "nvidia.com/gpu",
        max_length=253,
        given=True,
    )
    count: int = told("How many.", 1, minimum=0, maximum=64, given=True)
    products: tuple[str, ...] = told(
        "Products that will do, as nodes are labelled (nvidia.com/gpu.product). Empty: any.",
        (),
        max_items=8,
        each=About("", max_length=63),
    )
    min_memory_mi_b: int | None = told("The least memory of a device, in MiB.", None, minimum=0)
    device_class_name: str = told("The DeviceClass, for DRA.", "", max_length=253)
    selector: str = told("A CEL expression that devices have to meet, for DRA.", "", max_length=2048)


@dataclass(frozen=True, slots=True)
class Topology:
    """How near to each other the ranks of a group run."""

    key: str = told("The label of nodes whose value all ranks share.", "", max_length=316)
    mode: str = told("Whether they must or should.", "Required", enum=("Required", "Preferred"), given=True)
    exclusive: bool = told("Whether no other job with the same key may run there meanwhile.", False, given=True)


@dataclass(frozen=True, slots=True)
class ReplicaGroup:
    """Ranks that do the same."""

    RULES: ClassVar = (
        Rule(
            "!has(self.elastic) || (self.elastic.min <= self.replicas && self.replicas <= self.elastic.max)",
            "elastic.min <= replicas <= elastic.max",
            ".replicas",
        ),
        Rule("self.role == oldSelf.role", "role cannot be changed: create another job", ".role"),
        _fixed("procsPerReplica"),
        _fixed("dependsOn"),
        _fixed("accelerator"),
        _fixed("topology"),
    )

    name: str = told("Its name.", max_length=12, pattern="^[a-z]([-a-z0-9]*[a-z0-9])?$")
    template: Mapping[str, Any] = anything("The pod of a rank.", shape=PodTemplate, needed=True)
    role: str = told(
        "What it is for.", "worker", enum=("worker", "launcher", "head", "initializer", "evaluator"), given=True
    )
    replicas: int = told("How many ranks.", 1, minimum=0, maximum=5000, given=True)
    procs_per_replica: int | None = told(
        "Processes in a rank; by default one for each accelerator.", None, minimum=1, maximum=64
    )
    spares: int | None = told("Ranks that stand by. Not done yet: there are none.", None, minimum=0, maximum=64)
    elastic: Elastic | None = told("Within which sizes training goes on. Unset: with all ranks only.", None)
    depends_on: tuple[GroupDependency, ...] = told("What has to be so before it begins.", (), max_items=5)
    accelerator: Accelerator | None = told("What each rank computes on. Unset: what the template says.", None)
    topology: Topology | None = told("How near to each other its ranks run.", None)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where checkpoints are, so that they outlive a rank."""

    RULES: ClassVar = (
        Rule("!(has(self.claimName) && has(self.claimSpec))", "claimName and claimSpec exclude each other"),
        Rule("self.scope != 'Rank' || has(self.claimSpec)", "scope Rank needs claimSpec", ".claimSpec"),
    )

    scope: str = told(
        "Job: one claim for all ranks. Rank: a claim for each, kept over attempts.", "Job", enum=("Job", "Rank"),
        given=True,
    )  # fmt: skip
    mount_path: str = told(
        "Where ranks find it.", "/mlplatform/checkpoint", max_length=255, pattern="^/[^:]*$", given=True
    )
    claim_name: str = told("A PersistentVolumeClaim that is there already.", "", max_length=253)
    claim_spec: Mapping[str, Any] = anything("The spec of the PersistentVolumeClaim that is made.")
    uri: str = told("Where in an object store checkpoints go, in place of a claim.", "", max_length=2048)
    when_finished: str = told(
        "What becomes of claims that were made when the job ends. With Delete, its pods go too: they hold the claims.",
        "Retain",
        enum=("Retain", "Delete"),
        given=True,
    )
    when_deleted: str = told(
        "What becomes of them when the job is deleted.", "Retain", enum=("Retain", "Delete"), given=True
    )
    keep: int = told("How many checkpoints are kept.", 3, minimum=1, given=True)


@dataclass(frozen=True, slots=True)
class Preemption:
    """How the job gives up its place."""

    grace_period_seconds: int = told("Time to save after SIGTERM.", 120, minimum=0, maximum=3600, given=True)


@dataclass(frozen=True, slots=True)
class ExitCodes:
    """Exit codes of a rank."""

    values: tuple[int, ...] = told(
        "The codes.", min_items=1, max_items=64, unique=True, each=About("", minimum=1, maximum=255)
    )
    operator: str = told("Whether these fit, or all others.", "In", enum=("In", "NotIn"), given=True)


@dataclass(frozen=True, slots=True)
class FailureRule:
    """What a failure leads to. Everything that it gives has to fit."""

    RULES: ClassVar = (
        Rule(
            "has(self.exitCodes) || (has(self.podConditions) && self.podConditions.size() > 0) || "
            "(has(self.reasons) && self.reasons.size() > 0)",
            "a rule needs exitCodes, podConditions or reasons",
        ),
    )

    action: str = told("What follows.", enum=("Fail", "Restart", "RestartUncounted", "RestartAvoidNode"))
    name: str = told("What people call it.", "", max_length=63)
    groups: tuple[str, ...] = told("For ranks of these groups only.", (), max_items=8, each=_GROUP_NAME)
    exit_codes: ExitCodes | None = told("For these exit codes.", None)
    pod_conditions: tuple[str, ...] = told(
        "For pods with one of these conditions.", (), max_items=8, each=About("", max_length=63)
    )
    reasons: tuple[str, ...] = told(
        "For one of these reasons. (No rank is taken for a Straggler yet.)",
        (),
        max_items=16,
        each=About("", enum=FAILURE_REASONS),
    )


@dataclass(frozen=True, slots=True)
class FailurePolicySpec:
    """What starts again, how often, and when the job gives up."""

    restart_scope: str = told("What starts again.", "Job", enum=("Job", "Group", "Pod"), given=True)
    restart_mode: str = told(
        "Recreate: ranks are made anew. InPlace is not done yet: they are made anew as well.",
        "",
        enum=("Recreate", "InPlace"),
    )
    max_restarts: int = told("How many restarts count before the job fails.", 3, minimum=0, maximum=10000, given=True)
    window_seconds: int = told("Only those of this last time count. 0: all.", 0, minimum=0, given=True)
    reset_on_checkpoint: bool = told("Whether a newer checkpoint forgets them.", True, given=True)
    backoff_seconds: int = told("Time before a restart; it doubles.", 10, minimum=0, maximum=3600, given=True)
    max_backoff_seconds: int = told("The most of it.", 300, minimum=1, maximum=3600, given=True)
    rules: tuple[FailureRule, ...] = told(
        "What failures lead to: the first one that fits. After them come the platform's own: disruption and exit code "
        "75 restart uncounted, a hang avoids the node, exit codes 2, 126 and 127 fail, all else restarts.",
        (),
        max_items=20,
    )


@dataclass(frozen=True, slots=True)
class SuccessPolicySpec:
    """When the job is complete."""

    groups: tuple[str, ...] = told(
        "The groups that count. Empty: the launcher of mpi, the head of ray, else all.",
        (),
        max_items=8,
        each=_GROUP_NAME,
    )
    operator: str = told("Whether all of them or any.", "All", enum=("All", "Any"), given=True)
    rank0_only: bool = told("Whether rank 0 of a group speaks for it.", False, given=True)


@dataclass(frozen=True, slots=True)
class HealthSpec:
    """When ranks that say nothing are taken for stuck. 0 switches a limit off."""

    startup_timeout_seconds: int = told("From a rank's place to its being ready.", 1800, minimum=0, given=True)
    progress_timeout_seconds: int = told("From one report of progress to the next.", 0, minimum=0, given=True)
    on_hang: str = told("What a hang leads to.", "Restart", enum=("Restart", "Fail", "Report"), given=True)
    straggler_factor_percent: int | None = told("How slow a rank may be. Not done yet.", None, minimum=0)


@dataclass(frozen=True, slots=True)
class RunPolicySpec:
    """How long the job may take, and what it leaves."""

    active_deadline_seconds: int | None = told("From its start (not its creation) to its end.", None, minimum=1)
    pending_deadline_seconds: int | None = told("From when it began to wait to its start.", None, minimum=1)
    ttl_seconds_after_finished: int | None = told("From its end to its deletion.", None, minimum=0)
    clean_pods: str = told("Which pods a finished job deletes.", "Running", enum=("Running", "All", "None"), given=True)


@dataclass(frozen=True, slots=True)
class TrackingSpec:
    """Where metrics go."""

    mlflow_tracking_uri: str = told("The MLflow server; the platform's own by default.", "", max_length=2048)
    experiment_name: str = told("The experiment.", "", max_length=255)
    run_id: str = told("A run that is there already.", "", max_length=64)


#: The places of groups (at most 8). A list's own macros do not tell where an item stands.
_PLACES: Final = "[0, 1, 2, 3, 4, 5, 6, 7]"
_KNOWN: Final = "self.groups.exists(g, g.name == n)"
#: Of the list itself, where its items are at hand.
_OF_ALL_GROUPS: Final = (
    Rule(
        "self.size() == oldSelf.size() && self.all(g, oldSelf.exists(o, o.name == g.name))",
        "groups may not be added, removed or renamed",
    ),
    Rule("self.filter(g, has(g.elastic)).size() <= 1", "only one elastic group"),
    Rule(
        f"{_PLACES}.all(i, i >= self.size() || !has(self[i].dependsOn) || "
        f"self[i].dependsOn.all(d, {_PLACES}.exists(j, j < i && self[j].name == d.group)))",
        "dependsOn can name earlier groups only",
    ),
)


@dataclass(frozen=True, slots=True)
class TrainingJobSpec:
    """What is to be trained, by which ranks, and how it goes on when some fail."""

    RULES: ClassVar = (
        Rule("self.framework == oldSelf.framework", "framework is immutable", ".framework"),
        Rule(
            "oldSelf.suspend || self.groups.all(g, oldSelf.groups.exists(o, o.name == g.name && "
            "(o.replicas == g.replicas || has(o.elastic))))",
            "replicas of a running job may change only in a group that was elastic before",
            ".groups",
        ),
        Rule(
            "oldSelf.suspend || self.groups.all(g, oldSelf.groups.exists(o, o.name == g.name && "
            f"{same('elastic', 'g', 'o')}))",
            "elastic can be changed only while the job is suspended",
            ".groups",
        ),
        Rule(
            "oldSelf.suspend || self.groups.all(g, oldSelf.groups.exists(o, o.name == g.name && "
            "o.template == g.template))",
            "templates can be changed only while the job is suspended",
            ".groups",
        ),
        Rule(
            "!self.groups.exists(g, has(g.elastic)) || self.framework in ['torch', 'ray']",
            "elastic needs framework torch or ray",
            ".groups",
        ),
        Rule(
            "self.framework != 'mpi' || self.groups.filter(g, g.role == 'launcher').map(g, g.replicas) == [1]",
            "mpi needs exactly one launcher group with 1 replica",
            ".groups",
        ),
        Rule(
            "self.framework != 'ray' || self.groups.filter(g, g.role == 'head').map(g, g.replicas) == [1]",
            "ray needs exactly one head group with 1 replica",
            ".groups",
        ),
        Rule(
            "!has(self.successPolicy) || !has(self.successPolicy.groups) || "
            f"self.successPolicy.groups.all(n, {_KNOWN})",
            "successPolicy names an unknown group",
            ".successPolicy",
        ),
        Rule(
            "!has(self.failurePolicy.rules) || self.failurePolicy.rules.all(r, !has(r.groups) || "
            f"r.groups.all(n, {_KNOWN}))",
            "failurePolicy names an unknown group",
            ".failurePolicy",
        ),
        Rule(
            "self.failurePolicy.restartScope != 'Pod' || self.framework in ['ray', 'python'] || "
            "self.groups.exists(g, has(g.elastic))",
            "restartScope Pod needs ray, python or an elastic group: a fixed-size collective cannot rejoin one rank",
            ".failurePolicy",
        ),
        Rule("self.managedBy == oldSelf.managedBy", "managedBy is immutable", ".managedBy"),
        Rule(
            "oldSelf.suspend || (self.failurePolicy.restartScope == oldSelf.failurePolicy.restartScope && "
            f"{same('failurePolicy.rules')})",
            "restartScope and rules can be changed only while the job is suspended",
            ".failurePolicy",
        ),
        _fixed("checkpoint"),
        _fixed("successPolicy"),
        _fixed("tracking"),
        _while_suspended("queue"),
        _while_suspended("gang"),
        _while_suspended("preemption"),
    )

    framework: str = told("What the ranks speak.", enum=("torch", "jax", "ray", "mpi", "python"))
    groups: tuple[ReplicaGroup, ...] = told(
        "The ranks.", min_items=1, max_items=8, keys=("name",), rules=_OF_ALL_GROUPS
    )
    backend: str = told(
        "Who makes the ranks: pods of the platform's own. A RayJob of KubeRay's (kuberay) is not done yet.",
        "",
        enum=("pods", "kuberay"),
        rules=(
            Rule(
                "self != 'kuberay'",
                "backend kuberay is not done yet: leave backend out, and a ray job's head and workers are pods of the "
                "platform's own",
            ),
        ),
    )
    suspend: bool = told("Whether it rests: ranks save and give up their places.", False, given=True)
    managed_by: str = told(
        "Who looks after it; with another one than the platform's controller it is left alone.",
        TRAINING_CONTROLLER,
        enum=(TRAINING_CONTROLLER, "kueue.x-k8s.io/multikueue"),
        given=True,
    )
    queue: Queue | None = told("Where it waits for its share of the cluster.", None)
    gang: Gang | None = told("How ranks get their places together.", None)
    checkpoint: Checkpoint | None = told("Where checkpoints are.", None)
    preemption: Preemption | None = told("How it gives up its place.", None)
    failure_policy: FailurePolicySpec = told("What starts again.", factory=FailurePolicySpec, given=True)
    success_policy: SuccessPolicySpec | None = told("When it is complete.", None)
    health: HealthSpec | None = told("When ranks are taken for stuck.", None)
    run_policy: RunPolicySpec | None = told("How long it may take, and what it leaves.", None)
    tracking: TrackingSpec | None = told("Where metrics go.", None)
