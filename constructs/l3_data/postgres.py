"""Postgres: a CloudNativePG cluster in `data-<environment>`."""

from pydantic import Field

from constructs import Construct
from constructs.deletion_lock import DeletionLock
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint
from constructs.generated_secret import GeneratedSecret, Password
from constructs.network_flow import API_SERVER, Flow, NetworkFlow, Peer, pods_of
from constructs.postgres_cluster import (
    OPERATOR,
    PORT,
    STATUS_PORT,
    PostgresClusterSettings,
    cluster_footprint,
    cluster_values,
    instances_of,
    parameters,
)
from constructs.release import Release
from constructs.settings import ClientNamespace

_DATABASE = "app"
_PASSWORD_KEY = "password"  # noqa: S105 (a key's name)


class PostgresSettings(PostgresClusterSettings):
    """Postgres with a database `app` that is owned by the user `app`."""

    clients: tuple[ClientNamespace, ...] = ()
    """Namespaces whose pods may connect, beside `monitoring-<environment>`."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have a new password generated; CloudNativePG sets it, clients must read the Secret again."""


def footprints(settings: PostgresSettings) -> tuple[Footprint, ...]:
    """Return what Postgres asks for."""
    return (cluster_footprint("postgres", settings, is_saved=False),)


class Postgres(Construct):
    """A `Cluster` named postgres; user and password of `app` are in the Secret `postgres-app`."""

    def __init__(self, scope: Construct, id_: str, *, environment: Environment, settings: PostgresSettings) -> None:
        super().__init__(scope, id_)
        namespace = environment.data_namespace
        auth = GeneratedSecret(
            self,
            "auth",
            name="postgres-app",
            namespace=namespace,
            type_="kubernetes.io/basic-auth",
            plain={"username": _DATABASE},
            passwords={_PASSWORD_KEY: Password()},
            revision=settings.credentials_revision,
            # CloudNativePG sets a changed password only when it is told to watch the Secret.
            labels={"cnpg.io/reload": "true"},
        )
        pods = instances_of("postgres")
        instances = Flow(Peer(pods=pods), ports=(PORT, STATUS_PORT))
        NetworkFlow(
            self,
            "flow",
            name="postgres",
            namespace=namespace,
            pods=pods,
            callers=[
                instances,
                OPERATOR,
                Flow(pods_of([environment.monitoring_namespace], settings.clients), ports=(PORT,)),
            ],
            calls=[instances, API_SERVER],
        )
        Release(
            self,
            "release",
            chart="cluster",
            name="postgres",
            namespace=namespace,
            values={
                **cluster_values(
                    settings,
                    name="postgres",
                    priority_class=environment.priority_class,
                    more={
                        "postgresql": {"parameters": parameters(settings)},
                        "initdb": {"database": _DATABASE, "owner": _DATABASE, "secret": {"name": auth.name}},
                    },
                ),
                "backups": {"enabled": False},
            },
            depends_on=[auth.resource],
        )
        DeletionLock(
            self,
            "lock",
            name="postgres",
            namespace=namespace,
            holds=self,
            also=["clusters.postgresql.cnpg.io/postgres"],
        )
        self.endpoint = Endpoint(
            host=f"postgres-rw.{namespace}.svc",
            port=PORT,
            secret=auth.name,
            password_key=_PASSWORD_KEY,
            user=_DATABASE,
        )
