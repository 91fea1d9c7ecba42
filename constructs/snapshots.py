"""Snapshots: a store that is saved to files on a schedule, and brought back by a Job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cdktf import ITerraformDependable
from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.footprint import Footprint, footprint
from constructs.network_flow import Flow, NetworkFlow
from constructs.release import Release
from constructs.settings import Cron, Settings
from constructs.versions import VERSIONS

_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


class SnapshotSettings(Settings):
    """When a store is saved, and for how long a snapshot is kept."""

    schedule: Cron = "0 2 * * *"
    """When, by the clock of the control plane."""
    keep_days: int = Field(default=14, ge=1, le=3650)
    """Days after which a snapshot is deleted."""


@dataclass(frozen=True)
class Store:
    """What is saved: `charts/snapshots/scripts/<system>/save` writes it to a file `<system>-<time>...` in /snapshots.

    The scripts run in `image` as `user` and `group`, with the environment `env` in Kubernetes' form and, for the one
    that saves, the ServiceAccount `account`. `scripts/<system>/restore`, where there is one, has the store's volume
    `data` at /data, if that is named; and with `beside`, the labels of the pods that have it mounted, `save` runs on
    their node and has it at /data too. Without a bucket snapshots go to the volume `claim`; without that, too, nothing
    is saved. `after` is the store that a backup now saves first.
    """

    system: str
    namespace: str
    image: str
    user: int
    group: int
    env: Sequence[Mapping[str, object]]
    calls: Sequence[Flow]
    account: str = ""
    data: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    claim: str = ""
    after: str = ""


class Snapshots(Construct):
    """A CronJob `<system>-snapshots` that saves to a folder of the bucket; `<system>-restore` never runs by itself.

    `make restore` makes a Job of the second while the store is stopped.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        store: Store,
        folder: str,
        priority_class: str,
        backups: BackupSettings,
        settings: SnapshotSettings,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, id_)
        name = f"{store.system}-snapshots"
        NetworkFlow(
            self,
            "flow",
            name=name,
            namespace=store.namespace,
            pods=pods_of(store.system),
            calls=[*store.calls, backups.flow()],
            depends_on=depends_on,
        )
        Release(
            self,
            "release",
            chart="snapshots",
            name=name,
            namespace=store.namespace,
            values={
                "system": store.system,
                "name": name,
                "image": store.image,
                "user": store.user,
                "group": store.group,
                "env": list(store.env),
                "bucketImage": VERSIONS.images["rclone"],
                "account": store.account,
                "priorityClass": priority_class,
                "resources": _RESOURCES,
                "schedule": settings.schedule,
                "keepDays": settings.keep_days,
                "data": store.data,
                "beside": dict(store.beside),
                "claim": store.claim,
                "after": store.after,
                "bucket": backups.values(folder),
            },
            depends_on=depends_on,
        )


def snapshot_footprints(
    system: str, backups: BackupSettings, *, claim: str = "", is_restored: bool = False
) -> tuple[Footprint, ...]:
    """Return what the two CronJobs of `system` ask for; `claim` is the size of its volume for snapshots, if any."""
    has_bucket = backups.bucket != ""
    names = {
        f"{system}-snapshots": (has_bucket or claim != "", [claim] if claim else []),
        f"{system}-restore": (has_bucket and is_restored, []),
    }
    return tuple(
        footprint(name, _RESOURCES, init=[_RESOURCES], pods=0, at_times=1, volumes=volumes)
        for name, (is_there, volumes) in names.items()
        if is_there
    )


def pods_of(system: str) -> dict[str, str]:
    """Return the labels of the pods that save a store and bring it back."""
    return {"app.kubernetes.io/name": f"{system}-snapshots"}
