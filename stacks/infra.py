"""The stack `infra`: L1 and L2, which all environments share."""

from collections.abc import Sequence
from typing import Annotated, Literal

from cdktf import ITerraformDependable
from pydantic import Field, ValidationInfo, field_validator

from constructs import Construct
from constructs.deletion_lock import DeletionLock
from constructs.environment import Environment
from constructs.l1_bootstrap.atlantis import Atlantis, AtlantisSettings, Guard
from constructs.l1_bootstrap.certificates import Certificates, CertificatesSettings
from constructs.l1_bootstrap.dns import Dns, DnsSettings
from constructs.l1_bootstrap.k3s import QUORUM, K3s, K3sNode, K3sSettings, agent_rules, refuse_agents
from constructs.l2_platform.dashboard import Dashboard, DashboardSettings
from constructs.l2_platform.database import Database, DatabaseSettings
from constructs.l2_platform.kubero import Kubero, KuberoSettings, pipeline_domains, pipeline_rules
from constructs.l2_platform.operators import Operators, OperatorsSettings
from constructs.l2_platform.telemetry import Observers, Telemetry, TelemetrySettings
from constructs.l2_platform.tenancy import PLATFORM_PRIORITY_CLASS, QuotaSettings, Tenancy, TenantSettings
from constructs.l2_platform.vault import Vault, VaultSettings
from constructs.l2_platform.viewer import Viewer
from constructs.metrics import PodTarget
from constructs.oidc import OidcSettings
from constructs.reference import literal
from constructs.secrets_engine import SecretsEngine
from constructs.settings import Name, Unique
from constructs.variable import Rule, listed
from stacks.backend import Backend
from stacks.stack import Stack, StackSettings

ONE_ENVIRONMENT = "give each to one environment, whose secrets it reads"
_APPLICATIONS = "flatten([for tenant in var.tenants : tenant.applications])"


class InfraSettings(StackSettings):
    """envs/infra.tfvars."""

    env_prefix: Literal[""]
    """Empty: the platform's host names are its own, `dashboard.<base_domain>`."""
    components: tuple[
        Literal[
            "atlantis", "certificates", "dashboard", "database", "dns", "kubero", "operators", "telemetry", "vault"
        ],
        ...,
    ]
    """Which systems the stack has. A change needs `make synth`: it decides what is in the stack."""
    k3s_servers: Annotated[tuple[K3sNode, ...], QUORUM, Unique("name"), Unique("host")] = ()
    """Machines that become the cluster's servers, by `make nodes`; none: the cluster of `KUBECONFIG` is used."""
    k3s_agents: Annotated[tuple[K3sNode, ...], Unique("name"), Unique("host")] = ()
    """Machines that become the cluster's agents: nodes that run pods and no part of the control plane."""
    k3s: K3sSettings = K3sSettings()
    """What all nodes of `k3s_servers` and `k3s_agents` have in common."""
    atlantis: AtlantisSettings = AtlantisSettings()
    """The server that plans and applies pull requests."""
    certificates: CertificatesSettings = CertificatesSettings()
    """Certificates of all routes."""
    dashboard: DashboardSettings = DashboardSettings()
    """The Kubernetes dashboard."""
    database: DatabaseSettings = DatabaseSettings()
    """The platform database."""
    dns: DnsSettings = DnsSettings()
    """Records of all routes' host names."""
    kubero: KuberoSettings = KuberoSettings()
    """Kubero, and the namespaces of its pipelines."""
    oidc: OidcSettings = OidcSettings()
    """By which provider people sign in to the API server and the dashboard."""
    operators: OperatorsSettings = OperatorsSettings()
    """The operators that environments need."""
    telemetry: TelemetrySettings = TelemetrySettings()
    """What is collected of the cluster, and which environment's SigNoz it is sent to."""
    vault: VaultSettings = VaultSettings()
    """The secrets of every environment."""
    quotas: dict[Name, QuotaSettings] = Field(default_factory=dict)
    """What each environment may use; an environment that is not named has the defaults."""
    tenants: dict[Name, TenantSettings] = Field(default_factory=dict)
    """What else each environment is granted; an environment that is not named has the defaults."""

    @field_validator("k3s_agents")
    @classmethod
    def _join_servers(cls, agents: tuple[K3sNode, ...], info: ValidationInfo) -> tuple[K3sNode, ...]:
        # Servers that were refused are not there: their own error is enough.
        if "k3s_servers" in info.data:
            refuse_agents(agents, info.data["k3s_servers"])
        return agents


class InfraStack(Stack[InfraSettings]):
    """The shared layers, and the namespaces of every environment."""

    def __init__(
        self,
        scope: Construct,
        *,
        file: InfraSettings,
        environments: Sequence[Environment],
        observers: Observers,
        backend: Backend,
        guard: Guard,
    ) -> None:
        names = [environment.name for environment in environments]
        super().__init__(
            scope,
            file=file,
            is_infra=True,
            namespace="iac",
            backend=backend,
            pins=[
                *agent_rules(),
                *pipeline_rules([item.host_prefix for item in environments if item.host_prefix]),
                *observers.rules(is_component="telemetry" in file.components),
                Rule(
                    "tenants",
                    f"length({_APPLICATIONS}) == length(distinct({_APPLICATIONS}))",
                    f"an application is given twice: {ONE_ENVIRONMENT}",
                ),
                *(
                    Rule(
                        key,
                        f"length(setsubtract(keys(var.{key}), {literal(names)})) == 0",
                        f"an entry has no envs/<name>.tfvars: give only {listed(names)}",
                    )
                    for key in ("quotas", "tenants")
                ),
            ],
        )
        variables = self.variables
        K3s(
            self,
            "k3s",
            servers=variables.k3s_servers,
            agents=variables.k3s_agents,
            settings=variables.k3s,
            oidc=variables.oidc,
        )
        tenancy = Tenancy(
            self,
            "tenancy",
            environments=environments,
            tenants=variables.tenants,
            quotas=variables.quotas,
            pipelines=(
                pipeline_domains(variables.kubero.namespaces, variables.base_domain)
                if "kubero" in file.components
                else {}
            ),
            actors=["atlantis"] if "atlantis" in file.components else [],
            oidc=variables.oidc,
        )
        Viewer(
            self,
            "viewer",
            namespace=tenancy.dashboard.name,
            oidc=variables.oidc,
            depends_on=tenancy.ready,
        )
        targets: list[PodTarget] = []
        if "atlantis" in file.components:
            atlantis = Atlantis(
                self,
                "atlantis",
                namespace=tenancy.iac.name,
                addresses=self.addresses,
                guard=guard,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.atlantis,
                depends_on=tenancy.ready,
            )
            targets += atlantis.targets
        certificates: Sequence[ITerraformDependable] = ()
        if "certificates" in file.components:
            authority = Certificates(
                self,
                "certificates",
                base_domain=variables.base_domain,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.certificates,
                depends_on=tenancy.ready,
            )
            certificates = authority.ready
            targets += authority.targets
        if "dns" in file.components:
            Dns(
                self,
                "dns",
                base_domain=variables.base_domain,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.dns,
                depends_on=tenancy.ready,
            )
        ready: Sequence[ITerraformDependable] = ()
        if "operators" in file.components:
            operators = Operators(
                self,
                "operators",
                namespace=tenancy.iac.name,
                databases=[environment.data_namespace for environment in environments],
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.operators,
                certificates=certificates,
                depends_on=tenancy.ready,
            )
            ready = operators.ready
            targets += operators.targets
        engines: list[SecretsEngine] = []
        stores: Sequence[ITerraformDependable] = ()
        if "database" in file.components:
            database = Database(
                self,
                "database",
                namespace=tenancy.iac.name,
                priority_class=PLATFORM_PRIORITY_CLASS,
                backups=variables.backups,
                settings=variables.database,
                depends_on=[*tenancy.ready, *ready],
            )
            engines.append(database.secrets_engine)
            stores = database.ready
            targets += database.targets
        if "dashboard" in file.components:
            Dashboard(
                self,
                "dashboard",
                namespace=tenancy.dashboard.name,
                addresses=self.addresses,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.dashboard,
                oidc=variables.oidc,
                depends_on=tenancy.ready,
            )
        if "kubero" in file.components:
            Kubero(
                self,
                "kubero",
                namespace=tenancy.kubero.name,
                addresses=self.addresses,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.kubero,
                depends_on=[*tenancy.ready, tenancy.kubero.resource],
            )
        if "vault" in file.components:
            vault = Vault(
                self,
                "vault",
                namespace=tenancy.iac.name,
                addresses=self.addresses,
                environments=tenancy.readers,
                engines=engines,
                backups=variables.backups,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.vault,
                depends_on=[*tenancy.ready, *stores],
            )
            targets += vault.targets
        if "telemetry" in file.components:
            Telemetry(
                self,
                "telemetry",
                cluster=variables.base_domain,
                platform=[tenancy.iac.name, "kube-system", tenancy.dashboard.name, tenancy.kubero.name],
                targets=targets,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.telemetry,
                rooms=tenancy.rooms,
                depends_on=tenancy.ready,
            )
        DeletionLock(self, "lock", name="stack", namespace=tenancy.iac.name, holds=self)
