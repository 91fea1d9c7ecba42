"""Atlantis' server: what its workflows and the chart are told, for each kind of server that a repository lies on."""

from typing import Any

import pytest
import yaml

from constructs.l1_bootstrap.atlantis import GUARD_PLACE, server_configuration
from stacks.atlantis import WORKFLOWS
from stacks.project import Project
from tests.support import Evaluate, Stack, resources, tfvars_of

REPOSITORY = "git.example.com/platform/strata"


@pytest.fixture
def configuration() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(server_configuration(REPOSITORY, "main", WORKFLOWS))
    return document


def test_it_answers_to_one_repository_and_one_branch(configuration: dict[str, Any]) -> None:
    (repository,) = configuration["repos"]
    assert repository["id"] == REPOSITORY
    assert repository["branch"] == "/^main$/"


def test_a_pull_request_may_choose_among_the_servers_workflows_and_nothing_else(configuration: dict[str, Any]) -> None:
    (repository,) = configuration["repos"]
    assert repository["allowed_overrides"] == ["workflow"]
    assert repository["allowed_workflows"] == ["environment", "infra", "prod"]
    assert repository["allow_custom_workflows"] is False
    assert repository["autodiscover"] == {"mode": "disabled"}
    assert repository["workflow"] == "default"


def test_a_branch_that_lags_behind_is_not_applied(configuration: dict[str, Any]) -> None:
    assert configuration["repos"][0]["apply_requirements"] == ["undiverged"]


def test_every_step_of_every_workflow_is_the_guard(configuration: dict[str, Any]) -> None:
    assert set(configuration["workflows"]) == {"default", *WORKFLOWS}
    for name, stages in configuration["workflows"].items():
        assert set(stages) == {"plan", "apply", "import", "state_rm", "policy_check"}
        for stage, steps in stages.items():
            is_ours = name != "default" and stage in ("plan", "apply")
            words = f"{stage} {name}" if is_ours else "refuse"
            assert steps == {"steps": [{"run": f"sh {GUARD_PLACE}/guard {words}"}]}


OWN = {"base_url": "https://git.example.com", "app_id": "123", "app_slug": "strata"}


@pytest.mark.parametrize(
    ("vcs", "told", "filled", "keys"),
    [
        ("github", {}, {"github": {"user": "atlantis"}}, {"github_token", "github_secret"}),
        (
            "github",
            OWN,
            {"github": {"user": "atlantis", "hostname": "git.example.com"}},
            {"github_token", "github_secret"},
        ),
        ("github-app", OWN, {"githubApp": {"id": "123", "slug": "strata"}}, {"key.pem", "github_secret"}),
        (
            "gitlab",
            OWN,
            {"gitlab": {"user": "atlantis", "hostname": "git.example.com"}},
            {"gitlab_token", "gitlab_secret"},
        ),
        (
            "gitea",
            OWN,
            {"gitea": {"user": "atlantis", "baseUrl": "https://git.example.com"}},
            {"gitea_token", "gitea_secret"},
        ),
    ],
)
def test_the_chart_is_told_of_the_chosen_server_only_and_the_secret_has_its_keys(
    vcs: str,
    told: dict[str, str],
    filled: dict[str, dict[str, str]],
    keys: set[str],
    stacks: dict[str, Stack],
    project: Project,
    evaluate: Evaluate,
) -> None:
    kinds = ("github", "githubApp", "gitlab", "gitea")
    values = stacks["infra"]["locals"]["atlantis_release_values"]
    secret = resources(stacks["infra"])["kubernetes_secret_v1.atlantis_credentials"]
    expressions = {kind: values[kind] for kind in kinds}
    expressions |= {f"key{place}": key for place, key in enumerate(secret["data_wo"])}
    settings = {"vcs": vcs, "repository": REPOSITORY, **told}
    tfvars = tfvars_of(project, "infra")
    found = evaluate(stacks["infra"], expressions, tfvars=tfvars, enable_infra=True, atlantis=settings)
    assert {kind: found[kind] for kind in kinds if found[kind]} == filled
    assert {found["key0"], found["key1"]} == keys


def test_the_credentials_are_written_only_when_somebody_hands_them_over(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    secret = resources(stacks["infra"])["kubernetes_secret_v1.atlantis_credentials"]
    for revision, count in ((0, 0), (1, 1), (7, 1)):
        found = evaluate(
            stacks["infra"],
            {"count": secret["count"]},
            tfvars=tfvars_of(project, "infra"),
            enable_infra=True,
            atlantis={"credentials_revision": revision},
        )
        assert found == {"count": count}
    for name in ("atlantis_token", "atlantis_webhook_secret"):
        assert stacks["infra"]["variable"][name]["ephemeral"] is True


def test_the_server_gets_no_right_to_its_state_and_downloads_no_terraform(stacks: dict[str, Stack]) -> None:
    values = stacks["infra"]["locals"]["atlantis_release_values"]
    assert "enableKubernetesBackend" not in values
    assert values["environment"]["ATLANTIS_TF_DOWNLOAD"] == "false"
    assert values["environment"]["ATLANTIS_ALLOW_COMMANDS"] == "plan,apply,unlock"
    assert values["statefulSet"]["updateStrategy"] == {"type": "OnDelete"}
    assert values["serviceAccount"] == {"create": True, "name": "atlantis"}
