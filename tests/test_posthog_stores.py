"""PostHog's stores: their configuration as Terraform evaluates it, and who may call them."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from constructs.l4_insight.posthog import kafka, objects, redis
from constructs.l4_insight.posthog.kafka import PARTITIONS, BoundedKafka
from constructs.settings import mebibytes_of
from stacks.project import Project
from stacks.supplied import supplied
from tests.posthog_stores import NAMESPACE, STORES, Objects, container, file, posthog_stack, stores
from tests.support import ROOT, Evaluate, Refused, Render, Stack, merged, resources, tfvars_of, values_of

MEBIBYTE = 1024 * 1024
Make = Callable[..., Objects]


@pytest.fixture(scope="module")
def stack(larger: Project) -> Stack:
    return posthog_stack(larger)


@pytest.fixture(scope="module")
def make(larger: Project, stack: Stack, evaluate: Evaluate) -> Make:
    def run(**posthog: object) -> Objects:
        return stores(larger, stack, evaluate, posthog=posthog)

    return run


@pytest.fixture(scope="module")
def shipped(make: Make) -> Objects:
    return make()


# All of them.


@pytest.mark.parametrize("store", STORES)
def test_a_stores_pod_passes_pod_security_restricted_and_writes_where_it_must_alone(
    store: str, shipped: Objects
) -> None:
    pod = shipped[f"stateful_set/posthog-{store}"]["spec"]["template"]["spec"]
    assert pod["security_context"]["run_as_non_root"] is True
    assert pod["security_context"]["seccomp_profile"] == {"type": "RuntimeDefault"}
    assert pod["automount_service_account_token"] is False
    assert pod["enable_service_links"] is False
    assert pod["priority_class_name"] == "environment-staging"
    found = container(shipped, store)["security_context"]
    assert found["allow_privilege_escalation"] is False
    assert found["read_only_root_filesystem"] is True
    assert found["run_as_non_root"] is True, "the provider's default undoes the pod's"
    assert found["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("store", STORES)
def test_a_stores_objects_stand_beside_signoz_own_and_find_each_other(store: str, shipped: Objects) -> None:
    name = f"posthog-{store}"
    server, service = shipped[f"stateful_set/{name}"], shipped[f"service/{name}"]
    labels = {"app.kubernetes.io/name": "posthog", "app.kubernetes.io/component": store}
    assert server["spec"]["template"]["metadata"]["labels"] == service["spec"]["selector"] == labels
    assert shipped[f"network_policy/{name}"]["spec"]["pod_selector"]["match_labels"] == labels
    (port,) = service["spec"]["port"]
    assert [port["port"]] == [item["container_port"] for item in container(shipped, store)["port"]]
    for found in (server, service):
        assert found["metadata"]["namespace"] == NAMESPACE


@pytest.mark.parametrize("store", STORES)
def test_a_store_calls_nobody_and_only_posthogs_own_pods_call_it(store: str, shipped: Objects) -> None:
    policy = shipped[f"network_policy/posthog-{store}"]["spec"]
    assert policy["policy_types"] == ["Ingress", "Egress"]
    assert not policy.get("egress")
    (own,) = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert own == str(shipped[f"service/posthog-{store}"]["spec"]["port"][0]["port"])
    peers = [peer for rule in policy["ingress"] for peer in rule["from"]]
    assert not [peer for peer in peers if "namespace_selector" in peer or "ip_block" in peer]
    names = {peer["pod_selector"]["match_labels"]["app.kubernetes.io/name"] for peer in peers}
    assert names == ({"posthog", "clickhouse"} if store == "kafka" else {"posthog"})


def recordings(larger: Project, stack: Stack, evaluate: Evaluate, render: Render, **posthog: object) -> dict[str, Any]:
    """Return the pod of the CronJob that ends recordings."""
    expression = values_of(stack["resource"]["helm_release"]["posthog_stores_objects_recordings_release"])
    tfvars = tfvars_of(larger, "staging")
    (files,) = evaluate(stack, {"values": expression}, tfvars=tfvars, posthog=posthog)["values"]
    found = render("posthog-recordings", merged(map(yaml.safe_load, files)), NAMESPACE)["CronJob/posthog-recordings"]
    pod: dict[str, Any] = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in found["env"]}


def test_the_volumes_are_those_that_must_last_and_their_size_is_asked_for(make: Make) -> None:
    found = make(
        kafka={"storage": "31Gi"},
        redis={"storage": "5Gi"},
        objects={"storage": "77Gi"},
    )
    claims = {
        store: [
            claim["spec"]["resources"]["requests"]["storage"]
            for claim in found[f"stateful_set/posthog-{store}"]["spec"]["volume_claim_template"]
        ]
        for store in STORES
    }
    assert claims == {"kafka": ["31Gi"], "redis": ["5Gi"], "valkey": [], "objects": ["77Gi"]}


@pytest.mark.parametrize("store", ["kafka", "redis", "valkey"])
def test_a_changed_configuration_starts_a_store_again(store: str, make: Make, shipped: Objects) -> None:
    changed = make(
        kafka={"retention_hours": 5},
        redis={"memory": "1Gi"},
        valkey={"memory": "1Gi"},
    )
    first, second = (
        found[f"stateful_set/posthog-{store}"]["spec"]["template"]["metadata"]["annotations"]["strata/configuration"]
        for found in (shipped, changed)
    )
    assert first != second


def test_what_is_counted_is_what_a_pod_asks_for(make: Make) -> None:
    size = {"cpu": "70m", "memory": "2Gi"}
    found = make(kafka=size, redis=size, valkey=size, objects=size)
    counted = [
        *kafka.footprints(kafka.KafkaSettings.model_validate(size)),
        *redis.footprints(redis.RedisSettings.model_validate(size), redis.ValkeySettings.model_validate(size)),
        *objects.footprints(objects.ObjectSettings.model_validate(size)),
    ]
    assert [item.name for item in counted] == [*(f"posthog-{store}" for store in STORES), "posthog-recordings"]
    for item, store in zip(counted[:-1], STORES, strict=True):
        asked = container(found, store)["resources"]
        assert asked == {"requests": {"cpu": "70m", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
        assert (item.cpu, item.memory, item.memory_limit) == (70, 2048, 2048)


# Redpanda.


def properties(found: Objects) -> dict[str, Any]:
    text = json.loads(file(found, "kafka", "properties.json"))
    assert isinstance(text, dict)
    return text


def test_the_broker_is_no_developers_and_tells_its_vendor_nothing(shipped: Objects) -> None:
    node = yaml.safe_load(file(shipped, "kafka", "redpanda.yaml"))["redpanda"]
    assert node["developer_mode"] is False, "else an event is stored before the disk has it"
    assert properties(shipped)["enable_metrics_reporter"] is False
    script = container(shipped, "kafka")["command"][-1]
    assert "--mode" not in script
    assert "--check=false" in script, "else it asks a cloud's metadata service"


def test_clients_are_told_the_brokers_service_and_its_own_talk_stays_in_the_pod(shipped: Objects) -> None:
    node = yaml.safe_load(file(shipped, "kafka", "redpanda.yaml"))["redpanda"]
    (told,) = node["advertised_kafka_api"]
    assert (told["address"], told["port"]) == (f"posthog-kafka.{NAMESPACE}.svc", 9092)
    assert node["rpc_server"]["address"] == "127.0.0.1"


@pytest.mark.parametrize(("memory", "share"), [("1344Mi", 1075), ("1536Mi", 1228), ("4Gi", 3276)])
def test_the_broker_has_the_gibibyte_that_it_needs_and_leaves_a_fifth_of_its_container(
    memory: str, share: int, make: Make
) -> None:
    script = container(make(kafka={"memory": memory}), "kafka")["command"][-1]
    assert f"--memory={share}M --reserve-memory=0M" in script
    assert "--smp=1 --overprovisioned" in script


def test_what_is_kept_is_bounded_by_time_and_by_size_and_fits_into_the_volume(make: Make) -> None:
    found = properties(make(kafka={"retention_hours": 12, "retention_size": "64Mi", "storage": "10Gi"}))
    assert found["log_retention_ms"] == 12 * 3600 * 1000
    assert found["retention_bytes"] == 64 * MEBIBYTE
    assert found["topic_partitions_per_shard"] == PARTITIONS
    # What is being written to is never deleted, so a file ends by the hour, and is small.
    assert found["log_segment_ms"] == 3600 * 1000
    segment = found["log_segment_size"]
    assert segment + found["segment_fallocation_step"] < kafka._BESIDE_MEBIBYTES * MEBIBYTE  # noqa: SLF001
    assert found["compacted_log_segment_size"] == found["transaction_coordinator_log_segment_size"] == segment
    most = PARTITIONS * (64 + 20)
    assert most + found["storage_min_free_bytes"] / MEBIBYTE < 10 * 1024


@pytest.mark.parametrize(
    ("retention", "storage", "fits"),
    [("128Mi", "20Gi", True), ("164Mi", "20Gi", True), ("165Mi", "20Gi", False), ("1Gi", "120Gi", True)],
)
def test_terraform_and_python_refuse_more_than_the_volume_holds(
    retention: str, storage: str, *, fits: bool, make: Make
) -> None:
    values = {"retention_size": retention, "storage": storage}
    assert fits == (PARTITIONS * (mebibytes_of(retention) + 20) <= 0.9 * mebibytes_of(storage))
    if fits:
        assert TypeAdapter(BoundedKafka).validate_python(values)
        assert make(kafka=values)
    else:
        with pytest.raises(ValidationError, match="give less of retention_size"):
            TypeAdapter(BoundedKafka).validate_python(values)
        with pytest.raises(Refused, match="give less of retention_size"):
            make(kafka=values)


def test_a_running_broker_is_told_its_properties_at_each_start_and_so_is_a_new_one(shipped: Objects) -> None:
    """A broker that has run before reads them from no file."""
    script = container(shipped, "kafka")["command"][-1]
    assert "cp /configuration/properties.json /etc/redpanda/.bootstrap.yaml" in script
    (started,) = container(shipped, "kafka")["lifecycle"]["post_start"]
    assert "/configuration/properties.json" in started["exec"]["command"][-1]
    assert "--request PUT" in started["exec"]["command"][-1]
    assert yaml.safe_load(file(shipped, "kafka", "properties.json")) == properties(shipped), "JSON is YAML too"


# Redis.


def settings_of(found: Objects, store: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in file(found, store, "valkey.conf").splitlines())


@pytest.mark.parametrize("mebibytes", [96, 512, 4096])
def test_the_queue_leaves_a_fork_as_much_memory_as_it_has_data_and_never_drops_a_task(
    mebibytes: int, make: Make
) -> None:
    found = settings_of(make(redis={"memory": f"{mebibytes}Mi"}), "redis")
    assert found["maxmemory-policy"] == "volatile-lru"
    assert found["appendonly"] == "yes"
    assert 2 * int(found["maxmemory"].removesuffix("mb")) + 32 <= mebibytes


@pytest.mark.parametrize("mebibytes", [64, 128, 1024])
def test_the_cache_has_no_disk_and_drops_what_was_least_used(mebibytes: int, make: Make) -> None:
    found = settings_of(make(valkey={"memory": f"{mebibytes}Mi"}), "valkey")
    assert (found["maxmemory-policy"], found["appendonly"], found["save"]) == ("allkeys-lru", "no", '""')
    assert 0.5 * mebibytes < int(found["maxmemory"].removesuffix("mb")) <= 0.8 * mebibytes


# Objects.


def test_the_keys_are_in_a_secret_and_in_no_file_and_on_no_command_line(shipped: Objects, stack: Stack) -> None:
    given = {item["name"]: item for item in container(shipped, "objects")["env"]}
    for variable, key in (("AWS_ACCESS_KEY_ID", "ACCESS_KEY_ID"), ("AWS_SECRET_ACCESS_KEY", "ACCESS_SECRET_KEY")):
        assert given[variable]["value_from"]["secret_key_ref"] == {"name": "posthog-objects", "key": key}
    secret = resources(stack)["kubernetes_secret_v1.posthog_stores_objects_auth"]
    assert set(secret["data_wo"]) == {"ACCESS_KEY_ID", "ACCESS_SECRET_KEY"}
    assert not [word for word in container(shipped, "objects")["command"] if "$" in word]
    (started,) = container(shipped, "objects")["lifecycle"]["post_start"]
    assert "AWS" not in started["exec"]["command"][-1], "the bucket is made past S3"


def test_only_s3_is_reached_from_outside_the_pod_and_its_vendor_hears_nothing(shipped: Objects) -> None:
    command = container(shipped, "objects")["command"]
    assert {"-ip=localhost", "-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0", "-master.telemetry=false"} <= set(command)
    assert {"-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"} <= set(command)


@pytest.mark.parametrize(("storage", "files"), [("4Gi", 14), ("20Gi", 72), ("100Gi", 360)])
def test_seaweedfs_fills_its_volume_less_a_tenth_and_no_more(storage: str, files: int, make: Make) -> None:
    command = container(make(objects={"storage": storage}), "objects")["command"]
    assert f"-volume.max={files}" in command
    assert "-master.volumeSizeLimitMB=256" in command


OWN = {"bucket": "ours", "endpoint": "https://s3.example.com:9000", "region": "eu-central-1", "secret": "our-key"}


def test_with_a_bucket_of_ones_own_there_is_no_seaweedfs_and_its_callers_may_go_there(
    make: Make, shipped: Objects
) -> None:
    found = make(objects=OWN)
    assert not [name for name in found if name.endswith("/posthog-objects")]
    ways = {name for name in found if name.endswith("-bucket")}
    callers = shipped["network_policy/posthog-objects"]["spec"]["ingress"]
    assert len(ways) == len(callers)
    for name in ways:
        (rule,) = found[name]["spec"]["egress"]
        assert [int(port["port"]) for port in rule["ports"]] == [9000]
    assert not [name for name in shipped if name.endswith("-bucket")]
    counted = objects.footprints(objects.ObjectSettings.model_validate(OWN))
    assert [item.name for item in counted] == ["posthog-recordings"]


@pytest.mark.parametrize(("most", "days"), [(7, [7, 7, 7, 7]), (90, [30, 90, 90, 90]), (1825, [30, 90, 365, 1825])])
def test_a_recording_ends_when_its_project_says_and_at_the_latest_when_the_settings_do(
    most: int, days: list[int], larger: Project, stack: Stack, evaluate: Evaluate, render: Render
) -> None:
    found = recordings(larger, stack, evaluate, render, objects={"recordings": {"keep_days": most}})
    ends = [line.split() for line in environment(found)["ENDS"].splitlines()]
    assert ends == [[name, str(end)] for name, end in zip(("30d", "90d", "1y", "5y"), days, strict=True)]


@pytest.mark.parametrize(
    ("own", "place", "endpoint", "provider", "secret"),
    [
        ({}, ":s3:posthog", f"http://posthog-objects.{NAMESPACE}.svc:8333", "Other", "posthog-objects"),
        (OWN, ":s3:ours", "https://s3.example.com:9000", "Other", "our-key"),
        ({**OWN, "endpoint": ""}, ":s3:ours", "", "AWS", "our-key"),
    ],
)
def test_recordings_end_in_whatever_bucket_they_are(
    own: dict[str, str],
    place: str,
    endpoint: str,
    provider: str,
    secret: str,
    larger: Project,
    stack: Stack,
    evaluate: Evaluate,
    render: Render,
) -> None:
    found = recordings(larger, stack, evaluate, render, objects=own)
    given = environment(found)
    assert given["PLACE"] == f"{place}/session_recordings"
    assert (given["RCLONE_S3_ENDPOINT"], given["RCLONE_S3_PROVIDER"]) == (endpoint, provider)
    assert given["RCLONE_S3_SECRET_ACCESS_KEY"]["secretKeyRef"] == {"name": secret, "key": "ACCESS_SECRET_KEY"}


# A bucket whose every folder is gone through; one of them cannot be.
RCLONE = """#!/bin/sh
echo "$*" >> "$NOTES"
case "$*" in *"$BROKEN") exit 1 ;; esac
"""


@pytest.mark.parametrize(("broken", "is_done"), [("/none", True), ("/90d", False)])
def test_what_cannot_be_deleted_fails_the_job_and_each_folder_has_days_of_its_own(
    broken: str, *, is_done: bool, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    (tmp_path / "rclone").write_text(RCLONE, encoding="utf-8")
    (tmp_path / "rclone").chmod(0o755)
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", str(ROOT / "charts" / "posthog-recordings" / "scripts" / "expire")],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PLACE": ":s3:posthog/session_recordings",
            "ENDS": "30d 30\n90d 45",
            "NOTES": str(notes),
            "BROKEN": broken,
        },
        check=False,
    )
    assert (done.returncode == 0) is is_done
    called = [line.split() for line in notes.read_text(encoding="utf-8").splitlines()]
    assert [(words[words.index("--min-age") + 1], words[-1]) for words in called] == [
        ("30d", ":s3:posthog/session_recordings/30d"),
        ("45d", ":s3:posthog/session_recordings/90d"),
    ]


def test_the_key_to_a_bucket_of_ones_own_is_asked_for(larger: Project) -> None:
    staging = larger.environments["staging"].model_dump()
    own = {**staging, "posthog": {**staging["posthog"], "objects": {**staging["posthog"]["objects"], **OWN}}}
    (asked,) = [item for item in supplied(own) if item.name == "our-key"]
    assert (asked.namespace, asked.keys) == (NAMESPACE, ("ACCESS_KEY_ID", "ACCESS_SECRET_KEY"))
    assert "our-key" not in [item.name for item in supplied(staging)]
    assert "our-key" not in [item.name for item in supplied({**own, "components": ("redis",)})]
