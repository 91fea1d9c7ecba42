"""SigNoz: its preferences, its database's copy, its way back, and what its chart leaves of known secrets."""

import importlib.util
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stacks.project import Project
from stacks.restore import clickhouse, signoz
from stacks.restore.step import Request, RestoreError
from stacks.supplied import supplied
from tests.support import ROOT, Evaluate, Render, Stack, resources, tfvars_of

PREFERENCES = ROOT / "charts" / "signoz-preferences" / "scripts" / "preferences.py"
SNAPSHOTS = ROOT / "charts" / "snapshots" / "scripts" / "signoz"
PASSWORD = "Correct-horse-7"  # noqa: S105 (a test's own)
Calls = list[tuple[str, str, Any]]


class SigNozServer(ThreadingHTTPServer):
    """Answers as the code of SigNoz 0.131 does: sessions, retention of both kinds, channels."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: Calls = []
        self.logs: dict[str, Any] = {
            "version": "v2",
            "status": "success",
            "default_ttl_days": 15,
            "ttl_conditions": [{"conditions": [{"key": "service.name", "values": ["audit"]}], "ttlDays": 90}],
        }
        self.hours = {"traces": 360, "metrics": 720}
        self.status = "success"
        self.channels: list[dict[str, Any]] = []
        self.is_broken = False

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:  # noqa: ANN401
        match method, path:
            case "GET", "/api/v2/sessions/context":
                return 200, {"data": {"exists": True, "orgs": [{"id": "one"}]}}
            case "POST", "/api/v2/sessions/email_password":
                is_right = body == {"email": "ops@example.com", "password": PASSWORD, "orgId": "one"}
                return (200, {"data": {"accessToken": "granted"}}) if is_right else (401, {"error": {"code": "no"}})
            case "GET", "/api/v2/settings/ttl":
                return (400, {}) if self.is_broken else (200, self.logs)
            case "POST", "/api/v2/settings/ttl":
                self.logs |= {"default_ttl_days": body["defaultTTLDays"], "ttl_conditions": body["ttlConditions"]}
                return 200, {"message": "custom retention TTL has been successfully set up"}
            case "GET", "/api/v1/settings/ttl":
                signal = query["type"]
                return 200, {f"{signal}_ttl_duration_hrs": self.hours[signal], "status": self.status}
            case "POST", "/api/v1/settings/ttl":
                self.hours[query["type"]] = int(query["duration"].removesuffix("h"))
                return 200, {"message": "move ttl has been successfully set up"}
            case "GET", "/api/v1/channels":
                return 200, {"data": self.channels}
            case "POST", "/api/v1/channels":
                self.channels.append({"id": "7", "name": body["name"], "data": body})
                return 201, {"data": self.channels[-1]}
            case "PUT", "/api/v1/channels/7":
                self.channels[0]["data"] = body
                return 204, None
            case _:
                return 404, {}


class Handler(BaseHTTPRequestHandler):
    server: SigNozServer

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path, _, text = self.path.partition("?")
        query = dict(pair.split("=") for pair in text.split("&")) if text else {}
        is_in = "/sessions/" in path or self.headers.get("Authorization") == "Bearer granted"
        status, answer = self.server.answer(self.command, path, query, body) if is_in else (401, {})
        if self.command != "GET" and "/sessions/" not in path:
            self.server.calls.append((self.command, self.path, body))
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET  # noqa: N815 (the library's names)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[SigNozServer]:
    found = SigNozServer()
    threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def prefer(server: SigNozServer, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the Job's program with its variables, as the pod does."""
    given = {
        "ADDRESS": f"http://127.0.0.1:{server.server_port}",
        "EMAIL": "ops@example.com",
        "PASSWORD": PASSWORD,
        "RETENTION": json.dumps({"logs_days": 7, "traces_days": 5, "metrics_days": 60}),
        "CHANNEL": "none",
        "SECONDS": "-1",
        **variables,
    }
    program = PREFERENCES.read_text(encoding="utf-8")
    return subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, text=True, check=False)  # noqa: S603


def test_retention_is_set_and_a_second_run_changes_nothing(server: SigNozServer) -> None:
    done = prefer(server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.logs["default_ttl_days"] == 7
    assert server.hours == {"traces": 5 * 24, "metrics": 60 * 24}
    assert server.logs["ttl_conditions"][0]["ttlDays"] == 90, "a rule that somebody made"
    assert len(server.calls) == 3
    assert prefer(server).returncode == 0
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    ("kind", "configs", "key"), [("slack", "slack_configs", "api_url"), ("webhook", "webhook_configs", "url")]
)
def test_the_channel_is_made_once_and_renewed(kind: str, configs: str, key: str, server: SigNozServer) -> None:
    for address in ("https://hooks.example.com/first", "https://hooks.example.com/second"):
        done = prefer(server, CHANNEL=kind, CHANNEL_URL=f"{address}\n")
        assert done.returncode == 0, done.stdout + done.stderr
        assert address not in done.stdout + done.stderr
        (channel,) = server.channels
        assert channel["data"] == {"name": "strata", configs: [{key: address, "send_resolved": True}]}


def test_what_signoz_refuses_fails_and_is_said_without_the_password(server: SigNozServer) -> None:
    wrong = prefer(server, PASSWORD=PASSWORD.replace("Correct", "Wrong"))
    assert wrong.returncode == 1
    assert wrong.stdout == "not yet: POST /api/v2/sessions/email_password: 401 Unauthorized\n"
    assert "Wrong" not in wrong.stdout + wrong.stderr
    server.is_broken = True
    assert prefer(server).stdout == "not yet: GET /api/v2/settings/ttl: 400 Bad Request\n"
    server.is_broken, server.status = False, "failed"
    failed = prefer(server)
    assert failed.returncode == 1
    assert "SigNoz says failed" in failed.stdout


def test_signoz_that_has_not_started_is_waited_for() -> None:
    specification = importlib.util.spec_from_file_location("preferences", PREFERENCES)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    with pytest.raises(module.NotYetError, match="refused"):
        module.SigNoz("http://127.0.0.1:1", "ops@example.com", PASSWORD)


# The database's copy.


def script(name: str, place: Path) -> subprocess.CompletedProcess[str]:
    text = (SNAPSHOTS / name).read_text(encoding="utf-8")
    text = text.replace("/snapshots", str(place / "snapshots")).replace("/data/", f"{place / 'data'}/")
    return subprocess.run(["/bin/sh", "-c", text], env=os.environ, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("snapshots", "data"):
        (tmp_path / name).mkdir()
    return tmp_path


def opened(place: Path) -> sqlite3.Connection:
    """SigNoz' database as SigNoz opens it: with a log of changes beside the file."""
    connection = sqlite3.connect(place / "data" / "signoz.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def test_a_copy_taken_while_signoz_writes_is_whole_and_one_file(place: Path) -> None:
    running = opened(place)
    running.execute("CREATE TABLE dashboards (name TEXT)")
    running.execute("INSERT INTO dashboards VALUES ('committed')")
    running.execute("BEGIN")
    running.execute("INSERT INTO dashboards VALUES ('under way')")
    done = script("save", place)
    assert done.returncode == 0, done.stderr
    running.execute("COMMIT")
    (copy,) = (place / "snapshots").iterdir()
    assert re.fullmatch(r"signoz-\d{8}T\d{6}Z\.db", copy.name)
    found = sqlite3.connect(copy)
    assert found.execute("SELECT name FROM dashboards").fetchall() == [("committed",)]
    assert found.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    found.close()
    running.close()


def test_without_a_database_nothing_is_saved(place: Path) -> None:
    assert script("save", place).returncode != 0
    assert not list((place / "snapshots").glob("*.db"))


def test_a_copy_comes_back_and_what_was_there_is_kept_with_its_log_of_changes(place: Path) -> None:
    running = opened(place)
    running.execute("CREATE TABLE dashboards (name TEXT)")
    running.execute("INSERT INTO dashboards VALUES ('old')")
    assert script("save", place).returncode == 0
    running.execute("INSERT INTO dashboards VALUES ('new')")
    # As a server leaves it that was killed: its last changes are in the log only.
    content = {path.name: path.read_bytes() for path in (place / "data").iterdir()}
    running.close()
    for name, data in content.items():
        (place / "data" / name).write_bytes(data)
    assert set(content) == {"signoz.db", "signoz.db-wal", "signoz.db-shm"}
    done = script("restore", place)
    assert done.returncode == 0, done.stderr
    (before,) = (place / "data").glob("before-*")
    assert {path.name for path in before.iterdir()} == set(content)
    assert {path.name for path in (place / "data").iterdir()} == {"signoz.db", before.name}
    for path, rows in ((place / "data", [("old",)]), (before, [("old",), ("new",)])):
        found = sqlite3.connect(path / "signoz.db")
        assert found.execute("SELECT name FROM dashboards").fetchall() == rows
        found.close()


def test_a_broken_copy_is_refused_and_changes_nothing(place: Path) -> None:
    (place / "snapshots" / "signoz-20261124T020000Z.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    opened(place).close()
    before = (place / "data" / "signoz.db").read_bytes()
    assert script("restore", place).returncode != 0
    assert [path.name for path in (place / "data").iterdir()] == ["signoz.db"]
    assert (place / "data" / "signoz.db").read_bytes() == before


# The way back.


class Cluster:
    """kubectl, as far as the restore uses it: pods that stop, Jobs that end well, and a ClickHouse with backups."""

    def __init__(self, *backups: str) -> None:
        self.backups = list(backups)
        self.did: list[str] = []
        self.statuses = {"BACKUP": "BACKUP_CREATED", "RESTORE": "RESTORED"}
        self.last = ""

    def kubectl(self, *arguments: str, text: str | None = None, seconds: int = 20) -> str:
        assert "--namespace=monitoring-staging" in arguments
        if arguments[0] == "exec":
            assert seconds >= 3600, "to drop a large database takes its time"
            assert arguments[-1].endswith("clickhouse-client --user=backup --database=system")
            return self.clickhouse(text or "")
        if arguments[0] == "scale":
            self.did.append(f"{arguments[1]} {arguments[2]}")
        return "1"

    def clickhouse(self, query: str) -> str:
        if "AS name" in query:
            return "".join(f"{name}\t{name}\n" for name in self.backups)
        if query.startswith("SELECT name FROM system.databases"):
            return "signoz_logs\nsignoz_traces\n"
        if query.startswith("SELECT status"):
            return f"{self.statuses[self.last]}\n"
        if query.startswith("SELECT error"):
            return "the disk is full\n"
        self.did.append(query)
        self.last = query.split(maxsplit=1)[0]
        return "ab-12\tRUNNING\n"

    def start(self, cronjob: str, _: str, variables: dict[str, str] | None = None) -> str:
        self.did.append(f"{cronjob} {variables or ''}".strip())
        return cronjob


Restored = Callable[..., list[str]]


@pytest.fixture
def restored(project: Project, monkeypatch: pytest.MonkeyPatch) -> Restored:
    """Take the steps on a cluster: `restored(cluster, to)` returns what was done."""
    file = project.environments["staging"]
    with_bucket = file.model_copy(update={"backups": file.backups.model_copy(update={"bucket": "backups"})})

    def take(cluster: Cluster, to: str = "") -> list[str]:
        for module in (clickhouse, signoz):
            monkeypatch.setattr(module, "kubectl", cluster.kubectl)
        monkeypatch.setattr(signoz, "objects", lambda *_: [])
        monkeypatch.setattr(signoz, "start", cluster.start)
        monkeypatch.setattr(signoz, "finish", lambda *_: None)
        for step in signoz.steps(Request(ROOT, with_bucket, to, "terraform", ())):
            step.run()
        return cluster.did

    return take


def test_the_last_backup_up_to_a_time_comes_back_after_what_was_there_is_saved(
    restored: Restored, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster("20261122T030000Z", "20261123T030000Z", "20261124T030000Z")
    did = restored(cluster, "2026-11-23T12:00:00Z")
    kept = re.sub(r"\d{8}T\d{6}Z'\) ASYNC", "<now>') ASYNC", did[2])
    exception = "EXCEPT DATABASES system, information_schema, INFORMATION_SCHEMA"
    assert did[:2] == ["statefulset/signoz --replicas=0", "deployment/signoz-otel-collector --replicas=0"]
    assert kept == f"BACKUP ALL {exception} TO S3(backup_bucket, 'before-restore/<now>') ASYNC"
    assert [item.split(" SETTINGS")[0] for item in did[3:5]] == [
        "DROP DATABASE IF EXISTS `signoz_logs` SYNC",
        "DROP DATABASE IF EXISTS `signoz_traces` SYNC",
    ]
    assert did[5:] == [
        f"RESTORE ALL {exception} FROM S3(backup_bucket, '20261123T030000Z') ASYNC",
        "signoz-restore {'FROM': '20261123T120000Z'}",
        "statefulset/signoz --replicas=1",
        "deployment/signoz-otel-collector --replicas=1",
        "signoz-preferences",
    ]
    assert "the backup before-restore/" in capsys.readouterr().out


def test_without_a_whole_backup_nothing_is_stopped_and_nothing_dropped(restored: Restored) -> None:
    cluster = Cluster("20261124T030000Z")
    with pytest.raises(RestoreError, match="no whole backup up to 20261123T120000Z; there are: 20261124T030000Z"):
        restored(cluster, "2026-11-23T12:00:00Z")
    assert cluster.did == []


def test_what_cannot_be_saved_first_is_not_dropped(restored: Restored) -> None:
    cluster = Cluster("20261124T030000Z")
    cluster.statuses["BACKUP"] = "BACKUP_FAILED"
    with pytest.raises(RestoreError, match="BACKUP_FAILED\nthe disk is full"):
        restored(cluster)
    assert not [item for item in cluster.did if item.startswith(("DROP", "RESTORE"))]


def test_an_environment_without_a_bucket_has_nothing_to_bring_back(project: Project) -> None:
    with pytest.raises(RestoreError, match=r"backups\.bucket is empty"):
        signoz.steps(Request(ROOT, project.environments["staging"], "", "terraform", ()))


# The chart, and what goes with it.


def test_no_secret_that_everybody_knows_is_left_in_what_the_chart_renders(
    releases: list[tuple[str, str, dict[str, Any]]], render: Render
) -> None:
    for stack, chart, values in releases:
        if chart != "signoz":
            continue
        objects = render(chart, values, f"monitoring-{stack}")
        assert not [name for name in objects if name.startswith(("Secret/", "ClusterRole", "CustomResource"))]
        text = json.dumps(objects)
        for known in ("27ff0399", "clickhouse_operator_password", "clickhouse_operator:", "<secret_access_key>"):
            assert known not in text, known
        for item in objects.values():
            template = item.get("spec", {}).get("template", {}).get("spec", {})
            for container in (*template.get("containers", []), *template.get("initContainers", [])):
                for variable in container.get("env", []):
                    if re.search("PASSWORD|SECRET|JWT", variable["name"]):
                        assert "secretKeyRef" in variable["valueFrom"], variable["name"]
        server = objects["StatefulSet/signoz"]["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"SIGNOZ_TOKENIZER_JWT_SECRET", "SIGNOZ_USER_ROOT_PASSWORD"} <= {item["name"] for item in server}


def test_alerts_have_a_way_out_and_a_secret_only_with_a_channel(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    way = resources(stacks["staging"])["kubernetes_network_policy_v1.signoz_preferences_alerts-flow"]
    (rule,) = way["spec"]["egress"]
    expressions = {"count": way["count"], "port": rule["ports"][0]["port"]}
    file = project.environments["staging"].model_dump()
    for channel, count in (("none", 0), ("slack", 1), ("webhook", 1)):
        given = {"signoz": {"alerts": {"channel": channel, "port": 8443}}}
        found = evaluate(stacks["staging"], expressions, tfvars=tfvars_of(project, "staging"), **given)
        assert (int(found["count"]), int(found["port"])) == (count, 8443)
        file["signoz"]["alerts"]["channel"] = channel
        wanted = [(item.namespace, item.name, item.keys) for item in supplied(file)]
        assert wanted == [("monitoring-staging", "signoz-alerts", ("url",))] * count
