"""PostHog: product analytics of one environment, on its Postgres and on stores of its own."""

from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.deletion_lock import DeletionLock
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint
from constructs.l4_insight.posthog import clickhouse, retention
from constructs.l4_insight.posthog.clickhouse import PostHogClickHouse, PostHogClickHouseSettings
from constructs.l4_insight.posthog.retention import Retention, RetentionSettings
from constructs.network_flow import Peer
from constructs.route import SOLVER, Addresses
from constructs.settings import Settings

_CLICKHOUSE_CALLERS = ("migrate", "ingestion-general", "plugins", "recording-api", "web", "worker")


class PostHogSettings(Settings):
    """PostHog."""

    clickhouse: PostHogClickHouseSettings = PostHogClickHouseSettings()
    """Where events are stored."""
    retention: RetentionSettings = RetentionSettings()
    """How long data is kept."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have new passwords generated; its pods restart."""


def footprints(settings: PostHogSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what PostHog asks for, its stores too."""
    return (
        *clickhouse.footprints(settings.clickhouse, backups),
        *retention.footprints(settings.retention),
        SOLVER,
    )


class PostHog(Construct):
    """PostHog at `posthog.<...>`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        addresses: Addresses,  # noqa: ARG002
        backups: BackupSettings,
        settings: PostHogSettings,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        events = PostHogClickHouse(
            self,
            "clickhouse",
            environment=environment,
            backups=backups,
            callers=[
                *(Peer(pods=_pods_of(component)) for component in _CLICKHOUSE_CALLERS),
                Peer(pods=retention.PODS),
            ],
            kafka=Endpoint(f"posthog-kafka.{namespace}.svc", 9092, secret="", password_key=""),
            kafka_pods=Peer(pods=_pods_of("kafka")),
            settings=settings.clickhouse,
            credentials_revision=settings.credentials_revision,
        )
        Retention(
            self,
            "retention",
            environment=environment,
            endpoint=events.endpoint,
            settings=settings.retention,
            depends_on=[events.resource],
        )
        DeletionLock(self, "lock", name="posthog", namespace=namespace, holds=self)


def _pods_of(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "posthog", "app.kubernetes.io/component": component}
