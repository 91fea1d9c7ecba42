"""Network flows: in a namespace whose default is deny, each system opens its own, beside its own construct."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdktf import ITerraformDependable, Token
from cdktf_cdktf_provider_kubernetes import network_policy_v1 as policy
from cdktf_cdktf_provider_kubernetes.network_policy_v1 import NetworkPolicyV1

from constructs import Construct
from constructs.reference import Reference, expression

NAMESPACE_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """Who calls, or is called: the pods with these labels, in these namespaces.

    No namespaces means the flow's own, no labels every pod of the namespaces; `addresses` (CIDRs) stand for what is no
    pod, and alone. Raises ValueError where nothing is named.
    """

    pods: Mapping[str, str] = field(default_factory=dict)
    namespaces: Sequence[str] | Reference = ()
    addresses: Sequence[str] = ()

    def __post_init__(self) -> None:
        names_pods = bool(self.pods) or isinstance(self.namespaces, Reference) or bool(self.namespaces)
        if names_pods == bool(self.addresses):
            message = "a peer is either pods (by labels or namespaces) or addresses"
            raise ValueError(message)


@dataclass(frozen=True)
class Flow:
    """A peer and the ports that are open between it and the system's pods; a `range` of ports is one rule."""

    peer: Peer
    ports: Sequence[int | Reference]
    protocol: str = "TCP"


def pods_of(namespaces: Sequence[str], clients: Sequence[str] | Reference) -> Peer:
    """Return all pods of some namespaces, and of those that a setting names."""
    return Peer(namespaces=expression("concat({}, {})", namespaces, clients))


ANYWHERE = Peer(addresses=("0.0.0.0/0", "::/0"))
TRAEFIK = Peer(pods={"app.kubernetes.io/name": "traefik"}, namespaces=("kube-system",))
DNS = Peer(pods={"k8s-app": "kube-dns"}, namespaces=("kube-system",))

ANY_PORT = range(1, 65536)
# Vault, and the label by which an environment's pod says that it reads secrets there.
VAULT = Flow(Peer(pods={"app.kubernetes.io/name": "vault", "component": "server"}, namespaces=("iac",)), ports=(8200,))
VAULT_CLIENT = {"strata/vault": "client"}

# K3s serves the API on its nodes, which no selector can name; policies see the node's port, not the Service's 443.
API_SERVER = Flow(ANYWHERE, ports=(6443,))


class NetworkFlow(Construct):
    """Who may call the pods with these labels (`callers`), and whom they call (`calls`). Nothing else is opened."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        namespace: str,
        pods: Mapping[str, str],
        callers: Sequence[Flow] = (),
        calls: Sequence[Flow] = (),
        labels: Mapping[str, str] | None = None,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, id_)
        self.resource = NetworkPolicyV1(
            self,
            "this",
            metadata=policy.NetworkPolicyV1Metadata(name=name, namespace=namespace, labels=labels),
            spec=policy.NetworkPolicyV1Spec(
                pod_selector=policy.NetworkPolicyV1SpecPodSelector(match_labels=dict(pods)),
                policy_types=["Ingress", "Egress"],
                ingress=[
                    policy.NetworkPolicyV1SpecIngress(from_=_INGRESS.peers(flow.peer), ports=_INGRESS.ports(flow))
                    for flow in callers
                ]
                or None,
                egress=[
                    policy.NetworkPolicyV1SpecEgress(to=_EGRESS.peers(flow.peer), ports=_EGRESS.ports(flow))
                    for flow in calls
                ]
                or None,
            ),
            depends_on=list(depends_on) or None,
        )


@dataclass(frozen=True)
class _Direction:
    """The structs of one direction: cdktf names the same five differently for ingress and egress."""

    peer: Any
    ip_block: Any
    namespace_selector: Any
    match_expressions: Any
    pod_selector: Any
    port: Any

    def peers(self, peer: Peer) -> list[Any]:
        if peer.addresses:
            return [self.peer(ip_block=self.ip_block(cidr=cidr)) for cidr in peer.addresses]
        pods = self.pod_selector(match_labels=dict(peer.pods))
        if isinstance(peer.namespaces, Reference):
            names = Token.as_list(str(peer.namespaces))
        elif peer.namespaces:
            names = list(peer.namespaces)
        else:
            return [self.peer(pod_selector=pods)]
        named = self.match_expressions(key=NAMESPACE_NAME, operator="In", values=names)
        return [self.peer(namespace_selector=self.namespace_selector(match_expressions=[named]), pod_selector=pods)]

    def ports(self, flow: Flow) -> list[Any]:
        if isinstance(flow.ports, range):
            first, last = flow.ports[0], flow.ports[-1]
            return [self.port(port=str(first), end_port=last, protocol=flow.protocol)]
        return [self.port(port=str(port), protocol=flow.protocol) for port in flow.ports]


_INGRESS = _Direction(
    peer=policy.NetworkPolicyV1SpecIngressFrom,
    ip_block=policy.NetworkPolicyV1SpecIngressFromIpBlock,
    namespace_selector=policy.NetworkPolicyV1SpecIngressFromNamespaceSelector,
    match_expressions=policy.NetworkPolicyV1SpecIngressFromNamespaceSelectorMatchExpressions,
    pod_selector=policy.NetworkPolicyV1SpecIngressFromPodSelector,
    port=policy.NetworkPolicyV1SpecIngressPorts,
)
_EGRESS = _Direction(
    peer=policy.NetworkPolicyV1SpecEgressTo,
    ip_block=policy.NetworkPolicyV1SpecEgressToIpBlock,
    namespace_selector=policy.NetworkPolicyV1SpecEgressToNamespaceSelector,
    match_expressions=policy.NetworkPolicyV1SpecEgressToNamespaceSelectorMatchExpressions,
    pod_selector=policy.NetworkPolicyV1SpecEgressToPodSelector,
    port=policy.NetworkPolicyV1SpecEgressPorts,
)
