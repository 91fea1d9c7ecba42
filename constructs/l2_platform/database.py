"""Platform database: a CloudNativePG cluster in `iac`, whose clients get their logins from Vault."""

from collections.abc import Sequence
from typing import Annotated

from cdktf import ITerraformDependable
from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.deletion_lock import DeletionLock
from constructs.footprint import Footprint
from constructs.generated_secret import GeneratedSecret, Password
from constructs.l2_platform.credentials import ACCESS, FUNCTIONS, ISSUER, clients_of, secrets_engine
from constructs.metrics import PodTarget
from constructs.network_flow import API_SERVER, Flow, NetworkFlow, Peer, pods_of
from constructs.postgres_cluster import (
    METRICS_PORT,
    OPERATOR,
    PORT,
    STATUS_PORT,
    TAKEN_NAMES,
    PostgresBackupSettings,
    PostgresClusterSettings,
    backup_values,
    cluster_footprint,
    cluster_values,
    instances_of,
    parameters,
)
from constructs.reference import expression
from constructs.release import Release
from constructs.secrets_engine import SuppliedPassword
from constructs.settings import ClientNamespace, Form, NotAmong, Settings

_NAME = "database"
_PASSWORD_KEY = "password"  # noqa: S105 (a key's name)
DatabaseName = Annotated[
    str,
    Form("[a-z]([a-z0-9-]{0,38}[a-z0-9])?", "a name of at most 40 lower-case letters, digits and dashes"),
    NotAmong((*TAKEN_NAMES, ISSUER), "taken"),
]


class LogicalDatabase(Settings):
    """One database, owned by a role of its name that nobody signs in as."""

    clients: tuple[ClientNamespace, ...] = ()
    """Namespaces whose pods may connect, and get logins for it from Vault."""


class DatabaseSettings(PostgresClusterSettings):
    """The cluster, and the databases in it."""

    databases: dict[DatabaseName, LogicalDatabase] = Field(default_factory=dict)
    """The databases by name. One that is taken out stays in the cluster, with its data."""
    backup: PostgresBackupSettings = PostgresBackupSettings()
    """When it is saved to the bucket of `backups`."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have a new password generated for Vault, which reads it in the same apply."""


def footprints(settings: DatabaseSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what the platform database asks for."""
    return (cluster_footprint(_NAME, settings, is_saved=backups.bucket != ""),)


class Database(Construct):
    """A `Cluster` named database. `secrets_engine` is what Vault issues logins for it by."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        priority_class: str,
        backups: BackupSettings,
        settings: DatabaseSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        auth = GeneratedSecret(
            self,
            "auth",
            name="database-vault",
            namespace=namespace,
            type_="kubernetes.io/basic-auth",
            plain={"username": ISSUER},
            passwords={_PASSWORD_KEY: Password()},
            revision=settings.credentials_revision,
            # CloudNativePG sets a changed password only when it is told to watch the Secret.
            labels={"cnpg.io/reload": "true"},
            depends_on=depends_on,
        )
        databases = expression("{}", settings.databases)
        pods = instances_of(_NAME)
        instances = Flow(Peer(pods=pods), ports=(PORT, STATUS_PORT))
        self.targets = (
            PodTarget(job=_NAME, port=METRICS_PORT, pods={**pods, "cnpg.io/podRole": "instance"}, namespace=namespace),
        )
        NetworkFlow(
            self,
            "flow",
            name=_NAME,
            namespace=namespace,
            pods=pods,
            # Of this namespace's own pods, only Vault's are let out to it.
            callers=[
                instances,
                OPERATOR,
                Flow(pods_of([namespace], clients_of(databases)), ports=(PORT,)),
                *(target.caller() for target in self.targets),
            ],
            calls=[instances, API_SERVER, backups.flow()],
            depends_on=depends_on,
        )
        release = Release(
            self,
            "release",
            chart="cluster",
            name=_NAME,
            namespace=namespace,
            values={
                **cluster_values(
                    settings,
                    name=_NAME,
                    priority_class=priority_class,
                    more={
                        "postgresql": {"parameters": parameters(settings), "pg_hba": list(ACCESS)},
                        "initdb": {
                            "database": ISSUER,
                            "owner": ISSUER,
                            "secret": {"name": auth.name},
                            "postInitTemplateSQL": list(FUNCTIONS),
                        },
                        "roles": expression(
                            "[for name in sort(keys({})) : {{ name = name, ensure = {}, login = false }}]",
                            databases,
                            "present",
                        ),
                    },
                ),
                "databases": expression("[for name in sort(keys({})) : {{ name = name, owner = name }}]", databases),
                "backups": backup_values(backups, settings.backup, folder="infra/database"),
            },
            depends_on=[auth.resource, *depends_on],
        )
        DeletionLock(
            self,
            "lock",
            name=_NAME,
            namespace=namespace,
            holds=self,
            also=[f"clusters.postgresql.cnpg.io/{_NAME}"],
        )
        self.secrets_engine = secrets_engine(
            databases,
            host=f"{_NAME}-rw.{namespace}.svc",
            flow=Flow(Peer(pods=pods), ports=(PORT,)),
            password=SuppliedPassword(auth.name, _PASSWORD_KEY, settings.credentials_revision),
            authority=f"{_NAME}-ca",
        )
        self.ready: Sequence[ITerraformDependable] = (auth.resource, release.resource)
