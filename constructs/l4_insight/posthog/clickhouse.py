"""PostHog's ClickHouse: events, sessions and the lists of recordings; the server that SigNoz has, otherwise configured.

The names of clusters, collections and macros are PostHog's (docker/clickhouse/config.d/default.xml): its migrations and
queries name them.
"""

from collections.abc import Sequence
from typing import Annotated

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint
from constructs.l4_insight import clickhouse
from constructs.l4_insight.clickhouse import Application, ClickHouse, ClickHouseSettings, Functions
from constructs.l4_insight.clickhouse_server import HTTP_PORT, Configuration, Confinement
from constructs.network_flow import Flow, Peer
from constructs.settings import AtLeast, Cpu, Size
from constructs.versions import VERSIONS

NAME = "posthog-clickhouse"
# The database, and who owns it.
DATABASE = USER = "posthog"
# Whom dictionaries read as. PostHog writes their password into their definition: with this one, which the server does
# not look at, they outlive a new password and a restore.
DICTIONARY_READER, DICTIONARY_PASSWORD = "dict_reader", "unused"
CLUSTERS = (
    "posthog",
    "posthog_single_shard",
    "posthog_migrations",
    "posthog_writable",
    "posthog_primary_replica",
    "posthog_logs",
    "ai_events",
    "aux",
    "ops",
    "sessions",
)
# Kafka clusters of PostHog's cloud, all of them the one broker here.
_KAFKA_COLLECTIONS = (
    "msk_cluster",
    "warpstream_ingestion",
    "warpstream_calculated_events",
    "warpstream_replay",
    "warpstream_shared",
    "warpstream_cyclotron",
    "warpstream_logs",
    "warpstream_traces",
    "warpstream_metrics",
)
_MACROS = {"shard": "01", "replica": "ch1", "hostClusterType": "online", "hostClusterRole": "data"}
# In the image's own configuration without an end, or left out there.
_LOG_DAYS = {"background_schedule_pool_log": 3, "crash_log": 30, "session_log": 7}
_PROFILE = {
    # Its deletions of persons ask other tables which.
    "allow_nondeterministic_mutations": 1,
    "allow_suspicious_low_cardinality_types": 1,
    "distributed_product_mode": "global",
    # What is taken from Kafka is written before Kafka is told so.
    "distributed_foreground_insert": 1,
    # Whoever sends events says of when they are: one batch of many months would stop all others behind it.
    "throw_on_max_partitions_per_insert_block": 0,
}
_FUNCTIONS = Functions(
    image=VERSIONS.images["posthog"],
    scripts="/code/posthog/user_scripts",
    definitions="/code/posthog/user_scripts/latest_user_defined_function.xml",
    without="funnels fail, and so does the migration of newer versions, which calls JSONCleanPostHogEventProperties.",
)

# Views of PostHog's are made over these; the server makes them when it first has something to write.
SYSTEM_TABLES = ("asynchronous_metric_log", "crash_log", "error_log", "metric_log", "query_log", "session_log")
# For a container of the server's image, before the migration: `sh -c`, with CLICKHOUSE_HOST, CLICKHOUSE_USER and
# CLICKHOUSE_PASSWORD, which the client reads. It waits for the server too.
SYSTEM_TABLES_SCRIPT = f"""
tables="{" ".join(SYSTEM_TABLES)}"
while :; do
  if clickhouse-client --host="$CLICKHOUSE_HOST" --user="$CLICKHOUSE_USER" --query="SYSTEM FLUSH LOGS"; then
    missing=""
    for table in $tables; do
      found="$(clickhouse-client --host="$CLICKHOUSE_HOST" --user="$CLICKHOUSE_USER" --query="EXISTS system.$table")"
      [ "$found" = 1 ] || missing="$missing $table"
    done
    if [ -z "$missing" ]; then
      echo "ClickHouse has the tables about itself that migrations ask for"
      exit 0
    fi
    echo "ClickHouse has no table yet:$missing"
  else
    echo "ClickHouse at $CLICKHOUSE_HOST does not answer yet"
  fi
  sleep "${{PAUSE:-5}}"
done
"""


class PostHogClickHouseSettings(ClickHouseSettings):
    """PostHog's ClickHouse server."""

    cpu: Cpu = "500m"
    memory: Annotated[Size, AtLeast(2048)] = "4Gi"
    storage: Size = "30Gi"
    """Size of its volume. A later change has no effect: K3s's local-path volumes do not grow."""


def footprints(settings: PostHogClickHouseSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what the server asks for, and what has it saved."""
    return clickhouse.footprints(NAME, settings, backups)


class PostHogClickHouse(Construct):
    """The StatefulSet `posthog-clickhouse`. It fetches events from Kafka itself; `callers` may ask it."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        backups: BackupSettings,
        callers: Sequence[Peer],
        kafka: Endpoint,
        kafka_pods: Peer,
        settings: PostHogClickHouseSettings,
        credentials_revision: int,
    ) -> None:
        super().__init__(scope, id_)
        host = f"{NAME}.{environment.monitoring_namespace}.svc"
        brokers = {"kafka_broker_list": f"{kafka.host}:{kafka.port}"}
        server = ClickHouse(
            self,
            "server",
            name=NAME,
            environment=environment,
            application=Application(
                image=VERSIONS.images["posthog-clickhouse"],
                user=USER,
                profile=_PROFILE,
                callers=callers,
                calls=[Flow(kafka_pods, ports=(kafka.port,))],
                configuration=Configuration(
                    clusters=CLUSTERS,
                    # PostHog asks a cluster for its hosts, and then each host: from other pods, too.
                    host=host,
                    macros=_MACROS,
                    collections=dict.fromkeys(_KAFKA_COLLECTIONS, brokers),
                    logs=_LOG_DAYS,
                    confinement=Confinement(sources=("KAFKA", "REMOTE"), hosts=(host, "localhost")),
                    readers={DICTIONARY_READER: DATABASE},
                    has_functions=True,
                ),
                functions=_FUNCTIONS,
            ),
            backups=backups,
            folder=f"{environment.name}/posthog/clickhouse",
            settings=settings,
            credentials_revision=credentials_revision,
        )
        self.endpoint = server.endpoint
        self.http_port = HTTP_PORT
        self.resource = server.resource
