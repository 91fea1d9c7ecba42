"""Words that the tests share."""

import copy
import os
import shutil
import socket
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stacks.project import Project
from stacks.rehearsal import workspace

ROOT = Path(__file__).resolve().parent.parent
Stack = dict[str, Any]
Evaluate = Callable[..., dict[str, Any]]
Render = Callable[..., dict[str, dict[str, Any]]]
CHARTS: dict[str, Any] = tomllib.loads((ROOT / "versions.toml").read_text(encoding="utf-8"))["charts"]


def resources(stack: Stack) -> dict[str, dict[str, Any]]:
    """A stack's resources by address."""
    return {f"{kind}.{name}": resource for kind, named in stack["resource"].items() for name, resource in named.items()}


class Refused(Exception):  # noqa: N818 (it is what the test waits for)
    """Terraform refused a plan; the message is its own."""


def values_of(release: Stack) -> str:
    """Return an expression: of each release that the resource is, all its files of values."""
    files = ", ".join(value[2:-1] for value in release["values"])
    if "for_each" not in release:
        return f"${{[[{files}]]}}"
    files = files.replace("each.key", "key").replace("each.value", "value")
    return f"${{[for key, value in {release['for_each'][2:-1]} : [{files}]]}}"


def merged(files: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return values as Helm merges files of them: maps are merged, all else is replaced."""
    found: dict[str, Any] = {}
    for values in files:
        for key, value in values.items():
            is_map = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged([found[key], value]) if is_map else copy.deepcopy(value)
    return found


def need(found: object, words: str) -> None:
    """Skip where something is missing, and fail in CI, which leaves nothing out."""
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs {words}")
        pytest.skip(f"needs {words}")


def on_the_path(name: str) -> str:
    """Return where a program is that the test needs."""
    found = shutil.which(name)
    need(found, f"{name} on the PATH")
    return str(found)


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tfvars_of(project: Project, stack: str) -> Path:
    """The tfvars file of a stack."""
    return project.root / "envs" / f"{stack}.tfvars"


def copy_sources(root: Path, *more: str) -> None:
    """Copy what a synthesis needs into a folder, and the folders `more`."""
    workspace.copy_sources(ROOT, root, *more)
