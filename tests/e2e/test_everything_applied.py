"""Everything applied to a real API server, and the promises tried on it: `make e2e`.

The tests run in their order, from the first apply to the last destroy.
"""

import base64
import json
import time

import pytest

from constructs.footprint import Amount, millicores_of, total
from constructs.settings import mebibytes_of
from stacks import footprints
from stacks.project import load
from tests.e2e.cluster import CHANGES, EMPTY, Workspace, kubectl, objects, unlock

pytestmark = pytest.mark.e2e

CLUSTER_SCOPED = (
    "clusterroles,clusterrolebindings,customresourcedefinitions,namespaces,priorityclasses,storageclasses,ingressclasses,"
    "validatingwebhookconfigurations,mutatingwebhookconfigurations,validatingadmissionpolicies"
)
NOISE = {"events", "events.events.k8s.io", "leases.coordination.k8s.io"}


def cluster_scoped() -> set[tuple[str, str]]:
    return {(item["kind"], item["metadata"]["name"]) for item in objects(CLUSTER_SCOPED)}


def namespaced() -> set[tuple[str, str, str]]:
    kinds = kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").stdout.split()
    items = objects(",".join(sorted(set(kinds) - NOISE)), "--all-namespaces")
    return {(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in items}


def test_an_environment_creates_objects_in_its_two_namespaces_and_nowhere_else(
    workspace: Workspace, names: list[str]
) -> None:
    for name in names:
        shared, before = cluster_scoped(), namespaced()
        workspace.apply(name)
        assert cluster_scoped() == shared
        created = {namespace for _, namespace, _ in namespaced() - before}
        assert created == {f"data-{name}", f"monitoring-{name}"}
        assert before <= namespaced()


def test_a_second_plan_of_every_stack_is_empty(workspace: Workspace, names: list[str]) -> None:
    assert {stack: workspace.plan(stack) for stack in ("infra", *names)} == dict.fromkeys(("infra", *names), EMPTY)


def test_all_pods_run_with_the_priority_of_their_environment(workspace: Workspace, names: list[str]) -> None:
    assert workspace
    for name in names:
        for namespace in (f"data-{name}", f"monitoring-{name}"):
            pods = objects("pods", f"--namespace={namespace}")
            assert pods
            for pod in pods:
                assert pod["status"]["phase"] in ("Running", "Succeeded"), pod["metadata"]["name"]
                if pod["metadata"].get("ownerReferences", [{}])[0].get("kind") != "Job":
                    assert pod["spec"]["priorityClassName"] == f"environment-{name}", pod["metadata"]["name"]


def test_the_policies_type_check(workspace: Workspace) -> None:
    assert workspace
    for policy in objects("validatingadmissionpolicies"):
        assert policy["status"]["typeChecking"] == {}, policy["metadata"]["name"]


def test_the_wrong_tfvars_and_a_missing_enable_infra_change_nothing(workspace: Workspace) -> None:
    wrong = workspace.terraform("prod", "apply", "-auto-approve", tfvars="staging")
    assert wrong.returncode == 1
    assert "this is the stack prod" in " ".join(wrong.stderr.split())
    missing = workspace.terraform("infra", "apply", "-auto-approve", "-var=enable_infra=false")
    assert missing.returncode == 1
    assert "give -var=enable_infra=true" in " ".join(missing.stderr.split())
    assert workspace.plan("prod") == workspace.plan("infra") == workspace.plan("staging") == EMPTY


def test_no_generated_secret_is_in_a_state_or_a_plan(workspace: Workspace, names: list[str]) -> None:
    written = [path.read_text(encoding="utf-8") for path in (workspace.root / ".state").iterdir()]
    written += [workspace.terraform(name, "plan").stdout for name in names]
    for name, secret in (
        ("data", "redis-auth"),
        ("data", "postgres-app"),
        ("monitoring", "signoz-admin"),
        ("monitoring", "signoz-clickhouse-backup"),
    ):
        for environment in names:
            found = json.loads(kubectl("get", "secret", secret, f"--namespace={name}-{environment}", "-ojson").stdout)
            values = [base64.b64decode(value).decode() for value in found["data"].values()]
            passwords = [value for value in values if len(value) >= 24]
            assert passwords
            for password in passwords:
                for text in written:
                    assert password not in text
                    assert base64.b64encode(password.encode()).decode() not in text


def test_a_bumped_revision_rotates_one_secret_and_nothing_else(workspace: Workspace) -> None:
    def passwords() -> dict[str, str]:
        secrets = objects("secrets", "--namespace=data-staging", "--field-selector=type!=helm.sh/release.v1")
        return {secret["metadata"]["name"]: json.dumps(secret["data"]) for secret in secrets}

    before = passwords()
    tfvars = workspace.root / "envs" / "staging.tfvars"
    text = tfvars.read_text(encoding="utf-8")
    tfvars.write_text(text.replace("redis = {", "redis = {\n  credentials_revision = 2"), encoding="utf-8")
    workspace.apply("staging")
    after = passwords()
    assert {name for name in before if before[name] != after[name]} == {"redis-auth"}
    (pod,) = objects("pods", "--namespace=data-staging", "--selector=app.kubernetes.io/name=redis")
    assert pod["metadata"]["annotations"]["strata/credentials-revision"] == "2"
    assert workspace.plan("staging") == EMPTY


def test_a_quota_counts_what_the_budget_says(workspace: Workspace, names: list[str]) -> None:
    """What CloudNativePG's operator makes is left out where it does not run, on simulated nodes."""
    project = load(workspace.root)
    operated = "clusters.postgresql.cnpg.io,poolers.postgresql.cnpg.io"
    for name in names:
        for room, systems in footprints.of_environment(project.environments[name]).items():
            namespace = f"{room}-{name}"
            absent = {item["metadata"]["name"] for item in objects(operated, f"--namespace={namespace}")}
            if objects("pods", f"--namespace={namespace}", "--selector=cnpg.io/podRole=instance"):
                absent = set()
            asked = [item for found in systems.values() for item in found if item.name not in absent]
            expected = total(item.always() for item in asked)
            # A quota is counted anew a moment after a Job has ended.
            for _ in range(30):
                if used(namespace) == expected:
                    break
                time.sleep(1)
            assert used(namespace) == expected, namespace


def used(namespace: str) -> Amount:
    """Return what the quota of a namespace counts."""
    (quota,) = objects("resourcequotas", f"--namespace={namespace}")
    found = quota["status"]["used"]
    return Amount(
        pods=int(found["pods"]),
        cpu=millicores_of(found["requests.cpu"]),
        memory=mebibytes(found["requests.memory"]),
        memory_limit=mebibytes(found["limits.memory"]),
        storage=mebibytes(found["requests.storage"]),
    )


def mebibytes(quantity: str) -> int:
    """Return a quantity of memory or storage in MiB; without a unit it is in bytes."""
    return int(quantity) // 1024**2 if quantity.isdigit() else mebibytes_of(quantity)


def test_a_quota_refuses_the_pod_that_is_too_much(workspace: Workspace) -> None:
    assert workspace
    resources = {"requests": {"cpu": "10m", "memory": "100Gi"}, "limits": {"memory": "100Gi"}}
    context = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "greedy", "image": "greedy:1", "resources": resources, "securityContext": context}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greedy"}, "spec": {"containers": [container]}}
    refused = kubectl("create", "--namespace=data-staging", "--filename=-", text=json.dumps(pod))
    assert "exceeded quota: environment" in refused.stderr
    container["securityContext"] = {}
    refused = kubectl("create", "--namespace=data-staging", "--filename=-", text=json.dumps(pod))
    assert 'violates PodSecurity "restricted' in refused.stderr


def test_what_holds_data_is_deleted_by_nobody_who_does_not_name_it(workspace: Workspace) -> None:
    for arguments in (
        ("persistentvolumeclaims", "--all", "--namespace=data-staging"),
        ("clusters.postgresql.cnpg.io", "postgres", "--namespace=data-staging"),
        ("namespaces", "data-staging"),
        ("customresourcedefinitions", "clusters.postgresql.cnpg.io"),
        ("configmaps", "deletion-lock-stack", "--namespace=data-staging"),
    ):
        refused = kubectl("delete", *arguments, "--wait=false")
        assert refused.returncode != 0
        assert f"is protected. To delete it for good: kubectl annotate {arguments[0]}" in refused.stderr
    assert (
        kubectl("delete", "configmap", "redis-config", "--namespace=data-staging", "--dry-run=server").returncode == 0
    )
    assert workspace.plan("staging") == EMPTY


def test_a_destroy_of_a_protected_stack_is_refused_says_how_and_changes_nothing(workspace: Workspace) -> None:
    for stack in ("staging", "infra"):
        refused = workspace.destroy(stack)
        assert refused.returncode == 1
        assert "kubectl annotate configmaps deletion-lock-stack" in " ".join(refused.stderr.split())
    assert workspace.plan("staging") == workspace.plan("infra") == EMPTY


def test_a_component_that_leaves_is_refused_before_its_release_is_touched(workspace: Workspace) -> None:
    tfvars = workspace.root / "envs" / "staging.tfvars"
    text = tfvars.read_text(encoding="utf-8")
    tfvars.write_text(text.replace('"posthog", "postgres", ', ""), encoding="utf-8")
    stale = workspace.terraform("staging", "apply", "-auto-approve")
    assert "run make synth" in " ".join(stale.stderr.split())
    workspace.synthesize()
    refused = workspace.terraform("staging", "apply", "-auto-approve")
    assert refused.returncode == 1
    words = " ".join(refused.stderr.split())
    assert "kubectl annotate configmaps deletion-lock-postgres --namespace=data-staging" in words
    assert "&& kubectl annotate clusters.postgresql.cnpg.io postgres --namespace=data-staging" in words
    assert "kubectl annotate configmaps deletion-lock-posthog --namespace=monitoring-staging" in words
    assert "&& kubectl annotate secrets posthog-keys --namespace=monitoring-staging" in words
    tfvars.write_text(text, encoding="utf-8")
    workspace.synthesize()
    # SigNoz was already told to ask a database less.
    workspace.apply("staging")
    assert workspace.plan("staging") == EMPTY


def test_an_environment_is_a_file(workspace: Workspace) -> None:
    # Without PostHog: the default quotas have no room for it.
    text = (workspace.root / "envs" / "test.tfvars").read_text(encoding="utf-8")
    feature = workspace.root / "envs" / "feature.tfvars"
    feature.write_text(text.replace('"test"', '"feature"').replace("x-test", "x-feature"), encoding="utf-8")
    workspace.synthesize()
    workspace.apply("infra")
    workspace.apply("feature")
    assert workspace.plan("feature") == workspace.plan("staging") == EMPTY
    assert kubectl("get", "statefulset", "redis", "--namespace=data-feature").returncode == 0


def test_an_environment_that_is_not_protected_is_destroyed_and_the_others_stay(workspace: Workspace) -> None:
    gone = workspace.destroy("test")
    assert gone.returncode == 0, gone.stderr
    assert not objects("statefulsets", "--namespace=data-test")
    assert workspace.plan("prod") == workspace.plan("staging") == EMPTY


def test_a_protected_environment_is_destroyed_when_each_thing_is_named_and_prod_stays(workspace: Workspace) -> None:
    unlock("configmap", "deletion-lock-posthog", "monitoring-staging")
    unlock("secret", "posthog-keys", "monitoring-staging")
    for stack in ("staging", "feature"):
        for lock in ("stack", "redis", "postgres"):
            unlock("configmap", f"deletion-lock-{lock}", f"data-{stack}")
        unlock("configmap", "deletion-lock-signoz", f"monitoring-{stack}")
        unlock("clusters.postgresql.cnpg.io", "postgres", f"data-{stack}")
        gone = workspace.destroy(stack)
        assert gone.returncode == 0, gone.stderr
        assert {claim["metadata"]["name"] for claim in objects("pvc", f"--namespace=data-{stack}")} == {"data-redis-0"}
    assert workspace.plan("prod") == EMPTY


def test_an_environment_that_leaves_is_refused_with_its_rules_in_place_until_it_is_named(workspace: Workspace) -> None:
    (workspace.root / "envs" / "feature.tfvars").unlink()
    workspace.synthesize()
    refused = workspace.terraform("infra", "apply", "-auto-approve")
    assert refused.returncode == 1
    assert "kubectl annotate configmaps deletion-lock-tenant --namespace=data-feature" in " ".join(
        refused.stderr.split()
    )
    for kind, name in (("networkpolicy", "default-deny"), ("resourcequota", "environment"), ("limitrange", "defaults")):
        assert kubectl("get", kind, name, "--namespace=data-feature").returncode == 0
    unlock("configmap", "deletion-lock-tenant", "data-feature")
    for namespace in ("data-feature", "monitoring-feature"):
        unlock("namespace", namespace)
    workspace.apply("infra")
    assert kubectl("get", "namespace", "data-feature").returncode != 0
    assert workspace.plan("infra") == workspace.plan("prod") == EMPTY


def test_a_lock_that_was_left_open_is_seen_and_closed(workspace: Workspace) -> None:
    unlock("configmap", "deletion-lock-redis", "data-prod")
    assert workspace.plan("prod") == CHANGES
    workspace.apply("prod")
    assert kubectl("delete", "configmap", "deletion-lock-redis", "--namespace=data-prod").returncode != 0
    assert workspace.plan("prod") == EMPTY


def test_infra_is_destroyed_and_applied_again_and_prod_finds_its_data(workspace: Workspace, names: list[str]) -> None:
    claims = {claim["metadata"]["uid"] for claim in objects("pvc", "--namespace=data-prod")}
    unlock("configmap", "deletion-lock-stack", "iac")
    refused = workspace.destroy("infra")
    assert refused.returncode == 1
    assert "kubectl annotate configmaps deletion-lock-tenant --namespace=data-prod" in " ".join(refused.stderr.split())
    assert {claim["metadata"]["uid"] for claim in objects("pvc", "--namespace=data-prod")} == claims
    workspace.apply("infra")
    assert workspace.plan("infra") == workspace.plan("prod") == EMPTY
    assert names
