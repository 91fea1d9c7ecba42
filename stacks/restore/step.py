"""What a restore is made of: a request, and the steps that a store answers it with."""

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from constructs.environment import Environment
from stacks.environment import EnvironmentSettings

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d)?([Zz]|[+-]\d\d:\d\d)")


class RestoreError(Exception):
    """What cannot be restored; the message says why and what to do."""


@dataclass(frozen=True)
class Step:
    """One step: what it does, in the words of a dry run, and the doing. Raises `RestoreError` or `ClusterError`."""

    words: str
    run: Callable[[], None]


@dataclass(frozen=True)
class Request:
    """An environment's store is to be as it was at `to`: a time, a backup's name, or empty for the newest backup."""

    root: Path
    settings: EnvironmentSettings
    to: str
    terraform: str
    arguments: Sequence[str]

    @property
    def environment(self) -> Environment:
        """The environment."""
        return Environment(self.settings.environment, self.settings.env_prefix)

    def place(self, system: str) -> str:
        """Return the folder of the bucket with a system's backups. Raises `RestoreError` if there is no bucket."""
        if not self.settings.backups.bucket:
            message = "nothing was saved: backups.bucket is empty"
            raise RestoreError(message)
        return f"{self.settings.backups.bucket}/{self.settings.environment}/{system}"

    def time(self) -> datetime | None:
        """Return the time that `to` is, in UTC; None: it is none. Raises `RestoreError` if it lacks its zone."""
        if _TIME.fullmatch(self.to):
            return datetime.fromisoformat(self.to.upper().replace(" ", "T")).astimezone(UTC)
        if re.match(r"\d{4}-\d\d-\d\d", self.to):
            message = f"TO={self.to}: give a time with its zone, such as 2026-11-23T04:00:00Z"
            raise RestoreError(message)
        return None

    def snapshot(self) -> str:
        """Return what the script `download` of charts/snapshots takes as FROM."""
        time = self.time()
        return self.to if time is None else f"{time:%Y%m%dT%H%M%SZ}"

    def apply(self) -> None:
        """Apply the environment's stack, as `make apply` does. Raises `RestoreError`."""
        folder = self.root / "terraform" / "stacks" / self.settings.environment
        for command in (["init", "-input=false"], ["apply", "-input=true", *self.arguments]):
            if subprocess.run([self.terraform, *command], cwd=folder, check=False).returncode != 0:  # noqa: S603
                message = f"{self.terraform} {command[0]} failed: its message is above"
                raise RestoreError(message)
