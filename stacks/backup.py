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

# On the CronJob that saves a store, with the store's name.
BACKUP_LABEL = "strata/backup"
_SECONDS = 3600
_PLUGIN = {"name": "barman-cloud.cloudnative-pg.io"}


@dataclass(frozen=True)
class Backup:
    """A backup that was begun: of which store, and how to wait until it is there."""

    store: str
    wait: Callable[[], None]


def namespaces_of(stack: str) -> tuple[str, ...]:
    """Return the namespaces that a stack's stores lie in."""
    return ("iac",) if stack == INFRA else Environment(stack, "").namespaces


def back_up(stack: str) -> tuple[list[str], list[str]]:
    """Save every store of a stack, all at the same time; return those that are saved, and a line for each that is not.

    Raises `ClusterError` if the API server does not answer, or refuses.
    """
    begun = [backup for namespace in namespaces_of(stack) for backup in _begin(namespace)]
    saved: list[str] = []
    failed: list[str] = []
    for backup in begun:
        try:
            backup.wait()
            saved.append(backup.store)
        except (ClusterError, JobError) as error:
            failed.append(f"{backup.store}: {error}")
    return saved, failed


def _begin(namespace: str) -> Iterator[Backup]:
    for item in objects("cronjobs", namespace, f"--selector={BACKUP_LABEL}"):
        job = start(item["metadata"]["name"], namespace)
        store = f"{namespace}/{item['metadata']['labels'][BACKUP_LABEL]}"
        yield Backup(store, lambda job=job: finish(job, namespace, _SECONDS))  # type: ignore[misc]
    for item in objects("scheduledbackups.postgresql.cnpg.io", namespace):
        cluster = item["spec"]["cluster"]["name"]
        name = f"{cluster}-{datetime.now(UTC):%Y%m%d%H%M%S}"
        spec = {"cluster": {"name": cluster}, "method": "plugin", "pluginConfiguration": _PLUGIN}
        body = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "spec": spec}
        kubectl("create", "--filename=-", text=json.dumps({**body, "metadata": {"name": name, "namespace": namespace}}))
        yield Backup(f"{namespace}/{cluster}", lambda name=name: _completed(name, namespace))  # type: ignore[misc]


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


def main(stack: str) -> int:
    """Save every store of a stack; return the process's exit status."""
    try:
        saved, failed = back_up(stack)
    except ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"saved {store}\n" for store in saved)
    sys.stderr.writelines(f"not saved: {line}\n" for line in failed)
    if not saved and not failed:
        where = f"envs/{stack}.tfvars"
        sys.stderr.write(
            f"Nothing of {stack} is saved: give backups.bucket in {where}, make secrets ENV={stack}, apply\n"
        )
    return 0 if saved and not failed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
