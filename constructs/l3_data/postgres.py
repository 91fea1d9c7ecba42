"""Postgres: a CloudNativePG cluster in `data-<environment>`, and every generation of it that a restore has made."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le
from cdktf import TerraformLocal
from cdktf_cdktf_provider_kubernetes.service_v1 import (
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)
from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.deletion_lock import DeletionLock
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint, surge
from constructs.generated_secret import GeneratedSecret, Password
from constructs.metrics import ScrapeTarget
from constructs.moved import moved
from constructs.network_flow import API_SERVER, Flow, NetworkFlow, Peer, pods_of
from constructs.postgres_cluster import (
    METRICS_PORT,
    OPERATOR,
    PORT,
    STATUS_PORT,
    TAKEN_NAMES,
    DatabaseAccess,
    PostgresBackupSettings,
    PostgresClusterSettings,
    backup_values,
    cluster_footprint,
    cluster_values,
    instances_of,
    max_connections,
    parameters,
    recovery_values,
    scheduled_backup,
)
from constructs.reference import EACH_KEY, EACH_VALUE, Reference, expression, view
from constructs.release import Release
from constructs.settings import ClientNamespace, Form, NotAmong, Settings, Size, Sized, Together
from constructs.versions import VERSIONS

NAME = "postgres"
_DATABASE = "app"
# What CloudNativePG makes where a Cluster is restored: it sets its owner's password, so it must not be `app`.
_RECOVERY = "recovery"
_PASSWORD_KEY = "password"  # noqa: S105 (a key's name)
_POOLER = "postgres-pooler"
_POOLER_PODS, _INSTANCE_PODS = ({"cnpg.io/podRole": role} for role in ("pooler", "instance"))
# What had these addresses was the first generation's.
_FIRST = (
    "helm_release.postgres_release",
    "kubernetes_config_map_v1.postgres_lock",
    "kubernetes_network_policy_v1.postgres_flow",
)

DatabaseName = Annotated[
    str,
    Form("[a-z]([a-z0-9-]{0,38}[a-z0-9])?", "a name of at most 40 lower-case letters, digits and dashes"),
    # Where `app` is, and what CloudNativePG's own Secrets are called.
    NotAmong((*TAKEN_NAMES, _DATABASE, _RECOVERY, "ca", "pooler", "server", "superuser"), "taken"),
]
Generation = Annotated[int, Ge(1), Le(999)]
Time = Annotated[
    str,
    Form(
        "([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
        "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?",
        'a time such as 2030-01-02T03:04:05Z, or ""',
    ),
]


class DatabaseOwner(Settings):
    """A database, owned by a role of its name that signs in with a password."""

    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have a new password generated; CloudNativePG sets it, clients must read the Secret again."""


@dataclass(frozen=True)
class SystemDatabases:
    """What a system of the same stack has in the Cluster: `databases`, all owned by a role of the system's name."""

    system: str
    databases: Sequence[str]
    credentials_revision: int


class PoolerSettings(Sized):
    """PgBouncer in front of the primary, for clients that open many connections."""

    memory: Size = "64Mi"
    instances: int = Field(default=0, ge=0, le=10)
    """How many poolers there are; 0: none."""


class PostgresSettings(PostgresClusterSettings):
    """Postgres with a database `app` that is owned by the user `app`."""

    databases: dict[DatabaseName, DatabaseOwner] = Field(default_factory=dict)
    """More databases by name, each owned by a user of its name. One that is taken out stays, with its data."""
    pooler: PoolerSettings = PoolerSettings()
    """PgBouncer, in transaction mode."""
    backup: PostgresBackupSettings = PostgresBackupSettings()
    """When it is saved to the bucket of `backups`."""
    clients: tuple[ClientNamespace, ...] = ()
    """Namespaces whose pods may connect, beside `monitoring-<environment>`."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have a new password generated; CloudNativePG sets it, clients must read the Secret again."""


class PostgresRecoverySettings(Settings):
    """Which generation of Postgres serves, and what it was restored from. `make restore` writes it."""

    generation: Generation = 1
    """The one that serves: 1 is the Cluster `postgres`, 2 is `postgres-2`, ... No number is ever used twice."""
    source: Annotated[int, Ge(0), Le(998)] = 0
    """The generation whose backups it is made from, when it is made; 0: it begins empty."""
    until: Time = ""
    """How far it is restored, when it is made; empty: as far as the backups go."""
    keep: tuple[Generation, ...] = ()
    """Generations that were and are kept on their volumes, without pods."""


PostgresRecovery = Annotated[
    PostgresRecoverySettings,
    Together(
        lambda recovery: recovery.source < recovery.generation,
        "{0}.source < {0}.generation",
        "give a generation that is higher than its source: each is restored from one before it",
    ),
    Together(
        lambda recovery: not recovery.until or recovery.source > 0,
        '{0}.until == "" || {0}.source > 0',
        "give the source of what is restored until then",
    ),
    Together(
        lambda recovery: len({recovery.generation, *recovery.keep}) == len(recovery.keep) + 1,
        "length(distinct(concat([{0}.generation], {0}.keep))) == length({0}.keep) + 1",
        "give each generation once: the one that serves, or in keep",
    ),
]
NO_BUCKET = "give backups.bucket: a database is restored from a bucket"


def name_of(generation: int) -> str:
    """Return what the Cluster of a generation is called."""
    return NAME if generation == 1 else f"{NAME}-{generation}"


def footprints(
    settings: PostgresSettings, recovery: PostgresRecoverySettings, backups: BackupSettings
) -> tuple[Footprint, ...]:
    """Return what Postgres asks for: the serving generation, its poolers, and the volumes of those that are kept."""
    serving = cluster_footprint(name_of(recovery.generation), settings, is_saved=backups.bucket != "")
    kept = [replace(serving, name=name_of(number), pods=0) for number in recovery.keep]
    pooler = settings.pooler
    resources, pods = pooler.resources(), pooler.instances
    poolers = footprint(f"{serving.name}-pooler-rw", resources, init=[resources], pods=pods, at_times=surge(pods))
    return (serving, *kept, *([poolers] if pods else []))


def cluster_name(generation: object) -> Reference:
    """Return `name_of` a generation that is known at plan only."""
    return expression(f'{{0}} == 1 ? "{NAME}" : format("{NAME}-%d", {{0}})', generation)


class Postgres(Construct):
    """A `Cluster` for each generation, and the Service `postgres`: the primary of the one that serves.

    User and password of `app` are in the Secret `postgres-app`, those of another database in `postgres-<database>`,
    those of a system in `postgres-<system>`. `access` has, by a system's name, what it needs to come in; `targets` are
    where the instances show what they measure.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        backups: BackupSettings,
        recovery: PostgresRecoverySettings,
        settings: PostgresSettings,
        systems: Sequence[SystemDatabases] = (),
    ) -> None:
        super().__init__(scope, id_)
        self._environment = environment
        self._backups = backups
        self._recovery = recovery
        self._settings = settings
        self._systems = systems
        self._namespace = environment.data_namespace
        self._folder = f"{environment.name}/postgres"
        self._databases = expression("{}", settings.databases)
        generations = TerraformLocal(
            self,
            "generations",
            str(
                expression(
                    "{{ for number in distinct(concat([{0}], {1})) : {2} => {{ serves = number == {0} }} }}",
                    recovery.generation,
                    recovery.keep,
                    cluster_name(Reference("number")),
                )
            ),
        )
        auth = self._secret("auth", _DATABASE, settings)
        owners = self._secret("owners", str(EACH_KEY), view(DatabaseOwner, EACH_VALUE.expression))
        owners.for_each(self._databases)
        credentials = {item.system: self._secret(item.system, item.system, item) for item in systems}
        serving = instances_of(str(cluster_name(recovery.generation)))
        host = self._service("service", NAME, {**serving, "cnpg.io/instanceRole": "primary"}, PORT)
        self._service(
            "pooler-service",
            _POOLER,
            {**serving, **_POOLER_PODS},
            PORT,
            for_each=expression("toset([for name in [{}] : name if {} > 0])", _POOLER, settings.pooler.instances),
        )
        metrics = self._service("metrics-service", f"{NAME}-metrics", {**serving, **_INSTANCE_PODS}, METRICS_PORT)
        target = ScrapeTarget(NAME, metrics, METRICS_PORT, {**serving, **_INSTANCE_PODS}, self._namespace)
        flow = self._flow(target.caller(environment.monitoring_namespace))
        release = Release(
            self,
            "release",
            chart="cluster",
            name=str(EACH_KEY),
            namespace=self._namespace,
            values=self._values(auth.name),
            each=self._values_of_each(),
            depends_on=[
                auth.resource,
                owners.resource,
                *(credential.resource for credential in credentials.values()),
            ],
        )
        lock = DeletionLock(
            self,
            "lock",
            name=str(EACH_KEY),
            namespace=self._namespace,
            holds=self,
            also=[f"clusters.postgresql.cnpg.io/{EACH_KEY}"],
        )
        for part in (flow, release, lock):
            part.resource.add_override("for_each", f"${{local.{generations.friendly_unique_id}}}")
        moved(self, {address: f'{address}["{NAME}"]' for address in _FIRST})
        self.targets = (target,)
        self.endpoint = Endpoint(
            host=host,
            port=PORT,
            secret=auth.name,
            password_key=_PASSWORD_KEY,
            user=_DATABASE,
        )
        instances = Flow(Peer(pods=_INSTANCE_PODS, namespaces=(self._namespace,)), ports=(PORT,))
        self.access = {system: DatabaseAccess(host, instances, secret) for system, secret in credentials.items()}

    def _secret(
        self, id_: str, user: str, settings: PostgresSettings | DatabaseOwner | SystemDatabases
    ) -> GeneratedSecret:
        return GeneratedSecret(
            self,
            id_,
            name=f"{NAME}-{user}",
            namespace=self._namespace,
            type_="kubernetes.io/basic-auth",
            plain={"username": user},
            passwords={_PASSWORD_KEY: Password()},
            revision=settings.credentials_revision,
            # CloudNativePG sets a changed password only when it is told to watch the Secret.
            labels={"cnpg.io/reload": "true"},
        )

    def _service(
        self, id_: str, name: str, pods: Mapping[str, str], port: int, *, for_each: Reference | None = None
    ) -> str:
        """Make a Service, headless where every pod is asked for what it measures, and return its host."""
        service = ServiceV1(
            self,
            id_,
            metadata=ServiceV1Metadata(name=name, namespace=self._namespace),
            spec=ServiceV1Spec(
                selector=dict(pods),
                cluster_ip="None" if port == METRICS_PORT else None,
                port=[ServiceV1SpecPort(port=port)],
            ),
        )
        if for_each is not None:
            service.add_override("for_each", str(for_each))
        return f"{name}.{self._namespace}.svc"

    def _flow(self, collector: Flow) -> NetworkFlow:
        pods = instances_of(str(EACH_KEY))
        instances = Flow(Peer(pods=pods), ports=(PORT, STATUS_PORT))
        clients = pods_of([self._environment.monitoring_namespace], self._settings.clients)
        return NetworkFlow(
            self,
            "flow",
            name=str(EACH_KEY),
            namespace=self._namespace,
            # Poolers, and the Jobs that make an instance, have the label too.
            pods=pods,
            callers=[instances, OPERATOR, Flow(clients, ports=(PORT,)), collector],
            calls=[instances, API_SERVER, self._backups.flow()],
        )

    def _values(self, secret: str) -> dict[str, object]:
        """Return what all generations have."""
        settings = self._settings
        hosts = [
            ".".join(parts)
            for name in (NAME, _POOLER)
            for parts in itertools.accumulate(((name,), (self._namespace,), ("svc",), ("cluster", "local")))
        ]
        return {
            **cluster_values(
                settings,
                name=NAME,
                priority_class=self._environment.priority_class,
                more={
                    "postgresql": {"parameters": parameters(settings)},
                    "certificates": {"serverAltDNSNames": hosts},
                    "initdb": {"database": _DATABASE, "owner": _DATABASE, "secret": {"name": secret}},
                    "roles": expression(
                        f"[for name in concat({{}}, sort(keys({{}}))) : {{{{ name = name, ensure = {{}}, "
                        f'login = true, passwordSecret = {{{{ name = format("{NAME}-%s", name) }}}} }}}}]',
                        [_DATABASE, *(item.system for item in self._systems)],
                        self._databases,
                        "present",
                    ),
                },
            ),
            "databases": expression(
                "concat({}, [for name in sort(keys({})) : {{ name = name, owner = name }}])",
                [{"name": name, "owner": item.system} for item in self._systems for name in item.databases],
                self._databases,
            ),
            "backups": backup_values(self._backups, settings.backup, folder=self._folder),
            "recovery": recovery_values(
                self._backups,
                folder=self._folder,
                server=cluster_name(self._recovery.source),
                until=self._recovery.until,
                database=_RECOVERY,
            ),
        }

    def _values_of_each(self) -> dict[str, object]:
        """Return what sets the generation that serves apart from those that are kept."""
        serves = expression("{}.serves", EACH_VALUE)
        pooler, source = self._settings.pooler, self._recovery.source
        return {
            "fullnameOverride": EACH_KEY,
            # Of a generation that is kept, this is not read again.
            "mode": expression('{} && {} > 0 ? "recovery" : "standalone"', serves, source),
            "cluster": {"annotations": {"cnpg.io/hibernation": expression('{} ? "off" : "on"', serves)}},
            "backups": {
                "scheduledBackups": expression(
                    "[for item in [{}] : item if {}]", scheduled_backup(self._settings.backup), serves
                )
            },
            "poolers": expression(
                "[for item in [{}] : item if {} && {} > 0]", self._pooler(), serves, pooler.instances
            ),
        }

    def _pooler(self) -> dict[str, object]:
        pooler = self._settings.pooler
        # All poolers together take half of the connections for one user of one database.
        size = expression("max(2, floor({} / 2 / max(1, {})))", max_connections(self._settings), pooler.instances)
        return {
            "name": "rw",
            "type": "rw",
            "poolMode": "transaction",
            "instances": pooler.instances,
            "parameters": {"max_client_conn": "1000", "default_pool_size": expression("tostring({})", size)},
            "template": {
                "spec": {
                    "priorityClassName": self._environment.priority_class,
                    "containers": [
                        {
                            "name": "pgbouncer",
                            "image": VERSIONS.images["pgbouncer"],
                            "resources": pooler.resources(),
                        }
                    ],
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {
                                "matchLabels": {
                                    "cnpg.io/poolerName": expression('format("%s-pooler-rw", {})', EACH_KEY)
                                }
                            },
                        }
                    ],
                }
            },
        }
