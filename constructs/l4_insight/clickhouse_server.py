"""The configuration of a ClickHouse server, as files: sized for the memory of one small container."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from constructs.reference import Reference, expression, mebibytes

HTTP_PORT = 8123
TCP_PORT = 9000
CLUSTER = "cluster"
# The user that saves and restores, the only one who may use the bucket; and what the configuration calls that.
BACKUP_USER = "backup"
BUCKET_COLLECTION = "backup_bucket"
# Names of our own: a client in the pod would take CLICKHOUSE_PASSWORD for its own, and every query Amazon's for its.
PASSWORD_VARIABLE, BACKUP_PASSWORD_VARIABLE = "CLICKHOUSE_APPLICATION_PASSWORD", "CLICKHOUSE_BACKUP_PASSWORD"
BUCKET_VARIABLES = {
    "CLICKHOUSE_BUCKET_KEY_ID": "ACCESS_KEY_ID",
    "CLICKHOUSE_BUCKET_SECRET_KEY": "ACCESS_SECRET_KEY",
}

# How many days each of the server's logs about itself is kept: they would fill the volume otherwise. A section here
# switches its log on, so only those of the image's own config.xml.
_LOG_DAYS = {
    "asynchronous_insert_log": 3,
    "asynchronous_metric_log": 3,
    "backup_log": 30,
    "blob_storage_log": 7,
    "error_log": 7,
    "latency_log": 3,
    "metric_log": 3,
    "part_log": 3,
    "processors_profile_log": 3,
    "query_log": 7,
    "query_metric_log": 3,
    "query_thread_log": 3,
    "query_views_log": 3,
    "s3queue_log": 7,
    "text_log": 3,
    "trace_log": 3,
}

# Where the pod has an application's own functions, which queries call: programs, and what says how they are called.
FUNCTIONS = "/functions"
FUNCTION_SCRIPTS, FUNCTION_DEFINITIONS = f"{FUNCTIONS}/scripts", f"{FUNCTIONS}/definitions"

# What only the user that saves may do. A view that is made with somebody else as its definer reads as that one.
_OF_NOBODY = ("ACCESS MANAGEMENT ON *.*", "NAMED COLLECTION ADMIN ON *", "SET DEFINER ON *")
# What opens a way out of the server, beside a source, or shows what lies under its tables.
_WAYS_OUT = "SOURCES, BACKUP, INTROSPECTION, displaySecretsInShowAndSelect, SYSTEM SHUTDOWN ON *.*"


@dataclass(frozen=True)
class Confinement:
    """What an application's queries may reach beyond the server's own tables: these sources, and these hosts."""

    sources: Sequence[str]
    """As GRANT calls them: `KAFKA`, `REMOTE`."""
    hosts: Sequence[str]
    """Beside the bucket's. Holds for every query and every table, whoever asks."""


@dataclass(frozen=True)
class Configuration:
    """What one application's server has that another's has not."""

    clusters: Sequence[str] = (CLUSTER,)
    """The names by which `ON CLUSTER` and Distributed tables know the server."""
    # SigNoz's migrator asks any other host than localhost as the user `default`, who is closed to the network.
    host: str = "localhost"
    """How it is called in them. Another name is its own address within its pod, so that it knows itself by it."""
    macros: Mapping[str, str] = field(default_factory=lambda: {"shard": "01", "replica": "0"})
    """What `{shard}`, `{replica}` and others stand for in statements."""
    collections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Named collections, which the application's user may use."""
    logs: Mapping[str, int] = field(default_factory=dict)
    """Logs about itself beside those of every server, and for how many days they are kept."""
    confinement: Confinement | None = None
    """None: its queries reach whatever the pod does."""
    readers: Mapping[str, str] = field(default_factory=dict)
    """Users without a password, within the pod only, and the database that each may read: whom dictionaries read as."""
    has_functions: bool = False
    """Whether there are functions of its own in the pod."""

    def grants(self) -> list[str]:
        """Return what the application's user, and `default`, may do: all but what is named."""
        granted = [f"NAMED COLLECTION ON {name}" for name in self.collections]
        revoked = list(_OF_NOBODY)
        if self.confinement is not None:
            revoked.append(_WAYS_OUT)
            granted.append(f"{', '.join(self.confinement.sources)} ON *.*")
        return ["GRANT ALL ON *.*", *(f"REVOKE {item}" for item in revoked), *(f"GRANT {item}" for item in granted)]


def pods_of(name: str) -> dict[str, str]:
    """Return the labels of a server's pods."""
    return {"app.kubernetes.io/name": "clickhouse", "app.kubernetes.io/instance": name}


def server(memory: str, configuration: Configuration, bucket_host: Reference) -> dict[str, object]:
    """Return what differs from the image's own config.xml, for a container with this much memory."""
    days_of = {**_LOG_DAYS, **configuration.logs}
    logs = {log: {"ttl": f"event_date + INTERVAL {days} DAY DELETE"} for log, days in days_of.items()}
    logs["text_log"]["level"] = "information"
    return {
        "logger": {
            "level": "information",
            "console": True,
            "log": {"@remove": "1"},
            "errorlog": {"@remove": "1"},
        },
        "send_crash_reports": {"enabled": False},
        "async_load_databases": False,
        **_memory(memory),
        **_threads(),
        "macros": dict(configuration.macros),
        "remote_servers": {
            "@replace": "1",
            **{
                name: {"shard": {"replica": {"host": configuration.host, "port": TCP_PORT}}}
                for name in configuration.clusters
            },
        },
        "distributed_ddl": {"path": "/clickhouse/task_queue/ddl"},
        "zookeeper": {"node": {"host": "localhost", "port": 9181}},
        "keeper_server": {
            "tcp_port": 9181,
            "server_id": 1,
            "log_storage_path": "/var/lib/clickhouse/coordination/log",
            "snapshot_storage_path": "/var/lib/clickhouse/coordination/snapshots",
            "raft_configuration": {"server": {"id": 1, "hostname": "localhost", "port": 9234}},
        },
        **logs,
        # Its own engine forbids a ttl.
        "opentelemetry_span_log": {"@remove": "1"},
        **_additions(configuration, bucket_host),
    }


def _additions(configuration: Configuration, bucket_host: Reference) -> dict[str, object]:
    """Return the sections that only some applications' servers have."""
    found: dict[str, object] = {}
    if configuration.collections:
        found["named_collections"] = {name: dict(values) for name, values in configuration.collections.items()}
    if configuration.confinement is not None:
        found["remote_url_allow_hosts"] = {"host": [*configuration.confinement.hosts, bucket_host]}
    if configuration.has_functions:
        found["user_scripts_path"] = f"{FUNCTION_SCRIPTS}/"
        found["user_defined_executable_functions_config"] = f"{FUNCTION_DEFINITIONS}/*_function.xml"
    return found


def _memory(memory: str) -> dict[str, object]:
    """Return limits that follow the container's: the server refuses a query before the kernel kills the server."""
    return {
        "max_server_memory_usage": _share(memory, 0.85),
        "merges_mutations_memory_usage_soft_limit": _share(memory, 0.3),
        "mark_cache_size": _share(memory, 0.1),
        "index_mark_cache_size": _share(memory, 0.05),
        "uncompressed_cache_size": 0,
        # Of each cache, those included that have no line here and are gigabytes by default.
        "cache_size_to_ram_max_ratio": 0.1,
    }


def _threads() -> dict[str, object]:
    """Return pools for a server that shares its node: the image's are for one with sixteen cores and more.

    The server does not start when a merge waits for more free places than the pool has: 4 threads, 8 places.
    """
    return {
        "background_pool_size": 4,
        "background_merges_mutations_concurrency_ratio": 2,
        "background_schedule_pool_size": 32,
        "background_common_pool_size": 2,
        "background_fetches_pool_size": 2,
        "background_move_pool_size": 1,
        "backup_threads": 2,
        "restore_threads": 2,
        "merge_tree": {
            "number_of_free_entries_in_pool_to_lower_max_size_of_merge": 3,
            "number_of_free_entries_in_pool_to_execute_mutation": 4,
            "number_of_free_entries_in_pool_to_execute_optimize_entire_partition": 5,
        },
    }


def bucket(url: Reference, region: str) -> dict[str, object]:
    """Return how the server reaches the folder `url` of a bucket.

    The collection's keys cannot be read or sent elsewhere by a query, and no query is signed with what else the machine
    has.
    """
    return {
        "named_collections": {
            BUCKET_COLLECTION: {
                "url": {"@overridable": "false", "#text": url},
                **{
                    name: {"@from_env": variable, "@hide_in_preprocessed": "true"}
                    for name, variable in zip(("access_key_id", "secret_access_key"), BUCKET_VARIABLES, strict=True)
                },
            }
        },
        "s3": {
            "use_environment_credentials": False,
            BUCKET_COLLECTION: {"endpoint": url, "region": region, "use_environment_credentials": False},
        },
    }


def users(user: str, memory: str, profile: Mapping[str, object], configuration: Configuration) -> dict[str, object]:
    """Return the users: `user` and the one that saves from the network, and `default` from inside the pod only."""
    within_the_pod = {"networks": {"@replace": "1", "ip": ["127.0.0.1", "::1"]}}
    grants = {"grants": {"query": configuration.grants()}}
    found: dict[str, object] = {
        # Whoever may ask as `user` can become this one, by a query to the server's own address: it may not do more.
        "default": {**within_the_pod, "access_management": 0, "named_collection_control": 0, **grants},
        user: {**_user(PASSWORD_VARIABLE), **grants},
        BACKUP_USER: {**_user(BACKUP_PASSWORD_VARIABLE), "named_collection_control": 1},
    }
    found |= {
        name: {
            "no_password": "",
            **within_the_pod,
            "profile": "default",
            "quota": "default",
            "grants": {"query": f"GRANT SELECT, dictGet ON {database}.*"},
        }
        for name, database in configuration.readers.items()
    }
    return {"profiles": {"default": {"max_memory_usage": _share(memory, 0.4), **profile}}, "users": found}


def _user(password_variable: str) -> dict[str, object]:
    return {
        "password": {"@from_env": password_variable, "@hide_in_preprocessed": "true"},
        "networks": {"ip": "::/0"},
        "profile": "default",
        "quota": "default",
    }


def _share(memory: str, share: float) -> Reference:
    """Return a share of a size, in bytes."""
    return expression(f"floor({{}} * {share}) * 1048576", mebibytes(memory))
