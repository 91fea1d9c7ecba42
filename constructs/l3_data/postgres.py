"""Postgres: a CloudNativePG cluster in `data-<environment>`."""

from typing import Annotated, Literal

from pydantic import Field

from constructs import Construct
from constructs.deletion_lock import DeletionLock
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.generated_secret import GeneratedSecret, Password
from constructs.network_flow import API_SERVER, Flow, NetworkFlow, Peer, pods_of
from constructs.reference import expression, mebibytes
from constructs.release import Release
from constructs.settings import AtLeast, ClientNamespace, Cpu, Size, Sized
from constructs.versions import VERSIONS

_PORT = 5432
_STATUS_PORT = 8000
_DATABASE = "app"
_PASSWORD_KEY = "password"  # noqa: S105 (a key's name)


class PostgresSettings(Sized):
    """Postgres with a database `app` that is owned by the user `app`."""

    instances: Literal[1, 3, 5] = 1
    """One, or a primary with 2 or 4 standbys, each on a node of its own where there are enough."""
    cpu: Cpu = "100m"
    memory: Annotated[Size, AtLeast(256)] = "512Mi"
    storage: Size = "10Gi"
    """Size of each instance's volume. It cannot be changed later: K3s's local-path volumes do not grow."""
    clients: tuple[ClientNamespace, ...] = ()
    """Namespaces whose pods may connect, beside `monitoring-<environment>`."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have a new password generated; CloudNativePG sets it, clients must read the Secret again."""


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
        pods = {"cnpg.io/cluster": "postgres"}
        instances = Flow(Peer(pods=pods), ports=(_PORT, _STATUS_PORT))
        NetworkFlow(
            self,
            "flow",
            name="postgres",
            namespace=namespace,
            pods=pods,
            callers=[
                instances,
                Flow(
                    Peer(pods={"app.kubernetes.io/name": "cloudnative-pg"}, namespaces=("iac",)),
                    ports=(_PORT, _STATUS_PORT),
                ),
                Flow(pods_of([environment.monitoring_namespace], settings.clients), ports=(_PORT,)),
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
                "fullnameOverride": "postgres",
                "type": "postgresql",
                "mode": "standalone",
                "cluster": {
                    "instances": settings.instances,
                    "imageName": VERSIONS.images["postgresql"],
                    "storage": {"size": settings.storage},
                    "resources": settings.resources(),
                    "priorityClassName": environment.priority_class,
                    "affinity": {"topologyKey": "kubernetes.io/hostname"},
                    "enableSuperuserAccess": False,
                    # With one instance a disruption budget would only keep its node from being drained.
                    "enablePDB": expression("{} > 1", settings.instances),
                    "postgresql": {
                        "parameters": {
                            "shared_buffers": f"{expression('floor({} / 4)', mebibytes(settings.memory))}MB",
                        }
                    },
                    "initdb": {"database": _DATABASE, "owner": _DATABASE, "secret": {"name": auth.name}},
                },
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
            port=_PORT,
            secret=auth.name,
            password_key=_PASSWORD_KEY,
            user=_DATABASE,
        )
