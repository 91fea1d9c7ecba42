"""Dashboard: Headlamp, in which everybody is who their own token says."""

from collections.abc import Sequence

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.network_flow import API_SERVER, TRAEFIK, Flow, NetworkFlow
from constructs.release import Release
from constructs.route import Addresses, Route
from constructs.settings import Cpu, Size, Sized

_PORT = 4466


class DashboardSettings(Sized):
    """The size of the dashboard."""

    cpu: Cpu = "10m"
    memory: Size = "128Mi"


class Dashboard(Construct):
    """Headlamp at `dashboard.<base_domain>`; its own ServiceAccount has no rights at all."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        addresses: Addresses,
        priority_class: str,
        settings: DashboardSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        pods = {"app.kubernetes.io/name": "headlamp"}
        NetworkFlow(
            self,
            "flow",
            name="headlamp",
            namespace=namespace,
            pods=pods,
            callers=[Flow(TRAEFIK, ports=(_PORT,))],
            calls=[API_SERVER],
            depends_on=depends_on,
        )
        release = Release(
            self,
            "release",
            chart="headlamp",
            name="headlamp",
            namespace=namespace,
            values={
                "fullnameOverride": "headlamp",
                # The chart would bind its ServiceAccount to cluster-admin, and write an empty OIDC Secret.
                "clusterRoleBinding": {"create": False},
                "config": {"oidc": {"secret": {"create": False}}},
                "priorityClassName": priority_class,
                "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "securityContext": {
                    "runAsNonRoot": True,
                    "privileged": False,
                    "runAsUser": 100,
                    "runAsGroup": 101,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": settings.resources(),
            },
            depends_on=depends_on,
        )
        Route(
            self,
            "route",
            namespace=namespace,
            service="dashboard",
            backend="headlamp",
            port=80,
            addresses=addresses,
            depends_on=[release.resource],
        )
