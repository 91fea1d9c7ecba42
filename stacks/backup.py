"""A backup now: every store of a stack is saved by what saves it on its schedule, and waited for."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from constructs.environment import Environment
from stacks.cluster import ClusterError, kubectl, objects, wait_for
from stacks.jobs import JobError, finish, start
from stacks.project import INFRA

# On the CronJob that saves a store: the store's name, and the one that is saved before it.
BACKUP_LABEL = "strata/backup"
AFTER_ANNOTATION = "strata/backup-after"
_SECONDS = 3600
_PLUGIN = {"name": "barman-cloud.cloudnative-pg.io"}


@dataclass(frozen=True)
class Backup:
    """A backup to be begun: of which store, after which other one ends, and how; beginning it returns how to wait."""

    store: str
    after: str
    begin: Callable[[], Callable[[], None]]


def namespaces_of(stack: str) -> tuple[str, ...]:
    """Return the namespaces that a stack's stores lie in."""
    return ("iac",) if stack == INFRA else Environment(stack, "").namespaces


def back_up(stack: str, system: str = "") -> tuple[list[str], list[str]]:
    """Save every store of a stack, or of one system; return those that are saved, and a line for each that is not.

    All are saved at the same time, but for those that come after another one: these, when that one has ended, well or
    not. Raises `ClusterError` if the API server does not answer, or refuses.
    """
    found = [backup for namespace in namespaces_of(stack) for backup in _stores(namespace)]
    left = [backup for backup in found if not system or _is_of(backup, system)]
    saved: list[str] = []
    failed: list[str] = []
    while left:
        names = {backup.store for backup in left}
        first = [backup for backup in left if backup.after not in names] or left
        left = [backup for backup in left if backup not in first]
        begun = [(backup, backup.begin()) for backup in first]
        for backup, wait in begun:
            try:
                wait()
                saved.append(backup.store)
            except (ClusterError, JobError) as error:
                failed.append(f"{backup.store}: {error}")
    return saved, failed


def _is_of(backup: Backup, system: str) -> bool:
    """Tell whether a store is a system's: it is called after it, as `posthog-clickhouse` after `posthog`."""
    name = backup.store.partition("/")[2]
    return name == system or name.startswith(f"{system}-")


def _stores(namespace: str) -> Iterator[Backup]:
    for item in objects("cronjobs", namespace, f"--selector={BACKUP_LABEL}"):
        metadata = item["metadata"]
        after = metadata.get("annotations", {}).get(AFTER_ANNOTATION, "")

        def run(cronjob: str = metadata["name"]) -> Callable[[], None]:
            job = start(cronjob, namespace)
            return lambda: finish(job, namespace, _SECONDS)

        yield Backup(f"{namespace}/{metadata['labels'][BACKUP_LABEL]}", f"{namespace}/{after}", run)
    for item in objects("scheduledbackups.postgresql.cnpg.io", namespace):
        cluster = item["spec"]["cluster"]["name"]

        def save(cluster: str = cluster) -> Callable[[], None]:
            name = f"{cluster}-{datetime.now(UTC):%Y%m%d%H%M%S}"
            spec = {"cluster": {"name": cluster}, "method": "plugin", "pluginConfiguration": _PLUGIN}
            body = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "spec": spec}
            body["metadata"] = {"name": name, "namespace": namespace}
            kubectl("create", "--filename=-", text=json.dumps(body))
            return lambda: _completed(name, namespace)

        yield Backup(f"{namespace}/{cluster}", "", save)


def _completed(backup: str, namespace: str) -> None:
    """Wait until a `Backup` of CloudNativePG has ended well. Raises `JobError`."""

    def ended() -> str:
        template = "jsonpath={.status.phase} {.status.error}"
        found = kubectl("get", "backups.postgresql.cnpg.io", backup, f"--namespace={namespace}", f"--output={template}")
        return found if found.split()[:1] in (["completed"], ["failed"]) else ""

    phase, _, reason = wait_for(ended, _SECONDS, f"Backup {namespace}/{backup} to end").partition(" ")
    if phase == "failed":
        message = f"Backup {namespace}/{backup} failed: {reason}"
        raise JobError(message)


def main(stack: str, system: str = "") -> int:
    """Save every store of a stack, or of one system of it; return the process's exit status."""
    try:
        saved, failed = back_up(stack, system)
    except ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"saved {store}\n" for store in saved)
    sys.stderr.writelines(f"not saved: {line}\n" for line in failed)
    if not saved and not failed:
        where, what = f"envs/{stack}.tfvars", f"{system} of {stack}" if system else stack
        sys.stderr.write(
            f"Nothing of {what} is saved: give backups.bucket in {where}, make secrets ENV={stack}, apply\n"
        )
    return 0 if saved and not failed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
