"""A Postgres cluster: what every one of CloudNativePG's clusters has, whomever it serves."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from constructs.backups import BackupSettings
from constructs.footprint import Footprint, footprint
from constructs.network_flow import Flow, Peer
from constructs.reference import Reference, expression, mebibytes
from constructs.settings import AtLeast, Cpu, Cron, Settings, Size, Sized
from constructs.versions import VERSIONS

PORT = 5432
STATUS_PORT = 8000
OPERATOR = Flow(
    Peer(pods={"app.kubernetes.io/name": "cloudnative-pg"}, namespaces=("iac",)),
    ports=(PORT, STATUS_PORT),
)
_PLUGIN = {"name": "barman-cloud.cloudnative-pg.io"}
_SIDECAR_RESOURCES = {"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


class PostgresClusterSettings(Sized):
    """The instances of a cluster."""

    instances: Literal[1, 3, 5] = 1
    """One, or a primary with 2 or 4 standbys, each on a node of its own where there are enough."""
    cpu: Cpu = "100m"
    memory: Annotated[Size, AtLeast(256)] = "512Mi"
    storage: Size = "10Gi"
    """Size of each instance's volume. It cannot be changed later: K3s's local-path volumes do not grow."""


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
            "affinity": {"topologyKey": "kubernetes.io/hostname"},
            "enableSuperuserAccess": False,
            # With one instance a disruption budget would only keep its node from being drained.
            "enablePDB": expression("{} > 1", settings.instances),
            **more,
        },
    }


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
        volumes=[settings.storage] * settings.instances,
    )


def parameters(settings: PostgresClusterSettings) -> dict[str, object]:
    """Return the parameters that follow the memory."""
    return {"shared_buffers": f"{expression('floor({} / 4)', mebibytes(settings.memory))}MB"}


def backup_values(bucket: BackupSettings, settings: PostgresBackupSettings, *, folder: str) -> dict[str, object]:
    """Return the value `backups` of the chart `cluster`: by the Barman Cloud plugin, into a folder of the bucket."""
    # Servers that imitate S3 know neither Amazon's encryption nor its newer checksums.
    stored = {"compression": "gzip", "encryption": ""}
    environment: dict[str, str | Reference] = {
        "AWS_DEFAULT_REGION": bucket.region,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }
    return {
        "enabled": bucket.has_bucket(),
        "method": "plugin",
        "pluginConfiguration": _PLUGIN,
        "provider": "s3",
        "endpointURL": bucket.endpoint,
        "s3": {"bucket": bucket.bucket, "region": bucket.region, "path": f"/{folder}"},
        "secret": {"create": False, "name": bucket.secret},
        "retentionPolicy": f"{settings.retention_days}d",
        "wal": stored,
        "data": stored,
        "instanceSidecarConfiguration": {
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "resources": _SIDECAR_RESOURCES,
        },
        "scheduledBackups": [
            {
                "name": "scheduled",
                # CloudNativePG counts seconds, too.
                "schedule": f"0 {settings.schedule}",
                "backupOwnerReference": "self",
                "method": "plugin",
                "pluginConfiguration": _PLUGIN,
            }
        ],
    }
