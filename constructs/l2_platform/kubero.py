"""Kubero: applications from a web page, in namespaces that the platform makes and bounds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from annotated_types import MaxLen
from cdktf import ITerraformDependable, TerraformResource
from pydantic import Field

from constructs import Construct
from constructs.deletion_lock import DeletionLock
from constructs.footprint import Footprint, footprint, surge
from constructs.generated_secret import GeneratedSecret, Password
from constructs.l2_platform.tenancy import (
    ENVIRONMENT_HOSTS,
    KUBERO_OPERATOR,
    PIPELINE_LABEL,
    PLATFORM_HOSTS,
    Namespace,
    limit,
)
from constructs.network_flow import ANY_PORT, ANYWHERE, API_SERVER, TRAEFIK, Flow, NetworkFlow, Peer
from constructs.reference import Reference, expression, literal, view
from constructs.release import Release
from constructs.route import CLUSTER_ISSUER, SOLVER, Addresses, Route
from constructs.settings import Apart, Cpu, Domain, Form, Name, NotBeginning, OptionalName, Settings, Size, Sized
from constructs.variable import Rule
from constructs.versions import VERSIONS

_PORT = 2000
_CREDENTIALS = ("JWT_SECRET", "KUBERO_ADMIN_PASSWORD", "KUBERO_SESSION_KEY", "KUBERO_WEBHOOK_SECRET")
# What applications may call: Git, the web and mail outside, and Postgres, Redis, Vault and telemetry inside, whose own
# rules decide. Not 80, behind which a cloud keeps what a node may know; not 6443.
_CALLED_PORTS = (22, 443, 465, 587, 4317, 4318, 5432, 6379, 8200, 26379)

PipelineNamespace = Annotated[
    str,
    Form("[a-z0-9]+(-[a-z0-9]+)+", "a pipeline and a phase of it such as shop-production"),
    MaxLen(63),
    NotBeginning(
        ("data-", "default-", "iac-", "kube-", "kubero-", "kubernetes-", "monitoring-"),
        "a pipeline of another name: that one is the platform's, or an environment's",
    ),
]
PipelineDomain = Annotated[
    Domain,
    NotBeginning(
        tuple(f"{host}." for host in (*PLATFORM_HOSTS, *ENVIRONMENT_HOSTS)),
        "a domain of another name: that one is the platform's, or an environment's",
    ),
]


class PipelineSettings(Settings):
    """The namespace of one phase of a pipeline, and what all its pods may ask for together."""

    domains: tuple[PipelineDomain, ...] = ()
    """Domains that its applications may answer for, each with all below it, beside `<namespace>.<base_domain>`."""
    cpu: Cpu = "2"
    """Requested CPU cores."""
    memory: Size = "4Gi"
    """Memory, requested and at most."""
    storage: Size = "20Gi"
    """Storage of all volumes."""
    pods: int = Field(default=20, ge=1, le=1000)
    """Number of pods."""


class KuberoOperatorSettings(Sized):
    """The size of Kubero's operator."""

    cpu: Cpu = "50m"
    memory: Size = "512Mi"


class KuberoSettings(Sized):
    """Kubero's server, and the namespaces in which its pipelines may deploy."""

    cpu: Cpu = "50m"
    memory: Size = "512Mi"
    storage: Size = "1Gi"
    """Size of the volume of its accounts. It cannot be changed later."""
    storage_class: OptionalName = ""
    """The volume's storage class; empty: the cluster's default. It cannot be changed later."""
    admin: Name = "admin"
    """The account that its first start makes, with the password of the Secret `kubero-secrets`."""
    console: bool = False
    """Whether its users may run commands in the pods of applications: who may, reads what their pods read."""
    git_provider: Literal["none", "github", "gitea", "gitlab", "gogs", "bitbucket"] = "none"
    """The Git server for which `make secrets` asks for a token; none is needed for images and public repositories."""
    git_secret: Name = "kubero-git"  # noqa: S105 (a Secret's name)
    """The Secret with the Git server's token, and whatever else of Kubero's environment people sign in by."""
    operator: KuberoOperatorSettings = KuberoOperatorSettings()
    """The operator that makes of an application what Kubernetes runs."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have its keys generated anew: everybody signs in again, and webhooks must be connected again."""
    namespaces: Annotated[
        dict[PipelineNamespace, PipelineSettings], Apart("Traefik could take their Services for each other's")
    ] = Field(default_factory=dict)
    """The namespaces of pipelines, `<pipeline>-<phase>`; Kubero deploys into these and into no others."""


def pipeline_domains(namespaces: object, base_domain: object) -> Reference:
    """Return, by namespace, the domains that a pipeline's Ingresses may answer for."""
    own = f'format("%s.%s", name, {literal(base_domain)})'
    return expression(f"{{{{ for name, item in {{}} : name => concat([{own}], item.domains) }}}}", namespaces)


def pipeline_rules(prefixes: Sequence[str]) -> Iterator[Rule]:
    """Yield what the namespaces must satisfy at plan beside other variables, and beside other files' `prefixes`."""
    names, domains = "keys(var.kubero.namespaces)", "flatten(values(var.kubero.namespaces)[*].domains)"
    begins = " || ".join(f'startswith(format("%s-", name), {literal(f"{prefix}-")})' for prefix in prefixes)
    yield Rule("kubero", f"alltrue([for name in {names} : !({begins or 'false'})])", _foreign_words(prefixes))
    yield Rule(
        "kubero",
        f'alltrue([for domain in {domains} : !endswith(format(".%s", var.base_domain), format(".%s", domain))])',
        _WHOLE_DOMAIN,
    )


def refused_pipelines(
    namespaces: Mapping[str, PipelineSettings], base_domain: str, prefixes: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield, by key, what `pipeline_rules` refuses."""
    for name, settings in namespaces.items():
        if any(f"{name}-".startswith(f"{prefix}-") for prefix in prefixes):
            yield f"kubero.namespaces.{name}", _foreign_words(prefixes)
        for domain in settings.domains:
            if f".{base_domain}".endswith(f".{domain}"):
                yield f"kubero.namespaces.{name}.domains", f'found "{domain}"; {_WHOLE_DOMAIN}'


def _foreign_words(prefixes: Sequence[str]) -> str:
    return f"give no name that begins as an environment's host names do: {', '.join(prefixes)}"


_WHOLE_DOMAIN = "give a domain below base_domain, or another: all host names of the platform lie in this one"


class Pipelines(Construct):
    """The namespaces of pipelines, one for each entry of `namespaces`: their quota, network rules and deletion lock."""

    def __init__(
        self, scope: Construct, id_: str, *, namespaces: object, depends_on: Sequence[ITerraformDependable]
    ) -> None:
        super().__init__(scope, id_)
        name = "${each.key}"
        namespace = Namespace(
            self,
            "namespace",
            name=name,
            pod_security="baseline",
            protected=True,
            labels={PIPELINE_LABEL: "true"},
            depends_on=depends_on,
        )
        limit(self, "namespace", namespace=namespace, quota=view(PipelineSettings, "each.value"), labels={})
        neighbours = Peer(namespaces=(name,))
        NetworkFlow(
            self,
            "applications",
            name="applications",
            namespace=name,
            pods={},
            callers=[Flow(TRAEFIK, ports=ANY_PORT), Flow(neighbours, ports=ANY_PORT)],
            calls=[Flow(neighbours, ports=ANY_PORT), Flow(ANYWHERE, ports=_CALLED_PORTS)],
            depends_on=[namespace.resource],
        )
        DeletionLock(self, "lock", name="pipeline", namespace=name, holds=self)
        for child in self.node.find_all():
            if isinstance(child, TerraformResource):
                child.add_override("for_each", str(namespaces))
        self.resource = namespace.resource


def footprints(settings: KuberoSettings) -> tuple[Footprint, ...]:
    """Return what Kubero asks for; what its pipelines' applications may, are the quotas of their namespaces."""
    server = settings.resources()
    return (
        footprint(KUBERO_OPERATOR, settings.operator.resources(), at_times=surge(1)),
        footprint("kubero", server, init=[server], volumes=[settings.storage]),
        SOLVER,
    )


class Kubero(Construct):
    """The operator, the server at `kubero.<base_domain>`, and the namespaces of its pipelines."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        addresses: Addresses,
        priority_class: str,
        settings: KuberoSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        pipelines = Pipelines(self, "pipelines", namespaces=settings.namespaces, depends_on=depends_on)
        names = expression("keys({})", settings.namespaces)
        credentials = GeneratedSecret(
            self,
            "credentials",
            name="kubero-secrets",
            namespace=namespace,
            passwords={key: Password(length=48) for key in _CREDENTIALS},
            revision=settings.credentials_revision,
            depends_on=depends_on,
        )
        NetworkFlow(
            self,
            "operator-flow",
            name=KUBERO_OPERATOR,
            namespace=namespace,
            pods={"app.kubernetes.io/name": KUBERO_OPERATOR},
            calls=[API_SERVER],
            depends_on=depends_on,
        )
        NetworkFlow(
            self,
            "flow",
            name="kubero",
            namespace=namespace,
            pods={"app.kubernetes.io/name": "kubero"},
            callers=[Flow(TRAEFIK, ports=(_PORT,))],
            # Git servers are where they are.
            calls=[API_SERVER, Flow(ANYWHERE, ports=(443,))],
            depends_on=depends_on,
        )
        operator = Release(
            self,
            "operator",
            chart="kubero-operator",
            name=KUBERO_OPERATOR,
            namespace=namespace,
            values={
                "image": VERSIONS.images["kubero-operator"],
                "namespaces": names,
                "priorityClassName": priority_class,
                "resources": settings.operator.resources(),
            },
            depends_on=[*depends_on, pipelines.resource],
        )
        release = Release(
            self,
            "release",
            chart="kubero",
            name="kubero",
            namespace=namespace,
            values={
                "image": VERSIONS.images["kubero"],
                "host": addresses.host("kubero"),
                "namespaces": names,
                "admin": settings.admin,
                "credentials": {
                    "name": credentials.name,
                    "revision": expression("tostring({})", settings.credentials_revision),
                },
                "gitSecretName": settings.git_secret,
                "console": settings.console,
                "clusterIssuer": CLUSTER_ISSUER,
                "storage": {"size": settings.storage, "className": settings.storage_class},
                "priorityClassName": priority_class,
                "resources": settings.resources(),
            },
            depends_on=[credentials.resource, operator.resource],
        )
        Route(
            self,
            "route",
            namespace=namespace,
            service="kubero",
            backend="kubero",
            port=80,
            addresses=addresses,
            depends_on=[release.resource],
        )
        DeletionLock(self, "lock", name="kubero", namespace=namespace, holds=self)
