"""PostHog: product analytics of one environment, on its Postgres and on stores of its own."""

from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.deletion_lock import DeletionLock
from constructs.environment import Environment
from constructs.footprint import Footprint
from constructs.l4_insight.posthog import kafka, objects, redis
from constructs.l4_insight.posthog.kafka import BoundedKafka, Kafka, KafkaSettings
from constructs.l4_insight.posthog.objects import Objects, ObjectSettings
from constructs.l4_insight.posthog.redis import Redis, RedisSettings, ValkeySettings
from constructs.l4_insight.posthog.store import labels_of
from constructs.network_flow import TRAEFIK, Peer
from constructs.route import SOLVER, Addresses
from constructs.settings import Settings


class PostHogSettings(Settings):
    """PostHog."""

    kafka: BoundedKafka = KafkaSettings()
    """What was captured, and not yet stored."""
    redis: RedisSettings = RedisSettings()
    """The queue of tasks, and caches."""
    valkey: ValkeySettings = ValkeySettings()
    """What may be forgotten."""
    objects: ObjectSettings = ObjectSettings()
    """Recordings, exports and files that people upload."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have new passwords generated; its pods restart."""


def footprints(settings: PostHogSettings, backups: BackupSettings) -> tuple[Footprint, ...]:  # noqa: ARG001
    """Return what PostHog asks for, its stores too."""
    return (
        *kafka.footprints(settings.kafka),
        *redis.footprints(settings.redis, settings.valkey),
        *objects.footprints(settings.objects),
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
        backups: BackupSettings,  # noqa: ARG002
        settings: PostHogSettings,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        Kafka(
            self,
            "kafka",
            environment=environment,
            callers=_peers(
                "web",
                "worker",
                "plugins",
                "ingestion-general",
                "ingestion-sessionreplay",
                "recording-api",
                "capture",
                "replay-capture",
                "property-defs",
                "topics",
                "migrate",
            ),
            settings=settings.kafka,
        )
        Redis(
            self,
            "redis",
            environment=environment,
            callers=_peers(
                "web",
                "worker",
                "plugins",
                "ingestion-general",
                "ingestion-sessionreplay",
                "recording-api",
                "capture",
                "replay-capture",
                "feature-flags",
                "hypercache-server",
                "migrate",
            ),
            settings=settings.redis,
        )
        Redis(
            self,
            "valkey",
            environment=environment,
            callers=_peers("web", "worker", "plugins", "ingestion-general"),
            settings=settings.valkey,
        )
        Objects(
            self,
            "objects",
            environment=environment,
            callers=[
                # By addresses that end soon, which PostHog gives its users' browsers.
                TRAEFIK,
                *_peers(
                    "web",
                    "worker",
                    "plugins",
                    "ingestion-general",
                    "ingestion-sessionreplay",
                    "recording-api",
                    "feature-flags",
                    "hypercache-server",
                    "migrate",
                ),
            ],
            settings=settings.objects,
            credentials_revision=settings.credentials_revision,
        )
        DeletionLock(self, "lock", name="posthog", namespace=namespace, holds=self)


def _peers(*components: str) -> list[Peer]:
    return [Peer(pods=labels_of(component)) for component in components]
