"""Tenancy: the namespaces of every environment, and the rules that hold in them; the infra stack's alone."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes.limit_range_v1 import (
    LimitRangeV1,
    LimitRangeV1Metadata,
    LimitRangeV1Spec,
    LimitRangeV1SpecLimit,
)
from cdktf_cdktf_provider_kubernetes.namespace_v1 import NamespaceV1, NamespaceV1Metadata
from cdktf_cdktf_provider_kubernetes.priority_class_v1 import PriorityClassV1, PriorityClassV1Metadata
from cdktf_cdktf_provider_kubernetes.resource_quota_v1 import (
    ResourceQuotaV1,
    ResourceQuotaV1Metadata,
    ResourceQuotaV1Spec,
)
from pydantic import Field

from constructs import Construct
from constructs.deletion_lock import DELETE_ANNOTATION, LOCK_NAME, PROTECTED_LABEL, DeletionLock
from constructs.environment import ENVIRONMENT_LABEL, PRIORITY_CLASS_PREFIX, Environment
from constructs.footprint import DEFAULT_RESOURCES
from constructs.l2_platform.deployer import Deployer, DeployerRole
from constructs.network_flow import DNS, TRAEFIK, VAULT, VAULT_CLIENT, Flow, NetworkFlow
from constructs.oidc import Group, OidcSettings, members
from constructs.reference import Reference, expression, number, text
from constructs.release import Release
from constructs.route import CLUSTER_ISSUER
from constructs.settings import ClientNamespace, Cpu, Settings, Size

PLATFORM_PRIORITY = 1_000_000
PLATFORM_PRIORITY_CLASS = "platform"
# The first labels of the platform's own host names, which no environment may answer for.
PLATFORM_HOSTS = ("atlantis", "dashboard", "kubero", "vault")
# The first labels of the host names of an environment that has no prefix.
ENVIRONMENT_HOSTS = ("posthog", "signoz")
# On the namespace of a pipeline of Kubero's.
PIPELINE_LABEL = "strata/pipeline"
# Kubero's namespace, and the ServiceAccounts of its server, which has the same name, and of its operator.
KUBERO = "kubero"
KUBERO_OPERATOR = "kubero-operator"

# On an object in an environment's namespace that the platform alone may change.
_PLATFORM_LABEL = "strata/platform"
PLATFORM_LABELS = {_PLATFORM_LABEL: "true"}

# Whoever replaces an instance or empties a deleted namespace deletes volumes for a living.
_CONTROLLERS = (
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:statefulset-controller",
    "system:serviceaccount:iac:cloudnative-pg",
    # Whoever deletes an application in Kubero means its volumes too; it has no rights beyond its pipelines.
    f"system:serviceaccount:{KUBERO}:{KUBERO_OPERATOR}",
)
# Who empties a deleted namespace, and who counts against its quota.
_KEEPERS = (
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:resourcequota-controller",
)
_CERT_MANAGER = "system:serviceaccount:kube-system:cert-manager"
# What an environment may say to Traefik and cert-manager. Other annotations of theirs name other hosts, take another's
# middleware or certificate, or are read as rules of Traefik's own language.
_INGRESS_ANNOTATIONS = {
    "cert-manager.io/cluster-issuer": [CLUSTER_ISSUER],
    "traefik.ingress.kubernetes.io/router.entrypoints": ["web", "web,websecure", "websecure"],
    "traefik.ingress.kubernetes.io/router.tls": ["true"],
}
# Kubero's server writes the second beside the first, which counts.
_PIPELINE_ANNOTATIONS = {**_INGRESS_ANNOTATIONS, "kubernetes.io/tls-acme": ["true"]}
_SERVICE_ANNOTATIONS = ("traefik.ingress.kubernetes.io/service.serversscheme",)


class DataQuota(Settings):
    """What all pods of `data-<environment>` may ask for together."""

    cpu: Cpu = "4"
    """Requested CPU cores."""
    memory: Size = "8Gi"
    """Memory, requested and at most."""
    storage: Size = "100Gi"
    """Storage of all volumes."""
    pods: int = Field(default=20, ge=1, le=1000)
    """Number of pods."""


class MonitoringQuota(Settings):
    """What all pods of `monitoring-<environment>` may ask for together."""

    cpu: Cpu = "8"
    """Requested CPU cores."""
    memory: Size = "16Gi"
    """Memory, requested and at most."""
    storage: Size = "200Gi"
    """Storage of all volumes."""
    pods: int = Field(default=50, ge=1, le=1000)
    """Number of pods."""


class QuotaSettings(Settings):
    """The quotas of one environment."""

    data: DataQuota = DataQuota()
    """L3, `data-<environment>`."""
    monitoring: MonitoringQuota = MonitoringQuota()
    """L4, `monitoring-<environment>`."""


class TenantSettings(Settings):
    """What the platform grants one environment."""

    protected: bool = True
    """Whether its namespaces, volumes and databases are deleted only after an annotation with their own name."""
    priority: int = Field(default=1000, ge=1, le=PLATFORM_PRIORITY - 1)
    """Whose pods stay when a node is full: higher stays longer; the platform's own is 1000000."""
    applications: tuple[ClientNamespace, ...] = ()
    """Namespaces of applications that read the environment's secrets in Vault, beside the environment's own two."""
    deployers: tuple[Group, ...] = ()
    """Groups of the sign-in (`oidc`) whose people may act as its deployer: plan and apply its stack."""


class Namespace(Construct):
    """A namespace with a Pod Security level, in which nothing may talk to anything but DNS.

    What the platform puts into an environment's carries the labels `owned`, by which the API server keeps it.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        pod_security: str,
        protected: object,
        environment: str | None = None,
        labels: Mapping[str, str] | None = None,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, id_)
        labels = {
            "pod-security.kubernetes.io/enforce": pod_security,
            PROTECTED_LABEL: text(protected),
            **(labels or {}),
        }
        self.owned: dict[str, str] = {}
        if environment is not None:
            labels[ENVIRONMENT_LABEL] = environment
            self.owned = PLATFORM_LABELS
        self.resource = NamespaceV1(
            self,
            "this",
            metadata=NamespaceV1Metadata(name=name, labels=labels),
            depends_on=list(depends_on) or None,
        )
        self.name = name
        NetworkFlow(
            self,
            "default-deny",
            name="default-deny",
            namespace=name,
            pods={},
            calls=[Flow(DNS, ports=(53,), protocol="UDP"), Flow(DNS, ports=(53,))],
            labels=self.owned or None,
            depends_on=[self.resource],
        )
        NetworkFlow(
            self,
            "acme-solver",
            name="acme-solver",
            namespace=name,
            pods={"acme.cert-manager.io/http01-solver": "true"},
            callers=[Flow(TRAEFIK, ports=(8089,))],
            labels=self.owned or None,
            depends_on=[self.resource],
        )


class Quota(Protocol):
    """What all pods of a namespace may ask for together."""

    @property
    def cpu(self) -> str:
        """Requested CPU cores."""

    @property
    def memory(self) -> str:
        """Memory, requested and at most."""

    @property
    def storage(self) -> str:
        """Storage of all volumes."""

    @property
    def pods(self) -> int:
        """Number of pods."""


def limit(scope: Construct, id_: str, *, namespace: Namespace, quota: Quota, labels: Mapping[str, str]) -> None:
    """Bound what all pods of a namespace may ask for, and stand in for pods that ask for nothing."""
    ResourceQuotaV1(
        scope,
        f"{id_}-quota",
        metadata=ResourceQuotaV1Metadata(name="environment", namespace=namespace.name, labels=dict(labels) or None),
        # No limits.cpu: a limit on CPU only throttles.
        spec=ResourceQuotaV1Spec(
            hard={
                "requests.cpu": text(quota.cpu),
                "requests.memory": text(quota.memory),
                "limits.memory": text(quota.memory),
                "requests.storage": text(quota.storage),
                "pods": text(quota.pods),
            }
        ),
        depends_on=[namespace.resource],
    )
    # A quota refuses pods that ask for nothing: these stand in for what a chart leaves out.
    LimitRangeV1(
        scope,
        f"{id_}-defaults",
        metadata=LimitRangeV1Metadata(name="defaults", namespace=namespace.name, labels=dict(labels) or None),
        spec=LimitRangeV1Spec(
            limit=[
                LimitRangeV1SpecLimit(
                    type="Container",
                    default_request=dict(DEFAULT_RESOURCES["requests"]),
                    default=dict(DEFAULT_RESOURCES["limits"]),
                )
            ]
        ),
        depends_on=[namespace.resource],
    )


class Tenant(Construct):
    """The two namespaces of one environment, their quotas and defaults, its deployer, and the priority of its pods.

    What infra puts into one of them beside that waits for `rooms`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        settings: TenantSettings,
        quotas: QuotaSettings,
        iac: Namespace,
        actors: Sequence[str],
        oidc: OidcSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        PriorityClassV1(
            self,
            "priority",
            metadata=PriorityClassV1Metadata(name=environment.priority_class),
            description=f"Pods of the environment {environment.name}.",
            value=number(settings.priority),
        )
        deployer = Deployer(
            self,
            "deployer",
            stack=environment.name,
            namespace=iac.name,
            actors=actors,
            people=members(oidc, settings.deployers),
            depends_on=[iac.resource],
        )
        self.rooms: list[ITerraformDependable] = []
        for layer, name, pod_security, quota in (
            ("data", environment.data_namespace, "restricted", quotas.data),
            ("monitoring", environment.monitoring_namespace, "baseline", quotas.monitoring),
        ):
            namespace = Namespace(
                self,
                layer,
                name=name,
                pod_security=pod_security,
                protected=settings.protected,
                environment=environment.name,
                depends_on=depends_on,
            )
            self.rooms.append(namespace.resource)
            limit(self, layer, namespace=namespace, quota=quota, labels=namespace.owned)
            NetworkFlow(
                self,
                f"{layer}-vault-client",
                name="vault-client",
                namespace=name,
                pods=VAULT_CLIENT,
                calls=[VAULT],
                labels=PLATFORM_LABELS,
                depends_on=[namespace.resource],
            )
            deployer.grant(layer, namespace=name, labels=PLATFORM_LABELS, depends_on=[namespace.resource])
        # Without it a leaving environment would lose its quotas and network rules before its namespaces are refused.
        DeletionLock(
            self, "lock", name="tenant", namespace=environment.data_namespace, holds=self, labels=PLATFORM_LABELS
        )


class Tenancy(Construct):
    """The platform's own namespaces, the admission policies, the deployers, and a `Tenant` for every environment.

    `pipelines` are the namespaces of Kubero's pipelines, each with the domains that it may answer for. `actors` are the
    ServiceAccounts of `iac` that may act as every deployer. `readers` are, for each environment, the namespaces whose
    pods may read its secrets: its own two, and those of `applications`. `rooms` are all environments' namespaces.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environments: Sequence[Environment],
        tenants: dict[str, TenantSettings],
        quotas: dict[str, QuotaSettings],
        pipelines: object,
        actors: Sequence[str],
        oidc: OidcSettings,
    ) -> None:
        super().__init__(scope, id_)
        platform = PriorityClassV1(
            self,
            "platform-priority",
            metadata=PriorityClassV1Metadata(name=PLATFORM_PRIORITY_CLASS),
            description="Pods of the platform that all environments stand on.",
            value=PLATFORM_PRIORITY,
        )
        self.iac = Namespace(self, "iac", name="iac", pod_security="restricted", protected=True)
        self.dashboard = Namespace(
            self, "kubernetes-dashboard", name="kubernetes-dashboard", pod_security="restricted", protected=False
        )
        infra = Deployer(
            self,
            "deployer-infra",
            stack="infra",
            namespace=self.iac.name,
            actors=actors,
            people=members(oidc, oidc.administrators),
            depends_on=[self.iac.resource],
        )
        infra.grant_everything()
        DeployerRole(self, "deployer-role")
        policies = Release(
            self,
            "policies",
            chart="tenancy",
            name="tenancy",
            namespace=self.iac.name,
            values={
                "environments": [{"name": item.name, "hostPrefix": item.host_prefix} for item in environments],
                "platformHosts": PLATFORM_HOSTS,
                "environmentHosts": ENVIRONMENT_HOSTS,
                "pipelines": pipelines,
                "kuberoNamespace": KUBERO,
                "pipelineLabel": PIPELINE_LABEL,
                "environmentLabel": ENVIRONMENT_LABEL,
                "platformLabel": _PLATFORM_LABEL,
                "priorityClassPrefix": PRIORITY_CLASS_PREFIX,
                "platformAccounts": [f"system:serviceaccount:iac:{infra.name}", *_KEEPERS],
                "certManager": _CERT_MANAGER,
                "ingressAnnotations": _INGRESS_ANNOTATIONS,
                "pipelineAnnotations": _PIPELINE_ANNOTATIONS,
                "serviceAnnotations": _SERVICE_ANNOTATIONS,
                "protectedLabel": PROTECTED_LABEL,
                "deleteAnnotation": DELETE_ANNOTATION,
                "lockName": LOCK_NAME,
                "controllers": _CONTROLLERS,
            },
            depends_on=[self.iac.resource],
        )
        self.kubero = Namespace(
            self, KUBERO, name=KUBERO, pod_security="restricted", protected=True, depends_on=[policies.resource]
        )
        tenants_scope = Construct(self, "environment")
        self.rooms: list[ITerraformDependable] = []
        for environment in environments:
            # The policies come before the namespaces, so that a destroy meets the namespaces while they are locked.
            tenant = Tenant(
                tenants_scope,
                environment.name,
                environment=environment,
                settings=tenants[environment.name],
                quotas=quotas[environment.name],
                iac=self.iac,
                actors=actors,
                oidc=oidc,
                depends_on=[policies.resource],
            )
            self.rooms += tenant.rooms
        self.readers: Mapping[str, Reference] = {
            item.name: expression("concat({}, {})", item.namespaces, tenants[item.name].applications)
            for item in environments
        }
        self.ready: Sequence[ITerraformDependable] = (platform, self.iac.resource, self.dashboard.resource)
