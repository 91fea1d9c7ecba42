"""PostHog's backups: what is saved after what, which of it belongs together, and the steps of the way back."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from stacks.project import Project
from stacks.restore import clickhouse, posthog
from stacks.restore.step import Request, RestoreError
from tests.support import ROOT, Render

LABELS = {"app.kubernetes.io/name": "posthog"}
# Name and end of each backup of events, and the time of each dump.
EVENTS = {
    "20261122T030000Z": "20261122T030400Z",
    "20261123T030000Z": "20261123T050000Z",
    "20261124T030000Z": "20261124T030500Z",
}
DUMPS = ("20261122T040000Z", "20261123T040000Z", "20261124T040000Z")


class Cluster:
    """An environment with PostHog, as far as a restore uses it; it remembers what was done to it."""

    def __init__(self, dumps: tuple[str, ...] = DUMPS) -> None:
        self.dumps = dumps
        self.did: list[str] = []
        self.deployments: dict[str, dict[str, Any]] = {
            name: {"metadata": {"name": f"posthog-{name}", "labels": {"app.kubernetes.io/component": name}}}
            for name in ("web", "worker")
        }
        for item, replicas in zip(self.deployments.values(), (2, 1), strict=True):
            item["spec"] = {"replicas": replicas}
        self.comment = ""
        self.statuses = {"BACKUP": "BACKUP_CREATED", "RESTORE": "RESTORED"}
        self.last = ""

    def kubectl(self, verb: str, *words: str, text: str | None = None, seconds: int = 20) -> str:
        del seconds
        if verb == "exec" and words[0] == "posthog-clickhouse-0":
            return self.clickhouse(text or "")
        if verb == "exec" and words[0] == "service/postgres":
            assert "--namespace=data-staging" in words
            if "shobj_description" in (text or ""):
                return f"{self.comment}\n"
            self.did.append(text or "")
            return ""
        if verb == "get":
            return "1 1"
        self.did.append(" ".join((verb, *words)))
        if verb == "patch" and words[0] == "deployment":
            self.patch(words[1], words[-1])
        return ""

    def patch(self, name: str, patch: str) -> None:
        (item,) = (item for item in self.deployments.values() if item["metadata"]["name"] == name)
        noted, replicas = re.search(r'"strata/replicas": (null|"\d")', patch), re.search(r'"replicas": (\d)', patch)
        assert noted
        assert replicas
        item["spec"]["replicas"] = int(replicas[1])
        item["metadata"]["annotations"] = {} if noted[1] == "null" else {"strata/replicas": noted[1].strip('"')}

    def clickhouse(self, query: str) -> str:
        if "AS name" in query:
            return "".join(f"{name}\t{ended}\n" for name, ended in EVENTS.items())
        if query.startswith("SELECT name FROM system.databases"):
            return "posthog\n"
        if query.startswith("SELECT status"):
            return f"{self.statuses[self.last]}\n"
        if query.startswith("SELECT error"):
            return "the disk is full\n"
        self.did.append(query)
        self.last = query.split(maxsplit=1)[0]
        return "ab-12\tRUNNING\n"

    def start(self, cronjob: str, _: str, variables: dict[str, str] | None = None) -> str:
        self.did.append(f"job {cronjob} {variables or ''}".strip())
        if cronjob == "posthog-restore":
            # As the script `download` does.
            since = (variables or {})["SINCE"].split()
            found = [min(dump for dump in self.dumps if dump >= time) for time in since if time <= max(self.dumps)]
            self.comment = f"posthog-{found[0]}.dump"
        return cronjob

    def objects(self, kind: str, _: str, selector: str) -> list[dict[str, Any]]:
        if kind == "deployments":
            return list(self.deployments.values())
        if kind == "cronjobs":
            stores = re.search(r"\((.*)\)", selector)
            assert stores
            return [{"metadata": {"name": f"{store}-cronjob"}} for store in stores[1].split(",")]
        return []


Restored = Callable[..., list[str]]


@pytest.fixture
def restored(project: Project, monkeypatch: pytest.MonkeyPatch) -> Restored:
    """Take the steps on a cluster: `restored(cluster, to)` returns what was done."""
    file = project.environments["staging"]
    with_bucket = file.model_copy(update={"backups": file.backups.model_copy(update={"bucket": "backups"})})

    def take(cluster: Cluster, to: str = "") -> list[str]:
        for module in (posthog, clickhouse):
            monkeypatch.setattr(module, "kubectl", cluster.kubectl)
        monkeypatch.setattr(posthog, "objects", cluster.objects)
        monkeypatch.setattr(posthog, "start", cluster.start)
        monkeypatch.setattr(posthog, "finish", lambda *_: None)
        for step in posthog.steps(Request(ROOT, with_bucket, to, "terraform", ())):
            step.run()
        return cluster.did

    return take


def short(did: str) -> str:
    """What was done, without the time of now."""
    return re.sub(r"(before-restore/|_before_)\d{8}T\d{6}Z", r"\1<now>", did)


def test_events_and_their_dump_come_back_and_nothing_is_lost(
    restored: Restored, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster()
    did = [short(item) for item in restored(cluster)]
    exception = "EXCEPT DATABASES system, information_schema, INFORMATION_SCHEMA"
    kept = [item for item in did if not item.startswith(("patch", "DROP DATABASE IF EXISTS `"))]
    swapped = 'ALTER DATABASE "posthog" RENAME TO "posthog_before_<now>"; ALTER DATABASE "posthog_restored" RENAME TO'
    assert kept == [
        'DROP DATABASE IF EXISTS "posthog_restored"',
        'CREATE DATABASE "posthog_restored" OWNER "posthog"',
        "job posthog-restore {'SINCE': '20261124T030500Z 20261123T050000Z 20261122T030400Z'}",
        f"BACKUP ALL {exception} TO S3(backup_bucket, 'before-restore/<now>') ASYNC",
        f"RESTORE ALL {exception} FROM S3(backup_bucket, '20261124T030000Z') SETTINGS allow_non_empty_tables = 1 ASYNC",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'posthog'",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'posthog_restored'",
        f'BEGIN; {swapped} "posthog"; COMMIT',
        "job posthog-objects-restore {'FROM': '20261124T030000Z'}",
        "exec posthog-redis-0 --namespace=monitoring-staging -- valkey-cli -e flushall",
        "job posthog-migrate",
    ]
    stops = [index for index, item in enumerate(did) if item.startswith("patch deployment")]
    assert did.index(kept[2]) < stops[0] < did.index(kept[3]), "nothing is stopped before the dump is there"
    assert [item["spec"]["replicas"] for item in cluster.deployments.values()] == [2, 1]
    told = short(capsys.readouterr().out)
    assert "the database of before: posthog_before_<now>" in told
    assert "the backup before-restore/<now>" in told


@pytest.mark.parametrize(
    ("to", "dumps", "dump", "events"),
    [
        ("", DUMPS, "20261124T040000Z", "20261124T030000Z"),
        # The last dump is older than the last events: the events before come back, with a dump after them.
        ("", DUMPS[:2], "20261122T040000Z", "20261122T030000Z"),
        # Events that took longer than the dump of their day go with the one of the next.
        ("2026-11-23T12:00:00Z", DUMPS, "20261124T040000Z", "20261123T030000Z"),
        ("2026-11-22T12:00:00Z", DUMPS, "20261122T040000Z", "20261122T030000Z"),
    ],
)
def test_whatever_events_name_is_in_the_database(
    to: str, dumps: tuple[str, ...], dump: str, events: str, restored: Restored
) -> None:
    cluster = Cluster(dumps)
    did = restored(cluster, to)
    assert cluster.comment == f"posthog-{dump}.dump"
    assert [item for item in did if item.startswith("RESTORE") and f"'{events}'" in item]
    assert EVENTS[events] <= dump


def test_a_dump_that_says_nothing_of_itself_stops_nothing(restored: Restored, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    monkeypatch.setattr(cluster, "start", lambda *_: "job")
    with pytest.raises(RestoreError, match="posthog_restored says that it is of nothing"):
        restored(cluster)
    assert not [item for item in cluster.did if item.startswith(("patch", "BACKUP", "BEGIN"))]


def test_what_cannot_be_saved_first_is_not_dropped_and_a_second_run_knows_how_many_pods_there_were(
    restored: Restored,
) -> None:
    cluster = Cluster()
    cluster.statuses["BACKUP"] = "BACKUP_FAILED"
    with pytest.raises(RestoreError, match="BACKUP_FAILED\nthe disk is full"):
        restored(cluster)
    assert not [item for item in cluster.did if item.startswith(("DROP DATABASE IF EXISTS `", "RESTORE", "BEGIN"))]
    assert [item["spec"]["replicas"] for item in cluster.deployments.values()] == [0, 0]
    cluster.statuses["BACKUP"] = "BACKUP_CREATED"
    restored(cluster)
    assert [item["spec"]["replicas"] for item in cluster.deployments.values()] == [2, 1]


def test_no_backup_is_taken_of_half_a_restore(restored: Restored) -> None:
    did = [item for item in restored(Cluster()) if item.startswith("patch cronjob")]
    assert len(did) == 6
    assert all('"suspend": true' in item for item in did[:3])
    assert all('"suspend": false' in item for item in did[3:])


def test_without_a_bucket_there_is_nothing_to_bring_back(project: Project) -> None:
    with pytest.raises(RestoreError, match=r"backups\.bucket is empty"):
        posthog.steps(Request(ROOT, project.environments["staging"], "", "terraform", ()))


OBJECTS = {
    "name": "posthog-objects",
    "labels": LABELS,
    "image": "rclone",
    "priorityClass": "p",
    "source": {"name": "posthog", "endpoint": "http://posthog-objects:8333", "secret": "posthog-objects"},
    "bucket": {"name": "saved", "folder": "staging/posthog/objects", "secret": "backup-bucket"},
}


@pytest.mark.parametrize("missing", ["source", "bucket"])
def test_objects_are_mirrored_only_with_a_bucket_and_only_from_seaweedfs(missing: str, render: Render) -> None:
    assert set(render("object-mirror", OBJECTS)) == {
        "CronJob/posthog-objects-backups",
        "CronJob/posthog-objects-restore",
    }
    without = {**OBJECTS, missing: {**OBJECTS[missing], "name": ""}}  # type: ignore[dict-item]
    assert not render("object-mirror", without)


def test_the_keys_of_both_buckets_come_from_secrets(render: Render) -> None:
    pod = render("object-mirror", OBJECTS)["CronJob/posthog-objects-backups"]["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    secrets = {item["name"]: item["valueFrom"]["secretKeyRef"] for item in container["env"] if "valueFrom" in item}
    assert {name: item["name"] for name, item in secrets.items()} == {
        f"RCLONE_CONFIG_{remote}_{key}": secret
        for remote, secret in (("SOURCE", "posthog-objects"), ("MIRROR", "backup-bucket"))
        for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    }
