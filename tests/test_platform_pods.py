"""What every pod of infra has, whichever system it is of: its size, its priority, and its own rules of the network.

Published charts are rendered whole, with the values that Terraform computes: what they leave to a default is seen.
A system that is added to infra is covered as soon as it is in the stack.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support import Render, Stack, resources

Values = dict[str, Any]
# Kinds of objects that make pods, and the native resources that Terraform makes of them.
KINDS = ("CronJob", "DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet")
NATIVE = tuple(
    f"kubernetes_{kind}_v1." for kind in ("cron_job", "daemon_set", "deployment", "job", "pod", "stateful_set")
)


@dataclass(frozen=True)
class Pods:
    """The pods that one object makes: what it is, where they are, their labels and their specification."""

    name: str
    namespace: str
    labels: dict[str, str]
    spec: Values

    def containers(self) -> list[Values]:
        return [item for key in ("container", "init_container") for item in self.spec.get(key, [])]


@pytest.fixture(scope="module")
def pods(stacks: dict[str, Stack], releases: list[tuple[str, str, Values]], render: Render) -> list[Pods]:
    """Every object of infra that makes pods."""
    named = stacks["infra"]["resource"]["helm_release"].values()
    of_infra = [(chart, values) for stack, chart, values in releases if stack == "infra"]
    found = [
        item
        for release, (chart, values) in zip(named, of_infra, strict=True)
        for rendered in render(chart, values, release["namespace"]).values()
        for item in of_object(rendered, release["namespace"])
    ]
    return [*found, *of_resources(stacks["infra"])]


def of_object(item: Values, namespace: str) -> Iterator[Pods]:
    """Yield the pods of an object that a chart renders, in the words of Terraform's resources."""
    hooks = (item["metadata"].get("annotations") or {}).get("helm.sh/hook", "")
    if item["kind"] not in KINDS or "test" in hooks.split(","):
        return
    spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
    template = spec["template"]
    inner = template["spec"]
    yield Pods(
        f"{item['kind']}/{item['metadata']['name']}",
        item["metadata"].get("namespace", namespace),
        template["metadata"].get("labels", {}),
        {
            "container": inner["containers"],
            "init_container": inner.get("initContainers", []),
            "priority_class_name": inner.get("priorityClassName"),
        },
    )


def of_resources(stack: Stack) -> Iterator[Pods]:
    """Yield the pods of a stack's own resources."""
    for address, resource in resources(stack).items():
        if address.startswith(NATIVE):
            spec = resource["spec"]
            spec = spec["job_template"]["spec"] if "job_template" in spec else spec
            template = spec if address.startswith("kubernetes_pod_v1.") else spec["template"]
            metadata = resource["metadata"] if template is spec else template["metadata"]
            inner = template if template is spec else template["spec"]
            yield Pods(address, resource["metadata"]["namespace"], metadata["labels"], inner)


def test_every_system_with_a_chart_has_pods_here(pods: list[Pods]) -> None:
    names = {item.name for item in pods}
    assert {"Deployment/headlamp", "Deployment/cert-manager", "StatefulSet/atlantis"} <= names


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
    assert not [item.name for item in pods if item.spec.get("priority_class_name") != "platform"]


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
