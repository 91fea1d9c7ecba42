"""SigNoz: logs, traces and metrics of one environment, on a ClickHouse of its own."""

from collections.abc import Sequence

from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.deletion_lock import DeletionLock
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint, surge
from constructs.generated_secret import REVISION_ANNOTATION, GeneratedSecret, Password
from constructs.l4_insight import clickhouse, signoz_preferences
from constructs.l4_insight.clickhouse import Application, ClickHouse, ClickHouseSettings
from constructs.l4_insight.collector import ScrapeFlow, collector_configuration
from constructs.l4_insight.signoz_preferences import PREFERENCES, AlertSettings, Preferences, RetentionSettings
from constructs.metrics import ScrapeTarget
from constructs.network_flow import TRAEFIK, Flow, NetworkFlow, Peer, pods_of
from constructs.reference import expression
from constructs.release import Release
from constructs.route import SOLVER, Addresses, Route
from constructs.settings import ClientNamespace, Cpu, Email, Size, Sized
from constructs.snapshots import Snapshots, SnapshotSettings, Store, snapshot_footprints
from constructs.versions import VERSIONS

_CLICKHOUSE = "signoz-clickhouse"
_UI_PORT = 8080
_OPAMP_PORT = 4320
_OTLP_PORTS = (4317, 4318)
# SigNoz' own user is root, which reads and writes what belongs to another one.
_SNAPSHOTS_ID = 1000
_LABEL = "app.kubernetes.io/component"
_SERVER = {"app.kubernetes.io/instance": "signoz", _LABEL: "signoz"}
_COLLECTOR = {"app.kubernetes.io/instance": "signoz", _LABEL: "otel-collector"}
_MIGRATOR = {"app.kubernetes.io/instance": "signoz", _LABEL: "signoz-telemetrystore-migrator"}

# What SigNoz's own chart sets on the ClickHouse that it brings.
_CLICKHOUSE_PROFILE = {
    "allow_experimental_window_functions": 1,
    "allow_nondeterministic_mutations": 1,
    "secondary_indices_enable_bulk_filtering": 0,
    "query_plan_max_limit_for_lazy_materialization": 0,
}


class CollectorSettings(Sized):
    """The collector that applications send their telemetry to."""

    cpu: Cpu = "100m"
    memory: Size = "512Mi"


class SigNozSettings(Sized):
    """SigNoz; `cpu` and `memory` are its server's."""

    cpu: Cpu = "100m"
    memory: Size = "512Mi"
    storage: Size = "1Gi"
    """Size of the volume for users, dashboards and alerts. It cannot be changed later."""
    admin_email: Email = ""
    """Who the first administrator is; empty: `admin@<base_domain>`."""
    collector: CollectorSettings = CollectorSettings()
    """The collector."""
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    """Where all telemetry is stored."""
    retention: RetentionSettings = RetentionSettings()
    """How long telemetry is kept."""
    alerts: AlertSettings = AlertSettings()
    """Where alerts go."""
    backup: SnapshotSettings = SnapshotSettings()
    """When users, dashboards and alerts are saved to the bucket of `backups`; telemetry: `clickhouse.backup`."""
    clients: tuple[ClientNamespace, ...] = ()
    """Namespaces whose pods may send telemetry, beside the environment's own two."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have new passwords generated; everybody must then sign in again."""


def footprints(settings: SigNozSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what SigNoz asks for, its ClickHouse too."""
    collector = settings.collector.resources()
    return (
        *clickhouse.footprints(_CLICKHOUSE, settings.clickhouse, backups),
        footprint("signoz", settings.resources(), volumes=[settings.storage]),
        footprint("signoz-otel-collector", collector, init=[collector], at_times=surge(1)),
        footprint("signoz-telemetrystore-migrator", collector, init=[collector], pods=0, at_times=1),
        *signoz_preferences.footprints(),
        *snapshot_footprints("signoz", backups, is_restored=True),
        SOLVER,
    )


class SigNoz(Construct):
    """SigNoz at `signoz.<...>`; the administrator's password is in the Secret `signoz-admin`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        addresses: Addresses,
        backups: BackupSettings,
        targets: Sequence[ScrapeTarget],
        settings: SigNozSettings,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        clickhouse = ClickHouse(
            self,
            "clickhouse",
            name=_CLICKHOUSE,
            environment=environment,
            application=Application(
                image=VERSIONS.images["clickhouse"],
                user="signoz",
                profile=_CLICKHOUSE_PROFILE,
                callers=[Peer(pods=_SERVER), Peer(pods=_COLLECTOR), Peer(pods=_MIGRATOR)],
            ),
            backups=backups,
            folder=f"{environment.name}/signoz/clickhouse",
            settings=settings.clickhouse,
            credentials_revision=settings.credentials_revision,
        )
        admin = GeneratedSecret(
            self,
            "admin",
            name="signoz-admin",
            namespace=namespace,
            passwords={"password": Password(length=24, symbols=True), "jwt": Password(length=48)},
            revision=settings.credentials_revision,
        )
        self._open_flows(environment, settings)
        if targets:
            ScrapeFlow(self, "scrape-flow", environment=environment, targets=targets)
        host = addresses.host("signoz")
        email = expression('{0} != "" ? {0} : "admin@${{{1}}}"', settings.admin_email, addresses.base_domain)
        revision = {REVISION_ANNOTATION: expression("tostring({})", settings.credentials_revision)}
        release = Release(
            self,
            "release",
            chart="signoz",
            name="signoz",
            namespace=namespace,
            timeout=1800,
            values={
                "clickhouse": {"enabled": False},
                "externalClickhouse": {
                    "host": clickhouse.endpoint.host,
                    "cluster": clickhouse.cluster,
                    "user": clickhouse.endpoint.user,
                    "existingSecret": clickhouse.endpoint.secret,
                    "existingSecretPasswordKey": clickhouse.endpoint.password_key,
                },
                "signoz": {
                    "priorityClassName": environment.priority_class,
                    "podAnnotations": revision,
                    "resources": settings.resources(),
                    "persistence": {"enabled": True, "size": settings.storage},
                    "env": {
                        # Without an administrator of ours the first visitor would become one.
                        "signoz_user_root_enabled": "true",
                        "signoz_user_root_email": email,
                        "signoz_user_root_org_name": environment.name,
                        "signoz_user_root_password": _from_secret(admin.name, "password"),
                        "signoz_tokenizer_jwt_secret": _from_secret(admin.name, "jwt"),
                        "signoz_global_external__url": f"https://{host}",
                        "signoz_alertmanager_signoz_external__url": f"https://{host}",
                        "signoz_statsreporter_enabled": "false",
                    },
                },
                "telemetryStoreMigrator": {"resources": settings.collector.resources()},
                "otelCollector": {
                    "priorityClassName": environment.priority_class,
                    "podAnnotations": revision,
                    "resources": settings.collector.resources(),
                    # Only the k8sattributes processor needs it, and it is not in use.
                    "clusterRole": {"create": False},
                    "config": collector_configuration(targets),
                },
            },
            depends_on=[clickhouse.resource, admin.resource],
        )
        Preferences(
            self,
            "preferences",
            environment=environment,
            server=_SERVER,
            port=_UI_PORT,
            email=email,
            secret=admin.name,
            retention=settings.retention,
            alerts=settings.alerts,
            depends_on=[release.resource],
        )
        Snapshots(
            self,
            "snapshots",
            store=Store(
                system="signoz",
                namespace=namespace,
                image=VERSIONS.images["python"],
                user=_SNAPSHOTS_ID,
                group=_SNAPSHOTS_ID,
                env=[],
                calls=[],
                data="signoz-db-signoz-0",
                beside=_SERVER,
            ),
            folder=f"{environment.name}/signoz/database",
            priority_class=environment.priority_class,
            backups=backups,
            settings=settings.backup,
            depends_on=[release.resource],
        )
        Route(
            self,
            "route",
            namespace=namespace,
            service="signoz",
            backend="signoz",
            port=_UI_PORT,
            addresses=addresses,
            depends_on=[release.resource],
        )
        DeletionLock(self, "lock", name="signoz", namespace=namespace, holds=self)

    def _open_flows(self, environment: Environment, settings: SigNozSettings) -> None:
        namespace = environment.monitoring_namespace
        clickhouse = Flow(Peer(pods={"app.kubernetes.io/instance": _CLICKHOUSE}), ports=(8123, 9000))
        NetworkFlow(
            self,
            "server-flow",
            name="signoz",
            namespace=namespace,
            pods=_SERVER,
            callers=[
                Flow(TRAEFIK, ports=(_UI_PORT,)),
                Flow(Peer(pods=PREFERENCES), ports=(_UI_PORT,)),
                Flow(Peer(pods=_COLLECTOR), ports=(_OPAMP_PORT,)),
            ],
            calls=[clickhouse],
        )
        NetworkFlow(
            self,
            "collector-flow",
            name="signoz-otel-collector",
            namespace=namespace,
            pods=_COLLECTOR,
            callers=[Flow(pods_of(environment.namespaces, settings.clients), ports=_OTLP_PORTS)],
            calls=[clickhouse, Flow(Peer(pods=_SERVER), ports=(_OPAMP_PORT,))],
        )
        NetworkFlow(
            self,
            "migrator-flow",
            name="signoz-telemetrystore-migrator",
            namespace=namespace,
            pods=_MIGRATOR,
            calls=[clickhouse],
        )


def _from_secret(name: str, key: str) -> dict[str, object]:
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
