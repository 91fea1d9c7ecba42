"""ClickHouse's way back: the server restores all databases from its bucket, asked within its pod.

ClickHouse restores into empty databases only, and a renamed database would go on feeding the tables of the restored one
by its views. So what is there is first saved to the bucket, beside the backups and never deleted with them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from constructs.l4_insight.clickhouse_server import BACKUP_PASSWORD_VARIABLE, BACKUP_USER, BUCKET_COLLECTION
from stacks.cluster import kubectl, wait_for
from stacks.restore.step import RestoreError

BEFORE = "before-restore"
# However large, what is dropped has just been saved.
_DROP_LIMITS = "max_table_size_to_drop = 0, max_partition_size_to_drop = 0"
_NOT_SAVED = "system, information_schema, INFORMATION_SCHEMA"
_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Backup:
    """A whole backup: its name, which is the time when it was begun, and the time when it was complete."""

    name: str
    ended: str


@dataclass(frozen=True)
class ClickHouse:
    """The server of one application. Raises `RestoreError` and `ClusterError`."""

    name: str
    namespace: str

    def backups(self, until: str) -> Sequence[Backup]:
        """Return the whole backups that were begun up to a time, the oldest first; there is at least one.

        `until` is a time as it stands in their names, or holds one; empty: the newest.
        """
        time = re.search(r"\d{8}T\d{6}Z", until or "99991231T235959Z")
        if time is None:
            message = f"TO={until}: give a time, or the name of a backup, such as 20261123T040000Z"
            raise RestoreError(message)
        # The file .backup is written last.
        files = f"s3({BUCKET_COLLECTION}, filename = '*/.backup', format = 'One')"
        ended = "formatDateTime(max(_time), '%Y%m%dT%H%i%SZ', 'UTC')"
        found = self.ask(
            f"SELECT splitByChar('/', _path)[-2] AS name, {ended} FROM {files} GROUP BY name ORDER BY name"  # noqa: S608 (our words)
        )
        rows = [line.split("\t") for line in found.splitlines()]
        whole = [Backup(name, ended) for name, ended in rows if re.fullmatch(r"\d{8}T\d{6}Z", name) and name <= time[0]]
        if not whole:
            there = ", ".join(name for name, _ in rows) or "none"
            message = f"there is no whole backup up to {time[0]}; there are: {there}"
            raise RestoreError(message)
        return whole

    def keep(self) -> str:
        """Save what is there now, and return the name of that backup, which no retention deletes."""
        name = f"{BEFORE}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        self._do(f"BACKUP ALL EXCEPT DATABASES {_NOT_SAVED} TO", name, "BACKUP_CREATED")
        return name

    def bring(self, backup: str, settings: str = "") -> None:
        """Drop all databases, and restore a backup. `settings` are the statement's, such as `SETTINGS a = 1`."""
        databases = self.ask(
            "SELECT name FROM system.databases WHERE name NOT IN "
            "('system', 'information_schema', 'INFORMATION_SCHEMA', 'default')"
        ).split()
        for database in databases:
            # At once with what Keeper has of its tables.
            self.ask(f"DROP DATABASE IF EXISTS `{database}` SYNC SETTINGS {_DROP_LIMITS}")
        self._do(f"RESTORE ALL EXCEPT DATABASES {_NOT_SAVED} FROM", backup, "RESTORED", settings)

    def _do(self, words: str, name: str, done: str, settings: str = "") -> None:
        """Have the server save or restore, and wait until it has."""
        statement = " ".join(part for part in (f"{words} S3({BUCKET_COLLECTION}, '{name}')", settings, "ASYNC") if part)
        number = self.ask(statement).split()[0]
        row = f"FROM system.backups WHERE id = '{number}'"

        def ended() -> str:
            status = self.ask(f"SELECT status {row}").strip()
            return "" if status in ("CREATING_BACKUP", "RESTORING") else status or "lost: the server was restarted"

        status = wait_for(ended, _SECONDS, f"ClickHouse to end: {words} {name}")
        if status != done:
            error = self.ask(f"SELECT error {row}").strip()
            message = f"{words} {name}: {status}\n{error[:1000]}"
            raise RestoreError(message)

    def ask(self, query: str) -> str:
        """Return the server's answer, asked within its pod, which has the password of who may use the bucket."""
        command = f'CLICKHOUSE_PASSWORD="${BACKUP_PASSWORD_VARIABLE}" exec clickhouse-client --user={BACKUP_USER}'
        client = ("--", "/bin/sh", "-c", f"{command} --database=system")
        place = f"--namespace={self.namespace}"
        # To drop a large database takes its time: all its files are deleted.
        return kubectl("exec", f"{self.name}-0", place, "--stdin", *client, text=query, seconds=_SECONDS)
