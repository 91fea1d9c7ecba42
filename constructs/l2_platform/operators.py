"""Operators: the controllers that environments' instances need, once in the cluster."""

from collections.abc import Sequence

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.footprint import Footprint, footprint, surge
from constructs.metrics import PodTarget
from constructs.network_flow import ANYWHERE, API_SERVER, Flow, NetworkFlow, Peer
from constructs.postgres_cluster import PORT, STATUS_PORT
from constructs.release import Release
from constructs.settings import Cpu, Size, Sized
from constructs.versions import VERSIONS

_WEBHOOK_PORT = 9443
_PLUGIN_PORT = 9090
_METRICS_PORT = 8080
_READY = "operators-ready"
_READY_RESOURCES = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}


class PluginSettings(Sized):
    """The size of the backup plugin."""

    cpu: Cpu = "10m"
    memory: Size = "128Mi"


class OperatorsSettings(Sized):
    """The size of the CloudNativePG operator, and of what it has beside it."""

    cpu: Cpu = "50m"
    memory: Size = "256Mi"
    plugin: PluginSettings = PluginSettings()
    """The Barman Cloud plugin, which saves databases to a bucket."""


def footprints(settings: OperatorsSettings) -> tuple[Footprint, ...]:
    """Return what the operators ask for."""
    return (
        footprint("cloudnative-pg", settings.resources(), at_times=surge(1)),
        footprint("barman-cloud", settings.plugin.resources()),
        footprint(_READY, _READY_RESOURCES, pods=0, at_times=1),
    )


class Operators(Construct):
    """CloudNativePG and its backup plugin in `iac`; they keep the Postgres clusters of all environments.

    What makes a database in the same stack waits for `ready`: the operator's webhooks answer a moment later than its
    pod is ready. `certificates` are what the plugin's own certificates wait for.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        databases: Sequence[str],
        priority_class: str,
        settings: OperatorsSettings,
        certificates: Sequence[ITerraformDependable],
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        self.targets = (
            PodTarget(
                job="cloudnative-pg",
                port=_METRICS_PORT,
                pods={"app.kubernetes.io/name": "cloudnative-pg"},
                namespace=namespace,
            ),
        )
        self._flows(namespace, databases, depends_on)
        operator = Release(
            self,
            "cloudnative-pg",
            chart="cloudnative-pg",
            name="cloudnative-pg",
            namespace=namespace,
            values={
                "crds": {"create": True},
                "config": {"clusterWide": True},
                "priorityClassName": priority_class,
                "resources": settings.resources(),
            },
            depends_on=depends_on,
        )
        plugin = Release(
            self,
            "barman-cloud",
            chart="plugin-barman-cloud",
            name="barman-cloud",
            namespace=namespace,
            values={
                "fullnameOverride": "barman-cloud",
                "crds": {"create": True},
                "priorityClassName": priority_class,
                "resources": settings.plugin.resources(),
            },
            depends_on=[operator.resource, *certificates],
        )
        ready = Release(
            self,
            "ready",
            chart=_READY,
            name=_READY,
            namespace=namespace,
            values={
                "image": VERSIONS.images["kubectl"],
                "resources": _READY_RESOURCES,
                "priorityClassName": priority_class,
                "operators": {
                    chart: {"version": VERSIONS.charts[chart].version, "resources": size.resources()}
                    for chart, size in (("cloudnative-pg", settings), ("plugin-barman-cloud", settings.plugin))
                },
            },
            depends_on=[plugin.resource],
        )
        self.ready: Sequence[ITerraformDependable] = (ready.resource,)

    def _flows(self, namespace: str, databases: Sequence[str], depends_on: Sequence[ITerraformDependable]) -> None:
        operator, plugin = ({"app.kubernetes.io/name": name} for name in ("cloudnative-pg", "plugin-barman-cloud"))
        instances = Peer(pods={"cnpg.io/podRole": "instance"}, namespaces=[namespace, *databases])
        NetworkFlow(
            self,
            "cloudnative-pg-flow",
            name="cloudnative-pg",
            namespace=namespace,
            pods=operator,
            # Webhooks are called by the API server, which no selector can name.
            callers=[Flow(ANYWHERE, ports=(_WEBHOOK_PORT,)), *(target.caller() for target in self.targets)],
            calls=[
                API_SERVER,
                Flow(instances, ports=(STATUS_PORT, PORT)),
                Flow(Peer(pods=plugin), ports=(_PLUGIN_PORT,)),
            ],
            depends_on=depends_on,
        )
        NetworkFlow(
            self,
            "barman-cloud-flow",
            name="barman-cloud",
            namespace=namespace,
            pods=plugin,
            callers=[Flow(Peer(pods=operator), ports=(_PLUGIN_PORT,))],
            calls=[API_SERVER],
            depends_on=depends_on,
        )
        NetworkFlow(
            self,
            "ready-flow",
            name=_READY,
            namespace=namespace,
            pods={"app.kubernetes.io/name": _READY},
            calls=[API_SERVER],
            depends_on=depends_on,
        )
