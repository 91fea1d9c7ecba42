"""Which pod may talk to which, on which port, and nothing else: every pair of pods, beside the table.

Policies are what the stacks synthesize, as Terraform evaluates them; pods have the labels that the charts give them,
where their templates are at hand. The table is in tests/network.py.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping

import pytest

from stacks.project import Project
from tests.flows import ANY_ADDRESS, EVERY_PORT, End, Network, matches, matrix, words
from tests.network import OTHER, PODS, difference, ends_of, expected, markdown, name_of
from tests.pods import Made, Pods, made_by, resources_of
from tests.support import ROOT, Evaluate, Render, Stack, tfvars_of


def network_of(made: Mapping[str, list[Made]]) -> Network:
    """The policies of all stacks together; namespaces that are nobody's have their name for a label, as all have."""
    sources = [source for found in made.values() for source in found]
    names = {namespace.replace("<environment>", name) for namespace in PODS for name in made}
    namespaces: dict[str, Mapping[str, str]] = {name: {"kubernetes.io/metadata.name": name} for name in names}
    for source in sources:
        namespaces |= source.namespaces
    return Network([policy for source in sources for policy in source.policies], namespaces)


@pytest.fixture(scope="module")
def made(
    larger: Project, larger_stacks: dict[str, Stack], evaluate: Evaluate, render_what_is_there: Render
) -> dict[str, list[Made]]:
    """What every stack makes with everything switched on."""
    return {
        name: made_by(stack, tfvars_of(larger, name), evaluate, render_what_is_there)[0]
        for name, stack in larger_stacks.items()
    }


@pytest.fixture(scope="module")
def everything(made: dict[str, list[Made]]) -> Network:
    return network_of(made)


@pytest.fixture(scope="module")
def shipped(project: Project, stacks: dict[str, Stack], evaluate: Evaluate) -> Network:
    """The network of the repository's own files."""
    found = {name: [resources_of(stack, tfvars_of(project, name), evaluate)] for name, stack in stacks.items()}
    return network_of(found)


@pytest.fixture(scope="module")
def ends(
    made: dict[str, list[Made]], everything: Network, environment_stacks: dict[str, Stack]
) -> dict[str, list[End]]:
    """By environment, its pods and the shared ones, with the labels that their charts give them."""
    found = {}
    for name in environment_stacks:
        rendered: dict[str | None, list[End]] = defaultdict(list)
        for pods in every_pod(made):
            called = name_of(pods.namespace, pods.labels, name)
            rendered[called].append(End(str(called), pods.namespace, pods.labels))
        found[name] = [each for end in ends_of(name, everything) for each in rendered.get(end.name, [end])]
    return found


def every_pod(made: dict[str, list[Made]]) -> list[Pods]:
    return [pods for found in made.values() for source in found for pods in source.pods]


def test_every_pod_of_ours_is_in_the_table(made: dict[str, list[Made]], environment_stacks: dict[str, Stack]) -> None:
    strangers = {
        f"{pods.namespace}, {pods.name}: {pods.labels}"
        for pods in every_pod(made)
        for name in environment_stacks
        if (name_of(pods.namespace, pods.labels, name) or "").endswith(f": {OTHER}")
        # What lies open is one pod to the table.
        and pods.namespace != "kube-system"
    }
    assert not strangers, "\n".join(sorted(strangers))


def test_every_way_of_the_table_is_open_and_no_other(
    everything: Network, ends: dict[str, list[End]], larger: Project
) -> None:
    for name, here in ends.items():
        found = {pair: set(ports.split(", ")) for pair, ports in matrix(everything, here).items()}
        is_observed = name == larger.infra.telemetry.environment
        wanted = expected(everything=True, is_observed=is_observed, among=here)
        assert found == wanted, f"{name}: {difference(found, wanted)}"


def test_with_the_shipped_files_what_needs_a_setting_is_closed(
    shipped: Network, project: Project, environment_stacks: dict[str, Stack]
) -> None:
    for name in environment_stacks:
        has_posthog = "posthog" in project.environments[name].components
        # There is no namespace of a pipeline.
        here = [
            end
            for end in ends_of(name, shipped)
            if not end.namespace.endswith("-production") and (has_posthog or ": posthog-" not in end.name)
        ]
        found = {pair: set(ports.split(", ")) for pair, ports in matrix(shipped, here).items()}
        is_observed = name == project.infra.telemetry.environment
        wanted = expected(everything=False, is_observed=is_observed, among=here)
        assert found == wanted, f"{name}: {difference(found, wanted)}"


def test_no_environment_reaches_another_nor_do_its_clients(everything: Network, ends: dict[str, list[End]]) -> None:
    for name, other in itertools.permutations(ends, 2):
        ours = [end for end in ends[name] if end.namespace.endswith(f"-{name}")]
        theirs = [end for end in ends[other] if end.namespace in (f"data-{other}", f"monitoring-{other}")]
        for source, target in itertools.product(ours, theirs):
            way = f"{source.namespace}, {source.name} -> {target.namespace}, {target.name}"
            assert not everything.between(source, target), way


def test_a_pod_that_no_system_makes_is_closed_but_for_names(everything: Network, ends: dict[str, list[End]]) -> None:
    for name, here in ends.items():
        for pair, ports in matrix(everything, here).items():
            if any(end.endswith(f": {OTHER}") and not end.startswith("kube-system") for end in pair):
                assert (pair[1], ports) == ("kube-system: coredns", "53, 53 UDP"), f"{name}: {pair}"


def test_the_documentation_has_the_same_table() -> None:
    assert markdown() in (ROOT / "docs" / "decisions" / "security.md").read_text(encoding="utf-8"), (
        f"docs/decisions/security.md:\n{markdown()}"
    )


# The evaluator itself.


def policy(namespace: str, **spec: object) -> dict[str, object]:
    return {"metadata": {"name": "it", "namespace": namespace}, "spec": spec}


A, B, C = End("a", "one", {"app": "a"}), End("b", "one", {"app": "b"}), End("c", "two", {"app": "c"})
NAMESPACES = {name: {"kubernetes.io/metadata.name": name} for name in ("one", "two")}


def test_without_a_policy_everything_is_open() -> None:
    assert Network([], NAMESPACES).between(A, C) == EVERY_PORT


def test_both_ends_must_allow_a_connection() -> None:
    out = policy(
        "one", podSelector={"matchLabels": {"app": "a"}}, policyTypes=["Egress"], egress=[{"ports": [{"port": 1}]}]
    )
    into = policy("two", podSelector={}, policyTypes=["Ingress"], ingress=[{"ports": [{"port": 1, "endPort": 9}]}])
    network = Network([out, into], NAMESPACES)
    assert words(network.between(A, C)) == "1"
    assert words(network.between(B, C)) == "1-9"
    assert network.between(C, A) == EVERY_PORT


def test_rules_of_all_policies_add_up_and_one_without_rules_denies() -> None:
    deny = policy("one", podSelector={}, policyTypes=["Ingress"])
    network = Network([deny], NAMESPACES)
    assert not network.between(A, B)
    peer = {"podSelector": {"matchLabels": {"app": "a"}}}
    rules = [policy("one", ingress=[{"from": [peer], "ports": [{"port": port}]}]) for port in (1, 2)]
    network = Network([deny, *rules], NAMESPACES)
    assert words(network.between(A, B)) == "1, 2"
    assert not network.between(B, A)
    assert not network.between(C, A), "a peer without a namespace is of the policy's own"


def test_a_peer_in_other_namespaces_is_named_by_their_labels() -> None:
    named = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["two"]}]}
    network = Network([policy("one", ingress=[{"from": [{"namespaceSelector": named}]}])], NAMESPACES)
    assert network.between(C, A) == EVERY_PORT
    assert not network.between(B, A)
    assert not network.between(ANY_ADDRESS, A)


def test_any_address_is_every_pods_too() -> None:
    rule = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443, "protocol": "UDP"}]}
    network = Network([policy("one", policyTypes=["Egress"], egress=[rule])], NAMESPACES)
    assert words(network.between(A, C)) == words(network.between(A, ANY_ADDRESS)) == "443 UDP"


def test_selectors_match_as_kubernetes_says() -> None:
    labels = {"a": "1"}
    for operator, values, is_matched in (
        ("In", ["1"], True),
        ("In", ["2"], False),
        ("NotIn", ["2"], True),
        ("NotIn", ["1"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ):
        expression = {"key": "a", "operator": operator, "values": values}
        assert matches({"matchExpressions": [expression]}, labels) is is_matched
    assert matches({}, labels)
    assert not matches({"matchLabels": {"a": "2"}}, labels)
