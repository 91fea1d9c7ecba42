"""Vault: the secrets of every environment, behind a policy of its own for each; initialised and unsealed by itself."""

from collections.abc import Mapping, Sequence
from typing import Literal

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.deletion_lock import PROTECTED_LABEL, DeletionLock
from constructs.footprint import Footprint, footprint, surge
from constructs.l2_platform.vault_server import CLUSTER_PORT, KEYS, METRICS_PORT, PORT, SMALL, chart_values
from constructs.l2_platform.vault_snapshots import (
    SNAPSHOTS_ACCOUNT,
    SNAPSHOTS_VOLUME,
    VaultSnapshots,
    VaultSnapshotSettings,
)
from constructs.metrics import PodTarget
from constructs.network_flow import (
    ANYWHERE,
    API_SERVER,
    TRAEFIK,
    VAULT,
    Flow,
    NetworkFlow,
    Peer,
)
from constructs.reference import Reference, expression
from constructs.release import Release
from constructs.route import SOLVER, Addresses, Route
from constructs.secrets_engine import SecretsEngine
from constructs.settings import Cpu, Size, Sized
from constructs.snapshots import pods_of, snapshot_footprints
from constructs.versions import VERSIONS

_INJECTOR_PORT = 8080
_ADDRESS = f"http://vault:{PORT}"
# The ServiceAccounts that may read the unseal key and the root token.
_KEEPER = "vault"
_CONFIGURER = "vault-configure"
_ADMINISTRATOR = "vault-administrator"
_CONFIGURE = {"app.kubernetes.io/name": "vault-configure"}
_INJECTOR = {"app.kubernetes.io/name": "vault-agent-injector", "component": "webhook"}


class VaultSettings(Sized):
    """How many servers Vault has, how large each is, and when it is saved."""

    replicas: Literal[1, 3] = 1
    """One, or three of which one may fail. Back from three to one: docs/reference/systems/vault.md."""
    cpu: Cpu = "100m"
    memory: Size = "256Mi"
    storage: Size = "5Gi"
    """Size of each server's volume."""
    snapshots: VaultSnapshotSettings = VaultSnapshotSettings()
    """Snapshots of all that is in Vault."""


def footprints(settings: VaultSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what Vault asks for."""
    return (
        footprint(
            "vault", settings.resources(), SMALL, pods=settings.replicas, volumes=[settings.storage] * settings.replicas
        ),
        footprint("vault-configure", SMALL, init=[SMALL]),
        footprint("vault-agent-injector", SMALL, at_times=surge(1)),
        *snapshot_footprints("vault", backups, claim=settings.snapshots.storage),
        SOLVER,
    )


class Vault(Construct):
    """Vault at `vault.<base_domain>`, with a kv engine, a policy and a role for each environment, and the injector.

    `environments` has the namespaces whose pods read each environment's secrets; `engines` are what other systems
    bring. Pods find it at `http://vault.iac.svc:8200`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        addresses: Addresses,
        environments: Mapping[str, Reference],
        engines: Sequence[SecretsEngine],
        backups: BackupSettings,
        priority_class: str,
        settings: VaultSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        self._namespace = namespace
        self._metrics = PodTarget(
            job="vault",
            port=METRICS_PORT,
            pods=VAULT.peer.pods,
            namespace=namespace,
            path="/v1/sys/metrics",
            parameters={"format": "prometheus"},
        )
        lists = [*environments.values(), *(engine.namespaces for engine in engines)]
        clients = expression(f"distinct(concat({', '.join('{}' for _ in lists)}))", *lists)
        self._open_flows(clients, engines, depends_on)
        keys = Release(
            self,
            "keys",
            chart="vault-keys",
            name="vault-keys",
            namespace=namespace,
            values={
                "name": KEYS,
                "protectedLabel": PROTECTED_LABEL,
                "keeper": _KEEPER,
                "reader": _CONFIGURER,
            },
            depends_on=depends_on,
        )
        server = Release(
            self,
            "release",
            chart="vault",
            name="vault",
            namespace=namespace,
            values=chart_values(
                namespace=namespace,
                priority_class=priority_class,
                replicas=settings.replicas,
                storage=settings.storage,
                resources=settings.resources(),
                clients=clients,
                engines=engines,
            ),
            depends_on=[keys.resource],
        )
        configuration = Release(
            self,
            "configuration",
            chart="vault-configuration",
            name="vault-configuration",
            namespace=namespace,
            values={
                "address": _ADDRESS,
                "keys": KEYS,
                "image": VERSIONS.images["bank-vaults"],
                "priorityClass": priority_class,
                "resources": SMALL,
                "account": _CONFIGURER,
                "administrator": _ADMINISTRATOR,
                "snapshots": SNAPSHOTS_ACCOUNT,
                "environments": [{"name": name, "namespaces": namespaces} for name, namespaces in environments.items()],
                "engines": [
                    {"engine": engine.engine, "policies": engine.policies, "roles": engine.roles} for engine in engines
                ],
                "passwords": [
                    {"name": name, "secret": item.secret, "key": item.key, "revision": item.revision}
                    for engine in engines
                    for name, item in engine.passwords.items()
                ],
            },
            depends_on=[server.resource],
        )
        VaultSnapshots(
            self,
            "snapshots",
            namespace=namespace,
            address=_ADDRESS,
            priority_class=priority_class,
            backups=backups,
            settings=settings.snapshots,
            depends_on=[configuration.resource],
        )
        Route(
            self,
            "route",
            namespace=namespace,
            service="vault",
            backend="vault",
            port=PORT,
            addresses=addresses,
            depends_on=[server.resource],
        )
        self.targets = (self._metrics,)
        DeletionLock(
            self,
            "lock",
            name="vault",
            namespace=namespace,
            holds=self,
            also=[f"persistentvolumeclaims/{SNAPSHOTS_VOLUME}"],
        )

    def _open_flows(
        self, clients: Reference, engines: Sequence[SecretsEngine], depends_on: Sequence[ITerraformDependable]
    ) -> None:
        servers = Flow(Peer(pods=VAULT.peer.pods), ports=(PORT, CLUSTER_PORT))
        own = [Flow(Peer(pods=pods), ports=(PORT,)) for pods in (_CONFIGURE, pods_of("vault"))]
        flows: dict[str, tuple[Mapping[str, str], list[Flow], list[Flow]]] = {
            "vault": (
                VAULT.peer.pods,
                [
                    servers,
                    *own,
                    Flow(TRAEFIK, ports=(PORT,)),
                    Flow(Peer(namespaces=clients), ports=(PORT,)),
                    self._metrics.caller(),
                ],
                [servers, API_SERVER, *(engine.flow for engine in engines)],
            ),
            "vault-configure": (_CONFIGURE, [], [VAULT, API_SERVER]),
            # Webhooks are called by the API server, which no selector can name.
            "vault-injector": (_INJECTOR, [Flow(ANYWHERE, ports=(_INJECTOR_PORT,))], [API_SERVER]),
        }
        for name, (pods, callers, calls) in flows.items():
            NetworkFlow(
                self,
                f"{name}-flow",
                name=name,
                namespace=self._namespace,
                pods=pods,
                callers=callers,
                calls=calls,
                depends_on=depends_on,
            )
