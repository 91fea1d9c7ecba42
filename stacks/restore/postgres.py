"""Postgres' way back: a new generation, made from the bucket; the one that served is stopped and kept."""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from constructs.l3_data.postgres import NAME, PostgresRecoverySettings, name_of
from stacks import tfvars
from stacks.cluster import WaitError, kubectl, objects, wait_for
from stacks.restore.step import Request, RestoreError, Step

_KEY = "postgres_recovery"
_CLUSTERS = "clusters.postgresql.cnpg.io"
# The chart leaves them when its Cluster is gone.
_STORES = "objectstores.barmancloud.cnpg.io"
_STOP_SECONDS = 600
# A large database takes its time.
_READY_SECONDS = 12 * 3600
# CloudNativePG leaves out parts of a second, and takes a backup that was complete before the time it is to reach.
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Way:
    """What is made: the new generation, and the backup that is its beginning, in words."""

    recovery: PostgresRecoverySettings
    words: str


def steps(request: Request) -> Sequence[Step]:
    """Return the steps of a restore. Raises `RestoreError` and `ClusterError`."""
    path = request.root / "envs" / f"{request.settings.environment}.tfvars"
    namespace = request.environment.data_namespace
    current = request.settings.postgres_recovery
    old = name_of(current.generation)
    if not request.settings.backups.bucket:
        message = f"envs/{path.name} gives no backups.bucket: nothing of {NAME} was saved"
        raise RestoreError(message)
    head = without_block(path, current)
    there = {item["metadata"]["name"] for item in objects(_CLUSTERS, namespace)}
    way = _way(request, there)
    new = name_of(way.recovery.generation)
    found = [] if old not in there else [Step(f"stop {old}: it keeps its volumes", lambda: _stop(old, namespace))]

    def write() -> None:
        path.write_text(head + block(way.recovery), encoding="ascii", newline="")

    def tell() -> None:
        sys.stdout.write(_rest(way.recovery, namespace, f"envs/{path.name}"))

    return [
        *found,
        Step(f"write {_KEY} to envs/{path.name}: {new} from {way.words}", write),
        Step(f"apply: {new} is made, and the Service {NAME} leads to it", request.apply),
        Step(f"wait until {new} is ready", lambda: _wait(new, namespace)),
        Step("say what is left for you", tell),
    ]


def block(recovery: PostgresRecoverySettings) -> str:
    """Return the block that ends a tfvars file."""
    return (
        "# By make restore; docs/how-to/restore.md says what may be changed.\n"
        f"{_KEY} = {{\n"
        f"  generation = {recovery.generation}\n"
        f"  source     = {recovery.source}\n"
        f'  until      = "{recovery.until}"\n'
        f"  keep       = [{', '.join(map(str, recovery.keep))}]\n"
        "}\n"
    )


def without_block(path: Path, recovery: PostgresRecoverySettings) -> str:
    """Return a tfvars file without the block at its end. Raises `RestoreError` where the block has another form."""
    text = path.read_bytes().decode("ascii")
    if _KEY not in tfvars.read(path):
        return f"{text.rstrip()}\n\n"
    ours = block(recovery)
    if not text.endswith(ours):
        message = (
            f"envs/{path.name}: {_KEY} is not as make restore writes it, and may hold words of yours. "
            f"Nothing was changed. Let it be the end of the file, in these lines:\n{ours}"
        )
        raise RestoreError(message)
    return text.removesuffix(ours)


@dataclass(frozen=True)
class Backup:
    """A backup that is in the bucket: of which generation, and when it was complete."""

    name: str
    generation: int
    ended: datetime


def _way(request: Request, there: set[str]) -> Way:
    """Choose the generation whose backups reach to the time that is asked for: the newest one that does."""
    current, namespace = request.settings.postgres_recovery, request.environment.data_namespace
    # As they came: what serves now came last, even if it is not the highest.
    generations = (*sorted(current.keep), current.generation)
    backups = [backup for number in generations for backup in _saved(number, namespace)]
    until, reaching = _reaching(request, backups)
    text = f"{until:%Y-%m-%dT%H:%M:%SZ}" if until else ""
    kept = tuple(sorted(number for number in generations if name_of(number) in there))
    new = max(*generations, *_used(namespace)) + 1

    def way(source: int, words: str) -> Way:
        recovery = PostgresRecoverySettings(generation=new, source=source, until=text, keep=kept)
        return Way(recovery, f"{words}, until {text or 'the last change that was saved'}")

    if reaching:
        best = max(reaching, key=lambda backup: (generations.index(backup.generation), backup.ended))
        return way(
            best.generation,
            f"{best.name} of {name_of(best.generation)}, complete at {best.ended:%Y-%m-%d %H:%M:%S} UTC",
        )
    if not there:
        # An environment that is made anew: only the bucket knows.
        return way(current.generation, f"what the bucket has of {name_of(current.generation)}")
    message = f"no backup of {NAME} is complete"
    if backups:
        first = min(backup.ended for backup in backups) + _SECOND
        message = f"no backup of {NAME} was complete by then: give TO={first:%Y-%m-%dT%H:%M:%SZ} or later"
    raise RestoreError(message)


def _reaching(request: Request, backups: Sequence[Backup]) -> tuple[datetime | None, list[Backup]]:
    """Return the time that is asked for (None: the last change), and the backups from which it can be reached."""
    time = request.time()
    if time is not None and time > datetime.now(UTC):
        message = f"TO={request.to} is still to come"
        raise RestoreError(message)
    if time is not None or not request.to:
        return time, [backup for backup in backups if time is None or backup.ended < time]
    named = [backup for backup in backups if backup.name == request.to]
    if not named:
        message = (
            f"TO={request.to}: no complete backup is called so; see them by kubectl get backups.postgresql.cnpg.io "
            f"--namespace={request.environment.data_namespace}, or give a time"
        )
        raise RestoreError(message)
    return named[0].ended + _SECOND, named


def _saved(generation: int, namespace: str) -> list[Backup]:
    """Return what the API server knows of a generation's backups: CloudNativePG's list, or else the oldest alone."""
    cluster = name_of(generation)
    found = [
        Backup(item["metadata"]["name"], generation, _time(item["status"]["stoppedAt"]))
        for item in objects("backups.postgresql.cnpg.io", namespace)
        if item["spec"]["cluster"]["name"] == cluster and item.get("status", {}).get("phase") == "completed"
    ]
    # The plugin looks into the bucket itself, some time after a cluster has begun to use it.
    windows = [
        item.get("status", {}).get("serverRecoveryWindow", {}).get(cluster, {}).get("firstRecoverabilityPoint")
        for item in objects(_STORES, namespace)
    ]
    return found or [Backup("the oldest backup", generation, _time(first)) for first in windows if first]


def _used(namespace: str) -> Iterator[int]:
    """Yield the generations whose folders in the bucket are in use: CloudNativePG begins in no folder of another."""
    for item in objects(_STORES, namespace):
        found = re.fullmatch(rf"{NAME}(?:-([0-9]+))?-backups", item["metadata"]["name"])
        if found is not None:
            yield int(found[1] or 1)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _stop(cluster: str, namespace: str) -> None:
    """Hibernate a cluster, and wait until its pods are gone: its last changes are in the bucket then."""
    kubectl("annotate", _CLUSTERS, cluster, f"--namespace={namespace}", "cnpg.io/hibernation=on", "--overwrite")
    selector = f"--selector=cnpg.io/cluster={cluster},cnpg.io/podRole=instance"

    def gone() -> str:
        return "" if objects("pods", namespace, selector) else "gone"

    try:
        wait_for(gone, _STOP_SECONDS, f"the pods of {cluster} to go")
    except WaitError as error:
        message = (
            f"{error}. If their node is lost: kubectl delete pods --force --namespace={namespace} {selector}\n"
            "Then begin again: nothing else was changed"
        )
        raise RestoreError(message) from error


def _wait(cluster: str, namespace: str) -> None:
    """Wait until a cluster is ready, and tell its phases. Raises `RestoreError` once its recovery is given up."""
    seen = ""
    place = f"--namespace={namespace}"

    def ready() -> str:
        nonlocal seen
        template = '{.status.conditions[?(@.type=="Ready")].status} {.status.phase}'
        status, _, phase = kubectl("get", _CLUSTERS, cluster, place, f"--output=jsonpath={template}").partition(" ")
        if phase != seen:
            seen = phase
            sys.stdout.write(f"   {phase}\n")
            sys.stdout.flush()
        failed = '{range .items[*].status.conditions[?(@.type=="Failed")]}{.status}{end}'
        if "True" in kubectl(
            "get", "jobs", place, f"--selector=cnpg.io/cluster={cluster}", f"--output=jsonpath={failed}"
        ):
            raise RestoreError(_given_up(cluster, place))
        return "ready" if status == "True" else ""

    wait_for(ready, _READY_SECONDS, f"{cluster} to be ready; {_given_up(cluster, place)}")


def _given_up(cluster: str, place: str) -> str:
    return (
        f"see why by kubectl logs {place} --selector=cnpg.io/cluster={cluster},cnpg.io/jobRole=full-recovery --tail=50"
        "; the way back to what served before is in docs/how-to/restore.md"
    )


def _rest(recovery: PostgresRecoverySettings, namespace: str, file: str) -> str:
    new = name_of(recovery.generation)
    kept = ", ".join(name_of(number) for number in recovery.keep)
    lines = [
        f"Look at it:  kubectl exec --namespace={namespace} {new}-1 --container=postgres -- psql --dbname=app",
        f"Commit {file}: without its new lines, the next apply goes back to what was before.",
    ]
    if kept:
        lines.append(f"Kept on its volumes, without pods: {kept}. To let go of it: docs/how-to/restore.md")
    return "".join(f"   {line}\n" for line in lines)
