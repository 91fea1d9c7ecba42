"""Which pod may talk to which, on which port: NetworkPolicies, evaluated as Kubernetes says.

A pod that no policy of a direction selects is open in it. Where any does, a connection needs one rule of any of them;
both ends must allow it. https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, Any]
# All ports, and those of a connection: the protocol, the first and the last.
ALL = (1, 65535)
Ports = frozenset[tuple[str, int, int]]
EVERY_PORT: Ports = frozenset((protocol, *ALL) for protocol in ("TCP", "UDP", "SCTP"))
_WHOLE_INTERNET = ("0.0.0.0/0", "::/0")
_ENDS = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod by its namespace and labels; or, without a namespace, an address outside."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """NetworkPolicies in Kubernetes' own form, and the labels of the namespaces."""

    policies: Sequence[Values]
    namespaces: Mapping[str, Mapping[str, str]]

    def between(self, source: End, target: End) -> Ports:
        """Return the ports of the target on which the source reaches it."""
        return meet(self.allowed("Egress", source, target), self.allowed("Ingress", target, source))

    def allowed(self, direction: str, end: End, other: End) -> Ports:
        """Return the ports that the policies of one end leave open to or from the other."""
        if not self.is_isolated(direction, end):
            return EVERY_PORT
        rules, peers = _ENDS[direction]
        return frozenset(
            ports
            for policy in self._selecting(direction, end)
            for rule in policy["spec"].get(rules) or []
            if self._has_peer(rule.get(peers) or [], policy["metadata"]["namespace"], other)
            for ports in _ports_of(rule)
        )

    def is_isolated(self, direction: str, end: End) -> bool:
        """Tell whether any policy of a direction selects a pod."""
        return any(True for _ in self._selecting(direction, end))

    def _selecting(self, direction: str, end: End) -> Iterator[Values]:
        for policy in self.policies:
            spec = policy["spec"]
            types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
            is_here = policy["metadata"]["namespace"] == end.namespace
            if is_here and direction in types and matches(spec.get("podSelector") or {}, end.labels):
                yield policy

    def _has_peer(self, peers: Sequence[Values], namespace: str, other: End) -> bool:
        return not peers or any(self._is_peer(peer, namespace, other) for peer in peers)

    def _is_peer(self, peer: Values, namespace: str, other: End) -> bool:
        if block := peer.get("ipBlock"):
            # A pod has an address too. What a narrower block holds cannot be told from labels.
            assert block["cidr"] in _WHOLE_INTERNET, block
            assert not block.get("except"), block
            return True
        if not other.namespace:
            return False
        if (selector := peer.get("namespaceSelector")) is not None:
            is_there = matches(selector, self.namespaces[other.namespace])
        else:
            is_there = other.namespace == namespace
        return is_there and matches(peer.get("podSelector") or {}, other.labels)


def matches(selector: Values, labels: Mapping[str, str]) -> bool:
    """Tell whether labels satisfy a selector; an empty one is satisfied by any."""
    wanted = selector.get("matchLabels") or {}
    if not wanted.items() <= labels.items():
        return False
    return all(_satisfies(expression, labels) for expression in selector.get("matchExpressions") or [])


def _satisfies(expression: Values, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case operator:
            message = f"no such operator: {operator}"
            raise ValueError(message)


def _ports_of(rule: Values) -> Ports:
    """Return a rule's ports: all of them where none is named. A port's own name would need its pod: none is used."""
    if not rule.get("ports"):
        return EVERY_PORT
    found = set()
    for port in rule["ports"]:
        first, last = (int(port["port"]), int(port.get("endPort") or port["port"])) if port.get("port") else ALL
        found.add((port.get("protocol") or "TCP", first, last))
    return frozenset(found)


def meet(some: Ports, others: Ports) -> Ports:
    """Return the ports that are in both."""
    return frozenset(
        (protocol, max(first, start), min(last, end))
        for (protocol, first, last), (other, start, end) in itertools.product(some, others)
        if protocol == other and max(first, start) <= min(last, end)
    )


def words(ports: Ports) -> str:
    """Return ports as a table has them: `22, 53, 53 UDP, 1-65535`, without those that lie within others."""
    largest = [ours for ours in ports if not any(ours != other and _lies_within(ours, other) for other in ports)]
    return ", ".join(
        f"{first}{'' if first == last else f'-{last}'}{'' if protocol == 'TCP' else f' {protocol}'}"
        for protocol, first, last in sorted(largest, key=lambda port: (port[1], port[2], port[0]))
    )


def _lies_within(ours: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    return ours[0] == other[0] and other[1] <= ours[1] and ours[2] <= other[2]


def matrix(network: Network, ends: Sequence[End]) -> dict[tuple[str, str], str]:
    """Return between which ends there is a way, on which ports.

    A pod that no policy binds reaches whatever any address reaches, and is reached by whoever may call any address:
    those ways are said once, of `any address`.
    """
    ways: dict[tuple[str, str], Ports] = {}
    for source, target in itertools.product(ends, ends):
        from_anywhere = not network.is_isolated("Egress", source)
        to_anywhere = not network.is_isolated("Ingress", target)
        if from_anywhere and to_anywhere:
            continue
        ports = network.between(source, target)
        if from_anywhere and source.namespace:
            ports -= network.allowed("Ingress", target, ANY_ADDRESS)
        if to_anywhere and target.namespace:
            ports -= network.allowed("Egress", source, ANY_ADDRESS)
        if ports:
            pair = (source.name, target.name)
            ways[pair] = ways.get(pair, frozenset()) | ports
    return {pair: words(ports) for pair, ports in ways.items()}


ANY_ADDRESS = End("any address")
