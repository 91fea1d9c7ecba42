"""The table of network flows, beside what a real API server holds: its policies, its namespaces, the pods in them."""

import pytest

from stacks.project import load
from tests.e2e.cluster import Workspace, objects
from tests.flows import ANY_ADDRESS, End, Network, matrix
from tests.network import difference, expected, name_of

pytestmark = pytest.mark.e2e


def test_what_is_applied_opens_the_ways_of_the_table_and_no_other(workspace: Workspace, names: list[str]) -> None:
    for name in names:
        workspace.apply(name)
    observed = load(workspace.root).infra.telemetry.environment
    labels = {item["metadata"]["name"]: item["metadata"]["labels"] for item in objects("namespaces")}
    network = Network(objects("networkpolicies", "--all-namespaces"), labels)
    for name in names:
        pods = [ANY_ADDRESS]
        for pod in objects("pods", "--all-namespaces"):
            place, own = pod["metadata"]["namespace"], pod["metadata"].get("labels", {})
            found = name_of(place, own, name)
            if found is not None:
                pods.append(End(found, place, own))
        ways = {pair: set(ports.split(", ")) for pair, ports in matrix(network, pods).items()}
        wanted = expected(everything=False, is_observed=name == observed, among=pods)
        assert len(wanted) > len(pods) // 2, "there are pods to speak of"
        assert ways == wanted, difference(ways, wanted)
