"""The stores of staging's PostHog, as Terraform evaluates them."""

import json
import re
from collections.abc import Mapping
from typing import Any

from stacks.project import Project
from stacks.synthesis import synthesize
from tests.support import Evaluate, Stack, resources, tfvars_of

NAMESPACE = "monitoring-staging"
STORES = ("kafka", "redis", "valkey", "objects")
Objects = Mapping[str, dict[str, Any]]


def posthog_stack(larger: Project) -> Stack:
    """Return staging's stack with PostHog in it."""
    synthesize(larger)
    path = larger.root / "terraform" / "stacks" / "staging" / "cdk.tf.json"
    stack: Stack = json.loads(path.read_text(encoding="utf-8"))
    return stack


def stores(larger: Project, stack: Stack, evaluate: Evaluate, **variables: object) -> Objects:
    """Return all that the stores are made of, as `stateful_set/posthog-kafka`, without what is made zero times."""
    own = re.compile(rf"kubernetes_(\w+)_v1\.posthog_stores_({'|'.join(STORES)})_")
    found = [(own.match(address), item) for address, item in resources(stack).items()]
    parts = ("metadata", "spec", "data", "count")
    wanted = {
        f"{match[1]}-{number}": {key: item[key] for key in parts if key in item}
        for number, (match, item) in enumerate(found)
        if match
    }
    made = evaluate(stack, wanted, tfvars=tfvars_of(larger, "staging"), **variables)
    return {
        f"{name.split('-')[0]}/{item['metadata']['name']}": item
        for name, item in made.items()
        if int(item.get("count", 1))
    }


def container(objects: Objects, store: str) -> dict[str, Any]:
    """Return the one container of a store."""
    (found,) = objects[f"stateful_set/posthog-{store}"]["spec"]["template"]["spec"]["container"]
    assert isinstance(found, dict)
    return found


def file(objects: Objects, store: str, name: str) -> str:
    """Return a file of a store's configuration."""
    return str(objects[f"config_map/posthog-{store}"]["data"][name])
