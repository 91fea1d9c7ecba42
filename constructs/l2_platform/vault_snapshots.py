"""Snapshots of Vault: all that is in it, in one file, on a schedule."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes.persistent_volume_claim_v1 import (
    PersistentVolumeClaimV1,
    PersistentVolumeClaimV1Metadata,
    PersistentVolumeClaimV1Spec,
    PersistentVolumeClaimV1SpecResources,
)

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.network_flow import VAULT
from constructs.reference import text
from constructs.settings import Size
from constructs.snapshots import Snapshots, SnapshotSettings, Store
from constructs.versions import VERSIONS

# The ServiceAccount that Vault gives the role `snapshots`, and the volume.
SNAPSHOTS_ACCOUNT = SNAPSHOTS_VOLUME = "vault-snapshots"


class VaultSnapshotSettings(SnapshotSettings):
    """When Vault is saved, for how long a snapshot is kept, and where, if there is no bucket."""

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
        settings: VaultSnapshotSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
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
        Snapshots(
            self,
            "this",
            store=Store(
                system="vault",
                namespace=namespace,
                image=VERSIONS.images["vault"],
                user=100,
                group=1000,
                env=[{"name": "VAULT_ADDR", "value": address}],
                calls=[VAULT],
                account=SNAPSHOTS_ACCOUNT,
                claim=SNAPSHOTS_VOLUME,
            ),
            folder="infra/vault",
            priority_class=priority_class,
            backups=backups,
            settings=settings,
            depends_on=[volume, *depends_on],
        )
