"""The collector of SigNoz: what it scrapes, beside what applications send to it."""

from collections.abc import Sequence

from constructs import Construct
from constructs.environment import Environment
from constructs.metrics import COLLECTOR, ScrapeTarget
from constructs.network_flow import NetworkFlow

_RECEIVER = "prometheus"
# Helm joins maps and replaces lists: a receiver and a pipeline of our own leave the chart's as they are.
_PIPELINE = "metrics/scraped"
# The chart's own pipeline `metrics`, but for its receiver.
_SCRAPED: dict[str, object] = {
    "receivers": [_RECEIVER],
    "processors": ["batch"],
    "exporters": ["metadataexporter", "signozclickhousemetrics", "signozmeter"],
}


def collector_configuration(targets: Sequence[ScrapeTarget]) -> dict[str, object]:
    """Return the chart's value `otelCollector.config`: a scrape job for each target."""
    if not targets:
        return {}
    return {
        "receivers": {_RECEIVER: {"config": {"scrape_configs": [_job(target) for target in targets]}}},
        "service": {"pipelines": {_PIPELINE: _SCRAPED}},
    }


def _job(target: ScrapeTarget) -> dict[str, object]:
    # A headless Service's name answers with the address of every pod, also of one that has just come.
    discovery = {"names": [target.host], "type": "A", "port": target.port, "refresh_interval": "30s"}
    return {
        "job_name": target.job,
        "scrape_interval": "60s",
        "metrics_path": target.path,
        "dns_sd_configs": [discovery],
    }


class ScrapeFlow(Construct):
    """The collector's way to what it scrapes, none of which lies outside of the environment's own two namespaces.

    Raises ValueError where one does.
    """

    def __init__(
        self, scope: Construct, id_: str, *, environment: Environment, targets: Sequence[ScrapeTarget]
    ) -> None:
        super().__init__(scope, id_)
        strangers = [target.job for target in targets if target.namespace not in environment.namespaces]
        if strangers:
            message = f"{', '.join(strangers)}: outside of {environment.name}"
            raise ValueError(message)
        NetworkFlow(
            self,
            "this",
            name="signoz-otel-collector-scrape",
            namespace=environment.monitoring_namespace,
            pods=COLLECTOR,
            calls=[target.flow() for target in targets],
        )
