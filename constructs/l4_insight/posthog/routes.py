"""Which of PostHog's services answers for which path of its one host name, and which paths nobody outside reaches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.l4_insight.posthog.services import SERVICES
from constructs.route import THE_REST, Addresses, Branch, Route


@dataclass(frozen=True)
class Path:
    """A path of the host and the service that answers for it, and for all below it where `is_tree`."""

    path: str
    service: str
    is_tree: bool = True


# The proxy of PostHog's own Compose file has the same, but the last of feature-flags' and what is not deployed here:
# `/livestream`, `/i/v1/logs`, `/i/v1/traces`, `/i/v1/metrics`, and the store of objects, which no browser needs.
PATHS = (
    Path("/s", "replay-capture"),
    Path("/e", "capture"),
    Path("/i/v0", "capture"),
    Path("/i/v1/analytics/events", "capture"),
    Path("/batch", "capture"),
    Path("/capture", "capture"),
    Path("/flags", "feature-flags"),
    Path("/api/feature_flag/local_evaluation", "feature-flags"),
    # Older libraries ask here; web would answer with a page.
    Path("/decide", "feature-flags"),
    Path("/array", "hypercache-server"),
    # What is below these are pages, and the API of people who have signed in.
    Path("/surveys", "hypercache-server", is_tree=False),
    Path("/api/surveys", "hypercache-server", is_tree=False),
    Path("/public/webhooks", "plugins"),
    Path("/public/m", "plugins"),
)

# What the services ask of web, what the cluster asks, and Django's own pages. Other internal paths have the number of a
# project before them, which no path of an Ingress can match: they are behind INTERNAL_API_SECRET alone.
CLOSED = ("/admin", "/api/internal", "/internal", "/_health", "/_livez", "/_metrics", "/_readyz", "/_stats")
# It says 404 to whatever it does not know.
NOT_FOUND = "hypercache-server"
_OPEN = frozenset({"web", NOT_FOUND, *(item.service for item in PATHS)})
# The services that Traefik calls, and their ports; web gets what no path leads elsewhere.
PORTS: Mapping[str, int] = {row.name: row.port for row in SERVICES if row.port is not None and row.name in _OPEN}


class PostHogRoute(Route):
    """The route of `posthog.<...>`; its Services are called `posthog-<service>`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        addresses: Addresses,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(
            scope,
            id_,
            namespace=namespace,
            service="posthog",
            backend="posthog-web",
            port=PORTS["web"],
            addresses=addresses,
            paths=THE_REST,
            branches=[*_answered(), *_closed()],
            depends_on=depends_on,
        )


def _answered() -> Iterator[Branch]:
    """Yield what services answer, each path with the slash after it and without."""
    for item in PATHS:
        yield _branch({item.path: "Exact", f"{item.path}/": "Prefix" if item.is_tree else "Exact"}, item.service)


def _closed() -> Iterator[Branch]:
    """Yield what is closed, also where the slash after it is written `%2F`, which web reads as one."""
    for path in CLOSED:
        yield _branch({path: "Exact", f"{path}/": "Prefix", f"{path}%2F": "ImplementationSpecific"}, NOT_FOUND)


def _branch(paths: Mapping[str, str], service: str) -> Branch:
    return Branch(paths, backend=f"posthog-{service}", port=PORTS[service])
