"""Snapshots: the scripts that every store has, run as they stand."""

import os
import subprocess
import time
from pathlib import Path

import pytest

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
