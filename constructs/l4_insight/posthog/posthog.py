"""PostHog: product analytics of one environment, on its Postgres and on stores of its own."""

from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.deletion_lock import DeletionLock
from constructs.environment import Environment
from constructs.footprint import Footprint
from constructs.l4_insight.posthog import backups as saved
from constructs.l4_insight.posthog import clickhouse, kafka, migrations, objects, redis, retention, service
from constructs.l4_insight.posthog.backups import Backups, PostHogBackupSettings
from constructs.l4_insight.posthog.clickhouse import PostHogClickHouseSettings
from constructs.l4_insight.posthog.kafka import BoundedKafka, KafkaSettings
from constructs.l4_insight.posthog.migrations import Migrations, Secrets, Topics
from constructs.l4_insight.posthog.objects import ObjectSettings
from constructs.l4_insight.posthog.redis import RedisSettings, ValkeySettings
from constructs.l4_insight.posthog.retention import Retention, RetentionSettings
from constructs.l4_insight.posthog.routes import PostHogRoute
from constructs.l4_insight.posthog.service import PostHogService, ServicesSettings, size_of
from constructs.l4_insight.posthog.services import KEYS_SECRET, SERVICES, SITE_VARIABLE
from constructs.l4_insight.posthog.stores import PostHogStores
from constructs.postgres_cluster import DatabaseAccess
from constructs.reference import expression
from constructs.route import SOLVER, Addresses
from constructs.settings import Email, Settings


class PostHogSettings(Settings):
    """PostHog."""

    admin_email: Email = ""
    """Who owns the first organization; empty: `admin@<base_domain>`. A later change has no effect."""
    services: ServicesSettings = ServicesSettings()
    """The services that PostHog is made of."""
    clickhouse: PostHogClickHouseSettings = PostHogClickHouseSettings()
    """Where events are stored."""
    kafka: BoundedKafka = KafkaSettings()
    """What was captured, and not yet stored."""
    redis: RedisSettings = RedisSettings()
    """The queue of tasks, and caches."""
    valkey: ValkeySettings = ValkeySettings()
    """What may be forgotten."""
    objects: ObjectSettings = ObjectSettings()
    """Recordings, exports and files that people upload."""
    retention: RetentionSettings = RetentionSettings()
    """How long data is kept."""
    backup: PostHogBackupSettings = PostHogBackupSettings()
    """When what is not in ClickHouse is saved."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have new passwords generated; its pods restart."""


def footprints(settings: PostHogSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what PostHog asks for, its stores too."""
    return (
        *clickhouse.footprints(settings.clickhouse, backups),
        *retention.footprints(settings.retention),
        *kafka.footprints(settings.kafka),
        *redis.footprints(settings.redis, settings.valkey),
        *objects.footprints(settings.objects),
        *migrations.footprints(),
        *service.footprints(settings.services),
        *saved.footprints(backups, settings.objects.bucket),
        SOLVER,
    )


class PostHog(Construct):
    """PostHog at `posthog.<...>`; its owner's first password is in the Secret `posthog-admin`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        addresses: Addresses,
        backups: BackupSettings,
        postgres: DatabaseAccess,
        settings: PostHogSettings,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        secrets = Secrets(self, "secrets", environment=environment, credentials_revision=settings.credentials_revision)
        stores = PostHogStores(
            self,
            "stores",
            environment=environment,
            backups=backups,
            postgres=postgres,
            clickhouse=settings.clickhouse,
            kafka=settings.kafka,
            redis=settings.redis,
            valkey=settings.valkey,
            objects=settings.objects,
            credentials_revision=settings.credentials_revision,
        )
        site = {SITE_VARIABLE: addresses.host("posthog")}
        Retention(
            self,
            "retention",
            environment=environment,
            endpoint=stores.clickhouse.endpoint,
            settings=settings.retention,
            depends_on=[stores.clickhouse.resource],
        )
        topics = Topics(self, "topics", environment=environment, stores=stores.addresses, depends_on=stores.resources)
        done = Migrations(
            self,
            "migrations",
            environment=environment,
            stores=stores.addresses,
            site=site,
            email=expression('{0} != "" ? {0} : "admin@${{{1}}}"', settings.admin_email, addresses.base_domain),
            depends_on=[*secrets.resources, *stores.resources, topics.resource],
        )
        services = {
            row.name: PostHogService(
                self,
                row.name,
                row=row,
                environment=environment,
                stores=stores.addresses,
                site=site,
                settings=size_of(settings.services, row),
                revision=settings.credentials_revision,
                depends_on=[*secrets.resources, *stores.resources, done.resource],
            )
            for row in SERVICES
        }
        Backups(
            self,
            "backups",
            environment=environment,
            postgres=postgres,
            bucket=settings.objects.bucket,
            backups=backups,
            settings=settings.backup,
            depends_on=stores.resources,
        )
        PostHogRoute(self, "route", namespace=namespace, addresses=addresses, depends_on=[services["web"].resource])
        DeletionLock(
            self,
            "lock",
            name="posthog",
            namespace=namespace,
            holds=self,
            beside=[postgres.credential.resource],
            also=[f"secrets/{KEYS_SECRET}"],
        )
