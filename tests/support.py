"""Words that the tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Stack = dict[str, Any]
Evaluate = Callable[..., dict[str, Any]]


def resources(stack: Stack) -> dict[str, dict[str, Any]]:
    """A stack's resources by address."""
    return {f"{kind}.{name}": resource for kind, named in stack["resource"].items() for name, resource in named.items()}


class Refused(Exception):  # noqa: N818 (it is what the test waits for)
    """Terraform refused a plan; the message is its own."""
