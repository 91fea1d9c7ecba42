"""Preferences of SigNoz: what people would click there, how long telemetry is kept and where alerts go."""

from collections.abc import Mapping, Sequence
from typing import Literal

from cdktf import ITerraformDependable
from pydantic import Field

from constructs import Construct
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.network_flow import ANYWHERE, Flow, NetworkFlow, Peer
from constructs.reference import Reference, expression
from constructs.release import Release
from constructs.settings import Name, Settings
from constructs.versions import VERSIONS

_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
PREFERENCES = {"app.kubernetes.io/name": "signoz-preferences"}


class RetentionSettings(Settings):
    """For how many days each kind of telemetry is kept. More days need more of `clickhouse.storage`."""

    logs_days: int = Field(default=15, ge=1, le=3650)
    """Logs; rules that people make in SigNoz for some of them stay."""
    traces_days: int = Field(default=15, ge=1, le=3650)
    """Traces."""
    metrics_days: int = Field(default=30, ge=1, le=3650)
    """Metrics."""


class AlertSettings(Settings):
    """The channel `strata`, which alert rules of SigNoz can name."""

    channel: Literal["none", "slack", "webhook"] = "none"
    """What is called: an incoming webhook of Slack, or of what speaks its language; or any other webhook."""
    secret: Name = "signoz-alerts"  # noqa: S105 (a Secret's name)
    """The Secret with the channel's address under `url`, in `monitoring-<environment>`."""
    port: int = Field(default=443, ge=1, le=65535)
    """The port in that address, which SigNoz may then call outside the cluster."""

    def has_channel(self) -> Reference:
        """Return whether there is a channel."""
        return expression('{} != "none"', self.channel)


def footprints() -> tuple[Footprint, ...]:
    """Return what the Job asks for."""
    return (footprint("signoz-preferences", _RESOURCES, pods=0, at_times=1),)


class Preferences(Construct):
    """A Job that sets them through SigNoz' API at each change, and SigNoz' way to the channel, if there is one.

    A Job of the suspended CronJob `signoz-preferences` sets them again.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        server: Mapping[str, str],
        port: int,
        email: Reference,
        secret: str,
        retention: RetentionSettings,
        alerts: AlertSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        flow = NetworkFlow(
            self,
            "flow",
            name="signoz-preferences",
            namespace=namespace,
            pods=PREFERENCES,
            calls=[Flow(Peer(pods=server), ports=(port,))],
        )
        way = NetworkFlow(
            self,
            "alerts-flow",
            name="signoz-alerts",
            namespace=namespace,
            pods=server,
            calls=[Flow(ANYWHERE, ports=(expression("{}", alerts.port),))],
        )
        way.resource.add_override("count", str(expression("{} ? 1 : 0", alerts.has_channel())))
        Release(
            self,
            "release",
            chart="signoz-preferences",
            name="signoz-preferences",
            namespace=namespace,
            timeout=1200,
            values={
                "image": VERSIONS.images["python"],
                "priorityClass": environment.priority_class,
                "resources": _RESOURCES,
                "address": f"http://signoz.{namespace}.svc:{port}",
                "email": email,
                "secret": secret,
                "retention": {
                    "logs_days": retention.logs_days,
                    "traces_days": retention.traces_days,
                    "metrics_days": retention.metrics_days,
                },
                "alerts": {"channel": alerts.channel, "secret": alerts.secret},
            },
            depends_on=[flow.resource, *depends_on],
        )
