"""Network flows name their peers."""

import pytest

from constructs.network_flow import Peer
from constructs.reference import Reference


def test_a_peer_that_names_nothing_or_both_is_refused() -> None:
    for arguments in ({}, {"pods": {"a": "b"}, "addresses": ("10.0.0.0/8",)}):
        with pytest.raises(ValueError, match="either pods"):
            Peer(**arguments)  # type: ignore[arg-type]


def test_a_peer_is_pods_namespaces_or_addresses() -> None:
    assert Peer(pods={"a": "b"})
    assert Peer(namespaces=("other",))
    assert Peer(namespaces=Reference("var.redis.clients"))
    assert Peer(addresses=("10.0.0.0/8",))
