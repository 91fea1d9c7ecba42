"""PostHog's way back: events in ClickHouse, its database in the environment's Postgres, and objects.

What events name must be in Postgres: a backup of ClickHouse comes back with the first dump that was begun when it was
complete. The dump is brought into a database beside the one in use before anything is stopped, and takes its name then.
"""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from constructs.l4_insight.posthog.backups import CLICKHOUSE, DATABASE, OBJECTS, RESTORED
from constructs.l4_insight.posthog.database import DATABASES, SYSTEM
from stacks.backup import BACKUP_LABEL
from stacks.cluster import kubectl, objects, wait_for
from stacks.jobs import finish, start
from stacks.restore.clickhouse import BEFORE, Backup, ClickHouse
from stacks.restore.step import Request, RestoreError, Step

_SERVICES = "app.kubernetes.io/name=posthog"
_COMPONENT = "app.kubernetes.io/component"
# On a Deployment that is stopped: how many pods it had.
_REPLICAS = "strata/replicas"
_SECONDS = 6 * 3600
# What is still in Kafka from before is stored as soon as the tables are there, which may be before their own rows.
RESTORE_SETTINGS = "SETTINGS allow_non_empty_tables = 1"


def steps(request: Request) -> Sequence[Step]:
    """Return the steps. Raises `RestoreError` if nothing can be brought back."""
    place = request.place("posthog")
    work = _Restore(request)
    own = request.settings.posthog.objects.bucket
    found = [] if own else [Step("bring back objects that are missing, from their mirror", work.bring_objects)]
    return [
        Step(f"look in {place}/clickhouse for backups of events up to then", work.choose),
        Step(f"bring the first dump after the last of them into the database {RESTORED}, beside", work.bring_dump),
        Step("stop PostHog and its backups: what is sent meanwhile is lost", work.stop),
        Step(f"save the events of now to {place}/clickhouse/{BEFORE}", work.keep),
        Step("empty ClickHouse, and restore the backup into it", work.bring_events),
        Step(f"let {RESTORED} take the place of {DATABASES[0]}, which is kept by another name", work.exchange),
        *found,
        Step("empty Redis: its tasks and caches are of a later time", work.forget),
        Step("migrate what came back, if PostHog is newer", work.migrate),
        Step("start PostHog and its backups", work.begin),
        Step("say what is left for you", work.tell),
    ]


class _Restore:
    """One restore: what each step leaves for the next ones."""

    def __init__(self, request: Request) -> None:
        self._namespace = request.environment.monitoring_namespace
        self._data_namespace = request.environment.data_namespace
        self._clickhouse = ClickHouse(CLICKHOUSE, self._namespace)
        self._until = request.snapshot()
        self._backups: Sequence[Backup] = ()
        self._backup = Backup("", "")
        self._kept = ""
        self._before = ""

    def choose(self) -> None:
        self._backups = self._clickhouse.backups(self._until)
        sys.stdout.write(f"   the last is {self._backups[-1].name}\n")

    def bring_dump(self) -> None:
        owner = f'"{SYSTEM}"'
        self._ask(f'DROP DATABASE IF EXISTS "{RESTORED}"')
        self._ask(f'CREATE DATABASE "{RESTORED}" OWNER {owner}')
        since = " ".join(backup.ended for backup in reversed(self._backups))
        finish(start(f"{DATABASE}-restore", self._namespace, {"SINCE": since}), self._namespace, _SECONDS)
        # The Job says which dump it was where a person would look for it, too.
        query = f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{RESTORED}'"  # noqa: S608 (our words)
        dump = self._ask(query).strip()
        time = dump.removeprefix(f"{DATABASE}-").removesuffix(".dump")
        fitting = [backup for backup in self._backups if backup.ended <= time]
        if not fitting:
            message = f"{RESTORED} says that it is of {dump or 'nothing'}: no backup of events is as old"
            raise RestoreError(message)
        self._backup = fitting[-1]
        sys.stdout.write(f"   it is {dump}, and goes with the events of {self._backup.name}\n")

    def stop(self) -> None:
        deployments = self._deployments()
        for item in deployments:
            replicas = item["metadata"].get("annotations", {}).get(_REPLICAS) or str(item["spec"]["replicas"])
            self._scale(item, 0, replicas)
        self._suspend(value=True)
        components = ",".join(item["metadata"]["labels"][_COMPONENT] for item in deployments)
        selector = f"--selector={_SERVICES},{_COMPONENT} in ({components})"
        wait_for(lambda: "" if objects("pods", self._namespace, selector) else "gone", 600, "PostHog to stop")

    def keep(self) -> None:
        self._kept = self._clickhouse.keep()

    def bring_events(self) -> None:
        self._clickhouse.bring(self._backup.name, RESTORE_SETTINGS)

    def exchange(self) -> None:
        database = DATABASES[0]
        before = f"{database}_before_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        for name in (database, RESTORED):
            # A database that somebody is connected to keeps its name.
            self._ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 (our words)
        # Both or neither.
        self._ask(
            f'BEGIN; ALTER DATABASE "{database}" RENAME TO "{before}"; '
            f'ALTER DATABASE "{RESTORED}" RENAME TO "{database}"; COMMIT'
        )
        self._before = before

    def bring_objects(self) -> None:
        job = start(f"{OBJECTS}-restore", self._namespace, {"FROM": self._backup.name})
        finish(job, self._namespace, _SECONDS)

    def forget(self) -> None:
        kubectl("exec", "posthog-redis-0", f"--namespace={self._namespace}", "--", "valkey-cli", "-e", "flushall")

    def migrate(self) -> None:
        finish(start("posthog-migrate", self._namespace), self._namespace, _SECONDS)

    def begin(self) -> None:
        deployments = self._deployments()
        for item in deployments:
            replicas = item["metadata"].get("annotations", {}).get(_REPLICAS)
            if replicas is not None:
                self._scale(item, int(replicas), None)
        self._suspend(value=False)
        for item in deployments:
            name = item["metadata"]["name"]
            template = "jsonpath={.spec.replicas} {.status.readyReplicas}"
            look = ("get", "deployment", name, f"--namespace={self._namespace}", f"--output={template}")
            wait_for(lambda look=look: _is_ready(kubectl(*look)), 1800, f"{name} to be ready")  # type: ignore[misc]

    def tell(self) -> None:
        execute = f"kubectl exec service/postgres --namespace={self._data_namespace} --container=postgres --"
        sys.stdout.write(
            f"   events of before: the backup {self._kept}, which nobody deletes but you\n"
            f"   the database of before: {self._before}. When nobody needs it: {execute} dropdb {self._before}\n"
            "   recordings, exports, files: none was deleted\n"
            "   what was captured before, and not yet stored, is stored now; how to bring back what was stored since\n"
            "   the backup, from Kafka: docs/how-to/restore.md\n"
        )

    def _deployments(self) -> Sequence[dict[str, Any]]:
        return objects("deployments", self._namespace, f"--selector={_SERVICES}")

    def _scale(self, deployment: dict[str, Any], replicas: int, noted: str | None) -> None:
        patch = {"metadata": {"annotations": {_REPLICAS: noted}}, "spec": {"replicas": replicas}}
        words = ("patch", "deployment", deployment["metadata"]["name"], f"--namespace={self._namespace}")
        kubectl(*words, "--type=merge", f"--patch={json.dumps(patch)}")

    def _suspend(self, *, value: bool) -> None:
        """Let no backup be taken of half a restore."""
        stores = f"{CLICKHOUSE},{DATABASE},{OBJECTS}"
        for item in objects("cronjobs", self._namespace, f"--selector={BACKUP_LABEL} in ({stores})"):
            patch = json.dumps({"spec": {"suspend": value}})
            words = ("patch", "cronjob", item["metadata"]["name"], f"--namespace={self._namespace}")
            kubectl(*words, "--type=merge", f"--patch={patch}")

    def _ask(self, statements: str) -> str:
        """Return Postgres' answer, asked as its superuser within the pod of the primary."""
        place = ("service/postgres", f"--namespace={self._data_namespace}", "--container=postgres", "--stdin")
        client = ("--", "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
        return kubectl("exec", *place, *client, text=statements, seconds=_SECONDS)


def _is_ready(found: str) -> str:
    wanted, _, ready = found.partition(" ")
    return "ready" if wanted == (ready or "0") else ""
