"""Kubero: what its releases render, which rights they give and to whom, and what its settings let nobody declare."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.project import Project
from tests.support import ROOT, Evaluate, Refused, Render, Stack, on_the_path, resources, tfvars_of

Objects = dict[str, dict[str, Any]]
Rendered = Callable[..., Objects]
DECLARED = {"shop-production": {"domains": ["shop.example.org"]}, "shop-staging": {}}


@pytest.fixture(scope="module")
def values_of(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> Callable[..., dict[str, Any]]:
    """Return the values of a release, as Terraform evaluates them, for some settings of `kubero`."""

    known: dict[str, dict[str, Any]] = {}

    def run(release: str, **settings: object) -> dict[str, Any]:
        key = json.dumps([release, settings], sort_keys=True)
        if key in known:
            return known[key]
        stack = stacks["infra"]
        expressions = {"values": stack["resource"]["helm_release"][release]["values"][0]}
        tfvars = tfvars_of(project, "infra")
        found = evaluate(
            stack, expressions, tfvars=tfvars, enable_infra=True, kubero={"namespaces": DECLARED, **settings}
        )
        known[key] = yaml.safe_load(found["values"])
        return known[key]

    return run


@pytest.fixture(scope="module")
def server(values_of: Callable[..., dict[str, Any]], render: Render) -> Rendered:
    return lambda **settings: render("kubero", values_of("kubero_release", **settings))


@pytest.fixture(scope="module")
def operator(values_of: Callable[..., dict[str, Any]], render: Render) -> Rendered:
    return lambda **settings: render("kubero-operator", values_of("kubero_operator", **settings))


def environment(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item for item in container["env"]}


def rules(objects: Objects, kind: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = objects[f"{kind}/{name}"]["rules"]
    return found


def test_every_pod_is_restricted_bounded_and_of_the_platforms_class(server: Rendered, operator: Rendered) -> None:
    for deployment in (server()["Deployment/kubero"], operator()["Deployment/kubero-operator"]):
        spec = deployment["spec"]["template"]["spec"]
        assert spec["priorityClassName"] == "platform"
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert set(container["resources"]["limits"]) == {"memory"}
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_images_are_the_pinned_ones_and_the_dead_sidecar_is_not_among_them(
    server: Rendered, operator: Rendered
) -> None:
    images = set()
    for deployment in (server()["Deployment/kubero"], operator()["Deployment/kubero-operator"]):
        spec = deployment["spec"]["template"]["spec"]
        images |= {container["image"] for container in (*spec.get("initContainers", []), *spec["containers"])}
    assert images == {
        "ghcr.io/kubero-dev/kubero/kubero:v3.1.1",
        "ghcr.io/kubero-dev/kubero-operator/kuberoapp:v0.2.1",
    }


def test_the_server_signs_with_a_generated_key_and_checks_certificates(
    server: Rendered, stacks: dict[str, Stack]
) -> None:
    found = environment(server()["Deployment/kubero"])
    generated = resources(stacks["infra"])["kubernetes_secret_v1.kubero_credentials"]
    keys = {
        name: item["valueFrom"]["secretKeyRef"]["key"]
        for name, item in found.items()
        if item.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == generated["metadata"]["name"]
    }
    assert keys == {key: key for key in generated["data_wo"]}
    assert {"JWT_SECRET", "KUBERO_SESSION_KEY", "KUBERO_ADMIN_PASSWORD", "KUBERO_WEBHOOK_SECRET"} == set(keys)
    assert "NODE_TLS_REJECT_UNAUTHORIZED" not in found
    assert found["KUBERO_CONTEXT"]["value"] == "inClusterContext"


def test_tokens_of_git_servers_may_be_missing(server: Rendered) -> None:
    optional = [
        item["valueFrom"]["secretKeyRef"]
        for item in environment(server(git_secret="of-ours")["Deployment/kubero"]).values()  # noqa: S106 (a name)
        if item.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == "of-ours"
    ]
    assert {"GITHUB_PERSONAL_ACCESS_TOKEN", "GITEA_BASEURL", "OAUTH2_CLIENT_SECRET"} <= {ref["key"] for ref in optional}
    assert all(ref["optional"] for ref in optional)


def test_the_volume_has_a_class_only_where_one_is_named(server: Rendered) -> None:
    assert "storageClassName" not in server()["PersistentVolumeClaim/kubero-data"]["spec"]
    claim = server(storage_class="fast", storage="2Gi")["PersistentVolumeClaim/kubero-data"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"


def test_nothing_that_is_bound_in_the_whole_cluster_does_more_than_list_names(
    server: Rendered, operator: Rendered
) -> None:
    for objects in (server(), operator()):
        bound = [item for key, item in objects.items() if key.startswith("ClusterRoleBinding/")]
        for binding in bound:
            for rule in rules(objects, "ClusterRole", binding["roleRef"]["name"]):
                assert rule["verbs"] == ["list"]
                assert not {"secrets", "configmaps", "pods", "*"} & set(rule["resources"])
    assert not [key for key in operator() if key.startswith("ClusterRoleBinding/")]


def test_the_server_reads_no_secret_anywhere(server: Rendered) -> None:
    objects = server(console=True)
    for key, item in objects.items():
        if key.split("/")[0] in ("Role", "ClusterRole"):
            for rule in item["rules"]:
                assert not {"secrets", "*"} & set(rule["resources"]), key
                assert "*" not in rule["verbs"], key


def test_the_operator_grants_nothing_opens_nothing_and_moves_no_bound(operator: Rendered) -> None:
    objects = operator()
    given = [*rules(objects, "Role", "kubero-operator"), *rules(objects, "ClusterRole", "kubero-operator-pipeline")]
    for rule in given:
        assert "*" not in rule["verbs"]
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
        forbidden = {"namespaces", "networkpolicies", "resourcequotas", "limitranges", "pods", "pods/exec"}
        assert not forbidden & set(rule["resources"])
        assert "*" not in rule["resources"] or rule["apiGroups"] == ["application.kubero.dev"]


def test_commands_run_in_applications_only_where_the_console_is_switched_on(server: Rendered) -> None:
    for console in (False, True):
        objects = server(console=console)
        given = {
            resource for rule in rules(objects, "ClusterRole", "kubero-pipeline") for resource in rule["resources"]
        }
        assert ("pods/exec" in given) is console
        assert environment(objects["Deployment/kubero"])["KUBERO_CONSOLE_ENABLED"]["value"] == str(console).lower()


def test_the_operator_watches_its_home_and_the_declared_namespaces(operator: Rendered) -> None:
    for declared in (DECLARED, {}):
        watched = environment(operator(namespaces=declared)["Deployment/kubero-operator"])["WATCH_NAMESPACE"]["value"]
        assert watched.split(",")[1:] == sorted(declared)


def test_the_operator_acts_on_kinds_that_are_there_and_leaves_the_server_alone(operator: Rendered) -> None:
    objects = operator()
    files = objects["ConfigMap/kubero-operator"]["data"]
    watches = yaml.safe_load(files["watches.yaml"])
    kinds = {item["spec"]["names"]["kind"] for key, item in objects.items() if key.startswith("CustomResource")}
    assert {watch["kind"] for watch in watches} == kinds - {"Kubero"}
    for watch in watches:
        assert watch["watchDependentResources"] is False
        assert re.match(r"/opt/(helm/helm-charts/kubero(app|addon)|strata/pipeline)", watch["chart"])
    (container,) = objects["Deployment/kubero-operator"]["spec"]["template"]["spec"]["containers"]
    mounted = {mount["mountPath"]: mount["subPath"] for mount in container["volumeMounts"]}
    assert set(mounted.values()) == set(files)
    assert "/opt/strata/pipeline/templates/deployment-keys.yaml" in mounted


def test_the_kinds_take_what_kubero_writes_and_outlive_the_release(operator: Rendered) -> None:
    kinds = [item for key, item in operator().items() if key.startswith("CustomResourceDefinition/")]
    assert len(kinds) == 8
    for kind in kinds:
        assert kind["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        (version,) = kind["spec"]["versions"]
        assert version["subresources"] == {"status": {}}
        for part in version["schema"]["openAPIV3Schema"]["properties"].values():
            assert part["x-kubernetes-preserve-unknown-fields"] is True


@pytest.mark.parametrize(
    ("strategy", "keys", "expected"),
    [
        ("docker", {}, set()),
        ("git", {}, {"shop-production"}),
        ("git", {"priv": "cHJpdg==", "pub": "cHVi"}, {"shop-production"}),
    ],
)
def test_a_pipeline_makes_secrets_and_no_namespace(strategy: str, keys: dict[str, str], expected: set[str]) -> None:
    chart = ROOT / "charts" / "kubero-operator" / "pipeline"
    phases = [{"name": "production", "enabled": True}, {"name": "review", "enabled": False}]
    spec = {"name": "shop", "deploymentstrategy": strategy, "phases": phases, "git": {"keys": keys}}
    command = [on_the_path("helm"), "template", "shop", str(chart), "--values=-"]
    done = subprocess.run(command, input=yaml.safe_dump(spec), capture_output=True, text=True, check=True)  # noqa: S603
    made = [item for item in yaml.safe_load_all(done.stdout) if item]
    assert {item["kind"] for item in made} <= {"Secret"}
    assert {item["metadata"]["namespace"] for item in made} == expected
    for item in made:
        assert item["data"] == {"deploykey": keys.get("priv", ""), "deploykey.pub": keys.get("pub", "")}


def test_the_settings_are_made_once_and_are_part_of_no_release(server: Rendered) -> None:
    notes = server()["Kubero/kubero"]["metadata"]["annotations"]
    assert notes["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert notes["helm.sh/hook-delete-policy"] == "hook-failed"
    source = (ROOT / "charts" / "kubero" / "templates" / "settings.yaml").read_text(encoding="utf-8")
    assert '{{- if not (lookup "application.kubero.dev/v1alpha1" "Kubero" .Release.Namespace "kubero") }}' in source


def test_the_administrators_password_stays_out_of_the_log_and_a_signal_reaches_the_server(
    server: Rendered, tmp_path: Path
) -> None:
    (container,) = server()["Deployment/kubero"]["spec"]["template"]["spec"]["containers"]
    script = container["command"][2].replace("/tmp/", f"{tmp_path}/")  # noqa: S108 (the pod's own)
    node = tmp_path / "node"
    node.write_text(
        "#!/bin/sh\ntrap 'echo stopped; exit 7' TERM\necho '  username:  admin'\necho '  password:  hunter2'\n"
        "echo ready\nwhile :; do sleep 0.1; done\n",
        encoding="utf-8",
    )
    node.chmod(0o755)
    shell = shutil.which("sh") or "/bin/sh"
    with subprocess.Popen(  # noqa: S603
        [shell, "-c", script], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline(), running.stdout.readline()]
        time.sleep(0.3)
        running.send_signal(signal.SIGTERM)
        lines += running.stdout.readlines()
        assert running.wait(timeout=10) == 7
    assert [line.strip() for line in lines] == ["username:  admin", "ready", "stopped"]


def test_a_pipeline_answers_for_its_own_name_and_for_what_is_declared(
    values_of: Callable[..., dict[str, Any]],
) -> None:
    assert values_of("tenancy_policies")["pipelines"] == {
        "shop-production": ["shop-production.example.com", "shop.example.org"],
        "shop-staging": ["shop-staging.example.com"],
    }


@pytest.mark.parametrize(
    ("namespaces", "words"),
    [
        ({"data-staging": {}}, "that one is the platform's, or an environment's"),
        ({"monitoring-prod": {}}, "that one is the platform's, or an environment's"),
        ({"kubernetes-dashboard": {}}, "that one is the platform's, or an environment's"),
        ({"kube-system": {}}, "that one is the platform's, or an environment's"),
        ({"iac": {}}, "give a pipeline and a phase of it"),
        ({"shop--production": {}}, "give a pipeline and a phase of it"),
        ({"shop-production": {}, "shop-production-eu": {}}, "none begins with another and a dash"),
        ({"x-staging-signoz": {}}, "begins as an environment's host names do: x-staging, x-test"),
        ({"x-staging": {}}, "begins as an environment's host names do"),
        ({"shop-production": {"domains": ["vault.example.org"]}}, "give a domain of another name"),
        ({"shop-production": {"domains": ["example.com"]}}, "give a domain below base_domain, or another"),
    ],
)
def test_what_no_pipeline_may_have_is_refused_at_plan_too(
    namespaces: dict[str, Any], words: str, values_of: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(Refused, match=words):
        values_of("kubero_release", namespaces=namespaces)


def test_what_lies_in_a_pipelines_namespace_is_made_for_each_of_them(stacks: dict[str, Stack]) -> None:
    found = {a: r for a, r in resources(stacks["infra"]).items() if re.match(r"\w+\.kubero_pipelines_", a)}
    assert len(found) == 7
    for address, resource in found.items():
        assert resource["for_each"] == "${var.kubero.namespaces}", address
        place = resource["metadata"].get("namespace", resource["metadata"]["name"])
        assert place == "${each.key}", address
    lock = found["kubernetes_config_map_v1.kubero_pipelines_lock"]
    assert set(lock["depends_on"]) == set(found) - {"kubernetes_config_map_v1.kubero_pipelines_lock"}


def test_an_application_reaches_neither_the_api_server_nor_what_a_cloud_tells_its_nodes(
    stacks: dict[str, Stack],
) -> None:
    spec = resources(stacks["infra"])["kubernetes_network_policy_v1.kubero_pipelines_applications"]["spec"]
    (outside,) = [rule for rule in spec["egress"] if any("ip_block" in peer for peer in rule["to"])]
    open_ports = {port["port"] for port in outside["ports"]}
    assert {"443", "5432", "6379", "8200"} <= open_ports
    assert not {"80", "6443", "10250"} & open_ports
