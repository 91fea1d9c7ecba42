"""A credential in two namespaces, on a real API server: what it is after an apply that died, and after a deletion.

The tests run in their order, with PostHog's credential and nothing else of it.
"""

import base64
import json
import subprocess
from typing import Any

import pytest

from tests.e2e.cluster import CHANGES, EMPTY, KUBECONFIG, Workspace, kubectl, objects
from tests.support import ROOT, on_the_path

pytestmark = pytest.mark.e2e

SOURCE, COPY = ("data-staging", "postgres-posthog"), ("monitoring-staging", "posthog-postgres")
MADE, COPIED = "kubernetes_secret_v1.postgres_posthog", "helm_release.posthog_stores_postgres_release"


def secret(place: tuple[str, str]) -> dict[str, Any]:
    namespace, name = place
    found: dict[str, Any] = json.loads(
        kubectl("get", "secret", name, f"--namespace={namespace}", "--output=json").stdout
    )
    return found


def password(place: tuple[str, str]) -> str:
    return base64.b64decode(secret(place)["data"]["password"]).decode()


def write(workspace: Workspace, revision: int, *, has_posthog: bool = True) -> None:
    """Give staging what is shipped, with a revision of PostHog's credentials, or without PostHog."""
    shipped = (ROOT / "envs" / "staging.tfvars").read_text(encoding="utf-8")
    text = shipped.replace("\nposthog = {\n", f"\nposthog = {{\n  credentials_revision = {revision}\n")
    assert text != shipped
    file = workspace.root / "envs" / "staging.tfvars"
    file.write_text(text if has_posthog else text.replace('"posthog", ', ""), encoding="utf-8")


def plan(workspace: Workspace) -> int:
    done = workspace.terraform("staging", "plan", "-detailed-exitcode", f"-target={COPIED}", "-out=plan")
    assert done.returncode in (EMPTY, CHANGES), done.stderr
    return done.returncode


def helm(*arguments: str, deployer: str = "staging") -> str:
    """Install a copy of another name by hand, and return Helm's error."""
    deployer = f"--kube-as-user=system:serviceaccount:iac:deployer-{deployer}"
    place = [f"--kubeconfig={KUBECONFIG}", f"--namespace={COPY[0]}", deployer]
    command = [on_the_path("helm"), "install", "by-hand", str(ROOT / "charts" / "credential-copy"), *place]
    values = [f"--set=keys={{password}},source.namespace={SOURCE[0]},source.name={SOURCE[1]}", *arguments]
    return subprocess.run([*command, *values], capture_output=True, text=True, check=False).stderr  # noqa: S603


@pytest.fixture(scope="module")
def staging(workspace: Workspace) -> Workspace:
    """The environment, with the credential alone: what needs it is not made."""
    write(workspace, 1)
    workspace.synthesize()
    workspace.apply("staging", f"-target={COPIED}")
    return workspace


def test_the_deployer_copies_the_credential_and_a_second_plan_is_empty(staging: Workspace) -> None:
    assert secret(COPY)["data"] == secret(SOURCE)["data"]
    assert set(secret(COPY)["data"]) == {"username", "password"}
    assert plan(staging) == EMPTY


def test_no_plan_and_no_state_has_what_is_copied(staging: Workspace) -> None:
    write(staging, 2)
    assert plan(staging) == CHANGES
    folder = staging.root / "terraform" / "stacks" / "staging"
    command = [on_the_path("terraform"), "show", "-json", "plan"]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    state = (staging.root / ".state" / "staging.tfstate").read_text(encoding="utf-8")
    for value in (password(SOURCE), secret(SOURCE)["data"]["password"]):
        assert value not in state
        assert value not in shown.stdout


def test_an_apply_that_died_between_the_two_is_made_good_by_the_next(staging: Workspace) -> None:
    before = password(SOURCE)
    staging.apply("staging", f"-target={MADE}")
    assert password(COPY) == before != password(SOURCE)
    assert plan(staging) == CHANGES
    staging.apply("staging", f"-target={COPIED}")
    assert password(COPY) == password(SOURCE) != before
    assert plan(staging) == EMPTY


def test_a_credential_that_was_deleted_is_made_anew_and_copied(staging: Workspace) -> None:
    before = password(SOURCE)
    namespace, name = SOURCE
    assert kubectl("delete", "secret", name, f"--namespace={namespace}").returncode == 0
    staging.apply("staging", f"-target={COPIED}")
    assert password(COPY) == password(SOURCE) != before
    assert plan(staging) == EMPTY


def test_a_copy_that_was_deleted_is_seen_by_no_plan_and_comes_back_by_a_replacement(staging: Workspace) -> None:
    before = password(SOURCE)
    namespace, name = COPY
    assert kubectl("delete", "secret", name, f"--namespace={namespace}").returncode == 0
    assert plan(staging) == EMPTY
    staging.apply("staging", f"-target={COPIED}", f"-replace={COPIED}")
    assert password(COPY) == password(SOURCE) == before


def test_what_cannot_be_copied_is_refused_in_words_and_leaves_nothing(staging: Workspace) -> None:
    assert staging
    assert f'the Secret {"/".join(SOURCE)} has revision "2", and "3" is to be copied' in helm(
        "--set-string=source.revision=3"
    )
    assert "has no key token" in helm("--set-string=source.revision=2", "--set=keys={token}")
    missing = helm("--set=source.name=postgres-nobody")
    assert "there is no Secret data-staging/postgres-nobody to copy: it is made before this" in missing
    assert "forbidden" in helm("--set=source.namespace=data-prod")
    assert "forbidden" in helm(deployer="prod")
    assert not [item for item in objects("secrets", f"--namespace={COPY[0]}") if "by-hand" in item["metadata"]["name"]]


def test_helms_own_record_lies_beside_the_copy_for_those_who_may_read_that(staging: Workspace) -> None:
    assert staging
    records = objects("secrets", "--all-namespaces", "--selector=owner=helm,name=posthog-postgres")
    assert {item["metadata"]["namespace"] for item in records} == {COPY[0]}
    for who, answer in (("iac:deployer-staging", "yes"), ("iac:deployer-prod", "no"), ("data-staging:default", "no")):
        account = f"--as=system:serviceaccount:{who}"
        asked = kubectl("auth", "can-i", "get", "secrets", f"--namespace={COPY[0]}", account)
        assert asked.stdout.strip() == answer, who


def test_the_copy_goes_with_its_component(staging: Workspace) -> None:
    write(staging, 2, has_posthog=False)
    staging.synthesize()
    staging.apply("staging", f"-target={COPIED}", f"-target={MADE}")
    for namespace, name in (COPY, SOURCE):
        assert not kubectl("get", "secret", name, f"--namespace={namespace}", "--ignore-not-found").stdout
    assert not objects("secrets", "--all-namespaces", "--selector=owner=helm,name=posthog-postgres")
