"""Redis for PostHog: a server that keeps its queue of tasks, and one for what may be forgotten."""

from collections.abc import Sequence
from typing import Annotated

from constructs import Construct
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.l4_insight.posthog.store import CONFIGURATION, Probe, Server, Store, name_of
from constructs.network_flow import Peer
from constructs.reference import Reference, expression, mebibytes
from constructs.settings import AtLeast, Cpu, Size, Sized
from constructs.versions import VERSIONS

_QUEUE, _CACHE = "redis", "valkey"
_PORT = 6379
# The user `valkey` of the image.
_USER_ID = 999


class RedisSettings(Sized):
    """The server with the queue of tasks, and with caches beside it."""

    cpu: Cpu = "50m"
    memory: Annotated[Size, AtLeast(96)] = "512Mi"
    """Memory that it requests, and may use at most. Nearly half is for data: the queue, and caches in what is left."""
    storage: Size = "2Gi"
    """Size of its volume: four times `memory` or more. A later change has no effect."""


class ValkeySettings(Sized):
    """The server without a disk, which the limits of destinations count in a second time."""

    cpu: Cpu = "25m"
    memory: Annotated[Size, AtLeast(64)] = "128Mi"


def footprints(queue: RedisSettings, cache: ValkeySettings) -> tuple[Footprint, ...]:
    """Return what both servers ask for."""
    return (
        footprint(name_of(_QUEUE), queue.resources(), volumes=[queue.storage]),
        footprint(name_of(_CACHE), cache.resources()),
    )


class Redis(Construct):
    """A server `posthog-redis` or `posthog-valkey`, whichever the settings are of."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        callers: Sequence[Peer],
        settings: RedisSettings | ValkeySettings,
    ) -> None:
        super().__init__(scope, id_)
        is_queue = isinstance(settings, RedisSettings)
        store = Store(
            self,
            "store",
            component=_QUEUE if is_queue else _CACHE,
            environment=environment,
            server=Server(
                image=VERSIONS.images["valkey"],
                user=_USER_ID,
                command=["valkey-server", f"{CONFIGURATION}/valkey.conf"],
                port=_PORT,
                # With -e a server that is still loading is an error.
                probe=Probe(command=["valkey-cli", "-e", "ping"]),
                files={"valkey.conf": _queue(settings) if isinstance(settings, RedisSettings) else _cache(settings)},
            ),
            callers=callers,
            settings=settings,
            storage=settings.storage if isinstance(settings, RedisSettings) else None,
        )
        self.resource = store.resource
        # It has no password: one of PostHog's clients takes a host and a port alone.
        self.endpoint = Endpoint(store.host, _PORT, secret="", password_key="")


def _queue(settings: RedisSettings) -> str:
    """Return the configuration of the queue: when memory is full, what has an end goes, and what has none never does.

    A fork writes the append-only file anew: it needs as much memory again as the data while clients write all over it.
    """
    maxmemory = expression("floor(({} - 32) / 2)", mebibytes(settings.memory))
    return _configuration(maxmemory, "volatile-lru", appendonly="yes", folder="/data")


def _cache(settings: ValkeySettings) -> str:
    """Return the configuration of the cache, which keeps nothing for sure; a fifth is what an allocator may waste."""
    maxmemory = expression("floor(({} - 16) * 0.8)", mebibytes(settings.memory))
    return _configuration(maxmemory, "allkeys-lru", appendonly="no", folder="/tmp")  # noqa: S108 (the pod's own)


def _configuration(maxmemory: Reference, policy: str, *, appendonly: str, folder: str) -> str:
    # Who may connect is what the network flow says: without a password the server would else answer its own pod alone.
    return (
        f"port {_PORT}\n"
        "protected-mode no\n"
        f"dir {folder}\n"
        'save ""\n'
        f"appendonly {appendonly}\n"
        f"maxmemory {maxmemory}mb\n"
        f"maxmemory-policy {policy}\n"
    )
