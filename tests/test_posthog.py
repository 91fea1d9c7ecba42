"""PostHog's services and what comes before them: the table, what it becomes, and the scripts, run as they stand."""

import graphlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from constructs.l4_insight.posthog import migrations, service
from constructs.l4_insight.posthog.clickhouse import SYSTEM_TABLES_SCRIPT
from constructs.l4_insight.posthog.database import LEAST_MEBIBYTES
from constructs.l4_insight.posthog.kafka import PARTITIONS
from constructs.l4_insight.posthog.routes import PORTS
from constructs.l4_insight.posthog.services import (
    BY_NAME,
    DJANGO,
    JOBS,
    KEYS_SECRET,
    MIGRATE,
    POSTGRES,
    SERVICES,
    SITE_VARIABLE,
    Key,
    Service,
)
from stacks.project import Project
from tests.support import ROOT, Evaluate, Render, Stack, free_port, resources, tfvars_of

MONITORING, DATA = "monitoring-staging", "data-staging"
SCRIPTS = ROOT / "charts" / "posthog-migrations" / "scripts"
TOPICS = ROOT / "charts" / "posthog-topics" / "scripts" / "topics"
STORES = {name for row in SERVICES for name in row.needs} - set(BY_NAME)
Variables = list[dict[str, Any]]


# --- The table ---


def test_every_need_is_a_store_or_a_service_and_nobody_waits_for_whoever_waits_for_it() -> None:
    graph = {row.name: [need for need in row.needs if need in BY_NAME] for row in SERVICES}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(BY_NAME)
    assert {"postgres", "clickhouse", "kafka", "redis", "valkey", "objects"} == STORES
    assert not {name for row in SERVICES for name in row.calls} - set(BY_NAME)
    assert not {need for needs in JOBS.values() for need in needs} - STORES
    assert not [row.name for row in SERVICES if set(row.needs) & set(row.calls)]


@pytest.mark.parametrize("row", SERVICES, ids=lambda row: row.name)
def test_whoever_is_named_in_a_variable_is_needed_or_called_and_nobody_else(row: Service) -> None:
    named = set()
    for variable, value in row.environment.items():
        for host, port in re.findall(r"\bposthog-([a-z-]+):(\d+)", value if isinstance(value, str) else ""):
            assert int(port) == BY_NAME[host].port, variable
            named.add(host)
    assert named == {name for name in (*row.needs, *row.calls) if name in BY_NAME}


@pytest.mark.parametrize("row", SERVICES, ids=lambda row: row.name)
def test_a_service_that_is_called_listens_where_it_is_told_to(row: Service) -> None:
    told = {variable: value for variable, value in row.environment.items() if variable in ("ADDRESS", "GRPC_ADDRESS")}
    assert all(value == f"0.0.0.0:{row.port}" for value in told.values())
    assert row.port in (PORTS.get(row.name), None) or row.name not in PORTS
    # What only takes tasks from a queue answers nobody.
    assert (row.health is None) == (row.name == "worker")
    is_called = row.name in PORTS or any(row.name in (*other.needs, *other.calls) for other in SERVICES)
    assert (row.port is not None) == is_called


# What the sources refuse to start without, or take another address for: by image.
MANDATORY = {
    "posthog": (
        "CLICKHOUSE_LOGS_CLUSTER_HOST DATABASE_URL ENCRYPTION_SALT_KEYS INTERNAL_API_SECRET OBJECT_STORAGE_ENDPOINT"
        " REDIS_URL SECRET_KEY SITE_URL CLICKHOUSE_SECURE"
    ),
    "posthog-node": (
        "DATABASE_URL ENCRYPTION_SALT_KEYS KAFKA_CONSUMER_METADATA_BROKER_LIST KAFKA_PRODUCER_METADATA_BROKER_LIST"
        " PERSONS_DATABASE_URL REDIS_URL MMDB_FILE_LOCATION"
    ),
    "posthog-capture": "ADDRESS CAPTURE_MODE KAFKA_TOPIC REDIS_URL",
    "posthog-feature-flags": "ADDRESS READ_DATABASE_URL REDIS_URL SECRET_KEY WRITE_DATABASE_URL",
    "posthog-hypercache-server": "ADDRESS OBJECT_STORAGE_BUCKET OBJECT_STORAGE_ENDPOINT REDIS_URL",
    "posthog-property-defs-rs": "BIND_HOST BIND_PORT DATABASE_URL SKIP_WRITES",
    "posthog-personhog-replica": "GRPC_ADDRESS METRICS_PORT PRIMARY_DATABASE_URL",
    "posthog-personhog-router": "GRPC_ADDRESS METRICS_PORT REPLICA_URL",
}


@pytest.mark.parametrize("row", SERVICES, ids=lambda row: row.name)
def test_every_image_is_told_what_it_does_not_start_without(row: Service) -> None:
    assert not set(MANDATORY[row.image].split()) - set(row.environment)


def test_whoever_answers_about_recordings_or_encrypts_has_the_same_keys_as_django() -> None:
    for row in SERVICES:
        for variable in ("ENCRYPTION_SALT_KEYS", "SECRET_KEY", "INTERNAL_API_SECRET", "INTERNAL_REQUEST_TOKEN"):
            assert row.environment.get(variable, DJANGO[variable]) == DJANGO[variable]


def test_nothing_is_told_to_the_vendor_and_only_destinations_are_outside() -> None:
    assert DJANGO["OPT_OUT_CAPTURE"] == "true"
    for row in SERVICES:
        for variable in ("SENTRY_DSN", "POSTHOG_API_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT"):
            assert not row.environment.get(variable)
    assert {row.name: row.outside for row in SERVICES if row.outside} == {
        "web": (443,),
        "worker": (443, 465, 587),
        "plugins": (443,),
    }


def test_all_pools_together_fit_a_small_postgres() -> None:
    """The new pods of an update come beside the old ones, and the migrations before them; some are for people."""
    pods = {row.name: 1 + row.surges for row in SERVICES}
    most = sum(row.connections * pods[row.name] for row in SERVICES) + migrations.CONNECTIONS
    assert all((row.connections > 0) == (POSTGRES in row.needs) for row in SERVICES)
    kept_for_superusers = 3
    # Each pod that starts asks once more, beside its pools, whether the owner is there.
    asking = sum(POSTGRES in row.needs for row in SERVICES)
    assert most + asking + kept_for_superusers <= LEAST_MEBIBYTES // 8, most


def test_the_topics_fit_the_broker() -> None:
    assert len(set(migrations.NAMES)) == len(migrations.NAMES) < PARTITIONS * 0.7
    told = {
        value
        for row in SERVICES
        for variable, value in row.environment.items()
        if "_TOPIC" in variable and isinstance(value, str)
    }
    assert told <= set(migrations.NAMES)


# --- What it becomes ---


@pytest.fixture(scope="module")
def stack(larger_stacks: dict[str, Stack]) -> Stack:
    return larger_stacks["staging"]


def pod_of(stack: Stack, row: Service) -> dict[str, Any]:
    found = resources(stack)[f"kubernetes_deployment_v1.posthog_{row.name}"]
    return found["spec"]["template"]["spec"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def migrate(stack: Stack, larger: Project, evaluate: Evaluate) -> dict[str, Any]:
    """The values of the chart that migrates."""
    found = evaluate(
        stack, {"values": "${local.posthog_migrations_release_values}"}, tfvars=tfvars_of(larger, "staging")
    )
    return found["values"]  # type: ignore[no-any-return]


def pods_with_variables(stack: Stack, migrate: dict[str, Any]) -> Iterator[tuple[str, Variables]]:
    for row in SERVICES:
        pod = pod_of(stack, row)
        yield from ((f"{row.name}/{item['name']}", item.get("env", [])) for item in pod["init_container"])
        yield from ((f"{row.name}/{item['name']}", item["env"]) for item in pod["container"])
    yield from ((f"migrate/{item['name']}", item.get("env", [])) for item in migrate["before"])
    yield "migrate/migrate", migrate["env"]


def test_a_variable_is_made_of_those_before_it(stack: Stack, migrate: dict[str, Any]) -> None:
    for pod, variables in pods_with_variables(stack, migrate):
        before: set[str] = set()
        for variable in variables:
            used = set(re.findall(r"\$\(([A-Z_0-9]+)\)", variable.get("value") or ""))
            assert used <= before, f"{pod}: {variable['name']}: Kubernetes would leave {used - before} as it stands"
            assert variable["name"] not in before, f"{pod}: {variable['name']} twice"
            before.add(variable["name"])


def test_every_secret_that_a_variable_names_is_there_with_its_key(
    stack: Stack, larger: Project, migrate: dict[str, Any], evaluate: Evaluate
) -> None:
    keys = {"posthog-postgres": {"username", "password"}}
    for address, item in resources(stack).items():
        if address.startswith("kubernetes_secret_v1.posthog"):
            keys[item["metadata"]["name"]] = set(item["data_wo"])
    named = []
    for pod, variables in pods_with_variables(stack, migrate):
        for variable in variables:
            source = variable.get("value_from") or variable.get("valueFrom")
            if source:
                reference = source.get("secret_key_ref") or source["secretKeyRef"]
                named.append((f"{pod}: {variable['name']}", reference["name"], reference["key"]))
    names = {name for _, name, _ in named if name.startswith("${")}
    found = evaluate(
        stack, {f"n{index}": name for index, name in enumerate(names)}, tfvars=tfvars_of(larger, "staging")
    )
    values = {name: found[f"n{index}"] for index, name in enumerate(names)}
    for words, name, key in named:
        assert key in keys[values.get(name, name)], words


def test_a_pod_waits_for_each_of_its_needs_where_there_is_a_service_for_it(
    stack: Stack, larger: Project, migrate: dict[str, Any], evaluate: Evaluate
) -> None:
    services = {
        item["metadata"]["name"]: {port["port"] for port in item["spec"]["port"]}
        for address, item in resources(stack).items()
        if address.startswith("kubernetes_service_v1.")
    }
    wanted = {row.name: row.needs for row in SERVICES} | {MIGRATE: JOBS[MIGRATE]}
    waits = {row.name: pod_of(stack, row)["init_container"][0]["command"] for row in SERVICES}
    found = evaluate(stack, {"waits": waits}, tfvars=tfvars_of(larger, "staging"))["waits"]
    found[MIGRATE] = migrate["before"][0]["command"]
    for name, (python, _, program, *arguments) in found.items():
        assert (python, program) == ("python3", service.WAIT)
        assert tuple(argument.partition("=")[0] for argument in arguments) == wanted[name]
        for argument in arguments:
            need, _, address = argument.partition("=")
            host, _, port = address.removeprefix("http://").partition(":")
            place, _, namespace = host.removesuffix(".svc").partition(".")
            assert int(port) in services[place], argument
            assert namespace in ({DATA} if need == POSTGRES else {MONITORING, ""}), argument


def test_whoever_reads_postgres_waits_until_the_owner_is_there(stack: Stack) -> None:
    for row in SERVICES:
        waits = [item["name"] for item in pod_of(stack, row)["init_container"]]
        assert ("wait-for-the-schema" in waits) == (POSTGRES in row.needs)
        assert ("wait-for-the-image" in waits) == (row.image == "posthog")


def test_an_apply_waits_for_no_service_and_each_comes_after_the_migrations(stack: Stack) -> None:
    for row in SERVICES:
        deployment = resources(stack)[f"kubernetes_deployment_v1.posthog_{row.name}"]
        assert deployment["wait_for_rollout"] is False
        assert "helm_release.posthog_migrations_release" in deployment["depends_on"]


def test_no_pod_may_call_the_api_server_and_all_file_systems_are_read_only(stack: Stack) -> None:
    for row in SERVICES:
        pod = pod_of(stack, row)
        assert pod["automount_service_account_token"] is False
        for container in (*pod["init_container"], *pod["container"]):
            assert container["security_context"]["read_only_root_filesystem"] is True
            assert container["resources"]["limits"]["memory"]


def test_only_more_pods_than_one_have_a_budget(stack: Stack, larger: Project, evaluate: Evaluate) -> None:
    counts = {
        row.name: resources(stack)[f"kubernetes_pod_disruption_budget_v1.posthog_{row.name}_budget"]["count"]
        for row in SERVICES
    }
    found = evaluate(stack, counts, tfvars=tfvars_of(larger, "staging"))
    assert {name for name, count in found.items() if count} == {"web", "capture", "ingestion-general"}


def test_the_keys_are_never_written_again_and_not_deleted_by_accident(stack: Stack) -> None:
    keys = resources(stack)["kubernetes_secret_v1.posthog_secrets_keys"]
    assert keys["metadata"]["name"] == KEYS_SECRET
    assert keys["data_wo_revision"] == 1
    assert keys["metadata"]["labels"] == {"strata/protected": "true"}
    lock = resources(stack)["kubernetes_config_map_v1.posthog_lock"]
    assert f"kubectl annotate secrets {KEYS_SECRET} --namespace={MONITORING}" in lock["data"]["also"]


def test_a_salt_key_is_what_posthog_takes_for_one(stack: Stack) -> None:
    """PostHog's own pattern: ^[A-Za-z0-9_-]{32}$."""
    drawn = stack["ephemeral"]["random_password"][f"{KEYS_SECRET}_salt-keys"]
    assert drawn == {"length": 32, "special": False}


def test_migrations_are_told_what_django_is_told(migrate: dict[str, Any]) -> None:
    told = {variable["name"] for variable in migrate["env"]}
    assert set(DJANGO) | {SITE_VARIABLE, "POSTGRES_HOST", "CLICKHOUSE_HOST", "KAFKA_HOSTS"} <= told
    key = DJANGO["SECRET_KEY"]
    assert isinstance(key, Key)
    (secret,) = (variable for variable in migrate["env"] if variable["name"] == "SECRET_KEY")
    assert secret["valueFrom"]["secretKeyRef"] == {"name": key.secret, "key": key.key}
    assert migrate["before"][1]["command"] == ["sh", "-c", SYSTEM_TABLES_SCRIPT]
    assert migrate["owner"] == {"organization": "staging", "email": "admin@example.com", "secret": "posthog-admin"}


def test_an_apply_gives_up_after_the_job_that_watches(stack: Stack, migrate: dict[str, Any], render: Render) -> None:
    release = resources(stack)["helm_release.posthog_migrations_release"]
    objects = render("posthog-migrations", migrate, namespace=MONITORING)
    (outcome,) = (item for name, item in objects.items() if name.startswith("Job/"))
    assert migrate["patience"] < outcome["spec"]["activeDeadlineSeconds"] < release["timeout"]


# --- The scripts ---


class Place:
    """A folder with stubs of programs, first on the PATH, and `notes` of how they were called."""

    def __init__(self, root: Path) -> None:
        self.root, self.binaries, self._notes = root, root / "bin", root / "notes"
        self.binaries.mkdir()

    def stub(self, name: str, script: str) -> None:
        (self.binaries / name).write_text(f'#!/bin/sh\necho "$*" >> "{self._notes}"\n{script}', encoding="utf-8")
        (self.binaries / name).chmod(0o755)

    def notes(self) -> list[str]:
        return self._notes.read_text(encoding="utf-8").splitlines() if self._notes.exists() else []

    def put(self, name: str, text: str = "") -> None:
        (self.root / name).write_text(text, encoding="utf-8")

    def start(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603
            command,
            cwd=self.root,
            env={"PATH": f"{self.binaries}:{os.environ['PATH']}", "PAUSE": "0.05", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, **variables: str) -> tuple[int, str]:
        return ended(self.start(*command, **variables))

    def waits_for(self, what: Callable[[], object]) -> None:
        for _ in range(400):
            if what():
                return
            time.sleep(0.05)
        raise AssertionError(self.notes())


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# The lock is a file's: it ends with the process, as Postgres' does with the connection.
PSYCOPG = """
import fcntl, os
class OperationalError(Exception): ...
class Answer:
    def __init__(self, value): self.value = value
    def fetchone(self): return (self.value,)
class Connection:
    def execute(self, query, values=()):
        if os.path.exists("lost"):
            raise OperationalError("the connection is lost")
        if "pg_try_advisory_lock" not in query:
            return Answer(1)
        self.file = open("lock", "w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Answer(False)
        return Answer(True)
def connect(address, autocommit, connect_timeout):
    assert autocommit
    if os.path.exists("down"):
        raise OperationalError("connection refused")
    return Connection()
"""
# Fails at the command that the file `fails` names, and stays at the one that `slow` names.
MANAGE = """
[ "$2" = "$(cat fails 2>/dev/null)" ] && { echo "no such column"; exit 3; }
while [ "$2" = "$(cat slow 2>/dev/null)" ]; do sleep 0.05; done
exit 0
"""
STEPS = [
    "migrate",
    "migrate_clickhouse",
    "sync_replicated_schema",
    "run_async_migrations",
    "run_async_migrations",
    "shell",
]


@pytest.fixture
def migrations_of(place: Place) -> Callable[[], subprocess.Popen[str]]:
    """Start the program, with a database and a PostHog that are stubs."""
    place.put("psycopg.py", PSYCOPG)
    place.stub("python", MANAGE)
    program = (SCRIPTS / "migrate.py").read_text(encoding="utf-8")
    return lambda: place.start(sys.executable, "-c", program, DATABASE_URL="postgres://", PYTHONPATH=str(place.root))


Start = Callable[[], subprocess.Popen[str]]


def commands(place: Place) -> list[str]:
    return [note.split()[1] for note in place.notes() if note.startswith("manage.py")]


def test_migrations_run_in_order_and_the_owner_comes_last(place: Place, migrations_of: Start) -> None:
    status, words = ended(migrations_of())
    assert (status, commands(place)) == (0, STEPS), words
    assert words.endswith("everything is done\n")


def test_newer_images_have_the_tables_of_persons_made_before_clickhouse_reads_them(
    place: Place, migrations_of: Start
) -> None:
    (place.root / "rust" / "persons_migrations").mkdir(parents=True)
    assert ended(migrations_of())[0] == 0
    assert commands(place) == [STEPS[0], "apply_persons_migrations", *STEPS[1:]]


@pytest.mark.parametrize("step", sorted(set(STEPS)))
def test_a_step_that_fails_ends_all_and_the_next_run_goes_on(place: Place, migrations_of: Start, step: str) -> None:
    place.put("fails", step)
    status, words = ended(migrations_of())
    assert status == 1
    assert "no such column" in words
    assert words.splitlines()[-1] == f"manage.py {step} failed with 3: what it said stands above"
    assert commands(place) == STEPS[: STEPS.index(step) + 1]
    place.put("fails")
    assert ended(migrations_of())[0] == 0
    assert commands(place)[-1] == "shell"


@pytest.mark.parametrize("step", sorted(set(STEPS)))
def test_a_run_that_is_ended_in_the_middle_takes_its_step_with_it(
    place: Place, migrations_of: Start, step: str
) -> None:
    place.put("slow", step)
    first = migrations_of()
    place.waits_for(lambda: step in commands(place))
    first.send_signal(signal.SIGTERM)
    status, words = ended(first)
    assert (status, words.splitlines()[-1]) == (1, "ended in the middle: the next run goes on from there")
    place.put("slow")
    assert ended(migrations_of())[0] == 0
    assert commands(place)[-len(STEPS) :] == STEPS


def test_two_never_run_at_once(place: Place, migrations_of: Start) -> None:
    place.put("slow", "migrate")
    first = migrations_of()
    place.waits_for(lambda: commands(place))
    second = migrations_of()
    time.sleep(1)
    assert commands(place) == ["migrate"], "the second has begun"
    place.put("slow")
    assert [status for status, _ in map(ended, (first, second))] == [0, 0]
    assert commands(place) == [*STEPS, *STEPS]


def test_one_that_was_killed_lets_the_next_one_begin(place: Place, migrations_of: Start) -> None:
    place.put("slow", "migrate")
    first = migrations_of()
    place.waits_for(lambda: commands(place))
    first.kill()
    place.put("slow")
    ended(first)
    assert ended(migrations_of())[0] == 0


def test_whoever_has_lost_the_lock_stops_at_once(place: Place, migrations_of: Start) -> None:
    place.put("slow", "migrate")
    first = migrations_of()
    place.waits_for(lambda: commands(place))
    place.put("lost")
    status, words = ended(first)
    place.put("slow")
    assert status == 1
    assert words.splitlines()[-1].endswith("the connection is lost")
    assert commands(place) == ["migrate"]


def test_migrations_wait_for_a_database_and_say_so(place: Place, migrations_of: Start) -> None:
    place.put("down")
    running = migrations_of()
    time.sleep(0.5)
    (place.root / "down").unlink()
    status, words = ended(running)
    assert status == 0
    assert words.startswith("waiting for the database: connection refused\n")


# PostHog as the owner's step sees it.
POSTHOG = {
    "django.py": "",
    "django/__init__.py": "",
    "django/contrib/__init__.py": "",
    "django/contrib/auth/__init__.py": "",
    "django/contrib/auth/models.py": "class AnonymousUser: ...",
    "posthog/__init__.py": "",
    "posthog/models.py": """
import json
class objects:
    def bootstrap(**values):
        open("owner", "a").write(json.dumps(values))
class User:
    objects = objects
""",
    "posthog/utils.py": """
import os
def get_can_create_org(user):
    return type(user).__name__ == "AnonymousUser" and (os.path.exists("open") or not os.path.exists("owner"))
""",
}


@pytest.fixture
def owner(place: Place) -> Callable[[], tuple[int, str]]:
    for name, text in POSTHOG.items():
        (place.root / name).parent.mkdir(parents=True, exist_ok=True)
        place.put(name, text)
    (place.root / "django.py").unlink()
    code = re.search(r'OWNER = """(.*?)"""', (SCRIPTS / "migrate.py").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    return lambda: place.run(
        sys.executable,
        "-c",
        code[1],
        PYTHONPATH=str(place.root),
        OWNER_ORGANIZATION="staging",
        OWNER_EMAIL="admin@example.com",
        OWNER_PASSWORD="secret",  # noqa: S106 (a test's)
    )


def test_the_owner_is_made_once_and_then_nobody_signs_up(place: Place, owner: Callable[[], tuple[int, str]]) -> None:
    assert owner() == (0, "")
    made = json.loads((place.root / "owner").read_text(encoding="utf-8"))
    assert (made["organization_name"], made["email"], made["password"]) == ("staging", "admin@example.com", "secret")
    assert owner() == (0, "")
    assert json.loads((place.root / "owner").read_text(encoding="utf-8")) == made, "made twice"


def test_migrations_fail_where_anybody_could_still_sign_up(place: Place, owner: Callable[[], tuple[int, str]]) -> None:
    place.put("open")
    status, words = owner()
    assert (status, words) == (1, "anybody could still sign up\n")


KUBECTL = """
case "$*" in
  "get job "*) sed -n "$(grep -c '^get job' notes)p" states | grep . || tail -n 1 states ;;
  "get pods "*) echo "psycopg.errors.UndefinedColumn" ;;
esac
"""


def outcome(place: Place, states: str, patience: int = 60) -> tuple[int, str, list[str]]:
    place.stub("kubectl", KUBECTL)
    place.put("states", states)
    status, words = place.run("sh", str(SCRIPTS / "outcome"), PATIENCE=str(patience))
    return status, words, place.notes()


def test_an_apply_starts_the_migrations_anew_and_waits_until_they_are_done(place: Place) -> None:
    status, words, asked = outcome(place, " \n \nSuccessCriteriaMet Complete\n")
    assert (status, words) == (0, "the migrations are done\n")
    assert asked[0].startswith("delete job posthog-migrate --ignore-not-found --cascade=foreground")
    assert asked[1] == "create job posthog-migrate --from=cronjob/posthog-migrate"
    assert len(asked) == 5, asked


def test_what_fails_in_the_migrations_fails_the_apply_with_its_words(place: Place) -> None:
    status, words, _ = outcome(place, "FailureTarget Failed\n")
    assert (status, words.splitlines()) == (
        1,
        ["the migrations failed; what they said last:", "psycopg.errors.UndefinedColumn"],
    )


def test_an_apply_does_not_wait_for_a_database_that_is_restored_for_hours(place: Place) -> None:
    status, words, _ = outcome(place, " \n", patience=1)
    assert (status, words) == (0, "the migrations go on by themselves: kubectl logs --follow job/posthog-migrate\n")


# Answers as a broker with the topics of the file `there`; what `refuses` names is not made, with its words.
RPK = """
case "$*" in
  *"topic list") [ -e there ] || exit 1; echo "NAME  PARTITIONS  REPLICAS"; sed 's/$/  1  1/' there ;;
  *"topic create"*) if [ -e refuses ]; then cat refuses; exit 1; fi ;;
esac
"""


def topics(place: Place, there: str, wanted: str) -> tuple[int, str, list[str]]:
    place.stub("rpk", RPK)
    place.put("there", there)
    status, words = place.run("sh", str(TOPICS), BROKER="broker:9092", TOPICS=wanted)
    return status, words, [note for note in place.notes() if "create" in note]


def test_only_topics_that_are_missing_are_made(place: Place) -> None:
    status, words, made = topics(place, "events\nlogs_dlq\n", "events logs events_dlq")
    assert (status, words) == (0, "made 2 topics\n")
    assert [note.split("create ")[1].split()[0] for note in made] == ["logs", "events_dlq"]


def test_a_topic_that_somebody_makes_in_the_meantime_is_no_error_but_any_other_is(place: Place) -> None:
    place.put("refuses", "events  TOPIC_ALREADY_EXISTS: already there\n")
    assert topics(place, "", "events")[0] == 0
    place.put("refuses", "events  INVALID_PARTITIONS: no room\n")
    status, words, _ = topics(place, "", "events")
    assert (status, words) == (1, "events was not made: events  INVALID_PARTITIONS: no room\n")


def test_a_pod_waits_until_its_needs_listen_and_says_for_which(place: Place) -> None:
    port = free_port()

    def listen() -> None:
        time.sleep(1)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.accept()[0].close()

    thread = threading.Thread(target=listen)
    thread.start()
    program = service.WAIT.replace("time.sleep(5)", "time.sleep(0.1)")
    status, words = place.run(sys.executable, "-c", program, f"kafka=127.0.0.1:{port}")
    thread.join()
    assert status == 0
    assert re.fullmatch(rf"(waiting for kafka, 127\.0\.0\.1:{port}: .*refused\n)+", words)


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_an_address_without_a_port_has_its_schemes(place: Place, scheme: str, port: int) -> None:
    waiting = place.start(sys.executable, "-c", service.WAIT, f"objects={scheme}://127.0.0.2")
    assert waiting.stdout
    assert waiting.stdout.readline().startswith(f"waiting for objects, 127.0.0.2:{port}: ")
    waiting.kill()
    ended(waiting)


def test_a_pod_waits_until_the_owner_is_there(place: Place) -> None:
    answers = ["psql: error: connection refused", "relation posthog_user does not exist", "", "1"]
    for number, answer in enumerate(answers, start=1):
        place.put(f"answer{number}", answer)
    place.stub("psql", 'cat "answer$(grep -c . notes)"')
    script = service.WAIT_FOR_THE_SCHEMA.replace("sleep 10", "sleep 0.01")
    status, words = place.run("bash", "-c", script)
    assert status == 0
    assert [line.rpartition(": ")[2] for line in words.splitlines()] == [
        "connection refused",
        "relation posthog_user does not exist",
        "it has no owner yet",
    ]
