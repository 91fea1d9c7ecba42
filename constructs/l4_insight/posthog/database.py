"""What PostHog has in the environment's Postgres: its databases, and the connections that it may open there.

All of PostHog's tables are in one database: upstream's own small deployment puts persons and cohorts there too. Only
Cyclotron, the queue of workflows that wait, would need one of its own, and no image that is shipped makes its tables.
"""

from constructs.environment import Environment
from constructs.network_flow import Flow, Peer
from constructs.postgres_cluster import PORT

SYSTEM = "posthog"
DATABASES = ("posthog",)
# The Secret with its role's name and password, beside its pods.
CREDENTIAL = "posthog-postgres"
# The pools of its services together: some hundred, and Postgres has a connection for every 8 MiB.
LEAST_MEBIBYTES = 1024


def host_of(environment: Environment) -> str:
    """Return the host of the environment's Postgres: its Service follows the generation that serves."""
    return f"postgres.{environment.data_namespace}.svc"


def flow_of(environment: Environment) -> Flow:
    """Return the way there: to the pods of whichever generation serves."""
    return Flow(Peer(pods={"cnpg.io/podRole": "instance"}, namespaces=(environment.data_namespace,)), ports=(PORT,))
