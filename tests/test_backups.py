"""Backups: the scripts that every store has, run as they stand; a backup now, and the Jobs that it is made of."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stacks import backup, jobs
from stacks.cluster import ClusterError
from stacks.jobs import JobError
from tests.support import ROOT

SCRIPTS = ROOT / "charts" / "snapshots" / "scripts"
# A bucket that is a folder: rclone's words for what the scripts ask of it.
RCLONE = """#!/bin/sh
set -eu
[ "$1" = --config= ] && shift
case $1 in
  lsf) ls "$2" ;;
  copy) cp "$2" "$3" ;;
  *) exit 9 ;;
esac
"""


def run(script: str, place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    text = (SCRIPTS / script).read_text(encoding="utf-8").replace("/snapshots", str(place))
    environment = {"SYSTEM": "redis", **variables, "PATH": f"{place.parent / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(["/bin/sh", "-c", text], env=environment, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("bin", "bucket", "snapshots"):
        (tmp_path / name).mkdir()
    rclone = tmp_path / "bin" / "rclone"
    rclone.write_text(RCLONE, encoding="utf-8")
    rclone.chmod(0o755)
    return tmp_path / "snapshots"


@pytest.mark.parametrize(
    ("wanted", "brought"),
    [
        ("", "redis-20261124T020000Z.rdb"),
        ("20261123T235959Z", "redis-20261123T020000Z.rdb"),
        ("20261123T020000Z", "redis-20261123T020000Z.rdb"),
        ("redis-20261122T020000Z.rdb", "redis-20261122T020000Z.rdb"),
    ],
)
def test_the_last_snapshot_that_is_not_after_a_time_is_brought(wanted: str, brought: str, place: Path) -> None:
    bucket = place.parent / "bucket"
    for day in (24, 22, 23):
        (bucket / f"redis-202611{day}T020000Z.rdb").touch()
    done = run("download", place, PLACE=str(bucket), FROM=wanted)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in place.iterdir()] == [brought]


@pytest.mark.parametrize(
    ("since", "brought"),
    [
        ("20261122T030000Z", "redis-20261123T020000Z.rdb"),
        ("20261123T020000Z", "redis-20261123T020000Z.rdb"),
        ("20261125T000000Z 20261123T120000Z 20261101T000000Z", "redis-20261124T020000Z.rdb"),
    ],
)
def test_the_first_snapshot_that_is_not_before_one_of_several_times_is_brought(
    since: str, brought: str, place: Path
) -> None:
    bucket = place.parent / "bucket"
    for day in (24, 22, 23):
        (bucket / f"redis-202611{day}T020000Z.rdb").touch()
    done = run("download", place, PLACE=str(bucket), FROM="", SINCE=since)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in place.iterdir()] == [brought]


def test_a_time_before_all_snapshots_brings_none_and_says_so(place: Path) -> None:
    bucket = place.parent / "bucket"
    (bucket / "redis-20261122T020000Z.rdb").touch()
    done = run("download", place, PLACE=str(bucket), FROM="20261121T000000Z")
    assert done.returncode == 1
    assert "has no snapshot up to 20261121T000000Z" in done.stderr
    assert not list(place.iterdir())


def test_old_snapshots_leave_the_volume_and_others_files_stay(place: Path) -> None:
    for name, days in (("redis-old.rdb", 5), ("redis-new.rdb", 1), ("other-old.rdb", 5)):
        (place / name).touch()
        os.utime(place / name, (time.time() - days * 86400,) * 2)
    assert run("expire", place, KEEP_DAYS="3").returncode == 0
    assert sorted(path.name for path in place.iterdir()) == ["other-old.rdb", "redis-new.rdb"]


JOB = {
    "metadata": {"name": "redis-restore-now"},
    "spec": {
        "template": {
            "spec": {
                "initContainers": [{"name": "download", "env": [{"name": "FROM", "value": ""}, {"name": "PLACE"}]}],
                "containers": [{"name": "restore"}],
            }
        }
    },
}


def answers(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., str]) -> list[tuple[tuple[str, ...], str | None]]:
    """Let `answer` be the cluster, and return what it is asked."""
    asked: list[tuple[tuple[str, ...], str | None]] = []

    def kubectl(*arguments: str, text: str | None = None) -> str:
        asked.append((arguments, text))
        return answer(*arguments)

    for module in (backup, jobs):
        monkeypatch.setattr(module, "kubectl", kubectl)
    return asked


def test_a_job_is_its_cronjobs_with_the_variables_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, lambda *words: json.dumps(JOB) if "--dry-run=client" in words else "")
    name = jobs.start("redis-restore", "data-prod", {"FROM": "20261123T040000Z"})
    (dry, _), (created, text) = asked
    assert dry[:4] == ("create", "job", name, "--from=cronjob/redis-restore")
    assert created == ("create", "--filename=-")
    pod = json.loads(text or "")["spec"]["template"]["spec"]
    wanted = [{"name": "FROM", "value": "20261123T040000Z"}, {"name": "PLACE"}]
    assert pod == {"initContainers": [{"name": "download", "env": wanted}], "containers": [{"name": "restore"}]}


@pytest.mark.parametrize(
    ("conditions", "words"),
    [("SuccessCriteriaMet Complete ", None), ("FailureTarget Failed ", "Job data-prod/redis-now failed:\nno space")],
)
def test_a_job_that_failed_says_its_last_words(
    conditions: str, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"get job": conditions, "logs job/redis-now": "no space\n", "get events": ""}
    answers(monkeypatch, lambda *asked: said[" ".join(asked[:2])])
    if words is None:
        jobs.finish("redis-now", "data-prod")
        return
    with pytest.raises(JobError) as failed:
        jobs.finish("redis-now", "data-prod")
    assert str(failed.value) == words


def test_a_job_that_failed_is_told_where_its_words_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "its node is away"

    def answer(*words: str) -> str:
        if words[0] == "logs":
            raise ClusterError(reason)
        return "Failed "

    answers(monkeypatch, answer)
    with pytest.raises(JobError, match="what it said cannot be read: its node is away"):
        jobs.finish("redis-now", "data-prod")


def test_every_store_is_saved_and_what_failed_does_not_hide_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {
        ("cronjobs", "data-prod"): [{"metadata": {"name": "redis-snapshots", "labels": {"strata/backup": "redis"}}}],
        ("scheduledbackups.postgresql.cnpg.io", "data-prod"): [{"spec": {"cluster": {"name": "postgres-2"}}}],
        ("cronjobs", "monitoring-prod"): [{"metadata": {"name": "signoz-snapshots", "labels": {"strata/backup": "s"}}}],
    }
    ended = {"redis": "Failed ", "signoz": "Complete "}

    def answer(*words: str) -> str:
        match words[:3]:
            case ("create", "job", _):
                return json.dumps(JOB)
            case ("get", "job", name):
                return ended[name.split("-")[0]]
            case ("get", "backups.postgresql.cnpg.io", name):
                assert name.startswith("postgres-2-")
                return "completed "
        return ""

    asked = answers(monkeypatch, answer)
    monkeypatch.setattr(backup, "objects", lambda kind, namespace, *_: found.get((kind, namespace), []))
    saved, failed = backup.back_up("prod")
    assert saved == ["data-prod/postgres-2", "monitoring-prod/s"]
    assert [line.split(":")[0] for line in failed] == ["data-prod/redis"]
    made = [json.loads(text) for words, text in asked if words[0] == "create" and text]
    (database,) = [item for item in made if item.get("kind") == "Backup"]
    assert database["spec"]["cluster"] == {"name": "postgres-2"}
    # All are begun before any is waited for.
    waits = [index for index, (words, _) in enumerate(asked) if words[0] == "get"]
    begins = [index for index, (words, _) in enumerate(asked) if words[0] == "create"]
    assert max(begins) < min(waits)


@pytest.mark.parametrize(
    ("system", "order"),
    [("", ["redis", "clickhouse", "posthog", "objects"]), ("posthog", ["clickhouse", "posthog", "objects"])],
)
def test_a_store_that_comes_after_another_one_is_saved_when_that_one_has_ended(
    system: str, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    after = {"posthog-objects": "posthog", "posthog": "posthog-clickhouse", "redis": "", "posthog-clickhouse": ""}
    items = [
        {"metadata": {"name": name, "labels": {"strata/backup": name}, "annotations": {"strata/backup-after": other}}}
        for name, other in after.items()
    ]
    monkeypatch.setattr(
        backup, "objects", lambda kind, where, *_: items if (kind, where) == ("cronjobs", "iac") else []
    )
    did: list[str] = []
    monkeypatch.setattr(backup, "start", lambda name, _: did.append(f"begin {name}") or name)  # type: ignore[func-returns-value]

    def finish(name: str, *_: object) -> None:
        did.append(f"end {name}")
        if name == "posthog-clickhouse":
            message = "the disk is full"
            raise JobError(message)

    monkeypatch.setattr(backup, "finish", finish)
    saved, failed = backup.back_up("infra", system)
    assert failed == ["iac/posthog-clickhouse: the disk is full"]
    assert len(saved) == len(order) - 1
    last = [name.removeprefix("end posthog-").removeprefix("end ") for name in did if name.startswith("end")]
    assert last == order
    for first, second in (("posthog-clickhouse", "posthog"), ("posthog", "posthog-objects")):
        assert did.index(f"end {first}") < did.index(f"begin {second}")


def test_nothing_saved_is_no_success(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(backup, "objects", lambda *_: [])
    assert backup.main("prod") == 1
    assert "give backups.bucket in envs/prod.tfvars" in capsys.readouterr().err
