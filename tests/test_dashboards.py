"""Dashboards and alerts: what is shipped is what SigNoz takes and what is measured, and how it comes into a SigNoz.

What SigNoz takes is read in its source at v0.131.0: pkg/types/dashboardtypes, pkg/types/ruletypes,
pkg/types/querybuildertypes/querybuildertypesv5, pkg/query-service/rules/manager.go, pkg/http/render. No SigNoz runs.
"""

import base64
import fnmatch
import json
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from stacks import dashboards
from stacks.cluster import ClusterError, forwarded
from stacks.dashboards import DashboardsError, Shipped, put, shipped
from stacks.project import Project
from stacks.signoz import SigNoz, SigNozError
from tests.support import ROOT, Render

Values = dict[str, Any]

BOARDS = sorted((ROOT / "dashboards").glob("*/*.json"))
ALERTS = sorted((ROOT / "dashboards").glob("*/alerts/*.json"))

NAMESPACE, NODE, POD, SERVICE, INSTANCE = (
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "service.name",
    "service.instance.id",
)
CLAIM, JOB = "k8s.persistentvolumeclaim.name", "k8s.job.name"
# What is measured: by which receiver, and by which attributes a value can be told from others.
# Receivers: opentelemetry-collector-contrib v0.139.0, metadata.yaml of each. Postgres: CloudNativePG 1.30.0,
# pkg/management/postgres/webserver/metricserver, and the queries of its chart 0.29.0; Barman Cloud plugin 0.13.0,
# internal/cnpgi/instance/metrics.go. Redis: oliver006/redis_exporter, exporter/exporter.go. Vault 1.21.1: its own
# answer. The collector names a scrape's job service.name, and its address service.instance.id.
SCRAPED = {SERVICE, INSTANCE}
METRICS: dict[str, tuple[str, set[str]]] = {
    "k8s.container.restarts": ("k8s_cluster", {NAMESPACE, POD}),
    "k8s.job.failed_pods": ("k8s_cluster", {NAMESPACE, JOB}),
    "k8s.job.successful_pods": ("k8s_cluster", {NAMESPACE, JOB}),
    "k8s.node.condition_ready": ("k8s_cluster", {NODE}),
    "k8s.resource_quota.hard_limit": ("k8s_cluster", {NAMESPACE, "resource"}),
    "k8s.resource_quota.used": ("k8s_cluster", {NAMESPACE, "resource"}),
    "k8s.node.cpu.usage": ("kubeletstats", {NODE}),
    "k8s.node.filesystem.available": ("kubeletstats", {NODE}),
    "k8s.node.filesystem.capacity": ("kubeletstats", {NODE}),
    "k8s.node.memory.available": ("kubeletstats", {NODE}),
    "k8s.node.memory.working_set": ("kubeletstats", {NODE}),
    "k8s.node.network.io": ("kubeletstats", {NODE, "direction", "interface"}),
    "k8s.volume.available": ("kubeletstats", {NAMESPACE, CLAIM, "k8s.volume.type"}),
    "k8s.volume.capacity": ("kubeletstats", {NAMESPACE, CLAIM, "k8s.volume.type"}),
    "system.cpu.load_average.5m": ("hostmetrics", {NODE}),
    "system.disk.io": ("hostmetrics", {NODE, "device", "direction"}),
    "vault_core_unsealed": ("prometheus/platform", {*SCRAPED, "k8s_pod_name", "k8s_namespace_name"}),
    "barman_cloud_cloudnative_pg_io_last_available_backup_timestamp": ("prometheus", SCRAPED),
    "cnpg_backends_total": ("prometheus", {*SCRAPED, "datname", "usename", "application_name", "state"}),
    "cnpg_collector_pg_wal_archive_status": ("prometheus", {*SCRAPED, "value"}),
    "cnpg_collector_up": ("prometheus", {*SCRAPED, "cluster"}),
    "cnpg_pg_database_size_bytes": ("prometheus", {*SCRAPED, "datname"}),
    "cnpg_pg_replication_lag": ("prometheus", SCRAPED),
    "cnpg_pg_stat_database_xact_commit": ("prometheus", {*SCRAPED, "datname"}),
    "redis_commands_processed_total": ("prometheus", SCRAPED),
    "redis_connected_clients": ("prometheus", SCRAPED),
    "redis_evicted_keys_total": ("prometheus", SCRAPED),
    "redis_memory_max_bytes": ("prometheus", SCRAPED),
    "redis_memory_used_bytes": ("prometheus", SCRAPED),
    "redis_up": ("prometheus", SCRAPED),
}
TIME = {"latest", "sum", "avg", "min", "max", "count", "count_distinct", "rate", "increase"}
SPACE = {"sum", "avg", "min", "max", "count", "p50", "p75", "p90", "p95", "p99"}
OPERATORS = {"above", "below", "equal", "not_equal", "outside_bounds"}
MATCHES = {"at_least_once", "all_the_times", "on_average", "in_total", "last"}
DURATION = re.compile(r"([1-9][0-9]*[hms])+")


def named(path: Path) -> str:
    return path.relative_to(ROOT / "dashboards").as_posix()


def read(path: Path) -> Values:
    content: Values = json.loads(path.read_text(encoding="utf-8"))
    return content


# What is shipped.


def assert_measured(metric: str, groups: set[str], filter_: str, folder: str) -> None:
    receiver, attributes = METRICS[metric]
    assert groups <= attributes, metric
    asked = set(re.findall(r"([a-z0-9._]+) (?:=|LIKE|IN) ", filter_))
    assert asked <= attributes, f"{metric}: {filter_}"
    assert (receiver == "prometheus") == (folder == "environment"), f"{metric} is not measured there"


def assert_legend(legend: str, groups: set[str]) -> None:
    assert set(re.findall(r"{{([^}]+)}}", legend)) <= groups, legend


@pytest.mark.parametrize("path", BOARDS, ids=named)
def test_a_dashboard_has_the_form_that_signoz_stores_and_draws(path: Path) -> None:
    board = read(path)
    assert board["version"] == "v5", "SigNoz would take it for an older one, and rewrite it"
    assert board["title"].startswith("Strata: ")
    panels = {panel["id"]: panel for panel in board["widgets"]}
    assert len(panels) == len(board["widgets"])
    assert all(uuid.UUID(key) for key in panels)
    assert {place["i"] for place in board["layout"]} == set(panels)
    cells = [
        (x, y)
        for place in board["layout"]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 12


@pytest.mark.parametrize("path", BOARDS, ids=named)
def test_every_panel_asks_for_what_is_measured(path: Path) -> None:
    for panel in read(path)["widgets"]:
        query = panel["query"]
        if query["queryType"] == "promql":
            assert_prometheus(query["promql"][0]["query"], path.parent.name)
            continue
        assert query["queryType"] == "builder"
        names, groups = set(), set()
        for item in query["builder"]["queryData"]:
            groups = {key["key"] for key in item["groupBy"]}
            (aggregation,) = item["aggregations"]
            assert item["dataSource"] == "metrics"
            assert (aggregation["timeAggregation"] in TIME, aggregation["spaceAggregation"] in SPACE) == (True, True)
            assert_measured(aggregation["metricName"], groups, item["filter"]["expression"], path.parent.name)
            assert_legend(item["legend"], groups)
            assert item["queryName"] == item["expression"]
            names.add(item["queryName"])
        assert len(names) == len(query["builder"]["queryData"])
        for item in query["builder"]["queryFormulas"]:
            assert set(re.findall("[A-Z]", item["expression"])) == names
            assert_legend(item["legend"], groups)
        shown = [*query["builder"]["queryData"], *query["builder"]["queryFormulas"]]
        assert any(not item["disabled"] for item in shown), panel["title"]


def assert_prometheus(query: str, folder: str) -> None:
    metrics = [word for word in re.findall(r"[a-z_]{12,}", query) if word in METRICS]
    assert metrics, query
    groups = set(re.findall(r'by \("([^"]+)"\)', query))
    for metric in metrics:
        assert_measured(metric, groups, "", folder)


# PostableRule's fields that the shipped ones have.
RULE = {"alert", "alertType", "annotations", "condition", "description", "evaluation", "labels"}
RULE |= {"notificationSettings", "ruleType", "schemaVersion", "version"}
QUERY = {"name", "signal", "stepInterval", "aggregations", "groupBy", "filter", "disabled", "legend"}
SPEC = {
    "builder_query": QUERY,
    "builder_formula": {"name", "expression", "legend"},
    "promql": {"name", "query", "legend"},
}


def refusals(rule: Values) -> Iterator[str]:
    """Yield what SigNoz refuses in an alert: PostableRule.Validate, and what its types do when they are read."""
    yield from (f"unknown: {key}" for key in set(rule) - RULE)
    if (rule["version"], rule["schemaVersion"], rule["alertType"]) != ("v5", "v2alpha1", "METRIC_BASED_ALERT"):
        yield "version"
    yield from refused_queries(rule["ruleType"], rule["condition"])
    yield from refused_thresholds(rule["condition"]["thresholds"])
    window = rule["evaluation"]["spec"]
    if rule["evaluation"]["kind"] != "rolling" or not all(DURATION.fullmatch(text) for text in window.values()):
        yield "evaluation"
    renotify = rule["notificationSettings"]["renotify"]
    if not DURATION.fullmatch(renotify["interval"]) or not set(renotify["alertStates"]) <= {"firing", "nodata"}:
        yield "renotify"
    for name in (*rule["labels"], *rule["annotations"]):
        if not re.fullmatch("[A-Za-z_.][A-Za-z0-9_.]*", name):
            yield f"label {name}"


def refused_queries(rule_type: str, condition: Values) -> Iterator[str]:
    composite = condition["compositeQuery"]
    kinds = {"builder": "threshold_rule", "promql": "promql_rule"}
    if kinds.get(composite["queryType"]) != rule_type or composite["panelType"] not in ("graph", "table"):
        yield "type"
    for query in composite["queries"]:
        yield from (f"unknown in a query: {key}" for key in set(query["spec"]) - SPEC[query["type"]])
    if condition["selectedQueryName"] not in {query["spec"]["name"] for query in composite["queries"]}:
        yield "selectedQueryName"


def refused_thresholds(thresholds: Values) -> Iterator[str]:
    if thresholds["kind"] != "basic" or not thresholds["spec"]:
        yield "thresholds"
    for threshold in thresholds["spec"]:
        if not threshold["name"] or threshold["op"] not in OPERATORS or threshold["matchType"] not in MATCHES:
            yield "threshold"
        if not isinstance(threshold["target"], int | float):
            yield "target"


@pytest.mark.parametrize("path", ALERTS, ids=named)
def test_signoz_takes_every_alert(path: Path) -> None:
    rule = read(path)
    assert list(refusals(rule)) == []
    assert rule["alert"].startswith("Strata: ")
    (threshold,) = rule["condition"]["thresholds"]["spec"]
    assert threshold["name"] == rule["labels"]["severity"]
    assert threshold["channels"] == ["strata"]
    has_no_data = rule["condition"].get("alertOnAbsent", False)
    assert ("nodata" in rule["notificationSettings"]["renotify"]["alertStates"]) == has_no_data


@pytest.mark.parametrize("path", ALERTS, ids=named)
def test_every_alert_asks_for_what_is_measured_and_speaks_of_nothing_else(path: Path) -> None:
    rule = read(path)
    folder = path.parent.parent.name
    groups = set(rule["notificationSettings"]["groupBy"])
    for query in rule["condition"]["compositeQuery"]["queries"]:
        spec = query["spec"]
        assert_legend(spec.get("legend", ""), groups)
        if query["type"] == "promql":
            assert_prometheus(spec["query"], folder)
        elif query["type"] == "builder_query":
            (aggregation,) = spec["aggregations"]
            by = {key["name"] for key in spec["groupBy"]}
            assert by == groups, "an alert is told from another by what it is asked by"
            assert (aggregation["timeAggregation"] in TIME, aggregation["spaceAggregation"] in SPACE) == (True, True)
            assert_measured(aggregation["metricName"], by, spec.get("filter", {}).get("expression", ""), folder)
    for text in rule["annotations"].values():
        said = set(re.findall(r"{{\$([^}]+)}}", text))
        assert said <= {*groups, "value", "threshold"}, text


def test_what_the_issue_asks_for_has_an_alert() -> None:
    names = {path.stem for path in ALERTS}
    assert {"node-disk-filling", "volume-filling", "postgres-backup-missing", "backup-failed"} <= names
    assert {"postgres-down", "redis-down", "quota-near-limit"} <= names


def test_the_alert_of_failed_backups_knows_the_jobs_of_every_store(releases: list[tuple[str, str, Values]]) -> None:
    rule = read(ROOT / "dashboards" / "cluster" / "alerts" / "backup-failed.json")
    patterns = {
        pattern.replace("%", "*")
        for query in rule["condition"]["compositeQuery"]["queries"]
        for pattern in re.findall("LIKE '([^']+)'", query["spec"].get("filter", {}).get("expression", ""))
    }
    cronjobs = {values["name"] for _, chart, values in releases if chart == "snapshots"}
    cronjobs |= {f"{values['name']}-backups" for _, chart, values in releases if chart == "clickhouse-backups"}
    assert {"vault-snapshots", "redis-snapshots", "signoz-snapshots", "signoz-clickhouse-backups"} <= cronjobs
    for name in cronjobs:
        # A CronJob calls its Jobs after itself and the minute.
        assert any(fnmatch.fnmatch(f"{name}-29391840", pattern) for pattern in patterns), name


def test_no_two_have_the_same_name() -> None:
    titles = [read(path)["title"] for path in BOARDS] + [read(path)["alert"] for path in ALERTS]
    assert len(set(titles)) == len(titles)


def test_what_is_measured_is_measured_by_what_infra_runs(
    releases: list[tuple[str, str, Values]], render: Render
) -> None:
    (values,) = [values for _, chart, values in releases if chart == "k8s-infra"]
    objects = render("k8s-infra", values)
    used: set[str] = set()
    for name in ("agent", "deployment"):
        (text,) = objects[f"ConfigMap/k8s-infra-otel-{name}"]["data"].values()
        for pipeline in yaml.safe_load(text)["service"]["pipelines"].values():
            used |= set(pipeline["receivers"])
    assert {receiver for receiver, _ in METRICS.values()} - {"prometheus"} <= used


# How it comes into a SigNoz.


class Server(BaseHTTPRequestHandler):
    """Answers as SigNoz' source says that it does."""

    password = "right-Password-1"  # noqa: S105 (of no one's)
    organization: ClassVar[str] = str(uuid.uuid4())
    boards: ClassVar[dict[str, Values]] = {}
    rules: ClassVar[dict[str, Values]] = {}
    channels: ClassVar[list[str]] = []
    sessions: ClassVar[set[str]] = set()
    written: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, data: object = None) -> None:
        body = {"status": "success", "data": data} if status < 400 else {"status": "error", "error": data}
        self.send_response(status)
        self.end_headers()
        if status != 204:
            self.wfile.write(json.dumps(body).encode())

    def refuse(self, status: int, words: str) -> None:
        self.answer(status, {"code": "invalid_input", "message": words})

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/api/v2/sessions/context":
            known = "email=admin%40example.com" in query and "ref=" in query
            self.answer(200, {"exists": known, "orgs": [{"id": self.organization, "name": "prod"}] if known else []})
        elif not self.is_known():
            self.refuse(401, "unauthenticated")
        else:
            lists = {
                "/api/v1/dashboards": [{**item, "id": key} for key, item in self.boards.items()],
                "/api/v2/rules": [{**item, "id": key, "state": "inactive"} for key, item in self.rules.items()],
                "/api/v1/channels": [{"id": str(uuid.uuid4()), "name": name} for name in self.channels],
            }
            # jsoniter leaves an empty list's place out of the answer, or gives it as null.
            self.answer(200, lists[path] or None)

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/api/v2/sessions/email_password":
            if body == {"email": "admin@example.com", "password": self.password, "orgId": self.organization}:
                token = str(uuid.uuid4())
                self.sessions.add(token)
                self.answer(200, {"tokenType": "bearer", "accessToken": token, "refreshToken": "r", "expiresIn": 60})
            else:
                self.refuse(401, "invalid email or password")
        elif not self.is_known():
            self.refuse(401, "unauthenticated")
        elif self.path == "/api/v1/dashboards":
            self.boards[str(uuid.uuid4())] = {"data": body, "locked": False, "source": "user"}
            self.wrote("POST", body["title"])
            self.answer(201, {})
        elif words := self.why_refused(body):
            self.refuse(400, words)
        else:
            self.rules[str(uuid.uuid4())] = body
            self.wrote("POST", body["alert"])
            self.answer(201, body)

    def do_PUT(self) -> None:
        place, _, key = self.path.rpartition("/")
        body = self.body()
        if place == "/api/v1/dashboards":
            panels = {panel["id"] for panel in self.boards[key]["data"]["widgets"]}
            if len(panels - {panel["id"] for panel in body["widgets"]}) > 1:
                self.refuse(400, "deleting more than one panel is not supported")
                return
            self.boards[key]["data"] = body
            self.wrote("PUT", body["title"])
            self.answer(200, {})
        elif words := self.why_refused(body):
            self.refuse(400, words)
        else:
            self.rules[key] = body
            self.wrote("PUT", body["alert"])
            self.answer(204)

    def do_DELETE(self) -> None:
        if self.path == "/api/v2/sessions":
            self.sessions.discard(self.headers["Authorization"].removeprefix("Bearer "))
        else:
            self.wrote("DELETE", self.boards.pop(self.path.rpartition("/")[2])["data"]["title"])
        self.answer(204)

    def body(self) -> Values:
        content: Values = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return content

    def is_known(self) -> bool:
        return (self.headers["Authorization"] or "").removeprefix("Bearer ") in self.sessions

    def why_refused(self, rule: Values) -> str:
        found = [*refusals(rule)]
        channels = rule["condition"]["thresholds"]["spec"][0]["channels"]
        if set(channels) - set(self.channels):
            found.append("channels: the following channels do not exist")
        if not channels and not rule["notificationSettings"].get("usePolicy"):
            found.append("at least one channel is required")
        return "; ".join(found)

    def wrote(self, method: str, name: str) -> None:
        self.written.append(f"{method} {name}")


@pytest.fixture
def port() -> Iterator[int]:
    for kept in (Server.boards, Server.rules, Server.sessions, Server.written, Server.channels):
        kept.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def signoz(port: int) -> SigNoz:
    found = SigNoz(port)
    found.sign_in("admin@example.com", Server.password)
    return found


@pytest.fixture
def shipped_here(project: Project) -> Shipped:
    shutil.copytree(ROOT / "dashboards", project.root / "dashboards", dirs_exist_ok=True)
    return shipped(project, project.infra.telemetry.environment)


def test_what_is_of_the_cluster_is_for_the_environment_that_its_telemetry_is_sent_to(
    shipped_here: Shipped, project: Project
) -> None:
    assert set(shipped_here.dashboards) == {read(path)["title"] for path in BOARDS}
    assert set(shipped_here.alerts) == {read(path)["alert"] for path in ALERTS}
    others = shipped(project, "staging")
    assert set(others.dashboards) == {"Strata: databases"}
    assert not {"Strata: a quota is nearly used up", "Strata: Vault is sealed"} & set(others.alerts)
    assert others.alerts


def test_a_second_time_replaces_by_name_and_makes_nothing_twice(signoz: SigNoz, shipped_here: Shipped) -> None:
    first = list(put(signoz, shipped_here, is_dry=False))
    assert all(line.endswith(": made") for line in first)
    boards, rules = dict(Server.boards), set(Server.rules)
    assert len(first) == len(boards) + len(rules) == len(BOARDS) + len(ALERTS)
    second = list(put(signoz, shipped_here, is_dry=False))
    assert [line.rpartition(": ")[2] for line in second] == ["is as it should be"] * len(BOARDS) + ["replaced"] * len(
        ALERTS
    )
    assert (Server.boards, set(Server.rules)) == (boards, rules)


def test_a_changed_dashboard_keeps_its_address_unless_signoz_would_refuse(
    signoz: SigNoz, shipped_here: Shipped
) -> None:
    name = "Strata: databases"
    content = shipped_here.dashboards[name]
    more = [{**panel, "id": str(uuid.uuid4())} for panel in content["widgets"][:2]]
    for added, words in ((more[:1], "replaced"), (more, "made anew, under another address")):
        Server.boards.clear()
        Server.boards["old"] = {"data": {**content, "widgets": [*content["widgets"], *added]}, "locked": False}
        lines = list(put(signoz, Shipped({name: content}, {}), is_dry=False))
        assert lines == [f"dashboard {name}: {words}"]
        assert [item["data"] for item in Server.boards.values()] == [content]
        assert ("old" in Server.boards) == (words == "replaced")


def test_a_dry_run_says_the_same_and_changes_nothing(signoz: SigNoz, shipped_here: Shipped) -> None:
    said = list(put(signoz, shipped_here, is_dry=True))
    assert (Server.boards, Server.rules) == ({}, {})
    assert said == list(put(signoz, shipped_here, is_dry=False))


def test_an_alert_goes_to_the_channel_if_there_is_one_and_else_to_nobody(signoz: SigNoz, shipped_here: Shipped) -> None:
    list(put(signoz, shipped_here, is_dry=False))
    for rule in Server.rules.values():
        assert rule["condition"]["thresholds"]["spec"][0]["channels"] == []
        assert rule["notificationSettings"]["usePolicy"] is True
    Server.channels.append("strata")
    list(put(signoz, shipped_here, is_dry=False))
    for rule in Server.rules.values():
        assert rule["condition"]["thresholds"]["spec"][0]["channels"] == ["strata"]
        assert "usePolicy" not in rule["notificationSettings"]


@pytest.mark.parametrize("kept", ["locked", "twice"])
def test_what_stands_in_the_way_is_said_before_anything_is_changed(
    kept: str, signoz: SigNoz, shipped_here: Shipped
) -> None:
    board = {"data": {"title": "Strata: quotas", "widgets": []}, "locked": kept == "locked"}
    Server.boards["one"] = board
    if kept == "twice":
        Server.boards["two"] = board
    words = {"locked": "it is locked", "twice": "SigNoz has 2 of this name"}[kept]
    with pytest.raises(DashboardsError, match=words):
        list(put(signoz, shipped_here, is_dry=False))
    assert Server.written == []


def test_another_password_and_another_person_are_refused_without_a_word_of_the_password(port: int) -> None:
    for email, password, words in (
        ("admin@example.com", "wrong-Password-2", "SigNoz says 401: invalid email or password"),
        ("nobody@example.com", Server.password, "SigNoz knows no nobody@example.com"),
    ):
        with pytest.raises(SigNozError, match=words) as refused:
            SigNoz(port).sign_in(email, password)
        assert password not in str(refused.value)


def test_a_signoz_that_is_not_there_is_said_in_words() -> None:
    with pytest.raises(SigNozError, match="GET /api/v1/dashboards: SigNoz gave no answer: "):
        SigNoz(1).call("GET", "/api/v1/dashboards")


Kubectl = Callable[[str], None]


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """Put a program in the place of kubectl, of which the text is what it does for `port-forward`."""

    def put_in_place(forward: str) -> None:
        program = tmp_path / "kubectl"
        secret = base64.b64encode(Server.password.encode()).decode()
        cases = f'*port-forward*) {forward};; *"get secret signoz-admin"*) printf %s {secret};;'
        program.write_text(f'#!/bin/sh\ncase "$*" in {cases} esac\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return put_in_place


def test_the_command_signs_in_by_the_secret_and_out_again(
    port: int, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl(f'echo "Forwarding from 127.0.0.1:{port} -> 8080"; exec sleep 60')
    monkeypatch.setenv("DRY_RUN", "1")
    assert dashboards.main("prod") == 0
    assert Server.written == []
    monkeypatch.setenv("DRY_RUN", "")
    assert dashboards.main("prod") == 0
    assert len(Server.written) == len(BOARDS) + len(ALERTS)
    assert Server.sessions == set()
    said = capsys.readouterr()
    assert "dashboard Strata: quotas: made\n" in said.out
    assert Server.password not in said.out + said.err


def test_an_environment_that_is_not_there_is_told_which_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert dashboards.main("qa") == 1
    assert capsys.readouterr().err == "ENV=qa: give an environment that has SigNoz: prod, staging, test\n"


def test_a_forward_that_fails_says_what_kubectl_says(kubectl: Kubectl) -> None:
    kubectl('echo "services signoz not found" >&2; exit 1')
    with pytest.raises(ClusterError, match="services signoz not found"), forwarded("service/signoz", "n", 8080):
        pass
