"""Telemetry: whose logs go where, what its pods may do, and that every scrape finds its pods and the way to them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from cdktf import App, TerraformStack

from constructs.environment import Environment
from constructs.l4_insight.collector import ScrapeFlow, collector_configuration
from constructs.metrics import COLLECTOR, TELEMETRY_PODS, ScrapeTarget
from stacks.project import Project
from tests.pods import Pods, made_by
from tests.support import Evaluate, Refused, Render, Stack, resources, tfvars_of

Values = dict[str, Any]
ObjectsOf = Callable[..., dict[str, Values]]
AGENT = {"app.kubernetes.io/name": "k8s-infra", "app.kubernetes.io/component": "otel-agent"}
PLATFORM = ["iac", "kube-system", "kubernetes-dashboard", "kubero"]


@pytest.fixture(scope="module")
def objects_of(stacks: dict[str, Stack], project: Project, evaluate: Evaluate, render: Render) -> ObjectsOf:
    """What the release makes: `objects_of(environment="staging", logs={...})`."""

    def objects(**telemetry: object) -> dict[str, Values]:
        expressions = {"values": stacks["infra"]["resource"]["helm_release"]["telemetry_release"]["values"][0]}
        given = {"telemetry": {"environment": "prod", **telemetry}} if telemetry else {}
        found = evaluate(stacks["infra"], expressions, tfvars=tfvars_of(project, "infra"), enable_infra=True, **given)
        return render("k8s-infra", yaml.safe_load(found["values"]))

    return objects


@pytest.fixture(scope="module")
def shipped(objects_of: ObjectsOf) -> dict[str, Values]:
    return objects_of()


def configuration(objects: Mapping[str, Values], name: str) -> Values:
    (text,) = objects[f"ConfigMap/k8s-infra-otel-{name}"]["data"].values()
    content: Values = yaml.safe_load(text)
    return content


def observed(objects: Mapping[str, Values]) -> list[str]:
    """The namespaces whose logs are read; their events are the same's."""
    included = configuration(objects, "agent")["receivers"]["filelog/k8s"]["include"]
    namespaces = [path.removeprefix("/var/log/pods/").removesuffix("_*/*/*.log") for path in included]
    assert configuration(objects, "deployment")["receivers"]["k8s_events"]["namespaces"] == namespaces
    return namespaces


# Whose logs go where.


def test_the_logs_of_the_platform_and_of_the_one_environment_are_sent_to_it(shipped: dict[str, Values]) -> None:
    assert observed(shipped) == ["data-prod", *PLATFORM, "monitoring-prod"]


def test_nothing_that_prod_logs_is_sent_to_staging(objects_of: ObjectsOf) -> None:
    found = objects_of(environment="staging", logs={"environments": ["test"], "namespaces": ["shop-staging"]})
    rooms = [f"{room}-{name}" for name in ("staging", "test") for room in ("data", "monitoring")]
    assert observed(found) == sorted([*rooms, *PLATFORM, "shop-staging"])


def test_namespaces_can_be_left_out(objects_of: ObjectsOf) -> None:
    found = objects_of(logs={"left_out": ["iac", "kube-system", "data-prod"]})
    assert observed(found) == ["kubernetes-dashboard", "kubero", "monitoring-prod"]


@pytest.mark.parametrize(
    ("telemetry", "words"),
    [
        ({"environment": "qa"}, "give an environment that has signoz among its components"),
        ({"environment": ""}, "give an environment that has signoz among its components"),
        ({"environment": "staging", "logs": {"environments": ["prod"]}}, "is for its own SigNoz alone"),
        ({"environment": "staging", "logs": {"namespaces": ["data-prod"]}}, "environments never reach into each other"),
        ({"environment": "prod", "logs": {"node_files": ["/etc/shadow"]}}, "give a file below /var/log"),
        ({"environment": "prod", "logs": {"node_files": ["/var/log/../shadow"]}}, "give a file below /var/log"),
    ],
)
def test_a_plan_refuses_what_synth_refuses(
    telemetry: Values, words: str, stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    with pytest.raises(Refused, match=words):
        evaluate(stacks["infra"], {}, tfvars=tfvars_of(project, "infra"), enable_infra=True, telemetry=telemetry)


def test_both_pods_send_to_the_collector_of_the_environment_and_wait_for_it(objects_of: ObjectsOf) -> None:
    found = objects_of(environment="staging", memory="512Mi")
    for kind, name in (("DaemonSet", "agent"), ("Deployment", "deployment")):
        (container,) = found[f"{kind}/k8s-infra-otel-{name}"]["spec"]["template"]["spec"]["containers"]
        told = {item["name"]: item.get("value") for item in container["env"]}
        assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "signoz-otel-collector.monitoring-staging.svc:4317"
        assert told["GOMEMLIMIT"] == {"agent": "204MiB", "deployment": "409MiB"}[name]
        settings = configuration(found, name)
        assert list(settings["exporters"]) == ["otlp"]
        exporter = settings["exporters"]["otlp"]
        assert exporter["retry_on_failure"] == {"max_elapsed_time": "0s"}
        queue = exporter["sending_queue"]
        quarter = {"agent": 64, "deployment": 128}[name] * 1024 * 1024
        assert queue == {"sizer": "bytes", "queue_size": quarter, "block_on_overflow": True}
        for pipeline in settings["service"]["pipelines"].values():
            assert pipeline["exporters"] == ["otlp"]
            assert pipeline["processors"][-2:] == ["memory_limiter", "batch"]


# What its pods may do.


def test_nobody_can_send_to_the_agent_or_reach_it_at_a_nodes_address(shipped: dict[str, Values]) -> None:
    for kind, name in (("DaemonSet", "agent"), ("Deployment", "deployment")):
        (container,) = shipped[f"{kind}/k8s-infra-otel-{name}"]["spec"]["template"]["spec"]["containers"]
        assert [port["name"] for port in container["ports"]] == ["health-check"]
        assert "hostPort" not in container["ports"][0]
        assert not {"otlp", "zipkin", "jaeger"} & set(configuration(shipped, name)["receivers"])
    assert not [key for key in shipped if key.startswith("Ingress/")]


def test_the_agent_sees_the_nodes_logs_and_not_its_root_and_is_not_root(shipped: dict[str, Values]) -> None:
    spec = shipped["DaemonSet/k8s-infra-otel-agent"]["spec"]["template"]["spec"]
    paths = {volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume}
    # K3s has no Docker: the folder is the chart's own, and empty.
    assert paths == {"/var/log", "/var/lib/docker/containers"}
    (container,) = spec["containers"]
    for mount in container["volumeMounts"]:
        assert mount["mountPath"] == "/conf" or mount["readOnly"]
    assert spec["hostNetwork"] is False
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 10001)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "root_path" not in configuration(shipped, "agent")["receivers"]["hostmetrics"]


def test_they_may_look_at_what_they_count_and_at_no_secret(shipped: dict[str, Values]) -> None:
    for name in ("agent", "deployment"):
        for rule in shipped[f"ClusterRole/k8s-infra-otel-{name}-kube-system"]["rules"]:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}
            assert not {"secrets", "configmaps", "nodes/proxy", "pods/log", "*"} & set(rule["resources"])
            assert "*" not in rule["apiGroups"]


def test_kubelets_show_the_clusters_certificate_unless_it_is_said_otherwise(objects_of: ObjectsOf) -> None:
    for verified in (True, False):
        kubelet = configuration(objects_of(verify_kubelets=verified), "agent")["receivers"]["kubeletstats"]
        assert kubelet["insecure_skip_verify"] is (not verified)
        assert kubelet["endpoint"] == "${env:K8S_HOST_IP}:10250"


def test_without_files_of_the_nodes_there_is_no_receiver_for_them(
    objects_of: ObjectsOf, shipped: dict[str, Values]
) -> None:
    with_files, without = (
        configuration(objects, "agent") for objects in (shipped, objects_of(logs={"node_files": []}))
    )
    assert with_files["receivers"]["filelog/nodes"]["include"] == ["/var/log/k3s.log", "/var/log/syslog"]
    assert "filelog/nodes" in with_files["service"]["pipelines"]["logs"]["receivers"]
    assert "filelog/nodes" not in without["receivers"]
    assert without["service"]["pipelines"]["logs"]["receivers"] == ["filelog/k8s"]


def test_what_carries_the_logs_does_not_read_its_own(shipped: dict[str, Values]) -> None:
    excluded = configuration(shipped, "agent")["receivers"]["filelog/k8s"]["exclude"]
    assert excluded == [f"/var/log/pods/*_{name}*_*/*/*.log" for name in ("k8s-infra", "signoz-otel-collector")]


# Every scrape finds its pods, and the way to them is open, in both directions.


def policies(stack: Stack) -> list[Values]:
    return [item for address, item in resources(stack).items() if address.startswith("kubernetes_network_policy_v1.")]


def selected(policy: Values, namespace: str, labels: Mapping[str, str]) -> bool:
    wanted = policy["spec"]["pod_selector"].get("match_labels") or {}
    return policy["metadata"]["namespace"] == namespace and wanted.items() <= labels.items()


def peers(rules: Sequence[Values], side: str, port: int) -> Iterator[tuple[list[str] | None, Mapping[str, str]]]:
    """The peers at a port: their namespaces, None for the policy's own, and their labels."""
    for rule in rules:
        if str(port) in {item["port"] for item in rule["ports"]}:
            for peer in rule[side]:
                if "ip_block" not in peer:
                    chosen = peer.get("namespace_selector", {}).get("match_expressions")
                    namespaces = chosen[0]["values"] if chosen else None
                    yield namespaces, peer["pod_selector"].get("match_labels") or {}


def is_open(
    stack: Stack, caller: tuple[str, Mapping[str, str]], called: tuple[str, Mapping[str, str]], port: int
) -> tuple[bool, bool]:
    """Tell whether the caller is let out, and whether the called lets it in."""

    def meets(namespaces: list[str] | None, own: str, labels: Mapping[str, str], pods: tuple[str, Any]) -> bool:
        return pods[0] in (namespaces or [own]) and labels.items() <= pods[1].items()

    out = any(
        meets(namespaces, caller[0], labels, called)
        for policy in policies(stack)
        if selected(policy, *caller)
        for namespaces, labels in peers(policy["spec"].get("egress", []), "to", port)
    )
    into = any(
        meets(namespaces, called[0], labels, caller)
        for policy in policies(stack)
        if selected(policy, *called)
        for namespaces, labels in peers(policy["spec"].get("ingress", []), "from", port)
    )
    return out, into


@pytest.fixture(scope="module")
def pods_of_infra(stacks: dict[str, Stack], project: Project, evaluate: Evaluate, render: Render) -> list[Pods]:
    made, missing = made_by(stacks["infra"], tfvars_of(project, "infra"), evaluate, render)
    assert not missing
    return [pods for source in made for pods in source.pods]


def test_every_system_of_infra_that_shows_metrics_is_scraped_and_lets_it_in(
    shipped: dict[str, Values], stacks: dict[str, Stack], pods_of_infra: list[Pods]
) -> None:
    receiver = configuration(shipped, "deployment")["receivers"]["prometheus/platform"]
    jobs = {job["job_name"]: job for job in receiver["config"]["scrape_configs"]}
    assert set(jobs) == {"atlantis", "cert-manager", "cloudnative-pg", "database", "traefik", "vault"}
    for name, job in jobs.items():
        (discovery,) = job["kubernetes_sd_configs"]
        (namespace,) = discovery["namespaces"]["names"]
        labels = dict(pair.split("=") for pair in discovery["selectors"][0]["label"].split(","))
        (address,) = [rule for rule in job["relabel_configs"] if rule.get("target_label") == "__address__"]
        port = int(address["replacement"].removeprefix("$$1:"))
        found = [
            pods for pods in pods_of_infra if pods.namespace == namespace and labels.items() <= pods.labels.items()
        ]
        # Traefik is K3s' own.
        assert len(found) == (0 if name == "traefik" else 1), name
        out, into = is_open(stacks["infra"], ("kube-system", TELEMETRY_PODS), (namespace, labels), port)
        # Nothing is closed in kube-system.
        assert (out, into or namespace == "kube-system") == (True, True), name


def test_vault_shows_metrics_without_a_token_at_a_port_that_is_open_to_telemetry_alone(
    stacks: dict[str, Stack], releases: list[tuple[str, str, Values]]
) -> None:
    (values,) = [values for _, chart, values in releases if chart == "vault"]
    main, metrics = values["server"]["ha"]["raft"]["config"].split("listener")[1:3]
    assert "unauthenticated_metrics_access" not in main
    assert 'address = "[::]:8202"' in metrics
    assert "unauthenticated_metrics_access = true" in metrics
    callers = [
        labels
        for policy in policies(stacks["infra"])
        for _, labels in peers(policy["spec"].get("ingress", []), "from", 8202)
    ]
    assert callers == [TELEMETRY_PODS]


def test_traefik_leads_nobody_to_atlantis_api_where_it_asks_for_no_password(
    stacks: dict[str, Stack], releases: list[tuple[str, str, Values]]
) -> None:
    (values,) = [values for _, chart, values in releases if chart == "atlantis"]
    assert yaml.safe_load(values["repoConfig"])["metrics"] == {"prometheus": {"endpoint": "/api/metrics"}}
    (rule,) = resources(stacks["infra"])["kubernetes_ingress_v1.atlantis_route"]["spec"]["rule"]
    paths = {path["path"]: path["path_type"] for path in rule["http"]["path"]}
    assert paths.pop("/") == "Exact"
    assert set(paths.values()) == {"Prefix"}
    assert "/events" in paths
    assert not [path for path in paths if "/api/metrics".startswith(path)]


def test_infra_opens_the_collector_of_the_environment_to_its_two_pods(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    policy = resources(stacks["infra"])["kubernetes_network_policy_v1.telemetry_collector-flow"]
    for name in ("prod", "staging"):
        found = evaluate(
            stacks["infra"],
            {"namespace": policy["metadata"]["namespace"]},
            tfvars=tfvars_of(project, "infra"),
            enable_infra=True,
            telemetry={"environment": name},
        )
        assert found == {"namespace": f"monitoring-{name}"}
    assert policy["metadata"]["labels"] == {"strata/platform": "true"}, "the environment cannot take it away"
    assert policy["spec"]["pod_selector"]["match_labels"] == COLLECTOR
    assert list(peers(policy["spec"]["ingress"], "from", 4317)) == [
        (["kube-system"], AGENT),
        (["kube-system"], TELEMETRY_PODS),
    ]
    assert {f"kubernetes_namespace_v1.tenancy_environment_{name}_monitoring" for name in project.environments} <= set(
        policy["depends_on"]
    )


def test_what_sends_is_let_out_to_the_one_collector(stacks: dict[str, Stack]) -> None:
    (room,) = ['${format("monitoring-%s", var.telemetry.environment)}']
    for pods in (AGENT, TELEMETRY_PODS):
        ways = [
            (namespaces, labels)
            for policy in policies(stacks["infra"])
            if selected(policy, "kube-system", pods)
            for namespaces, labels in peers(policy["spec"]["egress"], "to", 4317)
        ]
        assert [labels for _, labels in ways] == [COLLECTOR]
        assert room.removeprefix("${").removesuffix("}") in str(ways[0][0])


# The collector of an environment.

TARGETS = [
    ScrapeTarget("store", "store-metrics.data-prod.svc", 9187, {"app": "store"}, "data-prod"),
    ScrapeTarget("cache", "cache-metrics.data-prod.svc", 9121, {"app": "cache"}, "data-prod", path="/scrape"),
]


def test_the_collector_scrapes_by_name_in_a_pipeline_beside_the_charts_own(charts: Path) -> None:
    defaults = yaml.safe_load((charts / "signoz" / "values.yaml").read_text(encoding="utf-8"))["otelCollector"][
        "config"
    ]
    ours = collector_configuration(TARGETS)
    assert not set(ours["receivers"]) & set(defaults["receivers"])  # type: ignore[call-overload]
    ((name, pipeline),) = ours["service"]["pipelines"].items()  # type: ignore[index]
    chart = defaults["service"]["pipelines"]
    assert name not in chart
    assert {**pipeline, "receivers": chart["metrics"]["receivers"]} == chart["metrics"], "the chart changed its own"
    (receiver,) = ours["receivers"].values()  # type: ignore[attr-defined]
    first, second = receiver["config"]["scrape_configs"]
    assert (first["job_name"], first["metrics_path"], second["metrics_path"]) == ("store", "/metrics", "/scrape")
    (discovery,) = first["dns_sd_configs"]
    assert (discovery["names"], discovery["type"], discovery["port"]) == (["store-metrics.data-prod.svc"], "A", 9187)
    assert collector_configuration([]) == {}


def test_the_chart_takes_the_collectors_configuration(render: Render) -> None:
    values = {"otelCollector": {"config": collector_configuration(TARGETS)}, "clickhouse": {"enabled": False}}
    external = {"externalClickhouse": {"host": "clickhouse", "cluster": "cluster"}}
    objects = render("signoz", {**values, **external}, "monitoring-prod")
    text = objects["ConfigMap/signoz-otel-collector"]["data"]["otel-collector-config.yaml"]
    pipelines = yaml.safe_load(text)["service"]["pipelines"]
    assert pipelines["metrics/scraped"]["receivers"] == ["prometheus"]
    assert pipelines["metrics"]["receivers"] == ["otlp"]
    assert len(pipelines["logs"]["receivers"]) == 3


def test_the_collector_of_one_environment_reaches_into_no_other(tmp_path: Path) -> None:
    environment = Environment("staging", "x-staging")
    stack = TerraformStack(App(outdir=str(tmp_path)), "staging")
    with pytest.raises(ValueError, match="store, cache: outside of staging"):
        ScrapeFlow(stack, "flow", environment=environment, targets=TARGETS)


def test_redis_and_postgres_are_scraped_and_the_collector_is_let_out_to_them_alone(
    environment_stacks: dict[str, Stack],
) -> None:
    """That they let it in is in tests/test_network.py."""
    for name, stack in environment_stacks.items():
        configuration = stack["locals"]["signoz_release_values"]["otelCollector"]["config"]
        jobs = {
            job["job_name"]: job["dns_sd_configs"][0]
            for job in configuration["receivers"]["prometheus"]["config"]["scrape_configs"]
        }
        assert set(jobs) == {"postgres", "redis"}
        assert all(host.endswith(f".data-{name}.svc") for job in jobs.values() for host in job["names"])
        (policy,) = [item for item in policies(stack) if item["metadata"]["name"] == "signoz-otel-collector-scrape"]
        assert policy["spec"]["pod_selector"]["match_labels"] == COLLECTOR
        ports = {rule["ports"][0]["port"] for rule in policy["spec"]["egress"]}
        assert ports == {str(job["port"]) for job in jobs.values()}
        for rule in policy["spec"]["egress"]:
            (peer,) = rule["to"]
            assert peer["namespace_selector"]["match_expressions"][0]["values"] == [f"data-{name}"]
