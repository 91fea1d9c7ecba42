"""Metrics: where a system shows what it measures, for the SigNoz of its environment to collect."""

from collections.abc import Mapping
from dataclasses import dataclass

from constructs.network_flow import Flow, Peer
from constructs.reference import Reference

COLLECTOR = {"app.kubernetes.io/instance": "signoz", "app.kubernetes.io/component": "otel-collector"}


@dataclass(frozen=True)
class ScrapeTarget:
    """Pods that show metrics in Prometheus' format: `host` is a headless Service, whose name answers with every pod."""

    job: str
    host: str | Reference
    port: int
    pods: Mapping[str, str]
    namespace: str
    path: str = "/metrics"

    def flow(self) -> Flow:
        """Return what the collector calls."""
        return Flow(Peer(pods=self.pods, namespaces=(self.namespace,)), ports=(self.port,))

    def caller(self, collector_namespace: str) -> Flow:
        """Return who calls, seen from the pods: the collector of this namespace."""
        return Flow(Peer(pods=COLLECTOR, namespaces=(collector_namespace,)), ports=(self.port,))
