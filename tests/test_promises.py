"""The promises of the design, as assertions on the synthesized stacks."""

import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from stacks.guard import NAMESPACED
from stacks.project import Project
from tests.support import ROOT, Evaluate, Refused, Stack, resources, tfvars_of

VERSIONS = tomllib.loads((ROOT / "versions.toml").read_text(encoding="utf-8"))


def namespace(resource: dict[str, Any]) -> str | None:
    found = resource["namespace"] if "namespace" in resource else resource.get("metadata", {}).get("namespace")
    assert found is None or isinstance(found, str)
    return found


def strings(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for key, item in value.items():
                yield from strings(item, f"{path}.{key}")
        case list():
            for item in value:
                yield from strings(item, path)
        case str():
            yield path, value


# 1. Fail closed.


def test_infra_plans_only_with_enable_infra(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> None:
    tfvars = tfvars_of(project, "infra")
    with pytest.raises(Refused, match="give -var=enable_infra=true"):
        evaluate(stacks["infra"], {}, tfvars=tfvars)
    assert evaluate(stacks["infra"], {"name": "${var.environment}"}, tfvars=tfvars, enable_infra=True)


def test_an_environment_plans_only_without_enable_infra(
    environment_stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    for name, stack in environment_stacks.items():
        tfvars = tfvars_of(project, name)
        with pytest.raises(Refused, match=f"the stack {name} never touches L1 and L2: leave enable_infra out"):
            evaluate(stack, {}, tfvars=tfvars, enable_infra=True)
        assert evaluate(stack, {"name": "${var.environment}"}, tfvars=tfvars) == {"name": name}


def test_a_stack_refuses_the_tfvars_of_every_other_stack(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    for name, other in itertools.permutations(stacks, 2):
        tfvars = tfvars_of(project, other)
        with pytest.raises(Refused, match=f"this is the stack {name}: plan it with -var-file=envs/{name}.tfvars"):
            evaluate(stacks[name], {}, tfvars=tfvars, enable_infra=name == "infra")


def test_a_file_whose_components_are_not_synthesized_is_refused(
    environment_stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    for name, stack in environment_stacks.items():
        tfvars = tfvars_of(project, name)
        with pytest.raises(Refused, match="run make synth"):
            evaluate(stack, {}, tfvars=tfvars, components=["redis", "redis"])


def test_a_prefix_that_was_not_compared_with_the_others_is_refused(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    for name, stack in stacks.items():
        tfvars = tfvars_of(project, name)
        with pytest.raises(Refused, match="run make synth"):
            evaluate(stack, {}, tfvars=tfvars, enable_infra=name == "infra", env_prefix="x-other")


def test_a_quota_without_its_environment_is_refused_at_plan_too(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    tfvars = tfvars_of(project, "infra")
    for key in ("quotas", "tenants"):
        with pytest.raises(Refused, match=f"{key}: an entry has no envs/<name>.tfvars"):
            evaluate(stacks["infra"], {}, tfvars=tfvars, enable_infra=True, **{key: {"nobody": {}}})


def test_no_kubeconfig_is_ever_taken_by_default(stacks: dict[str, Stack]) -> None:
    for stack in stacks.values():
        assert "default" not in stack["variable"]["kubeconfig"]
        for provider in (stack["provider"]["kubernetes"][0], stack["provider"]["helm"][0]["kubernetes"]):
            assert provider["config_path"] == "${var.kubeconfig}"
            assert provider["config_context"] == "${var.kube_context}"


# 2. Isolation by suffix.


def test_an_environment_creates_namespaced_objects_in_its_two_namespaces_only(
    environment_stacks: dict[str, Stack],
) -> None:
    for name, stack in environment_stacks.items():
        assert set(stack["resource"]) <= set(NAMESPACED)
        for address, resource in resources(stack).items():
            assert namespace(resource) in {f"data-{name}", f"monitoring-{name}"}, address


def test_no_release_makes_a_namespace(stacks: dict[str, Stack]) -> None:
    for stack in stacks.values():
        for release in stack["resource"]["helm_release"].values():
            assert release["create_namespace"] is False


def test_no_environment_speaks_of_another(environment_stacks: dict[str, Stack]) -> None:
    for name, other in itertools.permutations(environment_stacks, 2):
        word = re.compile(rf"(?<![a-z]){other}(?![a-z])")
        for path, text in strings({key: environment_stacks[name][key] for key in ("resource", "locals", "terraform")}):
            assert not word.search(text), f"{name}{path}: {text}"


def test_environments_with_the_same_components_differ_in_their_name_only(
    environment_stacks: dict[str, Stack], project: Project
) -> None:
    plain: dict[frozenset[str], str] = {}
    for name, stack in environment_stacks.items():
        components = frozenset(project.environments[name].components)
        text = re.sub(
            rf"(?<![a-z]){name}(?![a-z])", "<environment>", json.dumps({**stack, "variable": {}}, sort_keys=True)
        )
        assert plain.setdefault(components, text) == text


# 3. The API server agrees.


def test_every_stack_has_a_deployer_without_a_token_that_its_holder_may_act_as(stacks: dict[str, Stack]) -> None:
    infra = resources(stacks["infra"])
    accounts = {
        account["metadata"]["name"]: account
        for address, account in infra.items()
        if address.startswith("kubernetes_service_account_v1.")
    }
    assert accounts.pop("viewer")["automount_service_account_token"] is False
    assert set(accounts) == {f"deployer-{name}" for name in stacks}
    for account in accounts.values():
        assert account["metadata"]["namespace"] == "iac"
        assert account["automount_service_account_token"] is False
    roles = [role for address, role in infra.items() if address.startswith("kubernetes_role_v1.")]
    assert {role["metadata"]["name"]: role["rule"] for role in roles} == {
        f"act-as-{name}": [
            {"api_groups": [""], "resources": ["serviceaccounts"], "resource_names": [name], "verbs": ["impersonate"]}
        ]
        for name in accounts
    }


def test_a_deployer_is_bound_in_its_own_namespaces_only_and_infras_alone_is_an_administrator(
    stacks: dict[str, Stack], environment_stacks: dict[str, Stack]
) -> None:
    infra = resources(stacks["infra"])
    bound = {
        (binding["role_ref"]["name"], subject["name"], binding["metadata"].get("namespace"))
        for address, binding in infra.items()
        if "_binding_v1." in address
        for subject in binding["subject"]
    }
    groups = "${each.value}"
    assert bound == {
        ("cluster-admin", "deployer-infra", None),
        ("viewer", "viewer", None),
        ("viewer", groups, None),
        *((f"act-as-deployer-{name}", groups, "iac") for name in stacks),
        *(
            ("environment-deployer", f"deployer-{name}", f"{room}-{name}")
            for name in environment_stacks
            for room in ("data", "monitoring")
        ),
        *((f"act-as-deployer-{name}", "atlantis", "iac") for name in stacks),
    }


def test_what_bounds_an_environment_is_labelled_as_the_platforms(
    stacks: dict[str, Stack], environment_stacks: dict[str, Stack]
) -> None:
    rooms = {f"{room}-{name}" for name in environment_stacks for room in ("data", "monitoring")}
    inside = [item for item in resources(stacks["infra"]).values() if namespace(item) in rooms]
    assert len(inside) == 13 * len(environment_stacks)
    for item in inside:
        assert item["metadata"]["labels"] == {"strata/platform": "true"}


def test_the_policies_know_every_environment_and_every_host_of_the_platform(
    stacks: dict[str, Stack], project: Project
) -> None:
    values = stacks["infra"]["locals"]["tenancy_policies_values"]
    assert values["environments"] == [
        {"name": name, "hostPrefix": file.env_prefix} for name, file in project.environments.items()
    ]
    hosts = {
        ingress["metadata"]["name"]
        for address, ingress in resources(stacks["infra"]).items()
        if address.startswith("kubernetes_ingress_v1.")
    }
    assert hosts <= set(values["platformHosts"])


def test_the_policies_keep_the_host_names_of_prod_from_pipelines(
    stacks: dict[str, Stack], environment_stacks: dict[str, Stack]
) -> None:
    taken = stacks["infra"]["locals"]["tenancy_policies_values"]["environmentHosts"]
    for stack in environment_stacks.values():
        for address, ingress in resources(stack).items():
            if address.startswith("kubernetes_ingress_v1."):
                assert ingress["metadata"]["name"] in taken, address


# 4. No secret.


def test_secrets_are_written_only_and_generated_on_the_way(stacks: dict[str, Stack]) -> None:
    for stack in stacks.values():
        ephemeral = stack.get("ephemeral", {}).get("random_password", {})
        for address, secret in resources(stack).items():
            if not address.startswith("kubernetes_secret_v1."):
                continue
            assert not {"data", "binary_data"} & set(secret), address
            for value in secret["data_wo"].values():
                found = re.fullmatch(r"\$\{ephemeral\.random_password\.([\w-]+)(?:\[each\.key])?\.result}", value)
                supplied = re.fullmatch(r"\$\{var\.(atlantis_(?:token|webhook_secret))}", value)
                is_ephemeral = (found and found[1] in ephemeral) or (
                    supplied and stack["variable"][supplied[1]]["ephemeral"]
                )
                assert value in _USERS or is_ephemeral, address
            if secret["metadata"]["name"] in _NEVER_AGAIN:
                assert secret["data_wo_revision"] == 1
                continue
            system = _OF_ANOTHER.get(address, address.split(".")[1].split("_")[0])
            assert re.fullmatch(
                rf"\$\{{(var\.{system}\.(credentials|web)|each\.value\.credentials)_revision}}",
                secret["data_wo_revision"],
            )


# The names of accounts, which stand beside their passwords.
_USERS = {"app", "atlantis", "posthog", "vault", "${each.key}"}
# What another one could not take the place of: keys that data is encrypted with, and whom somebody first signs in as.
_NEVER_AGAIN = {"posthog-admin", "posthog-keys"}
# A system's account at another system: who uses it says when it changes.
_OF_ANOTHER = {"kubernetes_secret_v1.postgres_posthog": "posthog"}


def test_nothing_outside_a_secret_reads_an_ephemeral_value(stacks: dict[str, Stack]) -> None:
    for stack in stacks.values():
        for path, text in strings({**stack, "ephemeral": {}}):
            assert not re.search(r"[$%]\{[^}]*ephemeral\.", text) or ".data_wo." in path, path


def test_no_value_looks_like_a_secret(stacks: dict[str, Stack]) -> None:
    named = re.compile(r"(password|passwd|secret|token|api_?key|private_?key|jwt)$", re.IGNORECASE)
    shaped = re.compile(r"(?=\S*[0-9])(?=\S*[a-zA-Z])[A-Za-z0-9+/_=-]{32,}")
    variable = re.compile(r"[A-Z0-9_]+_[A-Z0-9_]+")
    for name, stack in stacks.items():
        for path, text in strings({**stack, "variable": {}, "//": {}}):
            key = path.rsplit(".", 1)[-1]
            if path.startswith((".ephemeral", ".resource")) and text.startswith("${ephemeral."):
                continue
            assert not (named.search(key) and text and text not in _SECRET_NAMES), f"{name}{path}: {text}"
            for word in re.findall(r"\S+", text):
                is_named = word.startswith("${") or variable.fullmatch(word)
                assert not shaped.fullmatch(word) or is_named, f"{name}{path}: {text}"


# The names of Secrets stand where their passwords would.
_SECRET_NAMES = {
    "database-vault",
    "posthog-admin",
    "posthog-clickhouse",
    "posthog-clickhouse-backup",
    "posthog-objects",
    "redis-auth",
    "signoz-admin",
    "signoz-clickhouse",
    "signoz-clickhouse-backup",
    "${var.backups.secret}",
    "${var.k3s.snapshot.s3_secret}",
    "${var.signoz.alerts.secret}",
    '${var.posthog.objects.bucket == "" ? "posthog-objects" : var.posthog.objects.secret}',
}


# Versions, quotas, network, deletion.


def test_every_version_is_exact_and_from_versions_toml(stacks: dict[str, Stack]) -> None:
    for stack in stacks.values():
        assert stack["terraform"]["required_version"] == VERSIONS["terraform"]["required"] == ">= 1.11"
        providers = {key: value["version"] for key, value in stack["terraform"]["required_providers"].items()}
        assert providers == VERSIONS["providers"]
        for release in stack["resource"]["helm_release"].values():
            if not release["chart"].startswith("${path.module}"):
                assert release["version"] in {chart["version"] for chart in VERSIONS["charts"].values()}
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", release["version"])
    for image in VERSIONS["images"].values():
        assert re.fullmatch(r"[a-z0-9./-]+(:v?\d[\w.-]*)?(@sha256:[0-9a-f]{64})?", image)
        assert {":", "@"} & set(image)
    assert re.fullmatch(r"v\d+\.\d+\.\d+\+k3s\d+", VERSIONS["tools"]["k3s"])
    (provisioner,) = stacks["infra"]["resource"]["terraform_data"]["k3s_nodes"]["provisioner"]
    assert provisioner["local-exec"]["environment"]["STRATA_VERSION"] == VERSIONS["tools"]["k3s"]


def test_every_stack_has_a_lock_file_for_exactly_its_providers(stacks: dict[str, Stack], project: Project) -> None:
    for name in stacks:
        text = (project.root / "terraform" / "stacks" / name / ".terraform.lock.hcl").read_text(encoding="utf-8")
        locked = re.findall(r'provider "registry\.terraform\.io/hashicorp/(\w+)" \{\n  version +=\s"([\d.]+)"', text)
        assert dict(locked) == VERSIONS["providers"]
        assert len(re.findall(r'"zh:[0-9a-f]{64}"', text)) >= 12 * len(locked)


def test_infra_bounds_every_environment(stacks: dict[str, Stack], environment_stacks: dict[str, Stack]) -> None:
    infra = resources(stacks["infra"])
    for name in environment_stacks:
        for room, level in (("data", "restricted"), ("monitoring", "baseline")):
            prefix = f"tenancy_environment_{name}_{room}"
            labels = infra[f"kubernetes_namespace_v1.{prefix}"]["metadata"]["labels"]
            assert labels["pod-security.kubernetes.io/enforce"] == level
            assert labels["strata/environment"] == name
            hard = infra[f"kubernetes_resource_quota_v1.{prefix}-quota"]["spec"]["hard"]
            assert set(hard) == {"requests.cpu", "requests.memory", "limits.memory", "requests.storage", "pods"}
            (limit,) = infra[f"kubernetes_limit_range_v1.{prefix}-defaults"]["spec"]["limit"]
            assert set(limit["default_request"]) == {"cpu", "memory"}
            assert set(limit["default"]) == {"memory"}


def test_every_namespace_of_ours_denies_by_default_and_opens_dns(stacks: dict[str, Stack]) -> None:
    infra = resources(stacks["infra"])
    names = {r["metadata"]["name"] for a, r in infra.items() if a.startswith("kubernetes_namespace_v1.")}
    denied = {
        policy["metadata"]["namespace"]: policy["spec"]
        for address, policy in infra.items()
        if address.endswith("_default-deny")
    }
    assert set(denied) == names
    for spec in denied.values():
        assert spec["pod_selector"] == {"match_labels": {}} or spec["pod_selector"] == {}
        assert spec["policy_types"] == ["Ingress", "Egress"]
        assert not spec.get("ingress")
        assert {(port["port"], port["protocol"]) for rule in spec["egress"] for port in rule["ports"]} == {
            ("53", "UDP"),
            ("53", "TCP"),
        }


def test_a_flow_always_names_its_peer(stacks: dict[str, Stack]) -> None:
    for stack in stacks.values():
        for address, policy in resources(stack).items():
            if address.startswith("kubernetes_network_policy_v1."):
                for rule in policy["spec"].get("ingress", []):
                    assert rule["from"], address
                    assert rule["ports"], address
                for rule in policy["spec"].get("egress", []):
                    assert rule["to"], address
                    assert rule["ports"], address


def test_the_deletion_lock_holds_every_resource_of_its_stack(stacks: dict[str, Stack]) -> None:
    for stack in stacks.values():
        lock = resources(stack)["kubernetes_config_map_v1.lock"]
        assert set(lock["depends_on"]) == set(resources(stack)) - {"kubernetes_config_map_v1.lock"}
        assert lock["metadata"]["name"] == "deletion-lock-stack"


def test_every_store_has_a_deletion_lock_of_its_own(environment_stacks: dict[str, Stack], project: Project) -> None:
    for name, stack in environment_stacks.items():
        for component in project.environments[name].components:
            lock = resources(stack)[f"kubernetes_config_map_v1.{component}_lock"]
            held = {address for address in resources(stack) if re.match(rf"\w+\.{component}_", address)}
            made_for_it = set(lock["depends_on"]) & {f"kubernetes_secret_v1.postgres_{component}"}
            assert set(lock["depends_on"]) == held - {f"kubernetes_config_map_v1.{component}_lock"} | made_for_it
            assert len(made_for_it) == (component == "posthog")


def test_atlantis_volume_has_a_lock_that_a_destroy_meets_before_its_release(stacks: dict[str, Stack]) -> None:
    infra = resources(stacks["infra"])
    lock = infra["kubernetes_config_map_v1.atlantis_lock"]
    assert {"helm_release.atlantis_release", "kubernetes_config_map_v1.atlantis_guard"} <= set(lock["depends_on"])
    assert "persistentvolumeclaims atlantis-data --namespace=iac" in lock["data"]["also"]


def test_what_all_environments_stand_on_is_protected(
    stacks: dict[str, Stack], environment_stacks: dict[str, Stack]
) -> None:
    protected = {
        namespace["metadata"]["name"]: namespace["metadata"]["labels"]["strata/protected"]
        for address, namespace in resources(stacks["infra"]).items()
        if address.startswith("kubernetes_namespace_v1.")
    }
    assert protected.pop("iac") == "true"
    assert protected.pop("kubernetes-dashboard") == "false"
    assert protected.pop("kubero") == "true"
    assert protected.pop("${each.key}") == "true", "the namespaces of pipelines"
    for name in environment_stacks:
        for room in ("data", "monitoring"):
            assert protected.pop(f"{room}-{name}") == f'${{try(var.tenants["{name}"].protected, true)}}'
    assert not protected


def test_a_tenant_that_leaves_meets_a_lock_before_it_loses_anything(
    stacks: dict[str, Stack], environment_stacks: dict[str, Stack]
) -> None:
    infra = resources(stacks["infra"])
    for name in environment_stacks:
        lock = infra[f"kubernetes_config_map_v1.tenancy_environment_{name}_lock"]
        held = {address for address in infra if f"tenancy_environment_{name}_" in address}
        assert set(lock["depends_on"]) == held - {f"kubernetes_config_map_v1.tenancy_environment_{name}_lock"}
        assert len(held) == 20


def test_namespaces_are_deleted_while_the_policies_still_guard_them(stacks: dict[str, Stack]) -> None:
    for address, resource in resources(stacks["infra"]).items():
        if re.match(r"kubernetes_namespace_v1\.tenancy_environment_.+_(data|monitoring)$", address):
            assert resource["depends_on"] == ["helm_release.tenancy_policies"]


def test_host_names_begin_with_the_prefix_and_end_with_the_domain(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    for name, stack in stacks.items():
        settings = project.infra if name == "infra" else project.environments[name]
        for address, ingress in resources(stack).items():
            if not address.startswith("kubernetes_ingress_v1."):
                continue
            host = ingress["spec"]["rule"][0]["host"]
            tfvars = tfvars_of(project, name)
            service = ingress["metadata"]["name"]
            found = evaluate(stack, {"host": host}, tfvars=tfvars, enable_infra=name == "infra")["host"]
            label = f"{settings.env_prefix}-{service}" if settings.env_prefix else service
            assert found == f"{label}.{settings.base_domain}"
            assert ingress["spec"]["tls"][0]["hosts"] == [host]
