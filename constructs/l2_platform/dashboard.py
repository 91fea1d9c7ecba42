"""Dashboard: Headlamp, in which everybody is who their own token says."""

from collections.abc import Sequence

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.endpoint import port_of
from constructs.footprint import Footprint, footprint, surge
from constructs.network_flow import ANYWHERE, API_SERVER, TRAEFIK, Flow, NetworkFlow
from constructs.oidc import CLIENT_SECRET_KEY, OidcSettings, where_on
from constructs.reference import Reference, expression
from constructs.release import Release
from constructs.route import SOLVER, Addresses, Route
from constructs.settings import Cpu, Size, Sized

_PORT = 4466


class DashboardSettings(Sized):
    """The size of the dashboard."""

    cpu: Cpu = "10m"
    memory: Size = "128Mi"


def footprints(settings: DashboardSettings) -> tuple[Footprint, ...]:
    """Return what Headlamp asks for."""
    return footprint("headlamp", settings.resources(), at_times=surge(1)), SOLVER


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
        oidc: OidcSettings,
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
        sign_in = NetworkFlow(
            self,
            "sign-in-flow",
            name="headlamp-sign-in",
            namespace=namespace,
            pods=pods,
            calls=[Flow(ANYWHERE, ports=(port_of(oidc.issuer),))],
            depends_on=depends_on,
        )
        sign_in.resource.add_override("count", str(expression('{} != "" ? 1 : 0', oidc.issuer)))
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
                "config": {"oidc": {"secret": {"create": False}, **_client(oidc, addresses)}},
                "env": _client_secret(oidc),
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


def _client(oidc: OidcSettings, addresses: Addresses) -> dict[str, object]:
    """Return the chart's values for the provider; all are empty, the chart's defaults, where there is none."""
    return {
        "issuerURL": oidc.issuer,
        "clientID": oidc.client_id,
        # Headlamp offers no sign-in without a scope, and asks for openid in any case.
        "scopes": where_on(oidc, expression('coalesce(join(",", {}), "openid")', oidc.scopes)),
        "callbackURL": where_on(
            oidc, expression('join("", ["https://", {}, "/oidc-callback"])', addresses.host("dashboard"))
        ),
        "usePKCE": expression('{} != ""', oidc.issuer),
    }


def _client_secret(oidc: OidcSettings) -> Reference:
    """Return the variable by which Headlamp reads the client's secret: the chart's own way is an argument."""
    return expression(
        '[for name in [{}] : {{ name = "HEADLAMP_CONFIG_OIDC_CLIENT_SECRET", '
        'valueFrom = {{ secretKeyRef = {{ name = name, key = {} }} }} }} if name != "" && {} != ""]',
        oidc.client_secret,
        CLIENT_SECRET_KEY,
        oidc.issuer,
    )
