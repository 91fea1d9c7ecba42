"""Terraform addresses: an address that changes destroys what it names, so a rename needs a `moved` block."""

import re
from collections.abc import Iterable

from tests.support import ROOT, Stack, resources

PINNED = ROOT / "tests" / "addresses.txt"


def pinned(section: str) -> set[str]:
    text = PINNED.read_text(encoding="utf-8")
    (found,) = re.findall(rf"^# {section}\n((?:(?!#).+\n)+)", text, re.MULTILINE)
    return set(found.split())


def neutral(addresses: Iterable[str], environments: Iterable[str]) -> set[str]:
    names = "|".join(sorted(environments, key=len, reverse=True))
    return {re.sub(rf"(?<=tenancy_environment_)({names})(?=_)", "<environment>", address) for address in addresses}


def test_every_address_is_pinned(stacks: dict[str, Stack], environment_stacks: dict[str, Stack]) -> None:
    found = neutral(resources(stacks["infra"]), environment_stacks)
    assert found == pinned("infra"), "a rename needs a moved block; a new resource, a line in tests/addresses.txt"
    found = {address for stack in environment_stacks.values() for address in resources(stack)}
    assert found == pinned("environment"), "a rename needs a moved block; a new resource, a line in tests/addresses.txt"


def test_no_address_of_an_environment_carries_its_name(environment_stacks: dict[str, Stack]) -> None:
    for name, stack in environment_stacks.items():
        assert not [address for address in resources(stack) if name in re.split(r"[._-]", address)]
