"""Redis: one server, or three with Sentinel, with an append-only file, in `data-<environment>`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from cdktf_cdktf_provider_kubernetes.service_v1 import ServiceV1, ServiceV1Metadata, ServiceV1Spec, ServiceV1SpecPort
from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.deletion_lock import DeletionLock
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint, surge
from constructs.generated_secret import REVISION_ANNOTATION, GeneratedSecret, Password
from constructs.metrics import ScrapeTarget
from constructs.network_flow import API_SERVER, Flow, NetworkFlow, Peer, pods_of
from constructs.reference import Reference, expression, mebibytes
from constructs.release import Release
from constructs.settings import AtLeast, ClientNamespace, Cpu, Size, Sized
from constructs.snapshots import Snapshots, SnapshotSettings, Store, snapshot_footprints
from constructs.snapshots import pods_of as savers
from constructs.versions import VERSIONS

_PORT = 6379
_SENTINEL_PORT = 26379
_METRICS_PORT = 9121
_METRICS = "redis-metrics"
_PASSWORD_KEY = "redis-password"  # noqa: S105 (a key's name)
_USER_ID = 999
# Of the servers alone: the chart's own labels are on the pod that finds the master as well.
_SERVERS = {"strata/redis": "server"}
_DISCOVERY = {"app.kubernetes.io/name": "redis", "app.kubernetes.io/component": "master-discovery"}
_HANDOVER = {"app.kubernetes.io/name": "redis-handover"}
_SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}
_KUBECTL = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
# What a replica holds is gone as soon as it has copied its master. Links cost nothing while the files are the same, and
# a day is long enough to see that it was the wrong master.
_KEEP = """\
cd /data
kept="$(find . -maxdepth 1 -name 'appendonlydir.at-start-*' -mtime -1)"
if [ -d appendonlydir ] && [ -z "$kept" ]; then
  rm -rf appendonlydir.at-start-*
  cp -rl appendonlydir "appendonlydir.at-start-$(date -u +%Y%m%dT%H%M%SZ)"
fi || echo "what was there at the start is not kept" >&2
"""


class RedisSettings(Sized):
    """Redis, kept on disk by its append-only file."""

    replicas: Literal[1, 3] = 1
    """Servers: one, or three on three nodes, of which Sentinel makes another the master when one fails."""
    cpu: Cpu = "50m"
    memory: Annotated[Size, AtLeast(64)] = "256Mi"
    """Memory that a server requests, and may use at most. Some 40% are for data: docs/reference/systems/redis.md."""
    storage: Size = "2Gi"
    """Size of each server's volume: four times `memory` or more. It cannot be changed later."""
    eviction: Literal["noeviction", "allkeys-lru", "volatile-lru"] = "noeviction"
    """What happens when there is no room for more data: refuse writes, or drop keys that were least used."""
    backup: SnapshotSettings = SnapshotSettings()
    """When it is saved to the bucket of `backups`."""
    clients: tuple[ClientNamespace, ...] = ()
    """Namespaces whose pods may connect, beside `monitoring-<environment>`."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have a new password generated; Redis restarts, clients must read the Secret again."""


def footprints(settings: RedisSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what Redis asks for."""
    is_replicated = settings.replicas > 1
    return (
        footprint(
            "redis",
            settings.resources(),
            _SMALL,
            *([_SMALL] if is_replicated else []),
            init=[_SMALL],
            pods=settings.replicas,
            volumes=[settings.storage] * settings.replicas,
        ),
        *([footprint("redis-master-discovery", _KUBECTL, at_times=surge(1))] if is_replicated else []),
        footprint("redis-handover", _KUBECTL, pods=0, at_times=1),
        *snapshot_footprints("redis", backups, is_restored=True),
    )


class Redis(Construct):
    """A Redis release; its password is in the Secret `redis-auth`.

    With three replicas `endpoint` is a Service that follows the master; a client that speaks Sentinel asks
    `redis-sentinel`, port 26379, for the master `mymaster`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        backups: BackupSettings,
        settings: RedisSettings,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.data_namespace
        is_replicated = expression("{} > 1", settings.replicas)
        auth = GeneratedSecret(
            self,
            "auth",
            name="redis-auth",
            namespace=namespace,
            passwords={_PASSWORD_KEY: Password()},
            revision=settings.credentials_revision,
        )
        ServiceV1(
            self,
            "metrics",
            metadata=ServiceV1Metadata(name=_METRICS, namespace=namespace),
            spec=ServiceV1Spec(
                cluster_ip="None",
                selector=_SERVERS,
                port=[ServiceV1SpecPort(name="metrics", port=_METRICS_PORT, target_port="metrics")],
            ),
        )
        target = ScrapeTarget(
            job="redis",
            host=f"{_METRICS}.{namespace}.svc",
            port=_METRICS_PORT,
            pods=_SERVERS,
            namespace=namespace,
        )
        self.targets = (target,)
        self._open_flows(environment, target, settings, is_replicated)
        password = {"secretKeyRef": {"name": auth.name, "key": _PASSWORD_KEY}}
        handover = Release(
            self,
            "handover",
            chart="redis-handover",
            name="redis-handover",
            namespace=namespace,
            values={
                "image": VERSIONS.images["alpine-kubectl"],
                "priorityClass": environment.priority_class,
                "resources": _KUBECTL,
                "password": password,
                "replicas": settings.replicas,
                # A new revision is a new password, which is handed over in the upgrade that this value makes.
                "revision": settings.credentials_revision,
            },
            depends_on=[auth.resource],
        )
        Release(
            self,
            "release",
            chart="redis",
            name="redis",
            namespace=namespace,
            timeout=900,
            values=_values(environment, auth.name, settings, is_replicated),
            depends_on=[auth.resource, handover.resource],
        )
        self.endpoint = Endpoint(
            host=str(
                expression("{} ? {} : {}", is_replicated, f"redis-master.{namespace}.svc", f"redis.{namespace}.svc")
            ),
            port=_PORT,
            secret=auth.name,
            password_key=_PASSWORD_KEY,
        )
        Snapshots(
            self,
            "snapshots",
            store=Store(
                system="redis",
                namespace=namespace,
                image=VERSIONS.images["redis"],
                user=_USER_ID,
                group=_USER_ID,
                env=[
                    {"name": "REDIS_HOST", "value": self.endpoint.host},
                    {"name": "REDISCLI_AUTH", "valueFrom": password},
                ],
                calls=[Flow(Peer(pods=_SERVERS), ports=(_PORT,))],
                data="data-redis-0",
            ),
            folder=f"{environment.name}/redis",
            priority_class=environment.priority_class,
            backups=backups,
            settings=settings.backup,
            depends_on=[auth.resource],
        )
        DeletionLock(self, "lock", name="redis", namespace=namespace, holds=self)

    def _open_flows(
        self, environment: Environment, target: ScrapeTarget, settings: RedisSettings, is_replicated: Reference
    ) -> None:
        namespace = environment.data_namespace
        servers = Flow(Peer(pods=_SERVERS), ports=(_PORT, _SENTINEL_PORT))
        # A port that is given twice opens no more than once: one server has no Sentinel.
        client_ports = (_PORT, expression("{} ? {} : {}", is_replicated, _SENTINEL_PORT, _PORT))
        NetworkFlow(
            self,
            "flow",
            name="redis",
            namespace=namespace,
            pods=_SERVERS,
            callers=[
                servers,
                Flow(pods_of([environment.monitoring_namespace], settings.clients), ports=client_ports),
                Flow(Peer(pods=savers("redis")), ports=(_PORT,)),
                target.caller(environment.monitoring_namespace),
            ],
            calls=[servers],
        )
        for id_, pods in (("discovery-flow", _DISCOVERY), ("handover-flow", _HANDOVER)):
            name = f"redis-{id_.removesuffix('-flow')}"
            NetworkFlow(self, id_, name=name, namespace=namespace, pods=pods, calls=[API_SERVER])


def _values(
    environment: Environment, secret: str, settings: RedisSettings, is_replicated: Reference
) -> dict[str, object]:
    return {
        "fullnameOverride": "redis",
        "architecture": expression("{} ? {} : {}", is_replicated, "replication", "standalone"),
        "replicaCount": settings.replicas,
        "image": _image("redis"),
        "priorityClassName": environment.priority_class,
        "podLabels": _SERVERS,
        "podAnnotations": {REVISION_ANNOTATION: expression("tostring({})", settings.credentials_revision)},
        "auth": {"enabled": True, "existingSecret": secret, "existingSecretPasswordKey": _PASSWORD_KEY},
        "extraConfig": _configuration(settings, is_replicated),
        "persistence": {"enabled": True, "size": settings.storage},
        "resources": settings.resources(),
        "initContainer": {"resources": _SMALL},
        "customScripts": {"postStart": {"enabled": is_replicated, "command": ["/bin/sh", "-c", _KEEP]}},
        # A server that is stopped waits until another is the master.
        "terminationGracePeriodSeconds": 60,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                # Otherwise two nodes would do, and the loss of one could be the loss of most.
                "minDomains": 3,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": _SERVERS},
            }
        ],
        # With its default for the first the chart would render both, which the API server refuses.
        "pdb": {"enabled": is_replicated, "minAvailable": "", "maxUnavailable": 1},
        "sentinel": {
            "enabled": is_replicated,
            "image": _image("redis"),
            # The chart's 1.5 seconds would move the master whenever a node is busy.
            "downAfterMilliseconds": 5000,
            "resources": _SMALL,
            "masterService": {
                "enabled": True,
                "image": {
                    "repository": VERSIONS.images["alpine-kubectl"].partition(":")[0],
                    "tag": VERSIONS.images["alpine-kubectl"].partition(":")[2],
                    "pullPolicy": "IfNotPresent",
                },
                # Seconds: for so long the Service may name a master that is none any more.
                "checkInterval": 5,
                "resources": _KUBECTL,
            },
        },
        # The chart's Service has one address for all servers.
        "metrics": {
            "enabled": True,
            "image": {"pullPolicy": "IfNotPresent"},
            "resources": _SMALL,
            "service": {"enabled": False},
        },
    }


def _configuration(settings: RedisSettings, is_replicated: Reference) -> str:
    """Return what differs from the server's own defaults.

    A fork writes the append-only file anew, or a copy for a replica or a backup: it needs as much memory again as the
    data while clients write all over it. A tenth is for what a slow replica has not read, 32 MiB for the server itself.
    """
    memory = mebibytes(settings.memory)
    buffer = expression("max(1, floor({} * 0.1))", memory)
    # Refuse writes that no replica gets: a master that was cut off would lose them.
    replicated = expression("{} ? {} : {}", is_replicated, "min-replicas-to-write 1\nmin-replicas-max-lag 10\n", "")
    return (
        "appendonly yes\n"
        'save ""\n'
        f"maxmemory {expression('floor(({} * 0.9 - 32) / 2)', memory)}mb\n"
        f"maxmemory-policy {settings.eviction}\n"
        f"repl-backlog-size {expression('max(1, floor({} * 0.05))', memory)}mb\n"
        f"client-output-buffer-limit replica {buffer}mb {buffer}mb 60\n"
        f"{replicated}"
    )


def _image(name: str) -> Mapping[str, object]:
    """Return an image in the chart's words."""
    image, _, tag = VERSIONS.images[name].partition(":")
    registry, _, repository = image.partition("/")
    return {"registry": registry, "repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}
