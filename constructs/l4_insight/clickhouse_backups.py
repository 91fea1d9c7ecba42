"""Backups of a ClickHouse server: it writes all its databases to a bucket by itself, when a CronJob tells it to."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.l4_insight.clickhouse_server import BUCKET_COLLECTION, pods_of
from constructs.network_flow import Flow, NetworkFlow, Peer
from constructs.reference import Reference, expression
from constructs.release import Release
from constructs.settings import Cron
from constructs.snapshots import SnapshotSettings
from constructs.versions import VERSIONS

_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


class ClickHouseBackupSettings(SnapshotSettings):
    """When all databases are saved, and for how long. Each backup is whole: the bucket holds `keep_days` of them."""

    schedule: Cron = "0 3 * * *"
    """When, by the clock of the control plane."""
    keep_days: int = Field(default=7, ge=1, le=3650)
    """Days after which a backup is deleted."""


def footprints(name: str, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what the CronJob asks for."""
    found = footprint(f"{name}-backups", _RESOURCES, init=[_RESOURCES], pods=0, at_times=1)
    return (found,) if backups.bucket else ()


class ClickHouseBackups(Construct):
    """A CronJob `<name>-backups`, where there is a bucket, and the ways of it and of the server."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        environment: Environment,
        image: str,
        endpoint: Endpoint,
        folder: str,
        backups: BackupSettings,
        settings: ClickHouseBackupSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        namespace, server = environment.monitoring_namespace, pods_of(name)
        NetworkFlow(
            self,
            "flow",
            name=f"{name}-backups",
            namespace=namespace,
            pods=backup_pods_of(name),
            calls=[Flow(Peer(pods=server), ports=(endpoint.port,)), backups.flow()],
        )
        # The server has no other way out of the cluster, so without a bucket it has none.
        way = NetworkFlow(
            self, "server-flow", name=f"{name}-bucket", namespace=namespace, pods=server, calls=[backups.flow()]
        )
        way.resource.add_override("count", str(expression("{} ? 1 : 0", backups.has_bucket())))
        Release(
            self,
            "release",
            chart="clickhouse-backups",
            name=f"{name}-backups",
            namespace=namespace,
            values={
                "name": name,
                "host": endpoint.host,
                "user": endpoint.user,
                "secret": endpoint.secret,
                "image": image,
                "bucketImage": VERSIONS.images["rclone"],
                "collection": BUCKET_COLLECTION,
                "priorityClass": environment.priority_class,
                "resources": _RESOURCES,
                "schedule": settings.schedule,
                "keepDays": settings.keep_days,
                "bucket": backups.values(folder),
            },
            depends_on=depends_on,
        )


def backup_pods_of(name: str) -> dict[str, str]:
    """Return the labels of the pods that tell a server to save."""
    return {"app.kubernetes.io/name": f"{name}-backups"}


def address_of(folder: str, backups: BackupSettings) -> Reference:
    """Return the address of a folder of the bucket, which the server appends a backup's name to."""
    return expression(
        'format("%s/%s/%s/", {0} != "" ? {0} : format("https://s3.%s.amazonaws.com", {1}), {2}, {3})',
        backups.endpoint,
        backups.region,
        backups.bucket,
        folder,
    )


def host_of(backups: BackupSettings) -> Reference:
    """Return the host that the bucket is reached at, without its port."""
    return expression(
        'try(regex("^https?://([A-Za-z0-9.-]+)", {})[0], format("s3.%s.amazonaws.com", {}))',
        backups.endpoint,
        backups.region,
    )
