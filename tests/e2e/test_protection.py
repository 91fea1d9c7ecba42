"""What holds an environment's data, deleted by mistake: by kubectl, by Helm, and by Terraform, store by store."""

import shutil
import subprocess

import pytest

from tests.e2e.cluster import EMPTY, KUBECONFIG, Workspace, kubectl, objects

pytestmark = pytest.mark.e2e

# Each store: its release, where it lies, and what its data is in.
STORES = {
    "redis": ("redis", "data-staging", "persistentvolumeclaims/data-redis-0"),
    "postgres": ("postgres", "data-staging", "clusters.postgresql.cnpg.io/postgres"),
    "signoz": ("signoz", "monitoring-staging", "persistentvolumeclaims/signoz-db-signoz-0"),
    "clickhouse": (None, "monitoring-staging", "persistentvolumeclaims/data-signoz-clickhouse-0"),
}


def uid(reference: str, namespace: str) -> str:
    found = kubectl("get", reference, f"--namespace={namespace}", "--output=jsonpath={.metadata.uid}")
    assert found.returncode == 0, found.stderr
    return found.stdout


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = shutil.which("helm")
    if command is None:
        pytest.skip("needs helm on the PATH")
    words = [command, f"--kubeconfig={KUBECONFIG}", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.fixture(scope="module")
def staging(workspace: Workspace) -> dict[str, str]:
    """What holds the data of each store of staging: its uid."""
    workspace.apply("staging")
    return {store: uid(reference, namespace) for store, (_, namespace, reference) in STORES.items()}


@pytest.mark.parametrize("store", STORES)
def test_kubectl_is_refused_and_told_how(store: str, staging: dict[str, str]) -> None:
    _, namespace, reference = STORES[store]
    kind, _, name = reference.partition("/")
    for arguments in ((reference,), (kind, "--all")):
        refused = kubectl("delete", *arguments, f"--namespace={namespace}", "--wait=false")
        assert refused.returncode != 0
        assert f"is protected. To delete it for good: kubectl annotate {kind}" in refused.stderr
    assert f"{kind} {name} --namespace={namespace} strata/delete={name}" in refused.stderr
    assert uid(reference, namespace) == staging[store]


@pytest.mark.parametrize("store", [store for store, (release, *_) in STORES.items() if release])
def test_what_helm_uninstalls_comes_back_with_its_data(
    store: str, staging: dict[str, str], workspace: Workspace
) -> None:
    release, namespace, reference = STORES[store]
    assert release is not None
    gone = helm("uninstall", release, f"--namespace={namespace}", "--wait=false")
    assert uid(reference, namespace) == staging[store]
    if gone.returncode != 0:
        # Helm stops at a locked object, and knows the release as one that it is uninstalling: delete-for-good.md.
        assert f"failed to delete release: {release}" in gone.stderr
        history = helm("history", release, f"--namespace={namespace}", "--output=table").stdout.splitlines()
        back = helm("rollback", release, history[-1].split()[0], f"--namespace={namespace}")
        assert back.returncode == 0, back.stderr
    workspace.apply("staging")
    assert workspace.plan("staging") == EMPTY
    assert uid(reference, namespace) == staging[store]


@pytest.mark.parametrize("system", ["redis", "postgres", "signoz"])
def test_terraform_meets_the_systems_lock_first_and_leaves_the_system_as_it_was(
    system: str, staging: dict[str, str], workspace: Workspace
) -> None:
    stack = workspace.root / "terraform" / "stacks" / "staging" / "cdk.tf.json"
    text = stack.read_text(encoding="utf-8")
    everything = {(item["kind"], item["metadata"]["uid"]) for item in objects("all", "--namespace=data-staging")}
    try:
        tfvars = workspace.root / "envs" / "staging.tfvars"
        settings = tfvars.read_text(encoding="utf-8")
        tfvars.write_text(settings.replace(f'"{system}"', "").replace("[,", "[").replace(", ,", ","), encoding="utf-8")
        workspace.synthesize()
        refused = workspace.terraform("staging", "apply", "-auto-approve")
    finally:
        tfvars.write_text(settings, encoding="utf-8")
        workspace.synthesize()
    assert stack.read_text(encoding="utf-8") == text
    assert refused.returncode == 1
    assert f"kubectl annotate configmaps deletion-lock-{system}" in " ".join(refused.stderr.split())
    now = {(item["kind"], item["metadata"]["uid"]) for item in objects("all", "--namespace=data-staging")}
    assert now == everything
    # SigNoz was already told to ask one store less.
    workspace.apply("staging")
    assert workspace.plan("staging") == EMPTY
    assert {store: uid(reference, place) for store, (_, place, reference) in STORES.items()} == staging
