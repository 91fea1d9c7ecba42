"""Renovate finds every version that is its own to move, and groups it by who gets it."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import ROOT

CONFIG: dict[str, Any] = json.loads((ROOT / ".github" / "renovate.json").read_text(encoding="utf-8"))
VERSIONS: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "versions.toml").read_text(encoding="utf-8"))
# Why Renovate leaves a version of versions.toml alone.
NOBODYS = {
    "terraform.required": "the oldest that may plan, a promise and no pin",
    "images.clickhouse": "moves with SigNoz' chart, by hand",
    "images.posthog-clickhouse": "moves with PostHog's images",
    "images.posthog": "`make posthog-images` moves all of them at once",
    "images.posthog-capture": "the same",
    "images.posthog-feature-flags": "the same",
    "images.posthog-hypercache-server": "the same",
    "images.posthog-node": "the same",
    "images.posthog-personhog-replica": "the same",
    "images.posthog-personhog-router": "the same",
    "images.posthog-property-defs-rs": "the same",
}


def found_in(path: str) -> Iterator[dict[str, str]]:
    """What the custom managers find in a file, as Renovate does: JavaScript's named groups are Python's with a P."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for manager in CONFIG["customManagers"]:
        if any(re.search(pattern.strip("/"), path) for pattern in manager["managerFilePatterns"]):
            for expression in manager["matchStrings"]:
                for match in re.finditer(expression.replace("(?<", "(?P<"), text):
                    yield match.groupdict() | {"line": match[0].splitlines()[-1]}


def pinned() -> Iterator[tuple[str, str, str]]:
    """Every entry of versions.toml: its name, its value, and the version in it."""
    for section, entries in VERSIONS.items():
        for name, entry in entries.items():
            value = entry["version"] if section == "charts" else entry
            yield f"{section}.{name}", value, value.rpartition(":")[2] if section == "images" else value


@pytest.fixture(scope="module")
def deployed() -> dict[str, str]:
    """The text of each committed stack but for the guard's, which knows the charts of all stacks."""
    found = {}
    for folder in (ROOT / "terraform" / "stacks").iterdir():
        stack = json.loads((folder / "cdk.tf.json").read_text(encoding="utf-8"))
        stack["resource"]["kubernetes_config_map_v1"].pop("atlantis_guard", None)
        found[folder.name] = json.dumps(stack)
    return found


def groups(name: str) -> set[str]:
    """The group of every package of versions.toml that a rule with it puts into one."""
    rules = [rule for rule in CONFIG["packageRules"] if rule.get("groupName") == name]
    return {dependency for rule in rules for dependency in rule["matchDepNames"]}


def test_every_version_is_found_once_or_is_nobodys_for_a_reason() -> None:
    lines = [item["line"] for item in found_in("versions.toml")]
    for name, value, version in pinned():
        key = "version" if name.startswith("charts.") else name.partition(".")[2]
        times = lines.count(f'{key} = "{value}"')
        assert times == (0 if name in NOBODYS else 1), f"{name} is found {times} times"
        if name not in NOBODYS:
            assert version in {item["currentValue"] for item in found_in("versions.toml")}
    assert set(NOBODYS) <= {name for name, _, _ in pinned()}
    assert len(lines) == len(list(pinned())) - len(NOBODYS)


def test_where_it_looks_is_where_the_version_comes_from() -> None:
    for item in found_in("versions.toml"):
        if item["datasource"] == "docker" and item["line"].startswith("version"):
            name = item["depName"].rpartition("/")[2]
            assert VERSIONS["charts"][name]["repository"] == f"oci://{item['depName'].rpartition('/')[0]}"
        elif item["datasource"] == "docker":
            assert f'"{item["depName"]}:{item["currentValue"]}"' in item["line"]
        elif item["datasource"] == "helm":
            assert VERSIONS["charts"][item["depName"]]["repository"] == item["registryUrl"]


def test_what_the_checks_run_is_found_but_for_what_has_a_checksum() -> None:
    text = (ROOT / ".ci" / "tools").read_text(encoding="utf-8")
    found = {item["line"].partition("=")[0] for item in found_in(".ci/tools")}
    versions = set(re.findall(r"^([a-z0-9]+)=v?\d", text, re.MULTILINE))
    assert found == versions - set(re.findall(r"^(\w+)_sum=", text, re.MULTILINE))


@pytest.mark.parametrize("item", list(found_in("versions.toml")), ids=lambda item: str(item["depName"]))
def test_a_group_is_who_gets_it(item: dict[str, str], deployed: dict[str, str]) -> None:
    if item["datasource"] in ("terraform-provider", "github-releases"):
        assert item["depName"] not in groups("environments") | groups("infra")
        return
    name, version = item["depName"], item["currentValue"]
    if item["line"].startswith("version"):
        pattern = rf"/{re.escape(name.rpartition('/')[2])}-{re.escape(version)}\.tgz"
    else:
        # A chart takes it in two words.
        pattern = rf'{re.escape(name)}(:|", "tag": "){re.escape(version)}(?![\w.-])'
    stacks = {stack for stack, text in deployed.items() if re.search(pattern, text)}
    assert stacks, f"no stack has {name}"
    group = "infra" if "infra" in stacks else "environments"
    assert name in groups(group)


def test_nothing_is_merged_by_itself() -> None:
    assert CONFIG["automerge"] is False
    assert '"automerge": true' not in json.dumps(CONFIG)
