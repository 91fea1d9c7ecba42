"""Backups of PostHog: its database and its objects, after ClickHouse, so that what events name is there as well."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.l4_insight.posthog.database import CREDENTIAL, DATABASES, SYSTEM
from constructs.l4_insight.posthog.objects import BUCKET, PORT
from constructs.l4_insight.posthog.store import labels_of
from constructs.network_flow import Flow, NetworkFlow, Peer
from constructs.postgres_cluster import DatabaseAccess
from constructs.reference import Reference, expression
from constructs.release import Release
from constructs.settings import Cron, Settings
from constructs.snapshots import Snapshots, SnapshotSettings, Store, snapshot_footprints
from constructs.versions import VERSIONS

# The stores, as a backup now calls them and as it saves them one after the other.
CLICKHOUSE, DATABASE, OBJECTS = "posthog-clickhouse", SYSTEM, "posthog-objects"
# The database that a dump is brought into, beside the one that is in use.
RESTORED = "posthog_restored"
_MIRROR, _OBJECT_PODS = labels_of("objects-backups"), labels_of("objects")
# The user `postgres` of CloudNativePG's image.
_USER_ID = 26
# It lists both buckets whole.
_RESOURCES = {"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


class DatabaseBackupSettings(SnapshotSettings):
    """When PostHog's database in Postgres is saved. A backup of ClickHouse comes back with the first one after it."""

    schedule: Cron = "0 4 * * *"
    """When, by the clock of the control plane: when `clickhouse.backup` is done."""


class ObjectBackupSettings(SnapshotSettings):
    """When the objects in SeaweedFS are mirrored to the bucket of `backups`; a bucket of your own is not."""

    schedule: Cron = "0 5 * * *"
    """When, by the clock of the control plane."""
    keep_days: int = Field(default=14, ge=1, le=3650)
    """Days for which what was deleted stays in the mirror."""


class PostHogBackupSettings(Settings):
    """Backups of what is not in ClickHouse, which has its own in `clickhouse.backup`."""

    database: DatabaseBackupSettings = DatabaseBackupSettings()
    """Persons, people, dashboards, flags."""
    objects: ObjectBackupSettings = ObjectBackupSettings()
    """Recordings, exports and files that people upload."""


def footprints(backups: BackupSettings, bucket: str) -> tuple[Footprint, ...]:
    """Return what the CronJobs ask for; `bucket` is the team's own for objects, if there is one."""
    mirror = [footprint(f"{OBJECTS}-{verb}", _RESOURCES, pods=0, at_times=1) for verb in ("backups", "restore")]
    return (
        *snapshot_footprints(DATABASE, backups, is_restored=True),
        *(mirror if backups.bucket and not bucket else []),
    )


class Backups(Construct):
    """The CronJobs `posthog-snapshots` and `posthog-objects-backups`, and two that bring back, never by themselves.

    `bucket` is the team's own for objects, if any.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        postgres: DatabaseAccess,
        bucket: str,
        backups: BackupSettings,
        settings: PostHogBackupSettings,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        Snapshots(
            self,
            "database",
            store=Store(
                system=DATABASE,
                namespace=namespace,
                image=VERSIONS.images["postgresql"],
                user=_USER_ID,
                group=_USER_ID,
                env=_variables(postgres.host),
                calls=[postgres.flow],
                after=CLICKHOUSE,
            ),
            folder=f"{environment.name}/posthog/database",
            priority_class=environment.priority_class,
            backups=backups,
            settings=settings.database,
            depends_on=depends_on,
        )
        is_ours = expression('{} == ""', bucket)
        self._open_flows(namespace, backups, is_ours)
        Release(
            self,
            "objects",
            chart="object-mirror",
            name=f"{OBJECTS}-backups",
            namespace=namespace,
            values={
                "name": OBJECTS,
                "after": DATABASE,
                "labels": _MIRROR,
                "image": VERSIONS.images["rclone"],
                "priorityClass": environment.priority_class,
                "resources": _RESOURCES,
                "schedule": settings.objects.schedule,
                "keepDays": settings.objects.keep_days,
                "source": {
                    "name": expression('{} ? {} : ""', is_ours, BUCKET),
                    "endpoint": f"http://{OBJECTS}.{namespace}.svc:{PORT}",
                    "secret": OBJECTS,
                },
                "bucket": backups.values(f"{environment.name}/posthog/objects"),
            },
            depends_on=depends_on,
        )

    def _open_flows(self, namespace: str, backups: BackupSettings, is_ours: Reference) -> None:
        """Open the ways of the pods that mirror, where there is something to mirror."""
        objects = Peer(pods=_OBJECT_PODS)
        ways = {
            "flow": (f"{OBJECTS}-backups", _MIRROR, [], [Flow(objects, ports=(PORT,)), backups.flow()]),
            "objects-flow": (
                f"{OBJECTS}-mirrored",
                _OBJECT_PODS,
                [Flow(Peer(pods=_MIRROR), ports=(PORT,))],
                [],
            ),
        }
        for id_, (name, pods, callers, calls) in ways.items():
            flow = NetworkFlow(self, id_, name=name, namespace=namespace, pods=pods, callers=callers, calls=calls)
            flow.resource.add_override("count", str(expression("{} ? 1 : 0", is_ours)))


def _variables(host: str) -> list[dict[str, object]]:
    """Return what the programs of Postgres read, and where a dump is brought to."""
    plain = {
        "PGHOST": host,
        "PGDATABASE": DATABASES[0],
        "INTO": RESTORED,
    }
    secret = {"PGUSER": "username", "PGPASSWORD": "password"}
    variables: list[dict[str, object]] = [{"name": name, "value": value} for name, value in plain.items()]
    for name, key in secret.items():
        variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": CREDENTIAL, "key": key}}})
    return variables
