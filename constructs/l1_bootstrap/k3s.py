"""K3s: the cluster's nodes, installed and kept over SSH; or none, and a cluster that is there is used."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from cdktf import DataResource, LocalExecProvisioner
from pydantic import Field

from constructs import Construct
from constructs.digest import digest_of
from constructs.footprint import Footprint
from constructs.oidc import OidcSettings, api_server_arguments
from constructs.reference import expression, resolve
from constructs.settings import Count, Cron, Form, Name, Settings, Url, list_error
from constructs.variable import Rule
from constructs.versions import ROOT, VERSIONS

_SCRIPTS = "scripts/k3s"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

QUORUM = Count((1, 3, 5), "servers cannot form an etcd quorum")

Host = Annotated[str, Form(rf"{_LABEL}(\.{_LABEL})*", "a host name or an IPv4 address, in lower case")]
HostOrNone = Annotated[str, Form(rf"({_LABEL}(\.{_LABEL})*)?", 'a host name or an IPv4 address, in lower case, or ""')]
Address = Annotated[str, Form(rf"({_BYTE}(\.{_BYTE}){{3}})?", 'an IPv4 address such as 10.0.0.2, or ""')]
User = Annotated[str, Form("[a-z_][a-z0-9_-]{0,31}", "a user name of lower-case letters, digits, _ and -")]
SecretName = Annotated[str, Form("([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?", 'the name of a Secret, or ""')]
Digest = Annotated[str, Form("([0-9a-f]{64})?", 'a SHA-256 in 64 hexadecimal digits, or ""')]
FilePath = Annotated[str, Form("(~?/[A-Za-z0-9._/-]+)?", 'a path that begins with / or ~/, or ""')]


class K3sNode(Settings):
    """A machine of the cluster."""

    name: Name = Field(max_length=40)
    """What Kubernetes calls the node. It stays: another name is another node."""
    host: Host = Field(max_length=253)
    """Where SSH finds it."""
    user: User = "root"
    """Who SSH signs in as; another user than root needs `sudo` without a password."""
    port: int = Field(default=22, ge=1, le=65535)
    """SSH's port."""
    internal_address: Address = ""
    """Its address in a network that all nodes share; empty: the one of its default route, and nodes join at `host`."""
    external_address: Address = ""
    """Its address from outside, where that is not one of its own; empty: `host`."""


class SnapshotSettings(Settings):
    """When etcd is saved, and where to."""

    schedule: Cron = "0 */6 * * *"
    """When each server saves a snapshot, in the machine's time."""
    retention: int = Field(default=12, ge=1, le=1000)
    """How many of them are kept."""
    s3_secret: SecretName = ""
    """The Secret in `kube-system`, of type `etcd.k3s.cattle.io/s3-config-secret`, with the bucket they are copied to;
    empty: they stay on the servers' own disks."""


class K3sSettings(Settings):
    """What all nodes have in common."""

    api_address: HostOrNone = Field(default="", max_length=253)
    """Where the kubeconfig finds the API server, such as a load balancer before three of them; empty: the first."""
    tls_sans: tuple[Host, ...] = ()
    """More names and addresses under which the API server is called."""
    snapshot: SnapshotSettings = SnapshotSettings()
    """Snapshots of etcd."""
    installer: Url = "https://get.k3s.io"
    """Where a node fetches the install script from."""
    installer_sha256: Digest = ""
    """The script's SHA-256; another script is not run. Empty: whatever comes over https is trusted."""
    ssh_key: FilePath = ""
    """The private key, on the machine that applies; empty: the agent's, or what `~/.ssh/config` names."""
    ssh_known_hosts: FilePath = ""
    """The file with the nodes' host keys, on the machine that applies; empty: ssh's own."""
    ready_timeout: int = Field(default=300, ge=10, le=3600)
    """Seconds that a node may take to become ready."""


# As its makers measured it (docs.k3s.io/reference/resource-profiling), rounded up; the server's with the pods that it
# brings: CoreDNS, Traefik, metrics-server, local-path. Storage is a guess: images, logs and etcd.
_SERVER = Footprint("k3s server", cpu=500, memory=2048, memory_limit=2048, storage=30 * 1024)
_AGENT = Footprint("k3s agent", cpu=100, memory=512, memory_limit=512, storage=20 * 1024)


def footprints(servers: int, agents: int) -> tuple[Footprint, ...]:
    """Return what K3s itself takes of its nodes; a cluster that was there before counts as one server."""
    nodes = ((_SERVER, max(servers, 1)), (_AGENT, agents))
    return tuple(replace(node, pods=count, storage=node.storage * count) for node, count in nodes if count)


class K3s(Construct):
    """Every node as the settings say, by `scripts/k3s/converge.sh` on the machine that applies.

    The resource is a record of what was last asked for; nothing lives in it. So it may be counted, and destroying it
    touches no node. The script converges: a run that failed leaves the record tainted, and the next one goes on.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        servers: tuple[K3sNode, ...],
        agents: tuple[K3sNode, ...],
        settings: K3sSettings,
        oidc: OidcSettings,
    ) -> None:
        super().__init__(scope, id_)
        asked = {
            "STRATA_SERVERS": _lines(servers),
            "STRATA_AGENTS": _lines(agents),
            "STRATA_VERSION": VERSIONS.tools.k3s,
            "STRATA_API_ADDRESS": settings.api_address,
            "STRATA_TLS_SANS": expression('join(" ", {})', settings.tls_sans),
            "STRATA_SNAPSHOT_SCHEDULE": settings.snapshot.schedule,
            "STRATA_SNAPSHOT_RETENTION": settings.snapshot.retention,
            "STRATA_SNAPSHOT_S3_SECRET": settings.snapshot.s3_secret,
            "STRATA_API_SERVER_ARGUMENTS": api_server_arguments(oidc),
        }
        # How the nodes are reached is no reason to go to them.
        means = {
            "STRATA_INSTALLER": expression(
                'join(" ", [{0}, {1} == "" ? "-" : {1}])', settings.installer, settings.installer_sha256
            ),
            "STRATA_SSH_KEY": settings.ssh_key,
            "STRATA_SSH_KNOWN_HOSTS": settings.ssh_known_hosts,
            "STRATA_READY_TIMEOUT": settings.ready_timeout,
            "STRATA_KUBECONFIG": "${var.kubeconfig}",
        }
        self.resource = DataResource(
            self,
            "nodes",
            triggers_replace=resolve({**asked, "scripts": digest_of(ROOT / _SCRIPTS)}),
            provisioners=[
                LocalExecProvisioner(
                    type="local-exec",
                    interpreter=["bash"],
                    command=f"${{path.module}}/../../../{_SCRIPTS}/converge.sh",
                    environment=resolve({**asked, **means}),
                )
            ],
        )
        self.resource.add_override("count", str(expression("length({}) > 0 ? 1 : 0", servers)))


def _lines(nodes: tuple[K3sNode, ...]) -> object:
    """Return a reference to a line for each node, as the script reads them."""
    return expression(
        'join("\\n", [for node in {} : join(" ", [node.name, node.host, node.user, node.port, '
        'coalesce(node.internal_address, "-"), coalesce(node.external_address, "-")])])',
        nodes,
    )


def refuse_agents(agents: tuple[K3sNode, ...], servers: tuple[K3sNode, ...]) -> None:
    """Raise the error of agents that cannot join these servers."""
    if agents and not servers:
        message = f"{len(agents)} agents have no server to join; give k3s_servers"
        raise list_error(message)
    for attribute in ("name", "host"):
        given = [getattr(server, attribute) for server in servers]
        for agent in agents:
            if (found := getattr(agent, attribute)) in given:
                message = f'found the {attribute} "{found}" of a server; a node is a server or an agent'
                raise list_error(message)


def agent_rules() -> Iterator[Rule]:
    """Yield the same as Terraform's rules."""
    yield Rule(
        "k3s_agents",
        "length(var.k3s_agents) == 0 || length(var.k3s_servers) > 0",
        "agents have no server to join: give k3s_servers",
    )
    for attribute in ("name", "host"):
        yield Rule(
            "k3s_agents",
            f"length(setintersection(var.k3s_agents[*].{attribute}, var.k3s_servers[*].{attribute})) == 0",
            f"found the {attribute} of a server: a node is a server or an agent",
        )
