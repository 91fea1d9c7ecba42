"""ClickHouse: its configuration as Terraform evaluates it, and the scripts of its backups, run as they stand."""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.project import Project
from tests.support import ROOT, Evaluate, Render, Stack, resources, tfvars_of

SCRIPTS = ROOT / "charts" / "clickhouse-backups" / "scripts"
GIBIBYTE = 1024**3
Files = Callable[..., dict[str, Any]]
# Answers the queries of `save` with the lines of $ANSWERS, one for each, and notes how it was called.
CLIENT = """#!/bin/sh
echo "$*" >> "$NOTES"
head -n 1 "$ANSWERS"
sed -i 1d "$ANSWERS"
"""
# A bucket that is a folder.
RCLONE = """#!/bin/sh
set -eu
[ "$1" = --config= ] && shift
case $1 in
  lsf) [ -d "$2" ] && ls -p "$2" | grep / ;;
  purge) rm -r "$2" ;;
  *) exit 9 ;;
esac
"""


@pytest.fixture
def files(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> Files:
    """The configuration files of staging's server: `files(backups={"bucket": "b"})` returns their content by name."""
    stack = stacks["staging"]
    data = resources(stack)["kubernetes_config_map_v1.signoz_clickhouse_config"]["data"]

    def of(**variables: object) -> dict[str, Any]:
        expressions = {name.removesuffix(".yaml"): value for name, value in data.items()}
        found = evaluate(stack, expressions, tfvars=tfvars_of(project, "staging"), **variables)
        return {name: yaml.safe_load(text) for name, text in found.items()}

    return of


def of_memory(size: str) -> dict[str, object]:
    return {"signoz": {"clickhouse": {"memory": size}}}


@pytest.mark.parametrize("gibibytes", [1, 2, 16])
def test_limits_follow_the_memory_of_the_container_and_one_query_cannot_take_it_all(
    gibibytes: int, files: Files
) -> None:
    found = files(**of_memory(f"{gibibytes}Gi"))
    server, query = found["server"], found["users"]["profiles"]["default"]["max_memory_usage"]
    whole = server["max_server_memory_usage"]
    assert 0.8 * gibibytes * GIBIBYTE < whole < 0.9 * gibibytes * GIBIBYTE
    caches = server["mark_cache_size"] + server["index_mark_cache_size"] + server["uncompressed_cache_size"]
    assert caches + server["merges_mutations_memory_usage_soft_limit"] + query < whole
    assert server["cache_size_to_ram_max_ratio"] <= 0.1


def test_a_merge_never_waits_for_more_places_than_there_are(files: Files) -> None:
    server = files()["server"]
    places = server["background_pool_size"] * server["background_merges_mutations_concurrency_ratio"]
    waits = server["merge_tree"]
    assert len(waits) == 3
    assert all(free <= places for free in waits.values()), "ClickHouse would not start"


def test_each_log_of_the_server_about_itself_ends_or_is_off(files: Files) -> None:
    server = files()["server"]
    logs = {name: section for name, section in server.items() if name.endswith("_log")}
    assert len(logs) == 17
    assert logs.pop("opentelemetry_span_log") == {"@remove": "1"}
    for section in logs.values():
        assert section["ttl"].startswith("event_date + INTERVAL ")


def test_without_a_bucket_the_server_knows_none_and_has_no_way_out(
    files: Files, stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    assert files()["bucket"] == {}
    way = resources(stacks["staging"])["kubernetes_network_policy_v1.signoz_clickhouse_backups_server-flow"]
    for bucket, count in (("", 0), ("backups", 1)):
        tfvars = tfvars_of(project, "staging")
        found = evaluate(stacks["staging"], {"count": way["count"]}, tfvars=tfvars, backups={"bucket": bucket})
        assert int(found["count"]) == count


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("", "https://s3.eu-central-1.amazonaws.com/backups/staging/signoz/clickhouse/"),
        ("https://store.example.com:9000", "https://store.example.com:9000/backups/staging/signoz/clickhouse/"),
    ],
)
def test_a_query_can_neither_read_the_key_to_the_bucket_nor_send_it_elsewhere(
    endpoint: str, address: str, files: Files
) -> None:
    found = files(backups={"bucket": "backups", "endpoint": endpoint, "region": "eu-central-1"})
    collection = found["bucket"]["named_collections"]["backup_bucket"]
    assert collection["url"] == {"#text": address, "@overridable": "false"}
    for key in ("access_key_id", "secret_access_key"):
        assert set(collection[key]) == {"@from_env", "@hide_in_preprocessed"}
    assert found["bucket"]["s3"]["use_environment_credentials"] is False
    assert found["bucket"]["s3"]["backup_bucket"] == {
        "endpoint": address,
        "region": "eu-central-1",
        "use_environment_credentials": False,
    }
    users = found["users"]["users"]
    assert [name for name, user in users.items() if user.get("named_collection_control")] == ["backup"]
    # A query of SigNoz' user to the server's own address is one of `default`, without a password.
    assert (users["default"]["access_management"], users["default"]["named_collection_control"]) == (0, 0)
    assert users["default"]["networks"]["ip"] == ["127.0.0.1", "::1"]


def test_no_password_is_in_a_file_and_every_variable_is_there(files: Files, stacks: dict[str, Stack]) -> None:
    found = files(backups={"bucket": "backups"})
    server = resources(stacks["staging"])["kubernetes_stateful_set_v1.signoz_clickhouse"]
    (container,) = server["spec"]["template"]["spec"]["container"]
    given = {item["name"]: item for item in container["env"]}
    assert container["security_context"]["run_as_non_root"] is True, "the provider's default undoes the pod's"
    read = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            if "@from_env" in value:
                read.add(value["@from_env"])
                assert value["@hide_in_preprocessed"] == "true", "it would be written to the volume"
            for key, item in value.items():
                assert not (key in ("password", "secret_access_key") and isinstance(item, str))
                look(item)

    look(found)
    assert read | {"CLICKHOUSE_WATCHDOG_ENABLE"} == set(given)
    # What a client in the pod, or an S3 library, would take by itself.
    assert not [name for name in given if name.startswith("AWS_") or name in ("CLICKHOUSE_PASSWORD", "CLICKHOUSE_USER")]
    optional = {
        name for name, item in given.items() if item.get("value_from", {}).get("secret_key_ref", {}).get("optional")
    }
    assert optional == {"CLICKHOUSE_BUCKET_KEY_ID", "CLICKHOUSE_BUCKET_SECRET_KEY"}


def run(script: str, place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    binaries = place / "bin"
    binaries.mkdir(exist_ok=True)
    for name, text in (("clickhouse-client", CLIENT), ("rclone", RCLONE)):
        (binaries / name).write_text(text, encoding="utf-8")
        (binaries / name).chmod(0o755)
    path = f"{binaries}:{os.environ['PATH']}"
    text = (SCRIPTS / script).read_text(encoding="utf-8")
    return subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", text], env={**variables, "PATH": path}, capture_output=True, text=True, check=False
    )


def save(place: Path, *answers: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    (place / "answers").write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8")
    names = {"HOST": "signoz-clickhouse", "BACKUP_USER": "backup", "COLLECTION": "backup_bucket", "PAUSE": "0"}
    secret = {"CLICKHOUSE_PASSWORD": "hidden", "ANSWERS": str(place / "answers"), "NOTES": str(place / "notes")}
    done = run("save", place, **names, **secret)
    return done, (place / "notes").read_text(encoding="utf-8").splitlines()


def test_a_backup_is_begun_and_waited_for_and_its_name_is_its_time(tmp_path: Path) -> None:
    done, asked = save(tmp_path, "ab-12\tCREATING_BACKUP", "CREATING_BACKUP", "CREATING_BACKUP", "BACKUP_CREATED")
    assert done.returncode == 0, done.stderr
    name = done.stdout.removeprefix("saved ").strip()
    assert abs(datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    exception = "EXCEPT DATABASES system, information_schema, INFORMATION_SCHEMA"
    assert asked[0].endswith(f"BACKUP ALL {exception} TO S3(backup_bucket, '{name}') ASYNC")
    assert asked[1:] == 3 * [asked[1]]
    assert asked[1].endswith("WHERE id = 'ab-12'")
    assert "hidden" not in "\n".join(asked)


@pytest.mark.parametrize(("status", "words"), [("BACKUP_FAILED", "BACKUP_FAILED"), ("", "the server was restarted")])
def test_a_backup_that_fails_says_why_and_fails_its_job(status: str, words: str, tmp_path: Path) -> None:
    done, _ = save(tmp_path, "ab-12\tCREATING_BACKUP", status, "no bucket of this name")
    assert done.returncode == 1
    assert words in done.stderr
    assert "no bucket of this name" in done.stderr


def test_what_is_too_old_leaves_the_bucket_and_what_has_another_name_stays(tmp_path: Path) -> None:
    place = tmp_path / "bucket"
    names = {days: f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%SZ}" for days in (0, 6, 8, 400)}
    for name in (*names.values(), "before-restore"):
        (place / name).mkdir(parents=True)
    done = run("expire", tmp_path, PLACE=str(place), KEEP_DAYS="7")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in place.iterdir()) == [names[6], names[0], "before-restore"]


def test_a_bucket_that_does_not_answer_fails_the_job(tmp_path: Path) -> None:
    assert run("expire", tmp_path, PLACE=str(tmp_path / "nowhere"), KEEP_DAYS="7").returncode != 0


def test_without_a_bucket_there_is_no_cronjob(releases: list[tuple[str, str, dict[str, Any]]], render: Render) -> None:
    for stack, chart, values in releases:
        if chart == "clickhouse-backups":
            assert render(chart, values, f"monitoring-{stack}") == {}
            with_bucket = {**values, "bucket": {**values["bucket"], "name": "backups"}}
            (item,) = render(chart, with_bucket, f"monitoring-{stack}").values()
            system = values["name"].removesuffix("-clickhouse")
            assert item["metadata"]["labels"] == {"strata/backup": f"{system}-clickhouse"}
            assert values["bucket"]["folder"] == f"{stack}/{system}/clickhouse"
