"""The graph: the systems of a synthesized stack, and which of them Terraform makes before which.

`make graph` prints it as Mermaid, which a page on GitHub draws where it is pasted; with `--dot` as Graphviz reads it.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_STACKS = _ROOT / "terraform" / "stacks"
_LAYERS = sorted((_ROOT / "constructs").glob("l[0-9]_*"))

Stack = Mapping[str, Any]
Needs = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Graph:
    """The groups of a stack's resources, by name, and of each the groups that are made before it.

    `layers` are the folders in constructs/ of those groups that are systems.
    """

    groups: Mapping[str, tuple[str, ...]]
    needs: Needs
    layers: Mapping[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> list[tuple[str, ...]]:
        """The groups in the order in which Terraform makes them: those of a step do not wait for each other.

        Raises `graphlib.CycleError` where groups wait for each other.
        """
        sorter = TopologicalSorter(self.needs)
        sorter.prepare()
        found = []
        while sorter.is_active():
            ready = sorter.get_ready()
            found.append(tuple(sorted(ready)))
            sorter.done(*ready)
        return found

    def drawn(self) -> Iterator[tuple[str, str]]:
        """Yield the pairs, earlier and later, that are worth an arrow: what follows from others is left out."""
        behind: dict[str, frozenset[str]] = {}
        for step in self.steps:
            for name in step:
                behind[name] = self.needs[name].union(*(behind[other] for other in self.needs[name]))
        for name in sorted(self.needs):
            far = frozenset[str]().union(*(behind[other] for other in self.needs[name]))
            yield from ((other, name) for other in sorted(self.needs[name] - far))


def systems(stack: Stack) -> Graph:
    """Return a stack's systems, the constructs that it is composed of."""
    group_of = {address: path[1] for address, path in _paths(stack).items()}
    return _grouped(stack, group_of, {system: layer_of(system) for system in group_of.values()})


def parts(stack: Stack, system: str) -> Graph:
    """Return the constructs that a system is composed of."""
    own = {address: path for address, path in _paths(stack).items() if path[1] == system}
    return _grouped(stack, {address: path[2] if path[2:] else system for address, path in own.items()}, {})


def references(stack: Stack) -> Needs:
    """Return of each resource, by address, those that it waits for: by `depends_on`, or since it reads them.

    What is read by way of a local or of an ephemeral value counts as well.
    """
    made = dict(_blocks(stack, "resource"))
    between = {f"local.{name}": value for name, value in stack.get("locals", {}).items()}
    between |= {f"ephemeral.{address}": value for address, value in _blocks(stack, "ephemeral")}
    types = "|".join(stack["resource"])
    address = re.compile(rf"(?:local|ephemeral\.\w+|{types})\.[A-Za-z_][\w-]*")

    def read(body: object) -> frozenset[str]:
        found = {name for text in _strings(body) if text in made or "${" in text for name in address.findall(text)}
        return frozenset(found & made.keys()).union(*(through(name) for name in found & between.keys()))

    @cache
    def through(name: str) -> frozenset[str]:
        return read(between[name])

    return {name: read(body) - {name} for name, body in made.items()}


def layer_of(system: str) -> str:
    """Return the folder in constructs/ that a system has its room in; empty for what is no system."""
    for layer in _LAYERS:
        if (layer / f"{system}.py").is_file() or (layer / system).is_dir():
            return layer.name
    return ""


def mermaid(graph: Graph) -> str:
    """Return the graph as a Mermaid flowchart, with a frame for each layer."""
    lines = ["flowchart LR", *(f"  %% {line}" for line in _order(graph))]
    for layer, names in _by_layer(graph):
        lines += [f'  subgraph {layer}["{_layer_words(layer)}"]'] if layer else []
        lines += [f'  {"  " if layer else ""}{name}["{words}"]' for name, words in names]
        lines += ["  end"] if layer else []
    lines += [f"  {earlier} --> {later}" for earlier, later in graph.drawn()]
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """Return the graph as Graphviz reads it."""
    lines = ["digraph stack {", "  rankdir=LR", "  node [shape=box]", *(f"  // {line}" for line in _order(graph))]
    for layer, names in _by_layer(graph):
        lines += [f'  subgraph "cluster_{layer}" {{', f'    label="{_layer_words(layer)}"'] if layer else []
        lines += [f'  {"  " if layer else ""}"{name}" [label="{words}"]' for name, words in names]
        lines += ["  }"] if layer else []
    lines += [f'  "{earlier}" -> "{later}"' for earlier, later in graph.drawn()]
    return "\n".join([*lines, "}"]) + "\n"


def _order(graph: Graph) -> Iterator[str]:
    yield "An arrow leads from what is made first to what waits for it. The order:"
    yield from (f"{number}. {', '.join(step)}" for number, step in enumerate(graph.steps, start=1))


def _by_layer(graph: Graph) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the layers, what has none first, with their groups and the words for each."""
    for layer in ("", *(path.name for path in _LAYERS)):
        names = [name for name in sorted(graph.groups) if graph.layers.get(name, "") == layer]
        if names:
            yield layer, [(name, f"{name} ({len(graph.groups[name])})") for name in names]


def _layer_words(layer: str) -> str:
    number, name = layer.split("_", maxsplit=1)
    return f"{number.upper()} {name.title()}"


def _blocks(stack: Stack, kind: str) -> Iterator[tuple[str, Any]]:
    for resource_type, named in stack.get(kind, {}).items():
        yield from ((f"{resource_type}.{name}", body) for name, body in named.items())


def _paths(stack: Stack) -> Mapping[str, list[str]]:
    """Return of each resource the path of its construct: `staging/redis/auth/this`, in its parts."""
    return {address: body["//"]["metadata"]["path"].split("/") for address, body in _blocks(stack, "resource")}


def _strings(body: object) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, list):
        yield from (text for item in body for text in _strings(item))
    elif isinstance(body, dict):
        yield from (text for key, item in body.items() if key != "//" for text in _strings(item))


def _grouped(stack: Stack, group_of: Mapping[str, str], layers: Mapping[str, str]) -> Graph:
    groups: dict[str, tuple[str, ...]] = {}
    needs: dict[str, frozenset[str]] = {}
    read = references(stack)
    for address, group in group_of.items():
        groups[group] = (*groups.get(group, ()), address)
        others = frozenset(group_of[other] for other in read[address] if other in group_of) - {group}
        needs[group] = needs.get(group, frozenset()) | others
    return Graph(groups, needs, layers)


def main(arguments: Sequence[str]) -> int:
    """Print the graph of one of the repository's own stacks; return the process's exit status."""
    parser = argparse.ArgumentParser(prog="make graph")
    parser.add_argument("stack", help="infra, or an environment")
    parser.add_argument("system", nargs="?", help="a system of it, to see its parts")
    parser.add_argument("--dot", action="store_true", help="print what Graphviz reads")
    given = parser.parse_args(arguments)
    names = sorted(path.parent.name for path in _STACKS.glob("*/cdk.tf.json"))
    if given.stack not in names:
        sys.stderr.write(f"There is no stack {given.stack}: give ENV one of {', '.join(names)}\n")
        return 1
    stack = json.loads((_STACKS / given.stack / "cdk.tf.json").read_text(encoding="utf-8"))
    graph = systems(stack)
    if given.system:
        if given.system not in graph.groups:
            message = f"There is no {given.system} in {given.stack}: give SYSTEM one of"
            sys.stderr.write(f"{message} {', '.join(sorted(graph.groups))}\n")
            return 1
        graph = parts(stack, given.system)
    sys.stdout.write((dot if given.dot else mermaid)(graph))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
