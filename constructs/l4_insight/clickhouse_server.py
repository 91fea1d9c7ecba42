"""The configuration of a ClickHouse server, as files: sized for the memory of one small container."""

from collections.abc import Mapping

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


def pods_of(name: str) -> dict[str, str]:
    """Return the labels of a server's pods."""
    return {"app.kubernetes.io/name": "clickhouse", "app.kubernetes.io/instance": name}


def server(memory: str) -> dict[str, object]:
    """Return what differs from the image's own config.xml, for a container with this much memory."""
    logs = {log: {"ttl": f"event_date + INTERVAL {days} DAY DELETE"} for log, days in _LOG_DAYS.items()}
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
        "macros": {"shard": "01", "replica": "0"},
        # By localhost, since SigNoz's migrator asks any other host as the user `default`, who is closed to the network.
        "remote_servers": {
            "@replace": "1",
            CLUSTER: {"shard": {"replica": {"host": "localhost", "port": TCP_PORT}}},
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
    }


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


def users(user: str, memory: str, profile: Mapping[str, object]) -> dict[str, object]:
    """Return the users: `user` and the one that saves from the network, and `default` from inside the pod only."""
    return {
        "profiles": {"default": {"max_memory_usage": _share(memory, 0.4), **profile}},
        "users": {
            # Whoever may ask as `user` can become this one, by a query to the server's own address: it may not do more.
            "default": {
                "networks": {"@replace": "1", "ip": ["127.0.0.1", "::1"]},
                "access_management": 0,
                "named_collection_control": 0,
            },
            user: _user(PASSWORD_VARIABLE),
            BACKUP_USER: {**_user(BACKUP_PASSWORD_VARIABLE), "named_collection_control": 1},
        },
    }


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
