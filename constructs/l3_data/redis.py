"""Redis: one server with an append-only file, in `data-<environment>`."""

from typing import Annotated, Literal

from pydantic import Field

from constructs import Construct
from constructs.deletion_lock import DeletionLock
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.generated_secret import REVISION_ANNOTATION, GeneratedSecret, Password
from constructs.network_flow import Flow, NetworkFlow, pods_of
from constructs.reference import expression, mebibytes
from constructs.release import Release
from constructs.settings import AtLeast, ClientNamespace, Cpu, Size, Sized

_PORT = 6379
_PASSWORD_KEY = "redis-password"  # noqa: S105 (a key's name)
_INIT_RESOURCES = {"requests": {"cpu": "10m", "memory": "32Mi"}}


class RedisSettings(Sized):
    """Redis, kept on disk by its append-only file."""

    cpu: Cpu = "50m"
    memory: Annotated[Size, AtLeast(64)] = "256Mi"
    storage: Size = "2Gi"
    """Size of its volume. It cannot be changed later."""
    eviction: Literal["noeviction", "allkeys-lru", "volatile-lru"] = "noeviction"
    """What happens when three quarters of `memory` are full: refuse writes, or drop keys that were least used."""
    clients: tuple[ClientNamespace, ...] = ()
    """Namespaces whose pods may connect, beside `monitoring-<environment>`."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have a new password generated; Redis restarts, clients must read the Secret again."""


def footprints(settings: RedisSettings) -> tuple[Footprint, ...]:
    """Return what Redis asks for."""
    return (footprint("redis", settings.resources(), init=[_INIT_RESOURCES], volumes=[settings.storage]),)


class Redis(Construct):
    """A Redis release; its password is in the Secret `redis-auth`."""

    def __init__(self, scope: Construct, id_: str, *, environment: Environment, settings: RedisSettings) -> None:
        super().__init__(scope, id_)
        namespace = environment.data_namespace
        auth = GeneratedSecret(
            self,
            "auth",
            name="redis-auth",
            namespace=namespace,
            passwords={_PASSWORD_KEY: Password()},
            revision=settings.credentials_revision,
        )
        NetworkFlow(
            self,
            "flow",
            name="redis",
            namespace=namespace,
            pods={"app.kubernetes.io/name": "redis"},
            callers=[Flow(pods_of([environment.monitoring_namespace], settings.clients), ports=(_PORT,))],
        )
        maxmemory = expression("floor({} * 0.75)", mebibytes(settings.memory))
        release = Release(
            self,
            "release",
            chart="redis",
            name="redis",
            namespace=namespace,
            values={
                "fullnameOverride": "redis",
                "architecture": "standalone",
                "image": {"pullPolicy": "IfNotPresent"},
                "priorityClassName": environment.priority_class,
                "auth": {"enabled": True, "existingSecret": auth.name, "existingSecretPasswordKey": _PASSWORD_KEY},
                # The rest of the memory is for the rewrite of the append-only file, which forks the server.
                "extraConfig": f"appendonly yes\nmaxmemory {maxmemory}mb\nmaxmemory-policy {settings.eviction}\n",
                "persistence": {"enabled": True, "size": settings.storage},
                "podAnnotations": {REVISION_ANNOTATION: expression("tostring({})", settings.credentials_revision)},
                "resources": settings.resources(),
                "initContainer": {"resources": _INIT_RESOURCES},
            },
            depends_on=[auth.resource],
        )
        DeletionLock(self, "lock", name="redis", namespace=namespace, holds=self)
        self.endpoint = Endpoint(
            host=f"{release.name}.{namespace}.svc", port=_PORT, secret=auth.name, password_key=_PASSWORD_KEY
        )
