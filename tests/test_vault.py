"""Vault: what its servers are told, what is written into it, who may read its keys, and how it is saved."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.project import Project
from tests.support import Evaluate, Render, Stack, resources, tfvars_of

ValuesOf = Callable[..., dict[str, Any]]
CHARTS = {
    "vault": "release",
    "vault-configuration": "configuration",
    "vault-keys": "keys",
    "snapshots": "snapshots_release",
}
ENGINE = {
    "engine": {"path": "database", "type": "database", "configuration": {"config": [{"name": "shop"}]}},
    "policies": [{"name": "database-shop", "rules": 'path "database/creds/shop" { capabilities = ["read"] }\n'}],
    "roles": [{"name": "database-shop", "token_policies": ["database-shop"]}],
}


@pytest.fixture(scope="session")
def values_of(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> ValuesOf:
    """The values of one of Vault's releases as Terraform computes them: `values_of("vault", vault={...})`."""

    def values(chart: str, **variables: object) -> dict[str, Any]:
        release = resources(stacks["infra"])[f"helm_release.vault_{CHARTS[chart]}"]
        expressions = {"values": release["values"][0]}
        tfvars = tfvars_of(project, "infra")
        found = evaluate(stacks["infra"], expressions, tfvars=tfvars, enable_infra=True, **variables)
        parsed: dict[str, Any] = yaml.safe_load(found["values"])
        return parsed

    return values


@pytest.fixture(scope="session")
def configured(values_of: ValuesOf, render: Render) -> ValuesOf:
    """bank-vaults' configuration as it stands in the ConfigMap: `configured(tenants={...})`."""

    def configuration(engines: object = (), **variables: object) -> dict[str, Any]:
        values = values_of("vault-configuration", **variables)
        objects = render("vault-configuration", {**values, "engines": list(engines)})  # type: ignore[call-overload]
        found: dict[str, Any] = yaml.safe_load(objects["ConfigMap/vault-configuration"]["data"]["vault.yaml"])
        return found

    return configuration


def pods(objects: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods that a chart's workloads make, by kind and name."""
    for key, item in objects.items():
        match item["kind"]:
            case "Deployment" | "StatefulSet":
                yield key, item["spec"]["template"]["spec"]
            case "CronJob":
                yield key, item["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def by_name(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in items}


# What is in it.


def test_an_environment_has_an_engine_and_a_policy_that_reads_this_engine_alone(
    configured: ValuesOf, project: Project
) -> None:
    found = configured()
    engines = {engine["path"]: engine for engine in found["secrets"]}
    policies = by_name(found["policies"])
    assert set(engines) == set(project.environments)
    assert set(policies) == {*project.environments, "administrator", "snapshots"}
    for name in project.environments:
        assert (engines[name]["type"], engines[name]["options"]) == ("kv", {"version": "2"})
        assert policies[name]["rules"].splitlines() == [
            f'path "{name}/data/*" {{ capabilities = ["read"] }}',
            f'path "{name}/metadata/*" {{ capabilities = ["list", "read"] }}',
        ]


def test_a_role_is_given_to_the_environments_own_namespaces_and_to_its_applications(configured: ValuesOf) -> None:
    (auth,) = configured(tenants={"staging": {"applications": ["shop-staging"]}})["auth"]
    roles = by_name(auth["roles"])
    assert roles["staging"] == {
        "name": "staging",
        "bound_service_account_names": ["*"],
        "bound_service_account_namespaces": ["data-staging", "monitoring-staging", "shop-staging"],
        "token_policies": ["staging"],
        "token_ttl": "1h",
    }
    assert roles["prod"]["bound_service_account_namespaces"] == ["data-prod", "monitoring-prod"]


def test_tokens_are_reviewed_with_the_pods_own_token(configured: ValuesOf) -> None:
    (auth,) = configured()["auth"]
    assert auth["type"] == "kubernetes"
    assert auth["config"] == {"kubernetes_host": "https://kubernetes.default.svc:443"}


def test_one_account_may_do_everything_and_one_may_take_snapshots(configured: ValuesOf) -> None:
    found = configured()
    roles, policies = by_name(found["auth"][0]["roles"]), by_name(found["policies"])
    for role, account in (("administrator", "vault-administrator"), ("snapshots", "vault-snapshots")):
        assert roles[role]["bound_service_account_names"] == [account]
        assert len(roles[role]["bound_service_account_namespaces"]) == 1
        assert roles[role]["token_policies"] == [role]
    assert policies["snapshots"]["rules"].strip() == 'path "sys/storage/raft/snapshot" { capabilities = ["read"] }'
    assert 'path "*"' in policies["administrator"]["rules"]


def test_every_request_is_in_the_log_of_the_container(configured: ValuesOf) -> None:
    (audit,) = configured()["audit"]
    assert (audit["type"], audit["options"]) == ("file", {"file_path": "stdout"})


def test_what_leaves_the_configuration_loses_its_policy_and_nothing_else(configured: ValuesOf) -> None:
    purge = configured()["purgeUnmanagedConfig"]
    kinds = {"audit", "auth", "groups", "group-aliases", "plugins", "secrets"}
    assert purge == {"enabled": True, "exclude": dict.fromkeys(kinds, True)}


def test_an_engine_brings_its_policies_and_roles_and_its_passwords_come_from_secrets(
    configured: ValuesOf, values_of: ValuesOf, render: Render
) -> None:
    found = configured(engines=[ENGINE])
    assert found["secrets"][-1] == ENGINE["engine"]
    assert found["policies"][-1:] == ENGINE["policies"]
    assert found["auth"][0]["roles"][-1:] == ENGINE["roles"]
    password = {"name": "DATABASE_PASSWORD", "secret": "database-vault", "key": "password", "revision": 1}
    objects = render("vault-configuration", {**values_of("vault-configuration"), "passwords": [password]})
    pod = dict(pods(objects))["Deployment/vault-configure"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert by_name(container["env"])["DATABASE_PASSWORD"]["valueFrom"] == {
            "secretKeyRef": {"name": "database-vault", "key": "password"}
        }


def test_another_configuration_is_another_pod_which_is_ready_when_vault_has_it(
    values_of: ValuesOf, render: Render
) -> None:
    first, second = (
        render("vault-configuration", values_of("vault-configuration", tenants=tenants))["Deployment/vault-configure"]
        for tenants in ({}, {"prod": {"applications": ["shop"]}})
    )
    (once,) = first["spec"]["template"]["spec"]["initContainers"]
    assert {"--once", "--fatal"} <= set(once["command"])
    annotations = [item["spec"]["template"]["metadata"]["annotations"] for item in (first, second)]
    assert annotations[0] != annotations[1]


# The keys.


def test_the_secret_with_the_keys_is_made_empty_is_kept_and_is_locked(values_of: ValuesOf, render: Render) -> None:
    secret = render("vault-keys", values_of("vault-keys"))["Secret/vault-keys"]
    assert not {"data", "stringData"} & set(secret)
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert secret["metadata"]["labels"] == {"strata/protected": "true"}


def test_one_account_may_write_the_keys_one_may_read_them_and_neither_may_list(
    values_of: ValuesOf, render: Render
) -> None:
    objects = render("vault-keys", values_of("vault-keys"))
    granted = {
        binding["subjects"][0]["name"]: objects[f"Role/{binding['roleRef']['name']}"]["rules"]
        for binding in objects.values()
        if binding["kind"] == "RoleBinding"
    }
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["vault-keys"]}
    assert granted == {
        "vault": [{**rule, "verbs": ["get", "update"]}],
        "vault-configure": [{**rule, "verbs": ["get"]}],
    }


# Servers.


@pytest.mark.parametrize(("pod", "initialises"), [("vault-0", True), ("vault-1", False), ("vault-10", False)])
def test_the_first_server_alone_is_initialised(
    pod: str,
    initialises: bool,  # noqa: FBT001 (a parameter of the test)
    values_of: ValuesOf,
    tmp_path: Path,
) -> None:
    (container,) = values_of("vault")["server"]["extraContainers"]
    for name, script in (("wget", "exit 0"), ("bank-vaults", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "POD_NAME": pod, "VAULT_ADDR": "http://127.0.0.1:8200"}
    command = [*container["command"], *container["args"]]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    words = ran.stdout.split()
    assert words[0] == "unseal"
    assert ("--init" in words) == initialises
    assert {"--mode=k8s", "--k8s-secret-namespace=iac", "--k8s-secret-name=vault-keys"} <= set(words)


def test_helm_waits_until_vault_is_unsealed_and_an_upgrade_needs_nobody(values_of: ValuesOf, render: Render) -> None:
    server = render("vault", values_of("vault"))["StatefulSet/vault"]["spec"]
    assert server["updateStrategy"] == {"type": "RollingUpdate"}
    vault = by_name(server["template"]["spec"]["containers"])["vault"]
    assert vault["readinessProbe"]["exec"]["command"][-1].startswith("vault status")


def test_three_servers_find_each_other_and_fit_on_one_node(values_of: ValuesOf, render: Render) -> None:
    objects = render("vault", values_of("vault", vault={"replicas": 3}))
    assert objects["StatefulSet/vault"]["spec"]["replicas"] == 3
    configuration = objects["ConfigMap/vault-config"]["data"]["extraconfig-from-values.hcl"]
    for ordinal in range(3):
        assert f'leader_api_addr = "http://vault-{ordinal}.vault-internal:8200"' in configuration
    (affinity,) = objects["StatefulSet/vault"]["spec"]["template"]["spec"]["affinity"].values()
    assert set(affinity) == {"preferredDuringSchedulingIgnoredDuringExecution"}


def test_a_budget_keeps_two_of_three_and_never_the_only_one(values_of: ValuesOf, render: Render) -> None:
    assert "PodDisruptionBudget/vault" not in render("vault", values_of("vault"))
    budget = render("vault", values_of("vault", vault={"replicas": 3}))["PodDisruptionBudget/vault"]
    assert budget["spec"]["maxUnavailable"] == 1


def test_all_of_vaults_pods_are_restricted_bounded_and_the_platforms(values_of: ValuesOf, render: Render) -> None:
    found = [
        pod
        for chart, variables in ((chart, bucket) for chart in CHARTS for bucket in ("", "backups"))
        for pod in pods(render(chart, values_of(chart, backups={"bucket": variables})))
    ]
    assert {key for key, _ in found} == {
        "CronJob/vault-snapshots",
        "Deployment/vault-agent-injector",
        "Deployment/vault-configure",
        "StatefulSet/vault",
    }
    for key, pod in found:
        assert pod["priorityClassName"] == "platform", key
        assert pod["securityContext"]["runAsNonRoot"], key
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, key
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, container["name"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}, container["name"]
            assert set(container["resources"]["limits"]) == {"memory"}, container["name"]


def test_the_injector_is_asked_about_labelled_pods_of_clients_only_and_they_do_not_start_without_it(
    values_of: ValuesOf, render: Render, project: Project
) -> None:
    values = values_of("vault", tenants={"prod": {"applications": ["shop"]}})
    (webhook,) = render("vault", values)["MutatingWebhookConfiguration/vault-agent-injector-cfg"]["webhooks"]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["objectSelector"] == {"matchLabels": {"strata/vault": "client"}}
    (namespaces,) = webhook["namespaceSelector"]["matchExpressions"]
    own = {f"{room}-{name}" for name in project.environments for room in ("data", "monitoring")}
    assert (namespaces["key"], set(namespaces["values"])) == ("kubernetes.io/metadata.name", {*own, "shop"})


# Flows.


def test_clients_come_from_the_environments_and_their_applications(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    policy = resources(stacks["infra"])["kubernetes_network_policy_v1.vault_vault-flow"]["spec"]
    callers = [rule["from"][0] for rule in policy["ingress"] if [port["port"] for port in rule["ports"]] == ["8200"]]
    (clients,) = [caller for caller in callers if caller.get("pod_selector") in ({}, {"match_labels": {}})]
    (names,) = clients["namespace_selector"]["match_expressions"]
    found = evaluate(
        stacks["infra"],
        {"names": names["values"]},
        tfvars=tfvars_of(project, "infra"),
        enable_infra=True,
        tenants={"prod": {"applications": ["shop"]}},
    )["names"]
    own = {f"{room}-{name}" for name in project.environments for room in ("data", "monitoring")}
    assert set(found) == {*own, "shop"}


def test_labelled_pods_of_every_environment_reach_vault_and_others_do_not(
    stacks: dict[str, Stack], project: Project
) -> None:
    infra = resources(stacks["infra"])
    for name in project.environments:
        for room in ("data", "monitoring"):
            policy = infra[f"kubernetes_network_policy_v1.tenancy_environment_{name}_{room}-vault-client"]
            assert policy["metadata"]["namespace"] == f"{room}-{name}"
            spec = policy["spec"]
            assert spec["pod_selector"]["match_labels"] == {"strata/vault": "client"}
            (rule,) = spec["egress"]
            assert [(port["port"], port["protocol"]) for port in rule["ports"]] == [("8200", "TCP")]
            (peer,) = rule["to"]
            assert peer["pod_selector"]["match_labels"]["app.kubernetes.io/name"] == "vault"
            assert not spec.get("ingress")


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("", 443),
        ("https://s3.example.com", 443),
        ("http://s3.example.com", 80),
        ("https://s3.example.com:9000", 9000),
    ],
)
def test_snapshots_reach_the_port_of_the_bucket(
    endpoint: str, port: int, stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    policy = resources(stacks["infra"])["kubernetes_network_policy_v1.vault_snapshots_flow"]["spec"]
    expressions = {"port": policy["egress"][1]["ports"][0]["port"]}
    variables = {"enable_infra": True, "backups": {"bucket": "backups", "endpoint": endpoint}}
    assert evaluate(stacks["infra"], expressions, tfvars=tfvars_of(project, "infra"), **variables) == {"port": port}


# Snapshots.


def snapshot_pod(values_of: ValuesOf, render: Render, **variables: object) -> dict[str, Any]:
    return dict(pods(render("snapshots", values_of("snapshots", **variables))))["CronJob/vault-snapshots"]


def test_a_snapshot_lies_on_the_volume_unless_there_is_a_bucket(values_of: ValuesOf, render: Render) -> None:
    pod = snapshot_pod(values_of, render)
    assert pod["volumes"] == [{"name": "snapshots", "persistentVolumeClaim": {"claimName": "vault-snapshots"}}]
    assert [container["name"] for container in (*pod["initContainers"], *pod["containers"])] == ["save", "expire"]
    pod = snapshot_pod(values_of, render, backups={"bucket": "backups", "endpoint": "https://s3.example.com"})
    assert pod["volumes"] == [{"name": "snapshots", "emptyDir": {}}]
    assert [container["name"] for container in (*pod["initContainers"], *pod["containers"])] == ["save", "upload"]
    upload = pod["containers"][0]
    environment = by_name(upload["env"])
    assert environment["PLACE"]["value"] == ":s3:backups/infra/vault"
    assert environment["RCLONE_S3_ENDPOINT"]["value"] == "https://s3.example.com"
    assert environment["RCLONE_S3_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["key"] == "ACCESS_SECRET_KEY"


def test_half_a_file_is_no_snapshot(tmp_path: Path, values_of: ValuesOf, render: Render) -> None:
    (container,) = snapshot_pod(values_of, render)["initContainers"]
    for succeeds in (True, False):
        binaries, place = tmp_path / f"bin-{succeeds}", tmp_path / f"snapshots-{succeeds}"
        binaries.mkdir()
        place.mkdir()
        vault = binaries / "vault"
        vault.write_text(
            '#!/bin/sh\n[ "$1" = write ] && { echo token; exit; }\n'
            f'[ "$VAULT_TOKEN" = token ] && echo half > "$5" && exit {0 if succeeds else 2}\n',
            encoding="utf-8",
        )
        vault.chmod(0o755)
        script = container["args"][0].replace("/snapshots", str(place))
        environment = {"PATH": f"{binaries}:{os.environ['PATH']}"}
        ran = subprocess.run([*container["command"], script], env=environment, check=False)  # noqa: S603
        assert (ran.returncode == 0) == succeeds
        assert len(list(place.glob("vault-*.snap"))) == succeeds


def test_a_destroy_meets_vaults_lock_before_anything_of_it(stacks: dict[str, Stack]) -> None:
    infra = resources(stacks["infra"])
    lock = infra["kubernetes_config_map_v1.vault_lock"]
    held = {address for address in infra if address.split(".")[1].startswith("vault_")}
    assert set(lock["depends_on"]) == held - {"kubernetes_config_map_v1.vault_lock"}
    assert "persistentvolumeclaims vault-snapshots --namespace=iac" in lock["data"]["also"]


def test_no_name_of_an_environment_is_vaults_own(configured: ValuesOf, project: Project) -> None:
    found = configured(engines=[ENGINE])
    for kind in (found["policies"], found["auth"][0]["roles"]):
        names = [item["name"] for item in kind]
        assert len(names) == len(set(names))
    assert not {"administrator", "snapshots", "database", "sys"} & set(project.environments)
