"""An environment taken down on purpose: `make teardown`, as its deployer."""

import subprocess

import pytest

from tests.e2e.cluster import EMPTY, Workspace, objects

pytestmark = pytest.mark.e2e


def tear_down(workspace: Workspace, typed: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words = workspace.terraform_words("staging")
    return workspace.command("teardown", "staging", *words, typed=f"{typed}\n", **variables)


def test_a_dry_run_names_every_lock_and_volume_and_changes_nothing(workspace: Workspace) -> None:
    for name in ("staging", "prod"):
        workspace.apply(name)
    told = tear_down(workspace, "", DRY_RUN="1")
    assert told.returncode == 0, told.stderr
    for lock in (
        "deletion-lock-stack",
        "deletion-lock-redis",
        "deletion-lock-postgres",
        "deletion-lock-posthog",
        "deletion-lock-signoz",
    ):
        assert f"/{lock}" in told.stdout
    assert "secrets monitoring-staging/posthog-keys" in told.stdout
    assert "deletion-lock-tenant" not in told.stdout
    for claim in objects("persistentvolumeclaims", "--namespace=monitoring-staging"):
        assert f"monitoring-staging/{claim['metadata']['name']} (" in told.stdout
    assert workspace.plan("staging") == EMPTY


def test_neither_another_name_nor_a_missing_backup_changes_anything(workspace: Workspace) -> None:
    assert "Nothing was changed" in tear_down(workspace, "prod").stderr
    refused = tear_down(workspace, "staging")
    assert refused.returncode == 1
    assert "no store of it is saved anywhere" in refused.stderr
    assert workspace.plan("staging") == EMPTY


def test_it_is_taken_down_whole_and_prod_is_as_it_was(workspace: Workspace) -> None:
    prod = {claim["metadata"]["uid"] for claim in objects("pvc", "--namespace=data-prod")}
    done = tear_down(workspace, "staging", BACKUP="no", VOLUMES="delete")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    for namespace in ("data-staging", "monitoring-staging"):
        left = objects("deployments,statefulsets,cronjobs,clusters.postgresql.cnpg.io", f"--namespace={namespace}")
        assert not left
        assert all(claim["metadata"].get("deletionTimestamp") for claim in objects("pvc", f"--namespace={namespace}"))
    assert {claim["metadata"]["uid"] for claim in objects("pvc", "--namespace=data-prod")} == prod
    assert workspace.plan("prod") == workspace.plan("infra") == EMPTY


def test_it_comes_back(workspace: Workspace) -> None:
    workspace.apply("staging")
    assert workspace.plan("staging") == EMPTY
