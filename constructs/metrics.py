"""Metrics: where a system shows what it measures, for a SigNoz to collect: its environment's, or the platform's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from constructs.network_flow import Flow, Peer
from constructs.reference import Reference

COLLECTOR = {"app.kubernetes.io/instance": "signoz", "app.kubernetes.io/component": "otel-collector"}
# What collects the metrics of infra's own systems.
TELEMETRY_NAMESPACE = "kube-system"
TELEMETRY_PODS = {"app.kubernetes.io/name": "k8s-infra", "app.kubernetes.io/component": "otel-deployment"}


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


@dataclass(frozen=True)
class PodTarget:
    """Pods of infra that show metrics in Prometheus' format; they are found by asking the API server."""

    job: str
    port: int
    pods: Mapping[str, str]
    namespace: str
    path: str = "/metrics"
    parameters: Mapping[str, str] = field(default_factory=dict)

    def flow(self) -> Flow:
        """Return what the telemetry's pods call."""
        return Flow(Peer(pods=self.pods, namespaces=(self.namespace,)), ports=(self.port,))

    def caller(self) -> Flow:
        """Return who calls, seen from the pods."""
        return Flow(Peer(pods=TELEMETRY_PODS, namespaces=(TELEMETRY_NAMESPACE,)), ports=(self.port,))
