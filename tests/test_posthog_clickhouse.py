"""PostHog's ClickHouse: its files as Terraform evaluates them, and the scripts around it, run as they stand."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from constructs.l4_insight.posthog import retention
from constructs.l4_insight.posthog.clickhouse import CLUSTERS, SYSTEM_TABLES, SYSTEM_TABLES_SCRIPT
from stacks.project import Project
from stacks.synthesis import synthesize
from tests.support import ROOT, Evaluate, Render, Stack, merged, resources, tfvars_of, values_of

HOST = "posthog-clickhouse.monitoring-staging.svc"
EXPIRE = ROOT / "charts" / "posthog-retention" / "scripts" / "expire"
Files = Callable[..., dict[str, Any]]
# Answers with what $ANSWERS has for the first pattern in it that a query matches, and notes what it was asked.
CLIENT = """#!/bin/sh
echo "$*" >> "$NOTES"
while read -r pattern answer; do
  case "$*" in
    *$pattern*)
      [ "$answer" = fails ] && exit 1
      [ -z "$answer" ] || echo "$answer" | tr , '\\n'
      exit 0
      ;;
  esac
done < "$ANSWERS"
"""


@pytest.fixture(scope="module")
def stack(larger: Project) -> Stack:
    """A stack of staging that has PostHog."""
    synthesize(larger)
    path = larger.root / "terraform" / "stacks" / "staging" / "cdk.tf.json"
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def files(stack: Stack, larger: Project, evaluate: Evaluate) -> Files:
    """The content of the server's configuration files by name, with the bucket `backups` at an endpoint."""
    data = resources(stack)["kubernetes_config_map_v1.posthog_stores_clickhouse_server_config"]["data"]

    @cache
    def of(endpoint: str = "") -> dict[str, Any]:
        expressions = {name.removesuffix(".yaml"): value for name, value in data.items()}
        backups = {"bucket": "backups", "endpoint": endpoint, "region": "eu-central-1"}
        found = evaluate(stack, expressions, tfvars=tfvars_of(larger, "staging"), backups=backups)
        return {name: yaml.safe_load(text) for name, text in found.items()}

    return of


@pytest.fixture(scope="module")
def pod(stack: Stack) -> dict[str, Any]:
    found = resources(stack)["kubernetes_stateful_set_v1.posthog_stores_clickhouse_server"]
    return found["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def test_every_cluster_of_posthogs_is_the_server_itself_by_the_name_that_other_pods_call(
    files: Files, pod: dict[str, Any], stack: Stack
) -> None:
    itself = {"shard": {"replica": {"host": HOST, "port": 9000}}}
    assert files()["server"]["remote_servers"] == {"@replace": "1", **dict.fromkeys(CLUSTERS, itself)}
    # Otherwise the server takes the Service's address for another server's, and runs nothing `ON CLUSTER`.
    assert pod["host_aliases"] == [{"ip": "127.0.0.1", "hostnames": [HOST]}]
    service = resources(stack)["kubernetes_service_v1.posthog_stores_clickhouse_server_service"]["metadata"]
    assert f"{service['name']}.{service['namespace']}.svc" == HOST


def test_the_server_of_signoz_keeps_its_name_and_its_pod(stack: Stack) -> None:
    server = resources(stack)["kubernetes_stateful_set_v1.signoz_clickhouse"]
    assert {"host_aliases", "init_container"}.isdisjoint(server["spec"]["template"]["spec"])


def test_every_collection_that_kafka_tables_name_is_the_one_broker(files: Files) -> None:
    collections = files()["server"]["named_collections"]
    assert {"msk_cluster", "warpstream_ingestion", "warpstream_replay"} <= set(collections)
    for collection in collections.values():
        assert collection == {"kafka_broker_list": "posthog-kafka.monitoring-staging.svc:9092"}


def test_the_application_uses_the_collections_of_kafka_and_no_other(files: Files) -> None:
    found = files()
    ours = set(found["server"]["named_collections"])
    assert "backup_bucket" in found["bucket"]["named_collections"]
    for name in ("posthog", "default"):
        grants = found["users"]["users"][name]["grants"]["query"]
        assert set(re.findall(r"GRANT NAMED COLLECTION ON (\w+)", "\n".join(grants))) == ours


def test_a_query_reaches_no_source_but_kafka_and_the_server_itself(files: Files) -> None:
    for name in ("posthog", "default"):
        grants = files()["users"]["users"][name]["grants"]["query"]
        revoked = " ".join(grant for grant in grants if grant.startswith("REVOKE"))
        for right in ("SOURCES", "BACKUP", "SET DEFINER", "ACCESS MANAGEMENT", "NAMED COLLECTION ADMIN"):
            assert right in revoked, f"{name} may do {right}"
        opened = grants[grants.index("GRANT ALL ON *.*") + 1 :]
        assert [grant for grant in opened if grant.startswith("GRANT") and "NAMED" not in grant] == [
            "GRANT KAFKA, REMOTE ON *.*"
        ]


def test_nobody_makes_a_view_that_reads_the_bucket_as_who_may(files: Files, stacks: dict[str, Stack]) -> None:
    """A view runs as its definer: who may name another one has that one's rights."""
    every = {"posthog": files()["users"]["users"]}
    every["signoz"] = stacks["staging"]["locals"]["signoz_clickhouse_users"]["users"]
    for application, users in every.items():
        for name in (application, "default"):
            assert "REVOKE SET DEFINER ON *" in users[name]["grants"]["query"]
        assert "grants" not in users["backup"]


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("", "s3.eu-central-1.amazonaws.com"),
        ("https://store.example.com:9000", "store.example.com"),
        ("http://10.0.0.7:9000", "10.0.0.7"),
    ],
)
def test_the_server_calls_no_host_but_itself_and_the_bucket(endpoint: str, host: str, files: Files) -> None:
    found = files(endpoint)
    assert found["server"]["remote_url_allow_hosts"]["host"] == [HOST, "localhost", host]
    assert host in found["bucket"]["named_collections"]["backup_bucket"]["url"]["#text"]


def test_dictionaries_read_as_somebody_without_a_password_who_reads_only_and_within_the_pod(files: Files) -> None:
    reader = files()["users"]["users"]["dict_reader"]
    assert reader["networks"] == {"@replace": "1", "ip": ["127.0.0.1", "::1"]}
    assert reader["grants"] == {"query": "GRANT SELECT, dictGet ON posthog.*"}
    assert "password" not in reader


def test_each_log_of_the_server_about_itself_ends(files: Files) -> None:
    logs = {name: section for name, section in files()["server"].items() if name.endswith("_log")}
    assert {"crash_log", "session_log", *SYSTEM_TABLES} <= set(logs)
    assert logs.pop("opentelemetry_span_log") == {"@remove": "1"}
    assert all(section["ttl"].startswith("event_date + INTERVAL ") for section in logs.values())


def test_no_setting_is_there_that_this_version_does_not_know(files: Files) -> None:
    """ClickHouse 26.6 makes no table at all with a setting of `merge_tree` that only 26.7 has."""
    assert "allow_dimensions_outside_sorting_key" not in files()["server"]["merge_tree"]


def test_no_password_is_in_a_file(files: Files) -> None:
    found = files()
    for name, user in found["users"]["users"].items():
        if "password" in user:
            assert set(user["password"]) == {"@from_env", "@hide_in_preprocessed"}, name


def functions(place: Path, pod: dict[str, Any], *, scripts: Path) -> subprocess.CompletedProcess[str]:
    """Run what copies the functions, with `place` for the volume and a folder for the image's."""
    (container,) = pod["init_container"]
    script = container["command"][2].replace("/functions", str(place))
    variables = {item["name"]: item["value"] for item in container["env"]}
    assert variables["DEFINITIONS"].startswith(f"{variables['SCRIPTS']}/")
    moved = {key: value.replace(variables["SCRIPTS"], str(scripts)) for key, value in variables.items()}
    command = [*container["command"][:2], script]
    environment = {**moved, "PATH": os.environ["PATH"]}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def test_functions_are_copied_with_their_definitions_and_stay_executable(tmp_path: Path, pod: dict[str, Any]) -> None:
    scripts, place = tmp_path / "image", tmp_path / "functions"
    (scripts / "v12").mkdir(parents=True)
    (scripts / "v12" / "aggregate_funnel").write_text("#!/bin/sh\n", encoding="utf-8")
    (scripts / "v12" / "aggregate_funnel").chmod(0o750)
    definitions = "<functions>\n<function>\n</function>\n<function>\n</function>\n</functions>\n"
    (scripts / "latest_user_defined_function.xml").write_text(definitions, encoding="utf-8")
    done = functions(place, pod, scripts=scripts)
    assert (done.returncode, done.stdout) == (0, "2 functions are there\n")
    assert (place / "definitions" / "application_function.xml").read_text(encoding="utf-8") == definitions
    assert (place / "scripts" / "v12" / "aggregate_funnel").stat().st_mode & 0o777 == 0o755


def test_without_functions_the_server_starts_and_the_log_says_what_does_not_work(
    tmp_path: Path, pod: dict[str, Any]
) -> None:
    done = functions(tmp_path / "functions", pod, scripts=tmp_path / "nowhere")
    assert done.returncode == 0
    assert "funnels fail" in done.stderr
    assert (tmp_path / "functions" / "definitions").is_dir(), "the server looks there"


def test_the_server_looks_where_functions_are_copied_to_and_cannot_change_them(
    files: Files, pod: dict[str, Any]
) -> None:
    server = files()["server"]
    script = pod["init_container"][0]["command"][2]
    pattern = server["user_defined_executable_functions_config"]
    assert str(Path(pattern).parent) in script
    assert server["user_scripts_path"].removesuffix("/") in script
    assert f"{Path(pattern).parent}/application_function.xml" in script
    (mount,) = (item for item in pod["container"][0]["volume_mount"] if item["name"] == "functions")
    assert mount["read_only"] is True


def run(script: str, place: Path, answers: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    binaries = place / "bin"
    binaries.mkdir()
    (binaries / "clickhouse-client").write_text(CLIENT, encoding="utf-8")
    (binaries / "clickhouse-client").chmod(0o755)
    (place / "answers").write_text(answers, encoding="utf-8")
    names = {"ANSWERS": str(place / "answers"), "NOTES": str(place / "notes"), "PAUSE": "0"}
    environment = {**variables, **names, "PATH": f"{binaries}:{os.environ['PATH']}", "CLICKHOUSE_PASSWORD": "hidden"}
    command = ["/bin/sh", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    asked = (place / "notes").read_text(encoding="utf-8").splitlines()
    assert "hidden" not in "\n".join(asked)
    return done, asked


def test_the_tables_of_the_server_about_itself_are_there_before_a_migration_asks_for_them(tmp_path: Path) -> None:
    variables = {"CLICKHOUSE_HOST": HOST, "CLICKHOUSE_USER": "posthog"}
    done, asked = run(SYSTEM_TABLES_SCRIPT, tmp_path, "EXISTS 1\n", **variables)
    assert done.returncode == 0, done.stderr
    assert asked[0].endswith("--query=SYSTEM FLUSH LOGS")
    assert [line.rpartition(".")[2] for line in asked[1:]] == list(SYSTEM_TABLES)


def expire(place: Path, answers: str, *, months: str = "12") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    variables = {"HOST": HOST, "OWNER": "posthog", "DATABASE": "posthog", "TABLES": " ".join(retention.TABLES)}
    done, asked = run(EXPIRE.read_text(encoding="utf-8"), place, answers, MONTHS=months, **variables)
    return done, [line.partition("--query=")[2] for line in asked]


def test_months_that_are_old_enough_are_dropped_and_nothing_else(tmp_path: Path) -> None:
    keys = "system.tables toYYYYMM(timestamp)\n"
    done, asked = expire(tmp_path, f"{keys}table*=*'sharded_events' 202401,202402\nsystem.parts\n")
    assert done.returncode == 0, done.stderr
    assert [query for query in asked if query.startswith("ALTER")] == [
        f"ALTER TABLE posthog.sharded_events DROP PARTITION ID '{month}' SETTINGS max_partition_size_to_drop = 0"
        for month in ("202401", "202402")
    ]
    assert all("toYYYYMM(today() - INTERVAL 12 MONTH)" in query for query in asked if "system.parts" in query)


def test_a_table_with_other_partitions_than_months_is_left_alone_and_fails_the_job(tmp_path: Path) -> None:
    done, asked = expire(tmp_path, "system.tables toMonday(timestamp)\n")
    assert done.returncode == 1
    assert "sharded_events has a partition for each toMonday(timestamp), not for a month" in done.stderr
    assert not [query for query in asked if query.startswith("ALTER")]


def test_a_server_that_does_not_answer_fails_the_job(tmp_path: Path) -> None:
    assert expire(tmp_path, "system.tables fails\n")[0].returncode != 0


@pytest.mark.parametrize(("months", "count"), [(0, 0), (3, 1)])
def test_with_no_months_nothing_is_ever_deleted(
    months: int, count: int, stack: Stack, larger: Project, evaluate: Evaluate, render: Render
) -> None:
    release = resources(stack)["helm_release.posthog_retention_release"]
    tfvars = tfvars_of(larger, "staging")
    settings = {"retention": {"events_months": months}}
    (text,) = evaluate(stack, {"values": values_of(release)}, tfvars=tfvars, posthog=settings)["values"]
    values = merged(map(yaml.safe_load, text))
    assert len(render("posthog-retention", values, "monitoring-staging")) == count
