"""What is done before PostHog's services start, and again at each change: its topics, its tables, its owner."""

from collections.abc import Mapping, Sequence

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.deletion_lock import PROTECTED_LABEL
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.generated_secret import GeneratedSecret, Password
from constructs.l4_insight.posthog.clickhouse import SYSTEM_TABLES_SCRIPT
from constructs.l4_insight.posthog.service import (
    SMALL,
    WAIT,
    address_of,
    calls_of,
    pairs_of,
    waits_of,
)
from constructs.l4_insight.posthog.services import (
    CLICKHOUSE,
    DJANGO,
    JOBS,
    KAFKA,
    KEYS_SECRET,
    MIGRATE,
    SHARED_SECRET,
    TOPICS,
    Key,
)
from constructs.l4_insight.posthog.store import labels_of, name_of
from constructs.l4_insight.posthog.stores import Stores
from constructs.network_flow import API_SERVER, NetworkFlow
from constructs.reference import Reference, escape
from constructs.release import Release
from constructs.versions import VERSIONS

# The component of the pod that has the migrations run.
MIGRATIONS = "migrations"
# To Postgres: the migrations' own, and the one that holds their lock.
CONNECTIONS = 2
OWNER_SECRET = "posthog-admin"  # noqa: S105 (a Secret's name)

# A broker makes a topic that somebody writes to, but who reads first would fail. Of upstream's list, and beside it
# what the services write to before anybody reads.
NAMES = (
    "clickhouse_ai_events_json",
    "clickhouse_app_metrics",
    "clickhouse_app_metrics2",
    "clickhouse_billing_usage_records",
    "clickhouse_document_embeddings",
    "clickhouse_error_tracking_fingerprint_issue_state",
    "clickhouse_error_tracking_issue_fingerprint",
    "clickhouse_events_json",
    "clickhouse_flag_evaluations",
    "clickhouse_groups",
    "clickhouse_heatmap_events",
    "clickhouse_hog_invocation_results",
    "clickhouse_ingestion_events_duplicates",
    "clickhouse_ingestion_warnings",
    "clickhouse_logs",
    "clickhouse_message_assets",
    "clickhouse_metrics",
    "clickhouse_performance_events",
    "clickhouse_person",
    "clickhouse_person_distinct_id",
    "clickhouse_person_override",
    "clickhouse_person_unique_id",
    "clickhouse_precalculated_person_properties",
    "clickhouse_prefiltered_events",
    "clickhouse_property_values",
    "clickhouse_session_replay_events",
    "clickhouse_session_replay_features",
    "clickhouse_tophog",
    "clickhouse_traces",
    "cohort_membership_changed",
    "distinct_id_usage_events_json",
    "document_embedding_results",
    "document_embeddings_input",
    "error_tracking_ingestion_notifications",
    "events_dead_letter_queue",
    "events_plugin_ingestion",
    "events_plugin_ingestion_ai",
    "events_plugin_ingestion_async",
    "events_plugin_ingestion_dlq",
    "events_plugin_ingestion_historical",
    "events_plugin_ingestion_overflow",
    "heatmaps_ingestion",
    "ingestion-clientwarnings-main-1",
    "ingestion-errortracking-main",
    "log_entries",
    "plugin_log_entries",
    "session_recording_snapshot_item_dlq",
    "session_recording_snapshot_item_events",
    "session_recording_snapshot_item_overflow",
    "usage_ingestion",
    "usage_ingestion_dlq",
)

_TOPICS_RESOURCES = {"requests": {"cpu": "25m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
# One process of PostHog is 1 GB, and a large table is read by pieces.
_MIGRATE_RESOURCES = {"requests": {"cpu": "250m", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
_CLIENT_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
_KUBECTL_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
# Seconds in which an apply learns how the migrations ended.
_PATIENCE = 1200


def footprints() -> tuple[Footprint, ...]:
    """Return what the Jobs ask for."""
    return (
        footprint("posthog-topics", _TOPICS_RESOURCES, pods=0, at_times=1),
        footprint("posthog-migrate", _MIGRATE_RESOURCES, init=[_CLIENT_RESOURCES], pods=0, at_times=1),
        footprint("posthog-migrations", _KUBECTL_RESOURCES, pods=0, at_times=1),
    )


class Secrets(Construct):
    """What PostHog's services know each other by, what they encrypt with, and the owner's first password.

    The keys are written once: with others, what is encrypted with them (credentials of integrations) can never be read
    again. So the API server deletes their Secret only for whoever annotates it. The owner's password is written once,
    too: it is the one to sign in with first, and from then on lives in PostHog's database.
    """

    def __init__(self, scope: Construct, id_: str, *, environment: Environment, credentials_revision: int) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        keys = GeneratedSecret(
            self,
            "keys",
            name=KEYS_SECRET,
            namespace=namespace,
            passwords={"secret-key": Password(length=64), "salt-keys": Password(length=32)},
            revision=1,
            labels={PROTECTED_LABEL: "true"},
        )
        shared = GeneratedSecret(
            self,
            "shared",
            name=SHARED_SECRET,
            namespace=namespace,
            passwords={"internal-api": Password(length=48), "internal-request": Password(length=48)},
            revision=credentials_revision,
        )
        owner = GeneratedSecret(
            self,
            "owner",
            name=OWNER_SECRET,
            namespace=namespace,
            passwords={"password": Password(length=24, symbols=True)},
            revision=1,
        )
        self.resources: list[ITerraformDependable] = [keys.resource, shared.resource, owner.resource]


class Topics(Construct):
    """A Job that makes the topics which the broker lacks; where it cannot, the apply fails."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        stores: Stores,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        flow = NetworkFlow(
            self,
            "flow",
            name=name_of(TOPICS),
            namespace=environment.monitoring_namespace,
            pods=labels_of(TOPICS),
            calls=calls_of(stores, JOBS[TOPICS]),
        )
        self.resource = Release(
            self,
            "release",
            chart="posthog-topics",
            name=name_of(TOPICS),
            namespace=environment.monitoring_namespace,
            values={
                "image": VERSIONS.images["redpanda"],
                "priorityClass": environment.priority_class,
                "resources": _TOPICS_RESOURCES,
                "broker": address_of(stores, KAFKA),
                "topics": list(NAMES),
            },
            depends_on=[flow.resource, *depends_on],
        ).resource


class Migrations(Construct):
    """A Job `posthog-migrate` that an apply starts at each change, and whose failure is the apply's.

    It waits by itself for Postgres, which may be restored for hours; the apply does not wait so long, and the services
    wait for the Job. Whoever has restored a database runs another Job of the CronJob of that name. Never do two run at
    once: the second waits for a lock in Postgres.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        stores: Stores,
        site: Mapping[str, Reference],
        email: Reference,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        way = NetworkFlow(
            self,
            "migrate-flow",
            name=name_of(MIGRATE),
            namespace=namespace,
            pods=labels_of(MIGRATE),
            calls=calls_of(stores, JOBS[MIGRATE]),
        )
        flow = NetworkFlow(
            self,
            "flow",
            name=name_of(MIGRATIONS),
            namespace=namespace,
            pods=labels_of(MIGRATIONS),
            calls=[API_SERVER],
        )
        self.resource = Release(
            self,
            "release",
            chart="posthog-migrations",
            name=name_of(MIGRATIONS),
            namespace=namespace,
            timeout=_PATIENCE + 600,
            values={
                "image": VERSIONS.images["posthog"],
                "kubectlImage": VERSIONS.images["alpine-kubectl"],
                "priorityClass": environment.priority_class,
                "resources": _MIGRATE_RESOURCES,
                "kubectlResources": _KUBECTL_RESOURCES,
                "before": [
                    {
                        "name": "wait",
                        "image": VERSIONS.images["python"],
                        "command": ["python3", "-c", WAIT, *waits_of(stores, JOBS[MIGRATE])],
                        "resources": SMALL,
                    },
                    {
                        "name": "system-tables",
                        "image": VERSIONS.images["posthog-clickhouse"],
                        "command": ["sh", "-c", escape(SYSTEM_TABLES_SCRIPT)],
                        "env": [_variable(*pair) for pair in stores[CLICKHOUSE].variables.items()],
                        "resources": _CLIENT_RESOURCES,
                    },
                ],
                "env": [_variable(name, value) for name, value in pairs_of(stores, JOBS[MIGRATE], DJANGO, site)],
                "owner": {"organization": environment.name, "email": email, "secret": OWNER_SECRET},
                "patience": _PATIENCE,
            },
            depends_on=[way.resource, flow.resource, *depends_on],
        ).resource


def _variable(name: str, value: str | Reference | Key) -> dict[str, object]:
    """Return a variable in Kubernetes' own form."""
    if isinstance(value, Key):
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
    return {"name": name, "value": value}
