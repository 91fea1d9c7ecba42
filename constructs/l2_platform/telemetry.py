"""Telemetry: logs and metrics of the nodes, the pods and the platform, sent to the SigNoz of one environment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.footprint import Footprint, footprint
from constructs.l2_platform.tenancy import PLATFORM_LABELS
from constructs.metrics import COLLECTOR, TELEMETRY_NAMESPACE, TELEMETRY_PODS, PodTarget
from constructs.network_flow import ANYWHERE, API_SERVER, DNS, TRAEFIK, Flow, NetworkFlow, Peer
from constructs.reference import Reference, expression, literal, mebibytes, text
from constructs.release import Release
from constructs.settings import ClientNamespace, Cpu, Form, Name, OptionalName, Settings, Size, Sized
from constructs.variable import Rule, listed

_NAME = "k8s-infra"
_AGENT = {"app.kubernetes.io/name": _NAME, "app.kubernetes.io/component": "otel-agent"}
_OTLP_PORT = 4317
_KUBELET_PORT = 10250
# `kube-system` has no default deny, and so none of what opens DNS beside it.
_NAMES = (Flow(DNS, ports=(53,), protocol="UDP"), Flow(DNS, ports=(53,)))

# Logs lie in the node's /var/log/pods, readable to the group root. Files of syslog belong to the group adm.
_ROOT_GROUP, _ADM_GROUP = 0, 4
_USER_ID = 10001
_POD_SECURITY: dict[str, object] = {
    "runAsNonRoot": True,
    "runAsUser": _USER_ID,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY: dict[str, object] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# K3s starts Traefik with its metrics shown at the port of the chart's own choice, to nobody outside.
_TRAEFIK = PodTarget(job="traefik", port=9100, pods=TRAEFIK.pods, namespace="kube-system")
_PROCESSORS = ["memory_limiter", "batch"]
_SCRAPER = "prometheus/platform"
_NODE_FILES = "filelog/nodes"
# A file is read on only when what was read of it is in the queue.
_RETRY = {"enabled": True, "max_elapsed_time": "0s"}
# Helm takes out of a chart's own values what is given as null.
_NOTHING = Reference("null")
_WATCH = ["get", "list", "watch"]
# The chart's own would include nodes/proxy, by which commands are run in any pod.
_AGENT_RULES: list[dict[str, object]] = [
    {"apiGroups": [""], "resources": ["namespaces", "nodes", "pods"], "verbs": _WATCH},
    {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": _WATCH},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": _WATCH},
    {"apiGroups": [""], "resources": ["nodes/pods", "nodes/stats"], "verbs": ["get"]},
]
# What the receivers watch: k8s_cluster's kinds, and events.
_CLUSTER_RULES: list[dict[str, object]] = [
    {
        "apiGroups": [""],
        "resources": ["events", "namespaces", "nodes", "pods", "replicationcontrollers", "resourcequotas", "services"],
        "verbs": _WATCH,
    },
    {
        "apiGroups": ["apps"],
        "resources": ["daemonsets", "deployments", "replicasets", "statefulsets"],
        "verbs": _WATCH,
    },
    {"apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": _WATCH},
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": _WATCH},
]

# No parenthesis right after a word: the guard would take it for a function of Terraform's.
_LOG_FILE = "/var/log/[A-Za-z0-9*_-][A-Za-z0-9._*-]*(/[A-Za-z0-9*_-][A-Za-z0-9._*-]*)*"
LogFile = Annotated[str, Form(_LOG_FILE, "a file below /var/log such as /var/log/syslog, or a pattern")]


class LogSettings(Settings):
    """Whose logs are sent, beside those of the platform and of the environment that they are sent to."""

    environments: tuple[Name, ...] = ()
    """Other environments, whose logs whoever may sign in at that SigNoz can then read; never prod."""
    namespaces: tuple[ClientNamespace, ...] = ()
    """Namespaces of your own: of applications, and of Kubero's pipelines."""
    left_out: tuple[Name, ...] = ()
    """Namespaces whose logs are not sent, whatever else is said."""
    node_files: tuple[LogFile, ...] = ("/var/log/k3s.log", "/var/log/syslog")
    """Log files of the nodes themselves; one that is not there is left out."""


class AgentSettings(Sized):
    """The pod on every node that reads logs, the kubelet and the node."""

    cpu: Cpu = "50m"
    memory: Size = "256Mi"


class TelemetrySettings(Sized):
    """What is collected of the cluster; `cpu` and `memory` are those of the one pod that asks the API server."""

    cpu: Cpu = "50m"
    memory: Size = "256Mi"
    environment: OptionalName = ""
    """The environment to whose SigNoz everything is sent; `signoz` must be among its components."""
    agent: AgentSettings = AgentSettings()
    """The pod on every node."""
    logs: LogSettings = LogSettings()
    """Whose logs are sent."""
    verify_kubelets: bool = True
    """Whether kubelets must show a certificate of the cluster's own authority, as those of K3s do."""


def footprints(settings: TelemetrySettings, nodes: int) -> tuple[Footprint, ...]:
    """Return what telemetry asks for, on so many nodes."""
    return (
        footprint(f"{_NAME}-otel-agent", settings.agent.resources(), pods=nodes),
        footprint(f"{_NAME}-otel-deployment", settings.resources()),
    )


@dataclass(frozen=True)
class Observers:
    """The environments that are there at synth, those of them that have SigNoz, and the one whose logs stay its own."""

    environments: Sequence[str]
    with_signoz: Sequence[str]
    guarded: str

    def rules(self, *, is_component: bool) -> Iterator[Rule]:
        """Yield what the settings must satisfy at plan."""
        if is_component:
            condition = f"contains({literal(self.with_signoz)}, var.telemetry.environment)"
            yield Rule("telemetry", condition, self._environment_words())
        others = f"setsubtract(var.telemetry.logs.environments, {literal(self._shared())})"
        yield Rule("telemetry", f"length({others}) == 0", self._logs_words())

    def refused(self, settings: TelemetrySettings, *, is_component: bool) -> Iterator[tuple[str, str]]:
        """Yield, by key, what `rules` refuses."""
        if is_component and settings.environment not in self.with_signoz:
            yield "telemetry.environment", f"found {literal(settings.environment)}; {self._environment_words()}"
        for name in settings.logs.environments:
            if name not in self._shared():
                yield "telemetry.logs.environments", f"found {literal(name)}; {self._logs_words()}"

    def _shared(self) -> list[str]:
        return [name for name in self.environments if name != self.guarded]

    def _environment_words(self) -> str:
        return f"give an environment that has signoz among its components: {listed(self.with_signoz)}"

    def _logs_words(self) -> str:
        return f"give only {listed(self._shared())}: what {self.guarded} logs is for its own SigNoz alone"


class Telemetry(Construct):
    """k8s-infra in `kube-system`: an agent on every node, and one pod that asks the API server and infra's systems.

    `platform` are the namespaces whose logs are always sent; `rooms` is what the environments' namespaces wait for.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        cluster: str,
        platform: Sequence[str],
        targets: Sequence[PodTarget],
        priority_class: str,
        settings: TelemetrySettings,
        rooms: Sequence[ITerraformDependable],
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        targets = [_TRAEFIK, *targets]
        room = expression('format("monitoring-%s", {})', settings.environment)
        self._open_flows(room, targets, [*rooms, *depends_on])
        namespaces = _observed(settings.logs, settings.environment, platform)
        Release(
            self,
            "release",
            chart=_NAME,
            name=_NAME,
            namespace=TELEMETRY_NAMESPACE,
            values={
                "clusterName": cluster,
                "otelCollectorEndpoint": expression(
                    'format("signoz-otel-collector.%s.svc:%d", {}, {})', room, _OTLP_PORT
                ),
                "presets": _presets(namespaces),
                "otelAgent": _agent(settings, priority_class),
                "otelDeployment": _deployment(settings, targets, priority_class),
            },
            depends_on=depends_on,
        )

    def _open_flows(
        self, room: Reference, targets: Sequence[PodTarget], depends_on: Sequence[ITerraformDependable]
    ) -> None:
        collector = Flow(Peer(pods=COLLECTOR, namespaces=expression("[{}]", room)), ports=(_OTLP_PORT,))
        NetworkFlow(
            self,
            "agent-flow",
            name=f"{_NAME}-agent",
            namespace=TELEMETRY_NAMESPACE,
            pods=_AGENT,
            calls=[*_NAMES, API_SERVER, Flow(ANYWHERE, ports=(_KUBELET_PORT,)), collector],
            depends_on=depends_on,
        )
        NetworkFlow(
            self,
            "flow",
            name=_NAME,
            namespace=TELEMETRY_NAMESPACE,
            pods=TELEMETRY_PODS,
            calls=[*_NAMES, API_SERVER, collector, *(target.flow() for target in targets)],
            depends_on=depends_on,
        )
        # The environment's own stack does not know whether it is the one.
        NetworkFlow(
            self,
            "collector-flow",
            name=f"{_NAME}-telemetry",
            namespace=text(room),
            pods=COLLECTOR,
            callers=[
                Flow(Peer(pods=pods, namespaces=(TELEMETRY_NAMESPACE,)), ports=(_OTLP_PORT,))
                for pods in (_AGENT, TELEMETRY_PODS)
            ],
            labels=PLATFORM_LABELS,
            depends_on=depends_on,
        )


def _observed(logs: LogSettings, environment: object, platform: Sequence[str]) -> Reference:
    """Return the namespaces whose logs and events are sent, each once."""
    return expression(
        "sort(setsubtract(concat({}, flatten([for name in concat([{}], {}) :"
        ' [format("data-%s", name), format("monitoring-%s", name)]]), {}), {}))',
        list(platform),
        environment,
        logs.environments,
        logs.namespaces,
        logs.left_out,
    )


def _presets(namespaces: Reference) -> dict[str, object]:
    return {
        "otlpExporter": {"enabled": True},
        "otlphttpExporter": {"enabled": False},
        "logsCollection": {
            "whitelist": {"enabled": True, "signozLogs": False, "namespaces": namespaces},
            # What those who carry the logs say of it would come back to them.
            "blacklist": {
                "enabled": True,
                "signozLogs": False,
                "namespaces": [],
                "pods": [_NAME, "signoz-otel-collector"],
            },
        },
        "k8sEvents": {"namespaces": namespaces},
        # Without the node's own root: the kubelet tells how full its disk is, and how busy its network.
        "hostMetrics": {"rootPath": "", "scrapers": {"filesystem": _NOTHING, "network": _NOTHING}},
    }


def _agent(settings: TelemetrySettings, priority_class: str) -> dict[str, object]:
    files = settings.logs.node_files
    pipeline = {"receivers": [], "processors": _PROCESSORS}
    return {
        **_pods(settings.agent, priority_class),
        "podSecurityContext": {**_POD_SECURITY, "runAsGroup": _ROOT_GROUP, "supplementalGroups": [_ADM_GROUP]},
        # Nothing is taken from anybody: the chart would listen at every address of every node.
        "ports": {
            **{port: {"enabled": False} for port in ("otlp", "otlp-http", "metrics")},
            "health-check": {"hostPort": 0},
        },
        "clusterRole": {"rules": _AGENT_RULES},
        "config": {
            **_config(settings.agent),
            "receivers": _receivers(settings.verify_kubelets, files),
            "service": {
                "extensions": ["health_check"],
                "pipelines": {
                    "traces": {"receivers": []},
                    "metrics": pipeline,
                    "logs": {**pipeline, "receivers": expression("length({}) > 0 ? [{}] : []", files, _NODE_FILES)},
                },
            },
        },
    }


def _receivers(verify_kubelets: object, files: object) -> Reference:
    """Return what differs from the chart's own receivers. One without files would not start, so it is left out."""
    return expression(
        # The chart's own setting for kubelets takes false for nothing given.
        "merge({{ otlp = null, kubeletstats = {{ insecure_skip_verify = !{0} }},"
        " {1} = {{ retry_on_failure = {3} }} }}, {{ for name in [{2}] :"
        " name => {{ include = {4}, start_at = {5}, retry_on_failure = {3} }} if length({4}) > 0 }})",
        verify_kubelets,
        "filelog/k8s",
        _NODE_FILES,
        _RETRY,
        files,
        "end",
    )


def _deployment(settings: TelemetrySettings, targets: Sequence[PodTarget], priority_class: str) -> dict[str, object]:
    pipeline = {"processors": _PROCESSORS}
    return {
        **_pods(settings, priority_class),
        "podSecurityContext": _POD_SECURITY,
        # Two of them would count everything twice.
        "strategy": "Recreate",
        "clusterRole": {"rules": _CLUSTER_RULES},
        "config": {
            **_config(settings),
            "receivers": {_SCRAPER: {"config": {"scrape_configs": [_job(target) for target in targets]}}},
            "service": {
                "extensions": ["health_check"],
                "pipelines": {
                    "metrics/internal": pipeline,
                    "metrics/scraper": {**pipeline, "receivers": [_SCRAPER]},
                    "logs": pipeline,
                },
            },
        },
    }


def _pods(size: Sized, priority_class: str) -> dict[str, object]:
    """Return what the chart's two kinds of pods have in common."""
    return {
        "priorityClassName": priority_class,
        "resources": size.resources(),
        "securityContext": _CONTAINER_SECURITY,
        "additionalEnvs": {"GOMEMLIMIT": expression('format("%dMiB", floor({} * 0.8))', mebibytes(size.memory))},
    }


def _config(size: Sized) -> dict[str, object]:
    """Return the configuration of both: what cannot be sent waits in a queue of a quarter of the memory."""
    return {
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_percentage": 80, "spike_limit_percentage": 20}
        },
        "exporters": {
            "otlp": {
                "sending_queue": {
                    "sizer": "bytes",
                    "queue_size": expression("floor({} / 4) * 1048576", mebibytes(size.memory)),
                    "block_on_overflow": True,
                },
                # The environment may be made long after infra.
                "retry_on_failure": {"max_elapsed_time": "0s"},
            }
        },
    }


def _job(target: PodTarget) -> dict[str, object]:
    """Return a scrape job. The collector reads $$ as $, and $1 is what the rule found."""
    return {
        "job_name": target.job,
        "scrape_interval": "60s",
        "metrics_path": target.path,
        "params": {key: [value] for key, value in target.parameters.items()},
        "kubernetes_sd_configs": [
            {
                "role": "pod",
                "namespaces": {"names": [target.namespace]},
                "selectors": [
                    {"role": "pod", "label": ",".join(f"{key}={value}" for key, value in target.pods.items())}
                ],
            }
        ],
        "relabel_configs": [
            {"source_labels": ["__meta_kubernetes_pod_phase"], "action": "keep", "regex": "Running"},
            {
                "source_labels": ["__meta_kubernetes_pod_ip"],
                "target_label": "__address__",
                "replacement": f"$$1:{target.port}",
            },
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "k8s_pod_name"},
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "k8s_namespace_name"},
        ],
    }
