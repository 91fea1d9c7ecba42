"""Moves: addresses that are called otherwise than an earlier version called them."""

from collections.abc import Mapping

from cdktf import TerraformStack

from constructs import Construct

_MOVED = "moved"


def moved(scope: Construct, addresses: Mapping[str, str]) -> None:
    """Tell Terraform that what an older state has under the first address of each pair is now under the second.

    cdktf's own way knows no address with a key, which a resource gets when `for_each` makes it one of many.
    """
    stack = TerraformStack.of(scope)
    for old, new in addresses.items():
        stack.node.add_metadata(_MOVED, {"from": old, "to": new})
    stack.add_override(_MOVED, [entry.data for entry in stack.node.metadata if entry.type == _MOVED])
