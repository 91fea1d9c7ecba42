"""The budget: what every system asks for, beside what its environment may use, and a node that holds all of it.

`make budget` prints it, of all stacks or of one; with `--json` as a program reads it, pod by pod.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from constructs.footprint import Amount, total
from stacks import footprints
from stacks.footprints import Systems
from stacks.project import INFRA, Project, ProjectError, load
from stacks.quotas import amount_of, cpu_words, quota_of, size_words

_ROOT = Path(__file__).resolve().parent.parent
_LAYERS = {INFRA: "L1, L2", "data": "L3", "monitoring": "L4"}
_HEADINGS = ("pods", "cpu", "memory", "its limit", "storage")
_WIDTH, _COLUMN = 34, 12


def node(project: Project) -> str:
    """Return the words for a node that holds everything at its worst moment."""
    need = total(_at_most(systems) for _, systems, _ in _rooms(project))
    cores, memory, disk = -(-need.cpu // 1000), -(-need.memory_limit // 1024), -(-need.storage // 1024)
    return f"{cores} cores, {memory}Gi of memory, {disk}Gi of disk"


def render(project: Project, stack: str | None = None) -> str:
    """Return the budget as a table for each namespace of an environment, and one for infra, which has no quota."""
    parts = [
        "\n".join(_table(f"{title} ({_LAYERS[title.split('-')[0]]})", systems, quota))
        for title, systems, quota in _rooms(project, stack)
    ]
    if stack is None:
        sums = {title: _always(systems) for title, systems, _ in _rooms(project)}
        at_times = total(_at_times(systems) for _, systems, _ in _rooms(project))
        parts.append("\n".join(_summary("all", sums, at_times)))
        parts.append(f"Nodes for all of it, together: {node(project)}.")
    parts.append("CPU is requested, and has no limit. A quota bounds memory both as it is requested and by its limit.")
    return "\n\n".join(parts) + "\n"


def document(project: Project, stack: str | None = None) -> str:
    """Return the budget as JSON: CPU in thousandths of a core, sizes in MiB, each pod's own."""
    rooms = {
        title: {
            "systems": {component: [asdict(item) for item in asked] for component, asked in systems.items()},
            "at_most": asdict(_at_most(systems)),
            "quota": None if quota is None else asdict(quota),
        }
        for title, systems, quota in _rooms(project, stack)
    }
    return json.dumps(rooms, indent=2) + "\n"


def _rooms(project: Project, stack: str | None = None) -> Iterator[tuple[str, Systems, Amount | None]]:
    """Yield each namespace with a quota, and infra, with its systems."""
    if stack in (None, INFRA):
        yield INFRA, footprints.of_infra(project.infra), None
    for name, file in project.environments.items():
        if stack in (None, name):
            for room, systems in footprints.of_environment(file).items():
                yield f"{room}-{name}", systems, amount_of(quota_of(project.infra, name, room))


def _always(systems: Systems) -> Amount:
    return total(item.always() for asked in systems.values() for item in asked)


def _at_most(systems: Systems) -> Amount:
    return total(item.at_most() for asked in systems.values() for item in asked)


def _at_times(systems: Systems) -> Amount:
    return _at_most(systems) - _always(systems)


def _table(title: str, systems: Systems, quota: Amount | None) -> Iterator[str]:
    sums = {component: total(item.always() for item in asked) for component, asked in systems.items()}
    yield from _summary(title, sums, _at_times(systems))
    if quota is not None:
        yield _row("quota", quota)
        yield _row("left", quota - _at_most(systems))


def _summary(title: str, sums: Mapping[str, Amount], at_times: Amount) -> Iterator[str]:
    yield title.ljust(_WIDTH) + "".join(heading.rjust(_COLUMN) for heading in _HEADINGS)
    for name, amount in sums.items():
        yield _row(name, amount)
    yield _row("now and then, beside these", at_times)
    yield _row("at most", total([*sums.values(), at_times]))


def _row(name: str, amount: Amount) -> str:
    cells = (
        str(amount.pods),
        cpu_words(amount.cpu),
        size_words(amount.memory),
        size_words(amount.memory_limit),
        size_words(amount.storage),
    )
    return f"  {name}".ljust(_WIDTH) + "".join(cell.rjust(_COLUMN) for cell in cells)


def main(arguments: Sequence[str]) -> int:
    """Print the budget of the repository's own files; return the process's exit status."""
    parser = argparse.ArgumentParser(prog="make budget")
    parser.add_argument("stack", nargs="?", help="infra, or an environment; all if it is not given")
    parser.add_argument("--json", action="store_true", help="print JSON, pod by pod")
    given = parser.parse_args(arguments)
    try:
        project = load(_ROOT)
    except ProjectError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if given.stack not in (None, INFRA, *project.environments):
        sys.stderr.write(
            f"There is no stack {given.stack}: give ENV one of {', '.join((INFRA, *project.environments))}\n"
        )
        return 1
    sys.stdout.write((document if given.json else render)(project, given.stack))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
