"""atlantis.yaml: one project for each stack, which the server's own workflows plan and apply."""

from typing import Any

import yaml

from stacks.project import GUARDED, INFRA, Project

_UNGUARDED = "environment"
WORKFLOWS = (_UNGUARDED, INFRA, GUARDED)
_HEADER = """\
# Written by `make synth` from envs/*.tfvars and cdktf.json: do not edit.
#
# A pull request can change this file, so nothing here guards anything: what a project may do is decided by the
# server's workflows (`environment`, `prod` and `infra`), which this file can only name.
#
#   atlantis plan, atlantis apply           {first}: planned by itself when its stack or its tfvars change
#   atlantis plan -p prod, apply -p prod    any other environment, by its name
#   atlantis plan -p infra, apply -p infra  L1 and L2
"""


def render(project: Project) -> str:
    """Return atlantis.yaml.

    `promotion` of cdktf.json is the way of a change through the environments: its first is what a bare `atlantis plan`
    means, each later one waits for the one before it. Those and `prod` have the guarded workflow. Only the first has
    anything in `when_modified`: `autoplan.enabled: false` would not keep a project out of a bare `atlantis plan`.
    """
    promotion = project.cdktf.context.promotion
    projects = [_project(name, project.cdktf.output, promotion) for name in (INFRA, *sorted(project.environments))]
    document = {"version": 3, "automerge": False, "parallel_plan": False, "parallel_apply": False, "projects": projects}
    body: str = yaml.safe_dump(document, sort_keys=False, width=120)
    return f"{_HEADER.format(first=promotion[0] if promotion else 'nothing')}\n{body}"


def workflow(name: str, promotion: tuple[str, ...]) -> str:
    """Return the server's workflow for a stack: its own for infra, the guarded one from the promotion's second on."""
    if name == INFRA:
        return INFRA
    return GUARDED if name in (GUARDED, *promotion[1:]) else _UNGUARDED


def _project(name: str, output: str, promotion: tuple[str, ...]) -> dict[str, Any]:
    place = promotion.index(name) if name in promotion else None
    is_first = place == 0
    folder = f"{output}/stacks/{name}"
    up = "/".join(".." for _ in folder.split("/"))
    entry: dict[str, Any] = {
        "name": name,
        "dir": folder,
        "workspace": "default",
        "workflow": workflow(name, promotion),
        "autoplan": {
            "enabled": is_first,
            "when_modified": ["cdk.tf.json", f"{up}/envs/{name}.tfvars"] if is_first else [],
        },
    }
    if place is not None:
        entry["execution_order_group"] = place + 1
    if place:
        entry["depends_on"] = [promotion[place - 1]]
    return entry
