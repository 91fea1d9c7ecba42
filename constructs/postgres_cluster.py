"""A Postgres cluster: what every one of CloudNativePG's clusters has, whomever it serves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from constructs.backups import BackupSettings
from constructs.footprint import Footprint, footprint
from constructs.generated_secret import GeneratedSecret
from constructs.network_flow import Flow, Peer
from constructs.reference import Reference, expression, mebibytes
from constructs.settings import AtLeast, Cpu, Cron, OptionalSize, Settings, Size, Sized
from constructs.versions import VERSIONS

PORT = 5432
STATUS_PORT = 8000
METRICS_PORT = 9187
# Words of Postgres' own, and those that YAML would not take for names: no database is called so.
TAKEN_NAMES = (
    *("all", "none", "postgres", "public", "replication", "samerole", "sameuser", "template0", "template1"),
    *("false", "no", "null", "off", "on", "true", "yes"),
)
OPERATOR = Flow(
    Peer(pods={"app.kubernetes.io/name": "cloudnative-pg"}, namespaces=("iac",)),
    ports=(PORT, STATUS_PORT),
)
_PLUGIN = {"name": "barman-cloud.cloudnative-pg.io"}
_SIDECAR_RESOURCES = {"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


@dataclass(frozen=True)
class DatabaseAccess:
    """What a system of another layer is handed, to use databases of its own.

    `host` is a Service that follows whichever cluster serves, on `PORT`; `flow` is the way to its pods; `credential`
    has the keys `username` and `password`, in the namespace of Postgres.
    """

    host: str
    flow: Flow
    credential: GeneratedSecret


class PostgresClusterSettings(Sized):
    """The instances of a cluster."""

    instances: Literal[1, 3, 5] = 1
    """One, or a primary with 2 or 4 standbys, each on a node of its own where there are enough."""
    cpu: Cpu = "100m"
    memory: Annotated[Size, AtLeast(256)] = "512Mi"
    storage: Annotated[Size, AtLeast(1024)] = "10Gi"
    """Size of each instance's volume. It cannot be changed later: K3s's local-path volumes do not grow."""
    wal_storage: Annotated[OptionalSize, AtLeast(2048)] = ""
    """Size of a second volume of each instance, for the log of changes alone; empty: it is on the first. It can be
    given later, but not taken away."""


class PostgresBackupSettings(Settings):
    """When a cluster is saved to the bucket, beside its log of changes, which goes there all the time."""

    schedule: Cron = "0 3 * * *"
    """When, in UTC."""
    retention_days: int = Field(default=14, ge=1, le=3650)
    """How far back the cluster can be brought."""


def instances_of(name: str) -> dict[str, str]:
    """Return the labels of a cluster's pods."""
    return {"cnpg.io/cluster": name}


def cluster_values(
    settings: PostgresClusterSettings, *, name: str, priority_class: str, more: Mapping[str, object]
) -> dict[str, object]:
    """Return the values of the chart `cluster`; `more` is what this one has within `cluster`."""
    return {
        "fullnameOverride": name,
        "type": "postgresql",
        "mode": "standalone",
        "cluster": {
            "instances": settings.instances,
            "imageName": VERSIONS.images["postgresql"],
            "storage": {"size": settings.storage},
            "resources": settings.resources(),
            "priorityClassName": priority_class,
            "walStorage": {
                "enabled": expression('{} != ""', settings.wal_storage),
                "size": expression('{0} == "" ? "2Gi" : {0}', settings.wal_storage),
            },
            "affinity": {"topologyKey": "kubernetes.io/hostname"},
            "enableSuperuserAccess": False,
            # With one instance a disruption budget would only keep its node from being drained.
            "enablePDB": expression("{} > 1", settings.instances),
            **more,
        },
    }


def max_connections(settings: PostgresClusterSettings) -> Reference:
    """Return how many connections the memory allows for: one for every 8 MiB, and at most 500."""
    return expression("min(500, floor({} / 8))", mebibytes(settings.memory))


def cluster_footprint(name: str, settings: PostgresClusterSettings, *, is_saved: bool) -> Footprint:
    """Return what the instances ask for; `is_saved`: each has the backup plugin's sidecar.

    A Job that makes an instance is as large as the instance, which is there only when the Job is done.
    """
    server = settings.resources()
    return footprint(
        name,
        server,
        *([_SIDECAR_RESOURCES] if is_saved else []),
        init=[server],
        pods=settings.instances,
        volumes=[size for size in (settings.storage, settings.wal_storage) if size] * settings.instances,
    )


def parameters(settings: PostgresClusterSettings) -> dict[str, object]:
    """Return the parameters that follow the memory, and the volume that the log of changes is on."""
    memory = mebibytes(settings.memory)
    volume = mebibytes(expression('{0} == "" ? {1} : {0}', settings.wal_storage, settings.storage))
    return {
        "shared_buffers": f"{expression('floor({} / 4)', memory)}MB",
        # What the planner takes to be in memory: the rest of it is mostly the kernel's cache.
        "effective_cache_size": f"{expression('floor({} * 0.75)', memory)}MB",
        "maintenance_work_mem": f"{expression('max(16, min(1024, floor({} / 16)))', memory)}MB",
        "max_connections": expression("tostring({})", max_connections(settings)),
        # CloudNativePG keeps 512MB of it for standbys; the rest is for a bucket that does not answer.
        "max_wal_size": f"{expression('max(128, min(2048, floor({} / 8)))', volume)}MB",
    }


def backup_values(bucket: BackupSettings, settings: PostgresBackupSettings, *, folder: str) -> dict[str, object]:
    """Return the value `backups` of the chart `cluster`: by the Barman Cloud plugin, into a folder of the bucket."""
    # Servers that imitate S3 know no encryption of Amazon's.
    stored = {"compression": "gzip", "encryption": ""}
    return {
        "enabled": bucket.has_bucket(),
        "method": "plugin",
        "pluginConfiguration": _PLUGIN,
        **_store(bucket, folder=folder),
        "retentionPolicy": f"{settings.retention_days}d",
        "wal": stored,
        "data": stored,
        "scheduledBackups": [scheduled_backup(settings)],
    }


def scheduled_backup(settings: PostgresBackupSettings) -> dict[str, object]:
    """Return the one schedule of a cluster's backups."""
    return {
        "name": "scheduled",
        # CloudNativePG counts seconds, too.
        "schedule": expression('format("0 %s", {})', settings.schedule),
        # The list of backups is there for as long as the cluster, whatever becomes of the schedule.
        "backupOwnerReference": "cluster",
        "method": "plugin",
        "pluginConfiguration": _PLUGIN,
    }


def recovery_values(
    bucket: BackupSettings, *, folder: str, server: Reference, until: str, database: str
) -> dict[str, object]:
    """Return the value `recovery` of the chart `cluster`: from what the cluster `server` saved into the same folder.

    `until` is a time, or empty for all that was saved. CloudNativePG makes the `database`, owned by a role of its name,
    where it is not among what was saved.
    """
    return {
        "method": "plugin",
        "pluginConfiguration": _PLUGIN,
        "clusterName": server,
        "pitrTarget": {"time": until},
        "database": database,
        "owner": database,
        **_store(bucket, folder=folder),
    }


def _store(bucket: BackupSettings, *, folder: str) -> dict[str, object]:
    """Return where the Barman Cloud plugin keeps a cluster, and what its container beside the instances has."""
    # Servers that imitate S3 do not know Amazon's newer checksums.
    environment: dict[str, str | Reference] = {
        "AWS_DEFAULT_REGION": bucket.region,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }
    return {
        "provider": "s3",
        "endpointURL": bucket.endpoint,
        "s3": {"bucket": bucket.bucket, "region": bucket.region, "path": f"/{folder}"},
        "secret": {"create": False, "name": bucket.secret},
        "instanceSidecarConfiguration": {
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "resources": _SIDECAR_RESOURCES,
        },
    }
