"""Operators: the controllers that environments' instances need, once in the cluster."""

from collections.abc import Sequence

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.network_flow import ANYWHERE, API_SERVER, Flow, NetworkFlow, Peer
from constructs.release import Release
from constructs.settings import Cpu, Size, Sized

_WEBHOOK_PORT = 9443
_INSTANCE_STATUS_PORT = 8000


class OperatorsSettings(Sized):
    """The size of the CloudNativePG operator."""

    cpu: Cpu = "50m"
    memory: Size = "256Mi"


class Operators(Construct):
    """CloudNativePG in `iac`; it keeps the Postgres clusters of all environments."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        databases: Sequence[str],
        priority_class: str,
        settings: OperatorsSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        pods = {"app.kubernetes.io/name": "cloudnative-pg"}
        NetworkFlow(
            self,
            "cloudnative-pg-flow",
            name="cloudnative-pg",
            namespace=namespace,
            pods=pods,
            # Webhooks are called by the API server, which no selector can name.
            callers=[Flow(ANYWHERE, ports=(_WEBHOOK_PORT,))],
            calls=[
                API_SERVER,
                Flow(
                    Peer(pods={"cnpg.io/podRole": "instance"}, namespaces=databases),
                    ports=(_INSTANCE_STATUS_PORT, 5432),
                ),
            ],
            depends_on=depends_on,
        )
        Release(
            self,
            "cloudnative-pg",
            chart="cloudnative-pg",
            name="cloudnative-pg",
            namespace=namespace,
            values={
                "crds": {"create": True},
                "config": {"clusterWide": True},
                "priorityClassName": priority_class,
                "resources": settings.resources(),
            },
            depends_on=depends_on,
        )
