"""SigNoz' way back: telemetry into ClickHouse, and SigNoz' own database of users, dashboards and alerts."""

import sys
from collections.abc import Sequence

from stacks.cluster import kubectl, objects, wait_for
from stacks.jobs import finish, start
from stacks.restore.clickhouse import BEFORE, ClickHouse
from stacks.restore.step import Request, Step

_WORKLOADS = ("statefulset/signoz", "deployment/signoz-otel-collector")
_PODS = "app.kubernetes.io/instance=signoz,app.kubernetes.io/component in (signoz,otel-collector)"


def steps(request: Request) -> Sequence[Step]:
    """Return the steps. Raises `RestoreError` if nothing can be brought back."""
    place = request.place("signoz")
    work = _Restore(request)
    return [
        Step(f"look in {place} for the last backup of telemetry up to then", work.choose),
        Step("stop SigNoz and its collector: what is sent meanwhile is lost", work.stop),
        Step(f"save the telemetry of now to {place}/clickhouse/{BEFORE}", work.keep),
        Step("empty ClickHouse, and restore that backup into it", work.bring_telemetry),
        Step("put the last snapshot of users, dashboards and alerts up to then in place", work.bring_database),
        Step("start SigNoz and its collector", work.begin),
        Step("set retention and the alert channel again, as the tfvars file says", work.prefer),
        Step("say where is what was there before", work.tell),
    ]


class _Restore:
    """One restore: what each step leaves for the next ones."""

    def __init__(self, request: Request) -> None:
        self._namespace = request.environment.monitoring_namespace
        self._clickhouse = ClickHouse("signoz-clickhouse", self._namespace)
        self._until = request.snapshot()
        self._backup = ""
        self._kept = ""

    def choose(self) -> None:
        self._backup = self._clickhouse.backups(self._until)[-1].name
        sys.stdout.write(f"   it is {self._backup}\n")

    def stop(self) -> None:
        for workload in _WORKLOADS:
            kubectl("scale", workload, "--replicas=0", f"--namespace={self._namespace}")
        wait_for(
            lambda: "" if objects("pods", self._namespace, f"--selector={_PODS}") else "gone", 300, "SigNoz to stop"
        )

    def keep(self) -> None:
        self._kept = self._clickhouse.keep()

    def bring_telemetry(self) -> None:
        self._clickhouse.bring(self._backup)

    def bring_database(self) -> None:
        finish(start("signoz-restore", self._namespace, {"FROM": self._until}), self._namespace)

    def begin(self) -> None:
        for workload in _WORKLOADS:
            kubectl("scale", workload, "--replicas=1", f"--namespace={self._namespace}")
        for workload in _WORKLOADS:
            look = ("get", workload, f"--namespace={self._namespace}", "--output=jsonpath={.status.readyReplicas}")
            wait_for(lambda look=look: kubectl(*look), 900, f"{workload} to be ready")  # type: ignore[misc]

    def prefer(self) -> None:
        finish(start("signoz-preferences", self._namespace), self._namespace)

    def tell(self) -> None:
        sys.stdout.write(
            f"   telemetry: the backup {self._kept}, which nobody deletes but you\n"
            "   users, dashboards, alerts: the folder before-<time> on the volume signoz-db-signoz-0\n"
        )
