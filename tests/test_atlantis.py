"""atlantis.yaml, by which the server finds the stacks."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.atlantis import render
from stacks.project import CdktfJson, Context, Project

# What the server's repos.yaml lets a repository's file say; any other key would be refused there.
ALLOWED = {"name", "dir", "workspace", "workflow", "autoplan", "execution_order_group", "depends_on"}


@pytest.fixture
def projects(project: Project) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in yaml.safe_load(render(project))["projects"]}


def test_there_is_a_project_for_every_stack_at_its_place(projects: dict[str, dict[str, Any]], project: Project) -> None:
    assert set(projects) == {"infra", *project.environments}
    for name, entry in projects.items():
        assert entry["dir"] == f"terraform/stacks/{name}"
        assert set(entry) <= ALLOWED


def test_a_bare_plan_means_the_first_of_the_promotion_only(
    projects: dict[str, dict[str, Any]], project: Project
) -> None:
    first, *_ = project.cdktf.context.promotion
    for name, entry in projects.items():
        watched = entry["autoplan"]["when_modified"]
        assert entry["autoplan"]["enabled"] is (name == first)
        assert watched == (["cdk.tf.json", f"../../../envs/{first}.tfvars"] if name == first else [])
    paths = [Path("terraform/stacks", first, path) for path in projects[first]["autoplan"]["when_modified"]]
    assert [str(path.resolve().relative_to(Path.cwd().resolve())) for path in paths] == [
        f"terraform/stacks/{first}/cdk.tf.json",
        f"envs/{first}.tfvars",
    ]


def test_each_later_one_waits_for_the_one_before_in_the_guarded_workflow(
    projects: dict[str, dict[str, Any]], project: Project
) -> None:
    promotion = project.cdktf.context.promotion
    for place, name in enumerate(promotion):
        entry = projects[name]
        assert entry["execution_order_group"] == place + 1
        assert entry.get("depends_on") == ([promotion[place - 1]] if place else None)
        assert entry["workflow"] == ("prod" if place else "environment")


def test_prod_is_guarded_wherever_it_stands(project: Project) -> None:
    context = Context(backend=project.cdktf.context.backend, promotion=())
    alone = Project(project.root, CdktfJson(output="terraform", context=context), project.infra, project.environments)
    entries = {entry["name"]: entry for entry in yaml.safe_load(render(alone))["projects"]}
    assert entries["prod"]["workflow"] == "prod"
    assert not any(entry["autoplan"]["enabled"] for entry in entries.values())


def test_infra_and_the_rest_have_their_own_workflows_and_depend_on_nothing(
    projects: dict[str, dict[str, Any]], project: Project
) -> None:
    for name in {"infra", *project.environments} - set(project.cdktf.context.promotion):
        assert projects[name]["workflow"] == (name if name in ("infra", "prod") else "environment")
        assert "depends_on" not in projects[name]


def test_it_defines_no_workflow_and_says_where_it_comes_from(project: Project) -> None:
    text = render(project)
    assert set(yaml.safe_load(text)) == {"version", "automerge", "parallel_plan", "parallel_apply", "projects"}
    assert text.startswith("# Written by `make synth`")


def test_a_longer_promotion_goes_step_by_step(project: Project) -> None:
    context = Context(backend=project.cdktf.context.backend, promotion=("test", "staging", "prod"))
    longer = Project(project.root, CdktfJson(output="terraform", context=context), project.infra, project.environments)
    entries = {entry["name"]: entry for entry in yaml.safe_load(render(longer))["projects"]}
    assert entries["staging"]["depends_on"] == ["test"]
    assert entries["prod"]["depends_on"] == ["staging"]
    assert [entries[name]["workflow"] for name in ("test", "staging", "prod")] == ["environment", "prod", "prod"]
