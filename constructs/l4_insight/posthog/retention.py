"""Retention of what PostHog has in ClickHouse: months that are old enough leave it, whole.

PostHog's own tables keep events for ever. A TTL of ours on them would stand in their definition, where a migration of
PostHog's that defines it anew takes it away unseen, and it would rewrite every part that there is. A month is a
partition of its own: it is dropped at once, and the tables stay as PostHog made them.
"""

from collections.abc import Mapping, Sequence

from cdktf import ITerraformDependable
from pydantic import Field

from constructs import Construct
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.l4_insight.clickhouse_server import pods_of
from constructs.l4_insight.posthog.clickhouse import DATABASE, NAME
from constructs.network_flow import Flow, NetworkFlow, Peer
from constructs.release import Release
from constructs.settings import Cron, Settings
from constructs.versions import VERSIONS

PODS: Mapping[str, str] = {"app.kubernetes.io/name": "posthog-retention"}
# Which tables have a partition for each month, as PostHog defines them: events, what is derived from them by session,
# and the list of recordings.
TABLES = (
    "sharded_events",
    "sharded_raw_sessions",
    "sharded_raw_sessions_v3",
    "sharded_session_replay_events",
    "sharded_sessions",
)
_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


class RetentionSettings(Settings):
    """How long PostHog's data is kept."""

    events_months: int = Field(default=12, ge=0, le=1200)
    """Months after which events, sessions and the list of recordings are deleted, a whole month at a time; 0: never."""
    schedule: Cron = "30 4 * * *"
    """When, by the clock of the control plane."""


def footprints(settings: RetentionSettings) -> tuple[Footprint, ...]:
    """Return what the CronJob asks for."""
    found = footprint("posthog-retention", _RESOURCES, pods=0, at_times=1)
    return (found,) if settings.events_months > 0 else ()


class Retention(Construct):
    """A CronJob `posthog-retention`, which asks the server to drop old months."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        endpoint: Endpoint,
        settings: RetentionSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        NetworkFlow(
            self,
            "flow",
            name="posthog-retention",
            namespace=namespace,
            pods=PODS,
            calls=[Flow(Peer(pods=pods_of(NAME)), ports=(endpoint.port,))],
        )
        Release(
            self,
            "release",
            chart="posthog-retention",
            name="posthog-retention",
            namespace=namespace,
            values={
                "image": VERSIONS.images["posthog-clickhouse"],
                "host": endpoint.host,
                "user": endpoint.user,
                "secret": endpoint.secret,
                "database": DATABASE,
                "tables": list(TABLES),
                "months": settings.events_months,
                "priorityClass": environment.priority_class,
                "resources": _RESOURCES,
                "schedule": settings.schedule,
            },
            depends_on=depends_on,
        )
