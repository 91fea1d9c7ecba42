"""What an environment's Redis becomes: the objects that Helm renders, with settings of the test's own."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from stacks.project import Project
from tests.support import Evaluate, Render, Stack, tfvars_of

ENVIRONMENT = "staging"
NAMESPACE = f"data-{ENVIRONMENT}"
_RELEASES = {"redis": "redis_release", "redis-handover": "redis_handover", "snapshots": "redis_snapshots_release"}


def redis_objects(
    project: Project,
    stacks: Mapping[str, Stack],
    evaluate: Evaluate,
    render: Render,
    settings: Mapping[str, object],
    backups: Mapping[str, object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the objects of all of Redis' releases by kind and name."""
    stack = stacks[ENVIRONMENT]
    releases = stack["resource"]["helm_release"]
    values = evaluate(
        stack,
        {chart: releases[address]["values"][0] for chart, address in _RELEASES.items()},
        tfvars=tfvars_of(project, ENVIRONMENT),
        redis=dict(settings),
        backups=dict(backups or {}),
    )
    found: dict[str, dict[str, Any]] = {}
    for chart in _RELEASES:
        found |= render(chart, yaml.safe_load(values[chart]), NAMESPACE)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
