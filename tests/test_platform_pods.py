"""What every pod of infra has, whichever system it is of: its size, its priority, and its own rules of the network.

Published charts are rendered whole, with the values that Terraform computes: what they leave to a default is seen.
A system that is added to infra is covered as soon as it is in the stack.
"""

import pytest

from stacks.project import Project
from tests.pods import Pods, made_by
from tests.support import Evaluate, Render, Stack, resources, tfvars_of


@pytest.fixture(scope="module")
def pods(stacks: dict[str, Stack], project: Project, evaluate: Evaluate, render: Render) -> list[Pods]:
    """Every object of infra that makes pods."""
    made, missing = made_by(stacks["infra"], tfvars_of(project, "infra"), evaluate, render)
    if missing:
        pytest.skip(f"needs the templates of the charts {', '.join(missing)} in CHARTS_DIR")
    return [pods for source in made for pods in source.pods]


def test_every_system_with_a_chart_has_pods_here(pods: list[Pods]) -> None:
    names = {item.name for item in pods}
    assert {"headlamp", "cert-manager", "atlantis", "database", "vault-snapshots"} <= names


def test_every_container_requests_cpu_and_memory_and_has_a_limit_on_memory_alone(pods: list[Pods]) -> None:
    wrong = []
    for item in pods:
        assert item.containers(), item.name
        for container in item.containers():
            sizes = container.get("resources") or {}
            requests, limits = sizes.get("requests") or {}, sizes.get("limits") or {}
            if not {"cpu", "memory"} <= set(requests) or set(limits) != {"memory"}:
                wrong.append(f"{item.name}, {container['name']}: {sizes}")
    assert not wrong, "\n".join(wrong)


def test_every_pod_has_the_platforms_priority(pods: list[Pods]) -> None:
    assert not [item.name for item in pods if item.spec.get("priorityClassName") != "platform"]


def test_every_pod_has_network_rules_of_its_own_where_nothing_is_open_by_default(
    pods: list[Pods], stacks: dict[str, Stack]
) -> None:
    policies = [
        (policy["metadata"]["namespace"], policy["spec"]["pod_selector"].get("match_labels"))
        for address, policy in resources(stacks["infra"]).items()
        if address.startswith("kubernetes_network_policy_v1.") and "count" not in policy
    ]
    closed = {
        policy["metadata"]["namespace"]
        for address, policy in resources(stacks["infra"]).items()
        if address.endswith("_default-deny")
    }
    # K3s' own namespace stays open: what K3s runs there was never meant to be closed.
    assert {item.namespace for item in pods} - closed <= {"kube-system"}
    bare = [
        f"{item.namespace}, {item.name}"
        for item in pods
        if item.namespace in closed
        and not any(
            namespace == item.namespace and selected and selected.items() <= item.labels.items()
            for namespace, selected in policies
        )
    ]
    assert not bare, "\n".join(bare)
