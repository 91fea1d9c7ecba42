"""Snapshots of Vault: all that is in it, in one file, on a schedule."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes.persistent_volume_claim_v1 import (
    PersistentVolumeClaimV1,
    PersistentVolumeClaimV1Metadata,
    PersistentVolumeClaimV1Spec,
    PersistentVolumeClaimV1SpecResources,
)
from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.network_flow import VAULT, NetworkFlow
from constructs.reference import text
from constructs.release import Release
from constructs.settings import Cron, Settings, Size
from constructs.versions import VERSIONS

SNAPSHOTS = {"app.kubernetes.io/name": "vault-snapshots"}
# The ServiceAccount that Vault gives the role `snapshots`, and the volume.
SNAPSHOTS_ACCOUNT = SNAPSHOTS_VOLUME = "vault-snapshots"


class SnapshotSettings(Settings):
    """When Vault is saved, and for how long a snapshot is kept."""

    schedule: Cron = "0 2 * * *"
    """When, by the clock of the control plane."""
    keep_days: int = Field(default=14, ge=1, le=3650)
    """Days after which a snapshot is deleted."""
    storage: Size = "2Gi"
    """The volume that snapshots are on while `backups` names no bucket."""


class VaultSnapshots(Construct):
    """A CronJob that saves Vault to the bucket of `backups`, or to a volume where there is none."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        address: str,
        priority_class: str,
        backups: BackupSettings,
        settings: SnapshotSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        NetworkFlow(
            self,
            "flow",
            name="vault-snapshots",
            namespace=namespace,
            pods=SNAPSHOTS,
            calls=[VAULT, backups.flow()],
            depends_on=depends_on,
        )
        # Helm would wait for it, and it is bound only when the first snapshot is taken.
        volume = PersistentVolumeClaimV1(
            self,
            "volume",
            metadata=PersistentVolumeClaimV1Metadata(name=SNAPSHOTS_VOLUME, namespace=namespace),
            spec=PersistentVolumeClaimV1Spec(
                access_modes=["ReadWriteOnce"],
                resources=PersistentVolumeClaimV1SpecResources(requests={"storage": text(settings.storage)}),
            ),
            wait_until_bound=False,
            depends_on=list(depends_on),
        )
        Release(
            self,
            "release",
            chart="vault-snapshots",
            name="vault-snapshots",
            namespace=namespace,
            values={
                "address": address,
                "image": VERSIONS.images["vault"],
                "uploadImage": VERSIONS.images["rclone"],
                "account": SNAPSHOTS_ACCOUNT,
                "priorityClass": priority_class,
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                "schedule": settings.schedule,
                "keepDays": settings.keep_days,
                "claim": SNAPSHOTS_VOLUME,
                "bucket": {
                    "name": backups.bucket,
                    "folder": "infra/vault",
                    "endpoint": backups.endpoint,
                    "region": backups.region,
                    "secret": backups.secret,
                },
            },
            depends_on=[volume, *depends_on],
        )
