"""The budget is true: what Python counts of a tfvars file is what Terraform and Helm make of it.

Whoever adds a container, a replica or a volume sees here which pod differs, and changes the function `footprints`
beside its construct. The second set of values, tests/larger/, has everything switched on that can be.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from constructs.footprint import DEFAULT_RESOURCES, Footprint, footprint, surge
from constructs.route import SOLVER
from stacks import footprints
from stacks.project import Project
from tests.pods import Made, Pods, made_by
from tests.support import Evaluate, Render, Stack, tfvars_of

# What no stack makes itself: K3s takes it of the nodes, cert-manager makes its own.
NOT_MADE = ("k3s server", "k3s agent", SOLVER.name)

Found = tuple[list[Made], list[str]]


@pytest.fixture(scope="module", params=["shipped", "larger"])
def values(request: pytest.FixtureRequest, project: Project, larger: Project) -> Project:
    return {"shipped": project, "larger": larger}[request.param]


@pytest.fixture(scope="module")
def made(
    values: Project, project: Project, request: pytest.FixtureRequest, evaluate: Evaluate, render_what_is_there: Render
) -> dict[str, Found]:
    """What every stack makes; with the larger values, infra and one environment, since all of these have the same."""
    stacks: dict[str, Stack] = request.getfixturevalue("stacks" if values is project else "larger_stacks")
    names = stacks if values is project else ("infra", "staging")
    return {name: made_by(stacks[name], tfvars_of(values, name), evaluate, render_what_is_there) for name in names}


def counted(project: Project, stack: str) -> dict[str, Footprint]:
    """What is counted of a stack, by the name of the object that makes the pods, without what no stack makes."""
    if stack == "infra":
        systems = [footprints.of_infra(project.infra)]
    else:
        systems = list(footprints.of_environment(project.environments[stack]).values())
    found = [item for room in systems for asked in room.values() for item in asked if item.name not in NOT_MADE]
    assert len({item.name for item in found}) == len(found), "a name that is counted twice"
    return {item.name: item for item in found}


def test_every_pod_is_counted_with_what_it_asks_for(values: Project, made: dict[str, Found]) -> None:
    wrong = []
    for stack, (sources, _) in made.items():
        ours = counted(values, stack)
        for pods in (item for source in sources for item in source.pods):
            theirs = as_kubernetes_counts(pods)
            if pods.kind == "DaemonSet":
                theirs = replace(theirs, pods=footprints.nodes_of(values.infra))
            mine = ours.get(pods.name)
            if mine is None:
                wrong.append(f"{stack}: nobody counts {pods.kind} {pods.name}: {theirs}")
            elif replace(mine, storage=0) != theirs:
                wrong.append(f"{stack}: {pods.kind} {pods.name} is {theirs}, but counted as {mine}")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_counted_that_nobody_makes_and_every_volume_is(values: Project, made: dict[str, Found]) -> None:
    for stack, (sources, missing) in made.items():
        if missing:
            pytest.skip(f"needs the templates of the charts {', '.join(sorted(set(missing)))} in CHARTS_DIR")
        ours = counted(values, stack)
        assert set(ours) == {pods.name for source in sources for pods in source.pods}, stack
        volumes = sum(_mebibytes(size) for source in sources for _, size in source.claims)
        assert volumes == sum(item.storage for item in ours.values()), stack


def test_pods_lie_where_they_are_counted(values: Project, made: dict[str, Found]) -> None:
    for stack, (sources, _) in made.items():
        if stack == "infra":
            continue
        rooms: dict[str, set[str]] = defaultdict(set)
        for pods in (item for source in sources for item in source.pods):
            rooms[pods.namespace.removesuffix(f"-{stack}")].add(pods.name)
        for room, systems in footprints.of_environment(values.environments[stack]).items():
            assert rooms[room] <= {item.name for asked in systems.values() for item in asked}


def test_the_larger_values_switch_on_what_the_shipped_ones_leave_off(project: Project, larger: Project) -> None:
    """Otherwise the second set would prove no more than the first."""
    same = {
        f"{stack}: {name}"
        for stack in ("infra", "staging")
        for name, item in counted(larger, stack).items()
        if item == counted(project, stack).get(name) and item.name not in FIXED
    }
    assert not same, f"give them other sizes in tests/larger, or name them in FIXED: {sorted(same)}"


# Pods whose size no setting changes.
FIXED = {
    "cert-manager",
    "cert-manager-cainjector",
    "cert-manager-webhook",
    "cert-manager-startupapicheck",
    "operators-ready",
    "posthog-migrate",
    "posthog-migrations",
    "posthog-recordings",
    "posthog-retention",
    "posthog-topics",
    "redis-handover",
    "signoz-preferences",
    "vault-configure",
    "vault-agent-injector",
}


def test_a_pod_asks_for_the_larger_of_its_containers_together_and_its_largest_init_container() -> None:
    small = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    large = {"requests": {"cpu": "1", "memory": "100Mi"}, "limits": {"memory": "1Gi"}}
    found = footprint("both", small, small, init=[large, small], pods=2, volumes=["1Gi", "512Mi"])
    assert found == Footprint("both", cpu=1000, memory=128, memory_limit=2048, pods=2, storage=1536)


def test_a_container_that_states_nothing_has_the_defaults_of_its_namespace() -> None:
    assert footprint("bare", {}) == Footprint("bare", cpu=25, memory=64, memory_limit=256)
    limited = footprint("limited", {"limits": {"memory": "512Mi"}})
    assert limited == Footprint("limited", cpu=25, memory=512, memory_limit=512)


def test_a_rolling_update_starts_a_quarter_more_and_at_least_one() -> None:
    assert [surge(replicas) for replicas in (1, 2, 4, 5, 9)] == [1, 1, 1, 2, 3]


# Kubernetes' own count, written a second time: pkg/api/v1/resource/helpers.go, PodRequests and PodLimits.


def as_kubernetes_counts(pods: Pods) -> Footprint:
    """Count one pod, with the defaults of an environment's LimitRange where containers leave something out."""
    running = [_sizes(container) for container in pods.spec["containers"]]
    highest = [0, 0, 0]
    for container in pods.spec.get("initContainers", []):
        sizes = _sizes(container)
        if container.get("restartPolicy") == "Always":
            running.append(sizes)
        before = [_sizes(other) for other in _sidecars_until(pods.spec["initContainers"], container)]
        highest = [max(most, *found) for most, found in zip(highest, _sums([sizes, *before]), strict=True)]
    cpu, memory, limit = (max(both) for both in zip(highest, (sum(s) for s in zip(*running, strict=True)), strict=True))
    return Footprint(pods.name, cpu, memory, limit, pods=pods.pods, at_times=pods.at_times)


def _sidecars_until(containers: Iterable[Mapping[str, Any]], last: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = []
    for container in containers:
        if container is last:
            break
        if container.get("restartPolicy") == "Always":
            found.append(container)
    return found


def _sums(sizes: list[tuple[int, int, int]]) -> list[tuple[int]]:
    return [(sum(column),) for column in zip(*sizes, strict=True)]


def _sizes(container: Mapping[str, Any]) -> tuple[int, int, int]:
    stated = container.get("resources") or {}
    limits = stated.get("limits") or {}
    requests = {**DEFAULT_RESOURCES["requests"], **limits, **(stated.get("requests") or {})}
    most = {**DEFAULT_RESOURCES["limits"], **limits}
    return _millicores(requests["cpu"]), _mebibytes(requests["memory"]), _mebibytes(most["memory"])


def _millicores(quantity: object) -> int:
    text = str(quantity)
    return int(text[:-1]) if text.endswith("m") else round(float(text) * 1000)


def _mebibytes(quantity: object) -> int:
    text = str(quantity)
    units = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
    return int(text[:-2]) * units[text[-2:]]
