"""SigNoz' way back: telemetry into ClickHouse, and SigNoz' own database of users, dashboards and alerts.

ClickHouse restores into empty databases only, and a renamed database would go on feeding the tables of the restored one
by its views. So what is there is first saved to the bucket, beside the backups and never deleted with them.
"""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from constructs.l4_insight.clickhouse_server import BACKUP_PASSWORD_VARIABLE, BACKUP_USER, BUCKET_COLLECTION
from stacks.cluster import kubectl, objects, wait_for
from stacks.jobs import finish, start
from stacks.restore.step import Request, RestoreError, Step

_CLICKHOUSE = "signoz-clickhouse-0"
_WORKLOADS = ("statefulset/signoz", "deployment/signoz-otel-collector")
_PODS = "app.kubernetes.io/instance=signoz,app.kubernetes.io/component in (signoz,otel-collector)"
_NOT_SAVED = "system, information_schema, INFORMATION_SCHEMA"
_BEFORE = "before-restore"
_SECONDS = 6 * 3600


def steps(request: Request) -> Sequence[Step]:
    """Return the steps. Raises `RestoreError` if nothing can be brought back."""
    if not request.settings.backups.bucket:
        message = "nothing was saved: backups.bucket is empty"
        raise RestoreError(message)
    work = _Restore(request)
    place = f"{request.settings.backups.bucket}/{request.settings.environment}/signoz"
    return [
        Step(f"look in {place} for the last backup of telemetry up to then", work.choose),
        Step("stop SigNoz and its collector: what is sent meanwhile is lost", work.stop),
        Step(f"save the telemetry of now to {place}/clickhouse/{_BEFORE}", work.keep),
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
        self._until = request.snapshot()
        self._backup = ""
        self._kept = ""

    def choose(self) -> None:
        until = re.search(r"\d{8}T\d{6}Z", self._until or "99991231T235959Z")
        if until is None:
            message = f"TO={self._until}: give a time, or the name of a backup, such as 20261123T040000Z"
            raise RestoreError(message)
        # The file .backup is written last.
        files = f"s3({BUCKET_COLLECTION}, filename = '*/.backup', format = 'One')"
        found = self._ask(f"SELECT DISTINCT splitByChar('/', _path)[-2] AS name FROM {files} ORDER BY name").split()  # noqa: S608 (our words)
        names = [name for name in found if re.fullmatch(r"\d{8}T\d{6}Z", name) and name <= until[0]]
        if not names:
            message = f"there is no whole backup up to {until[0]}; there are: {', '.join(found) or 'none'}"
            raise RestoreError(message)
        self._backup = names[-1]
        sys.stdout.write(f"   it is {self._backup}\n")

    def stop(self) -> None:
        for workload in _WORKLOADS:
            kubectl("scale", workload, "--replicas=0", f"--namespace={self._namespace}")
        wait_for(
            lambda: "" if objects("pods", self._namespace, f"--selector={_PODS}") else "gone", 300, "SigNoz to stop"
        )

    def keep(self) -> None:
        name = f"{_BEFORE}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        self._do(f"BACKUP ALL EXCEPT DATABASES {_NOT_SAVED} TO", name, "BACKUP_CREATED")
        self._kept = name

    def bring_telemetry(self) -> None:
        databases = self._ask(
            "SELECT name FROM system.databases WHERE name NOT IN "
            "('system', 'information_schema', 'INFORMATION_SCHEMA', 'default')"
        ).split()
        for database in databases:
            # At once with what Keeper has of its tables; however large they are, they have just been saved.
            limits = "max_table_size_to_drop = 0, max_partition_size_to_drop = 0"
            self._ask(f"DROP DATABASE IF EXISTS `{database}` SYNC SETTINGS {limits}")
        self._do(f"RESTORE ALL EXCEPT DATABASES {_NOT_SAVED} FROM", self._backup, "RESTORED")

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

    def _do(self, words: str, name: str, done: str) -> None:
        """Have ClickHouse save or restore, and wait until it has. Raises `RestoreError`."""
        number = self._ask(f"{words} S3({BUCKET_COLLECTION}, '{name}') ASYNC").split()[0]
        row = f"FROM system.backups WHERE id = '{number}'"

        def ended() -> str:
            status = self._ask(f"SELECT status {row}").strip()
            return "" if status in ("CREATING_BACKUP", "RESTORING") else status or "lost: the server was restarted"

        status = wait_for(ended, _SECONDS, f"ClickHouse to end: {words} {name}")
        if status != done:
            error = self._ask(f"SELECT error {row}").strip()
            message = f"{words} {name}: {status}\n{error[:1000]}"
            raise RestoreError(message)

    def _ask(self, query: str) -> str:
        """Return ClickHouse's answer, asked within its pod, which has the password of who may use the bucket."""
        command = f'CLICKHOUSE_PASSWORD="${BACKUP_PASSWORD_VARIABLE}" exec clickhouse-client --user={BACKUP_USER}'
        client = ("--", "/bin/sh", "-c", f"{command} --database=system")
        place = f"--namespace={self._namespace}"
        # To drop a large database takes its time: all its files are deleted.
        return kubectl("exec", _CLICKHOUSE, place, "--stdin", *client, text=query, seconds=_SECONDS)
