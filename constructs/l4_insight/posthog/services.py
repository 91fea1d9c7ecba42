"""The services of PostHog: what runs, what each is told, and what each needs of the others. Read it as the map.

All variables are those of PostHog's own Compose files and of its sources; what only newer images know does no harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from constructs.l4_insight.posthog.clickhouse import DICTIONARY_PASSWORD, DICTIONARY_READER
from constructs.l4_insight.posthog.store import name_of
from constructs.reference import Reference

POSTGRES, CLICKHOUSE, KAFKA, REDIS, VALKEY, OBJECTS = "postgres", "clickhouse", "kafka", "redis", "valkey", "objects"
# A pod first has the variables of each store that it needs (stores.py), such as `REDIS_HOST`; those below are made of
# them. It also has the host name by which people call PostHog.
SITE_VARIABLE = "SITE_HOST"

# Secrets that are generated: one is never written again, the other whenever `credentials_revision` is bumped.
KEYS_SECRET, SHARED_SECRET = "posthog-keys", "posthog"


@dataclass(frozen=True)
class Key:
    """A key of a Secret, as what a variable holds."""

    secret: str | Reference
    key: str


Environment = Mapping[str, str | Key]


@dataclass(frozen=True)
class Health:
    """The port and paths by which the kubelet asks whether a pod may be called, and whether it lives."""

    port: int
    ready: str
    alive: str


@dataclass(frozen=True)
class Service:
    """One row: a Deployment `posthog-<name>`, and a Service of that name where there is a port."""

    name: str
    image: str
    """Key of an image in versions.toml."""
    user: int
    cpu: str
    memory: str
    environment: Environment
    needs: tuple[str, ...]
    """Stores and services without which it cannot start: it waits for each, in this order."""
    calls: tuple[str, ...] = ()
    """Services that it calls once it runs."""
    command: tuple[str, ...] = ()
    """Empty: the image's own."""
    port: int | None = None
    health: Health | None = None
    connections: int = 0
    """How many connections to Postgres one pod opens at most, by the pool sizes in its environment."""
    surges: bool = False
    """Whether a new pod starts before the old one ends, since somebody would notice; else the old one makes room."""
    outside: tuple[int, ...] = ()
    """Ports that it may call outside the cluster."""
    has_map: bool = False
    """Whether it gets a copy of the map of addresses and places, which its own image lacks."""
    writes: tuple[str, ...] = field(default=("/tmp",))  # noqa: S108 (a volume of the pod's own)
    """The folders that it may write to; nothing else in its image can be changed."""


def _url(service: str, port: int) -> str:
    """Return the address of a service, as its own namespace knows it."""
    return f"http://{name_of(service)}:{port}"


_DATABASE = "postgres://posthog:$(POSTGRES_PASSWORD)@$(POSTGRES_HOST):5432/posthog"
_QUEUE = {"REDIS_URL": "redis://$(REDIS_HOST):6379/"}
_SITE = {"SITE_URL": f"https://$({SITE_VARIABLE})"}
_SCRATCH = {"HOME": "/tmp"}  # noqa: S108 (a volume of the pod's own)

# Integrations' credentials are encrypted with the salt keys, and signed for sessions with the other.
_SECRET_KEY = {"SECRET_KEY": Key(KEYS_SECRET, "secret-key")}
_SALT_KEYS = {"ENCRYPTION_SALT_KEYS": Key(KEYS_SECRET, "salt-keys")}
# By these the services know each other.
_INTERNAL = {"INTERNAL_API_SECRET": Key(SHARED_SECRET, "internal-api")}
_REQUEST_TOKEN = {"INTERNAL_REQUEST_TOKEN": Key(SHARED_SECRET, "internal-request")}

_CLICKHOUSE = {
    "CLICKHOUSE_DATABASE": "posthog",
    # Outside of its debug mode PostHog expects TLS.
    "CLICKHOUSE_SECURE": "false",
    "CLICKHOUSE_VERIFY": "false",
}
_PERSONS = {"PERSONHOG_ADDR": f"{name_of('personhog-router')}:50052", "PERSONHOG_ENABLED": "true"}
_OBJECTS = {
    "OBJECT_STORAGE_ENABLED": "true",
    "OBJECT_STORAGE_ENDPOINT": "$(OBJECTS_ENDPOINT)",
    "OBJECT_STORAGE_BUCKET": "$(OBJECTS_BUCKET)",
    "OBJECT_STORAGE_REGION": "$(OBJECTS_REGION)",
    "OBJECT_STORAGE_ACCESS_KEY_ID": "$(OBJECTS_KEY_ID)",
    "OBJECT_STORAGE_SECRET_ACCESS_KEY": "$(OBJECTS_SECRET_KEY)",
    "OBJECT_STORAGE_FORCE_PATH_STYLE": "true",
}
_RECORDINGS = {
    # Every other variable is in vain without it.
    "SESSION_RECORDING_V2_S3_ENABLED": "true",
    "SESSION_RECORDING_V2_S3_ENDPOINT": "$(OBJECTS_ENDPOINT)",
    "SESSION_RECORDING_V2_S3_BUCKET": "$(OBJECTS_BUCKET)",
    "SESSION_RECORDING_V2_S3_REGION": "$(OBJECTS_REGION)",
    "SESSION_RECORDING_V2_S3_ACCESS_KEY_ID": "$(OBJECTS_KEY_ID)",
    "SESSION_RECORDING_V2_S3_SECRET_ACCESS_KEY": "$(OBJECTS_SECRET_KEY)",
    "SESSION_RECORDING_V2_S3_TIMEOUT_MS": "120000",
}

# Django: web, worker, and what migrates.
DJANGO: Environment = {
    **_SCRATCH,
    "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108 (a volume of the pod's own)
    **_SITE,
    "DEPLOYMENT": "hobby",
    **_SECRET_KEY,
    **_SALT_KEYS,
    **_INTERNAL,
    **_REQUEST_TOKEN,
    "DATABASE_URL": _DATABASE,
    "PERSONS_DB_WRITER_URL": "$(DATABASE_URL)",
    "PERSONS_DB_READER_URL": "$(DATABASE_URL)",
    **_QUEUE,
    "FLAGS_REDIS_ENABLED": "false",
    **_CLICKHOUSE,
    "CLICKHOUSE_LOGS_CLUSTER_HOST": "$(CLICKHOUSE_HOST)",
    "CLICKHOUSE_LOGS_CLUSTER_USER": "$(CLICKHOUSE_USER)",
    "CLICKHOUSE_LOGS_CLUSTER_PASSWORD": "$(CLICKHOUSE_PASSWORD)",
    "CLICKHOUSE_LOGS_CLUSTER_SECURE": "false",
    # By this one dictionaries read their own server; it has no password, and may do nothing else.
    "CLICKHOUSE_DICT_READER_USER": DICTIONARY_READER,
    "CLICKHOUSE_DICT_READER_PASSWORD": DICTIONARY_PASSWORD,
    "CLICKHOUSE_CONN_POOL_MIN": "1",
    "CLICKHOUSE_CONN_POOL_MAX": "20",
    **_OBJECTS,
    **_RECORDINGS,
    # Only Traefik reaches web from outside, and takes away what a browser says about where it is.
    "IS_BEHIND_PROXY": "true",
    "TRUST_ALL_PROXIES": "true",
    "DISABLE_SECURE_SSL_REDIRECT": "true",
    # Nothing is told to the vendor.
    "OPT_OUT_CAPTURE": "true",
    "OTEL_SDK_DISABLED": "true",
    "SENTRY_DSN": "",
    # One organization, which the migrations make: nobody else can sign up.
    "MULTI_ORG_ENABLED": "false",
    "SKIP_ASYNC_MIGRATIONS_SETUP": "0",
    # It would refuse versions of stores that it does not know yet; these are chosen together with the image.
    "SKIP_SERVICE_VERSION_REQUIREMENTS": "1",
    "API_QUERIES_PER_TEAM": '{"1": 100}',
}
_PEERS = {
    **_PERSONS,
    "CDP_API_URL": _url("plugins", 6738),
    "RECORDING_API_URL": _url("recording-api", 6738),
    "FEATURE_FLAGS_SERVICE_URL": _url("feature-flags", 3001),
    "CAPTURE_INTERNAL_URL": f"{_url('capture', 3000)}/capture",
    "CAPTURE_REPLAY_INTERNAL_URL": f"{_url('replay-capture', 3000)}/s",
}

# Node: everything behind Kafka, and the API of recordings.
_NODE: Environment = {
    **_SCRATCH,
    **_SITE,
    "NODE_ENV": "production",
    "DATABASE_URL": _DATABASE,
    "PERSONS_DATABASE_URL": "$(DATABASE_URL)",
    "BEHAVIORAL_COHORTS_DATABASE_URL": "$(DATABASE_URL)",
    # Of each of these three, so far as a service opens it.
    "POSTGRES_CONNECTION_POOL_SIZE": "3",
    **_QUEUE,
    "REDIS_POOL_MIN_SIZE": "1",
    **_SALT_KEYS,
    "MMDB_FILE_LOCATION": "/share/GeoLite2-City.mmdb",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "OTEL_SDK_DISABLED": "true",
    "POSTHOG_API_KEY": "",
}
# PostHog calls its clusters by these names and takes `kafka:9092` for each that is not given.
_BROKERS = (
    "CONSUMER",
    "PRODUCER",
    "DEFAULT_PRODUCER",
    "CDP_PRODUCER",
    "INGESTION_PRODUCER",
    "INGESTION_SESSIONREPLAY_PRODUCER",
    "INGESTION_UPSTREAM_PRODUCER",
    "INGESTION_DOWNSTREAM_PRODUCER",
    "METRICS_PRODUCER",
    "MONITORING_PRODUCER",
    "MSK_PRODUCER",
    "WAREHOUSE_PRODUCER",
    "WARPSTREAM_PRODUCER",
    "WARPSTREAM_CALCULATED_EVENTS_PRODUCER",
    "WARPSTREAM_CYCLOTRON_PRODUCER",
    "WARPSTREAM_INGESTION_PRODUCER",
    "WARPSTREAM_LOGS_PRODUCER",
)
_NODE_KAFKA = {
    **{f"KAFKA_{name}_METADATA_BROKER_LIST": "$(KAFKA_HOSTS)" for name in _BROKERS},
    # What is fetched ahead of each topic: 100 MB by default.
    "KAFKA_CONSUMER_QUEUED_MAX_MESSAGES_KBYTES": "16384",
}
_DESTINATIONS = {
    "CDP_REDIS_HOST": "$(REDIS_HOST)",
    "CDP_REDIS_PORT": "6379",
    # Everything that counts is written here as well; without it the process ends.
    "CDP_VALKEY_HOST": "$(VALKEY_HOST)",
    "CDP_VALKEY_PORT": "6379",
    "CDP_VALKEY_TLS": "false",
}
_COOKIELESS = {"COOKIELESS_REDIS_HOST": "$(REDIS_HOST)", "COOKIELESS_REDIS_PORT": "6379"}

# Rust: everything that answers visitors.
_RUST = {"RUST_LOG": "info,rdkafka=warn"}
_CAPTURE = {
    **_RUST,
    **_QUEUE,
    "ADDRESS": "0.0.0.0:3000",
    # What waits for the broker is in memory: 400 MiB by default.
    "KAFKA_PRODUCER_QUEUE_MIB": "64",
}
# Amazon's own names, for what reads cached definitions from the store of objects.
_RUST_OBJECTS = {
    "OBJECT_STORAGE_ENDPOINT": "$(OBJECTS_ENDPOINT)",
    "OBJECT_STORAGE_BUCKET": "$(OBJECTS_BUCKET)",
    "OBJECT_STORAGE_REGION": "$(OBJECTS_REGION)",
    "AWS_ACCESS_KEY_ID": "$(OBJECTS_KEY_ID)",
    "AWS_SECRET_ACCESS_KEY": "$(OBJECTS_SECRET_KEY)",
    "AWS_REGION": "$(OBJECTS_REGION)",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# The queues are the image's own. The scheduler is a fork of the worker: by itself it is 1 GB.
_WORKER = (
    "set -a; . ./bin/celery-queues.env; exec celery -A posthog worker -O fair -n node@%h"
    " --without-mingle --without-heartbeat --beat --scheduler redbeat.RedBeatScheduler"
    ' --concurrency "$WEB_CONCURRENCY" --max-memory-per-child "$CELERY_MAX_MEMORY_PER_CHILD"'
)
_DJANGO_USER, _NODE_USER, _RUST_USER = 1000, 1000, 65534
_NODE_HEALTH = Health(6738, ready="/_ready", alive="/_health")


def _rust_health(port: int) -> Health:
    return Health(port, ready="/_readiness", alive="/_liveness")


SERVICES: tuple[Service, ...] = (
    # --- What people see ---
    Service(
        "web",
        image="posthog",
        user=_DJANGO_USER,
        # The image's own entry point starts as root, and migrates; these are its server, and its two processes.
        command=(
            *("granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000"),  # noqa: S104 (a pod's)
            *("--workers", "2", "--blocking-threads", "4", "--respawn-failed-workers", "posthog.wsgi:application"),
        ),
        port=8000,
        health=Health(8000, ready="/_health", alive="/_livez"),
        cpu="250m",
        memory="2560Mi",
        environment={**DJANGO, **_PEERS},
        needs=(POSTGRES, CLICKHOUSE, KAFKA, REDIS, OBJECTS, "personhog-router"),
        calls=("feature-flags", "recording-api", "plugins", "capture", "replay-capture"),
        # Two processes of four threads each, to both of its databases.
        connections=16,
        surges=True,
        outside=(443,),
    ),
    Service(
        "worker",
        image="posthog",
        user=_DJANGO_USER,
        command=("bash", "-ec", _WORKER),
        cpu="250m",
        memory="3Gi",
        environment={
            **DJANGO,
            **_PEERS,
            # One for each core by default. In KiB: what has grown beyond it ends after its task.
            "WEB_CONCURRENCY": "2",
            "CELERY_MAX_MEMORY_PER_CHILD": "1100000",
        },
        needs=(POSTGRES, CLICKHOUSE, KAFKA, REDIS, OBJECTS, "personhog-router"),
        calls=("feature-flags", "recording-api", "plugins", "capture", "replay-capture"),
        connections=4,
        # Webhooks, and mail.
        outside=(443, 465, 587),
    ),
    # --- What takes what visitors' browsers and applications send ---
    Service(
        "capture",
        image="posthog-capture",
        user=_RUST_USER,
        port=3000,
        health=_rust_health(3000),
        cpu="50m",
        memory="192Mi",
        environment={
            **_CAPTURE,
            "CAPTURE_MODE": "events",
            "KAFKA_TOPIC": "events_plugin_ingestion",
            "KAFKA_ERROR_TRACKING_TOPIC": "ingestion-errortracking-main",
            "CAPTURE_V1_SINKS": "msk",
            "CAPTURE_V1_SINK_MSK_KAFKA_HOSTS": "$(KAFKA_HOSTS)",
            "CAPTURE_V1_SINK_MSK_KAFKA_TOPIC_MAIN": "events_plugin_ingestion",
            "CAPTURE_V1_SINK_MSK_KAFKA_TOPIC_HISTORICAL": "events_plugin_ingestion_historical",
            "CAPTURE_V1_SINK_MSK_KAFKA_TOPIC_OVERFLOW": "events_plugin_ingestion_overflow",
            "CAPTURE_V1_SINK_MSK_KAFKA_TOPIC_DLQ": "events_plugin_ingestion_dlq",
            "CAPTURE_V1_SINK_MSK_KAFKA_TOPIC_EXCEPTION": "ingestion-errortracking-main",
            "CAPTURE_V1_SINK_MSK_KAFKA_TOPIC_HEATMAP": "heatmaps_ingestion",
            "CAPTURE_V1_SINK_MSK_KAFKA_TOPIC_CLIENT_INGESTION_WARNING": "ingestion-clientwarnings-main-1",
        },
        needs=(KAFKA, REDIS),
        surges=True,
    ),
    Service(
        "replay-capture",
        image="posthog-capture",
        user=_RUST_USER,
        port=3000,
        health=_rust_health(3000),
        cpu="50m",
        memory="256Mi",
        environment={
            **_CAPTURE,
            "CAPTURE_MODE": "recordings",
            "KAFKA_TOPIC": "session_recording_snapshot_item_events",
        },
        needs=(KAFKA, REDIS),
        surges=True,
    ),
    Service(
        "feature-flags",
        image="posthog-feature-flags",
        user=_RUST_USER,
        port=3001,
        health=_rust_health(3001),
        cpu="50m",
        memory="256Mi",
        environment={
            **_RUST,
            **_QUEUE,
            **_RUST_OBJECTS,
            **_COOKIELESS,
            **_SECRET_KEY,
            **_REQUEST_TOKEN,
            "ADDRESS": "0.0.0.0:3001",
            "WRITE_DATABASE_URL": _DATABASE,
            "READ_DATABASE_URL": _DATABASE,
            "PERSONS_WRITE_DATABASE_URL": _DATABASE,
            "PERSONS_READ_DATABASE_URL": _DATABASE,
            # Of each of these four.
            "MAX_PG_CONNECTIONS": "2",
            "FLAGS_REDIS_ENABLED": "false",
            "MAXMIND_DB_PATH": "/app/share/GeoLite2-City.mmdb",
        },
        needs=(POSTGRES, REDIS, OBJECTS),
        connections=8,
        surges=True,
    ),
    Service(
        "hypercache-server",
        image="posthog-hypercache-server",
        user=_RUST_USER,
        port=3002,
        health=_rust_health(3002),
        cpu="25m",
        memory="96Mi",
        environment={**_RUST, **_QUEUE, **_RUST_OBJECTS, "ADDRESS": "0.0.0.0:3002"},
        needs=(REDIS, OBJECTS),
        surges=True,
    ),
    # --- What takes it from Kafka to where it stays ---
    Service(
        "ingestion-general",
        image="posthog-node",
        user=_NODE_USER,
        health=_NODE_HEALTH,
        cpu="200m",
        memory="1Gi",
        environment={
            **_NODE,
            **_NODE_KAFKA,
            **_CLICKHOUSE,
            **_PERSONS,
            **_DESTINATIONS,
            **_COOKIELESS,
            "PLUGIN_SERVER_MODE": "ingestion-v2-combined",
        },
        needs=(POSTGRES, CLICKHOUSE, KAFKA, REDIS, VALKEY, "personhog-router"),
        connections=9,
        has_map=True,
    ),
    Service(
        "ingestion-sessionreplay",
        image="posthog-node",
        user=_NODE_USER,
        health=_NODE_HEALTH,
        cpu="100m",
        memory="768Mi",
        environment={
            **_NODE,
            **_NODE_KAFKA,
            **_RECORDINGS,
            "PLUGIN_SERVER_MODE": "recordings-blob-ingestion-v2",
            # What is collected in memory before it is written: 100 MB by default.
            "SESSION_RECORDING_MAX_BATCH_SIZE_KB": "20480",
        },
        needs=(POSTGRES, KAFKA, REDIS, OBJECTS),
        connections=9,
        has_map=True,
    ),
    Service(
        "property-defs",
        image="posthog-property-defs-rs",
        user=_RUST_USER,
        health=_rust_health(3301),
        cpu="25m",
        memory="192Mi",
        environment={
            **_RUST,
            "DATABASE_URL": _DATABASE,
            "BIND_HOST": "0.0.0.0",  # noqa: S104 (a pod's)
            "BIND_PORT": "3301",
            # It does nothing by default.
            "SKIP_WRITES": "false",
            "SKIP_READS": "false",
            "FILTER_MODE": "opt-out",
            "MAX_PG_CONNECTIONS": "2",
            "MAX_CONCURRENT_TRANSACTIONS": "2",
            "CACHE_CAPACITY": "100000",
            # Seconds until a new property is in the lists, where there are few events: 300 by default.
            "MAX_ISSUE_PERIOD": "15",
        },
        needs=(POSTGRES, KAFKA),
        connections=2,
    ),
    # --- What the others ask ---
    Service(
        "plugins",
        image="posthog-node",
        user=_NODE_USER,
        port=6738,
        health=_NODE_HEALTH,
        cpu="100m",
        memory="768Mi",
        environment={
            **_NODE,
            **_NODE_KAFKA,
            **_CLICKHOUSE,
            **_PERSONS,
            **_OBJECTS,
            **_DESTINATIONS,
            **_INTERNAL,
            "LOGS_REDIS_HOST": "$(REDIS_HOST)",
            "LOGS_REDIS_PORT": "6379",
            "LOGS_REDIS_TLS": "false",
            "TRACES_REDIS_HOST": "$(REDIS_HOST)",
            "TRACES_REDIS_PORT": "6379",
            "TRACES_REDIS_TLS": "false",
            "INTERNAL_API_BASE_URL": _url("web", 8000),
            "CAPTURE_INTERNAL_URL": f"{_url('capture', 3000)}/capture",
        },
        needs=(POSTGRES, CLICKHOUSE, KAFKA, REDIS, VALKEY, OBJECTS, "personhog-router"),
        calls=("web", "capture"),
        connections=9,
        # Destinations.
        outside=(443,),
        has_map=True,
    ),
    Service(
        "recording-api",
        image="posthog-node",
        user=_NODE_USER,
        port=6738,
        health=_NODE_HEALTH,
        cpu="50m",
        memory="512Mi",
        environment={
            **_NODE,
            **_NODE_KAFKA,
            **_CLICKHOUSE,
            **_RECORDINGS,
            **_INTERNAL,
            "PLUGIN_SERVER_MODE": "recording-api",
            "SESSION_RECORDING_API_REDIS_HOST": "$(REDIS_HOST)",
            "SESSION_RECORDING_API_REDIS_PORT": "6379",
        },
        needs=(POSTGRES, CLICKHOUSE, KAFKA, REDIS, OBJECTS),
        connections=9,
        has_map=True,
    ),
    Service(
        "personhog-replica",
        image="posthog-personhog-replica",
        user=_RUST_USER,
        port=50051,
        health=_rust_health(9100),
        cpu="25m",
        memory="96Mi",
        environment={
            **_RUST,
            "GRPC_ADDRESS": "0.0.0.0:50051",
            "METRICS_PORT": "9100",
            "PRIMARY_DATABASE_URL": _DATABASE,
            # Two pools: for one person, and for many at once.
            "MAX_PG_CONNECTIONS": "4",
            "BULK_MAX_PG_CONNECTIONS": "2",
        },
        needs=(POSTGRES,),
        connections=6,
        surges=True,
    ),
    Service(
        "personhog-router",
        image="posthog-personhog-router",
        user=_RUST_USER,
        port=50052,
        health=_rust_health(9101),
        cpu="25m",
        memory="64Mi",
        environment={
            **_RUST,
            "GRPC_ADDRESS": "0.0.0.0:50052",
            "METRICS_PORT": "9101",
            "REPLICA_URL": _url("personhog-replica", 50051),
            "BACKEND_TIMEOUT_MS": "5000",
        },
        needs=("personhog-replica",),
        surges=True,
    ),
)
BY_NAME: Mapping[str, Service] = {row.name: row for row in SERVICES}

# The Jobs that come before them, and what they need.
TOPICS, MIGRATE = "topics", "migrate"
JOBS: Mapping[str, tuple[str, ...]] = {TOPICS: (KAFKA,), MIGRATE: (POSTGRES, CLICKHOUSE, KAFKA, REDIS, OBJECTS)}


def callers_of(name: str) -> tuple[str, ...]:
    """Return the services and Jobs that call a store or a service: whoever says so of itself."""
    called = {**{row.name: (*row.needs, *row.calls) for row in SERVICES}, **JOBS}
    return tuple(caller for caller, names in called.items() if name in names)
