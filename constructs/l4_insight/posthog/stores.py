"""The stores of PostHog, each open to those who need it, and how the pods that need one are told where it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.credential_copy import CredentialCopy
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.l4_insight.clickhouse_server import pods_of
from constructs.l4_insight.posthog import database, retention
from constructs.l4_insight.posthog.clickhouse import NAME, PostHogClickHouse, PostHogClickHouseSettings
from constructs.l4_insight.posthog.kafka import Kafka, KafkaSettings
from constructs.l4_insight.posthog.objects import Objects, ObjectSettings
from constructs.l4_insight.posthog.redis import Redis, RedisSettings, ValkeySettings
from constructs.l4_insight.posthog.services import (
    CLICKHOUSE,
    KAFKA,
    OBJECTS,
    POSTGRES,
    REDIS,
    VALKEY,
    Key,
    callers_of,
)
from constructs.l4_insight.posthog.store import labels_of
from constructs.network_flow import Flow, Peer
from constructs.postgres_cluster import PORT as POSTGRES_PORT
from constructs.postgres_cluster import DatabaseAccess
from constructs.reference import Reference

_CLICKHOUSE_PODS = pods_of(NAME)


@dataclass(frozen=True)
class StoreAddress:
    """Where a store is, seen from the pods that need it: a host and a port or a URL, and the variables that say it."""

    address: str | Reference
    variables: Mapping[str, str | Reference | Key]
    flow: Flow


Stores = Mapping[str, StoreAddress]


class PostHogStores(Construct):
    """All stores, by their names in `addresses`; Postgres is the environment's, the others are made here."""

    def __init__(  # noqa: PLR0913 (a store has settings each)
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        backups: BackupSettings,
        postgres: DatabaseAccess,
        clickhouse: PostHogClickHouseSettings,
        kafka: KafkaSettings,
        redis: RedisSettings,
        valkey: ValkeySettings,
        objects: ObjectSettings,
        credentials_revision: int,
    ) -> None:
        super().__init__(scope, id_)
        copy = CredentialCopy(
            self,
            "postgres",
            source=postgres.credential,
            name=database.CREDENTIAL,
            namespace=environment.monitoring_namespace,
        )
        broker = Kafka(
            self,
            "kafka",
            environment=environment,
            callers=[*_callers(KAFKA), Peer(pods=_CLICKHOUSE_PODS)],
            settings=kafka,
        )
        queue = Redis(self, "redis", environment=environment, callers=_callers(REDIS), settings=redis)
        cache = Redis(self, "valkey", environment=environment, callers=_callers(VALKEY), settings=valkey)
        bucket = Objects(
            self,
            "objects",
            environment=environment,
            callers=_callers(OBJECTS),
            settings=objects,
            credentials_revision=credentials_revision,
        )
        self.clickhouse = PostHogClickHouse(
            self,
            "clickhouse",
            environment=environment,
            backups=backups,
            callers=[*_callers(CLICKHOUSE), Peer(pods=retention.PODS)],
            kafka=broker.endpoint,
            kafka_pods=Peer(pods=labels_of(KAFKA)),
            settings=clickhouse,
            credentials_revision=credentials_revision,
        )
        self.resources: list[ITerraformDependable] = [
            copy.resource,
            *(store.resource for store in (broker, queue, cache, bucket, self.clickhouse)),
        ]
        self.addresses: Stores = {
            POSTGRES: _postgres(postgres),
            CLICKHOUSE: _clickhouse(self.clickhouse),
            KAFKA: _server(KAFKA, broker.endpoint, f"{broker.endpoint.host}:{broker.endpoint.port}", "KAFKA_HOSTS"),
            REDIS: _server(REDIS, queue.endpoint, queue.endpoint.host, "REDIS_HOST"),
            VALKEY: _server(VALKEY, cache.endpoint, cache.endpoint.host, "VALKEY_HOST"),
            OBJECTS: _objects(bucket),
        }


def _callers(store: str) -> list[Peer]:
    return [Peer(pods=labels_of(component)) for component in callers_of(store)]


def _server(store: str, endpoint: Endpoint, value: str, variable: str) -> StoreAddress:
    flow = Flow(Peer(pods=labels_of(store)), ports=(endpoint.port,))
    return StoreAddress(f"{endpoint.host}:{endpoint.port}", {variable: value}, flow)


def _postgres(access: DatabaseAccess) -> StoreAddress:
    return StoreAddress(
        f"{access.host}:{POSTGRES_PORT}",
        {"POSTGRES_HOST": access.host, "POSTGRES_PASSWORD": Key(database.CREDENTIAL, "password")},
        access.flow,
    )


def _clickhouse(server: PostHogClickHouse) -> StoreAddress:
    endpoint = server.endpoint
    return StoreAddress(
        f"{endpoint.host}:{endpoint.port}",
        {
            "CLICKHOUSE_HOST": endpoint.host,
            "CLICKHOUSE_USER": endpoint.user,
            "CLICKHOUSE_PASSWORD": Key(endpoint.secret, endpoint.password_key),
        },
        Flow(Peer(pods=_CLICKHOUSE_PODS), ports=(server.http_port, endpoint.port)),
    )


def _objects(bucket: Objects) -> StoreAddress:
    return StoreAddress(
        bucket.endpoint_url,
        {
            "OBJECTS_ENDPOINT": bucket.endpoint_url,
            "OBJECTS_BUCKET": bucket.bucket,
            "OBJECTS_REGION": bucket.region,
            "OBJECTS_KEY_ID": Key(bucket.secret, bucket.access_key_key),
            "OBJECTS_SECRET_KEY": Key(bucket.secret, bucket.secret_key_key),
        },
        Flow(Peer(pods=labels_of(OBJECTS)), ports=(bucket.port,)),
    )
