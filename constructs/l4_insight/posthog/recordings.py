"""Recordings of PostHog's: how they end, in whatever bucket they are."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from pydantic import Field

from constructs import Construct
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.l4_insight.posthog.store import labels_of, name_of
from constructs.network_flow import Flow, NetworkFlow
from constructs.reference import expression
from constructs.release import Release
from constructs.settings import Cron, Settings
from constructs.versions import VERSIONS

_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
_COMPONENT = "recordings"
# PostHog writes a recording below the name of the time that its project keeps recordings, and deletes none itself.
_FOLDERS = {"30d": 30, "90d": 90, "1y": 365, "5y": 1825}
RECORDINGS = labels_of(_COMPONENT)


class RecordingSettings(Settings):
    """When recordings of sessions end."""

    keep_days: int = Field(default=90, ge=1, le=1825)
    """Days after which a recording is deleted, if its project in PostHog does not say sooner."""
    schedule: Cron = "40 1 * * *"
    """When those whose time is over are deleted, by the clock of the control plane."""


def footprints() -> tuple[Footprint, ...]:
    """Return what the CronJob asks for."""
    return (footprint(name_of(_COMPONENT), _RESOURCES, pods=0, at_times=1),)


class Recordings(Construct):
    """A CronJob `posthog-recordings` that deletes those whose time is over."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        calls: Flow,
        bucket: object,
        settings: RecordingSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        flow = NetworkFlow(self, "flow", name=name_of(_COMPONENT), namespace=namespace, pods=RECORDINGS, calls=[calls])
        Release(
            self,
            "release",
            chart="posthog-recordings",
            name=name_of(_COMPONENT),
            namespace=namespace,
            values={
                "image": VERSIONS.images["rclone"],
                "priorityClass": environment.priority_class,
                "resources": _RESOURCES,
                "schedule": settings.schedule,
                "ends": [
                    {"folder": folder, "days": expression(f"min({days}, {{}})", settings.keep_days)}
                    for folder, days in _FOLDERS.items()
                ],
                "bucket": bucket,
            },
            depends_on=[flow.resource, *depends_on],
        )
