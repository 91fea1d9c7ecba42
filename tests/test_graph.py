"""The graph of a stack: all of it is in it, and what Terraform would wait for, it waits for."""

import json
import re
from graphlib import CycleError

import pytest

from stacks.graph import Graph, dot, layer_of, main, mermaid, parts, references, systems
from tests.support import Stack, resources


def behind(needs: dict[str, frozenset[str]], name: str) -> frozenset[str]:
    """All that is made before a group, however far away."""
    return needs[name].union(*(behind(needs, other) for other in needs[name]))


def test_every_resource_belongs_to_one_system_and_every_system_but_the_lock_has_a_room_in_a_layer(
    larger_stacks: dict[str, Stack],
) -> None:
    for name, stack in larger_stacks.items():
        graph = systems(stack)
        found = [address for group in graph.groups.values() for address in group]
        assert sorted(found) == sorted(resources(stack))
        layers = {system: layer_of(system) for system in graph.groups if system != "lock"}
        assert {layer[:2] for layer in layers.values()} == ({"l1", "l2"} if name == "infra" else {"l3", "l4"}), layers


def test_whatever_the_json_waits_for_is_made_before(larger_stacks: dict[str, Stack]) -> None:
    for stack in larger_stacks.values():
        graph, found = systems(stack), references(stack)
        system_of = {address: name for name, group in graph.groups.items() for address in group}
        step_of = {name: number for number, step in enumerate(graph.steps) for name in step}
        for address, resource in resources(stack).items():
            written = json.dumps({key: value for key, value in resource.items() if key != "//"})
            others = set(re.findall(r"(?:kubernetes|helm|terraform)_\w+\.[\w-]+", written)) & set(system_of)
            assert set(resource.get("depends_on", [])) <= others <= found[address] | {address}
            for later, earlier in ((system_of[address], system_of[other]) for other in others):
                assert earlier == later or (earlier in graph.needs[later] and step_of[earlier] < step_of[later])


def test_what_is_read_by_way_of_a_local_or_an_ephemeral_value_is_waited_for() -> None:
    def made(system: str, **body: object) -> dict[str, object]:
        return {"//": {"metadata": {"path": f"demo/{system}/this"}}, **body}

    stack: Stack = {
        "resource": {
            "made": {
                "first": made("first"),
                "second": made("second", values=["${yamlencode(local.between)}"]),
                "third": made("third", data_wo={"key": "${ephemeral.drawn.value.result}"}),
                "fourth": made("fourth", text="local.between, and made.first, are words here"),
            }
        },
        "ephemeral": {"drawn": {"value": {"length": "${made.second.length}"}}},
        "locals": {"between": {"name": ["${made.first.name}"]}, "unused": "${made.third.name}"},
    }
    assert systems(stack).needs == {
        "first": frozenset(),
        "second": {"first"},
        "third": {"second"},
        "fourth": frozenset(),
    }


def test_an_arrow_is_left_out_only_where_others_say_the_same(larger_stacks: dict[str, Stack]) -> None:
    for stack in larger_stacks.values():
        graph = systems(stack)
        arrows = {name: frozenset(earlier for earlier, later in graph.drawn() if later == name) for name in graph.needs}
        for name, needs in graph.needs.items():
            assert arrows[name] <= needs
            assert behind(arrows, name) == behind(dict(graph.needs), name)


def test_the_parts_of_every_system_have_an_order(larger_stacks: dict[str, Stack]) -> None:
    for stack in larger_stacks.values():
        for system, group in systems(stack).groups.items():
            graph = parts(stack, system)
            assert sum(len(part) for part in graph.groups.values()) == len(group)
            assert {name for step in graph.steps for name in step} == set(graph.groups)


def test_groups_that_wait_for_each_other_are_refused() -> None:
    graph = Graph({"a": (), "b": ()}, {"a": frozenset({"b"}), "b": frozenset({"a"})})
    with pytest.raises(CycleError):
        mermaid(graph)


def test_both_forms_draw_the_same(larger_stacks: dict[str, Stack]) -> None:
    graph = systems(larger_stacks["staging"])
    arrows = set(re.findall(r"^  ([\w-]+) --> ([\w-]+)$", mermaid(graph), re.MULTILINE))
    assert arrows == set(re.findall(r'^  "([\w-]+)" -> "([\w-]+)"$', dot(graph), re.MULTILINE)) == set(graph.drawn())
    assert ("postgres", "posthog") in arrows
    for written in (mermaid(graph), dot(graph)):
        assert [words for words in ("L3 Data", "L4 Insight") if words not in written] == []


def test_a_name_that_is_none_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere"]) == 1
    assert capsys.readouterr().err == "There is no stack nowhere: give ENV one of infra, prod, staging, test\n"
    assert main(["test", "posthog"]) == 1
    words = "There is no posthog in test: give SYSTEM one of lock, postgres, redis, signoz\n"
    assert capsys.readouterr().err == words
