"""The stack `infra`: L1 and L2, which all environments share."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from constructs import Construct
from constructs.deletion_lock import DeletionLock
from constructs.environment import Environment
from constructs.l1_bootstrap.atlantis import Atlantis, AtlantisSettings
from constructs.l1_bootstrap.certificates import Certificates, CertificatesSettings
from constructs.l2_platform.dashboard import Dashboard, DashboardSettings
from constructs.l2_platform.operators import Operators, OperatorsSettings
from constructs.l2_platform.tenancy import PLATFORM_PRIORITY_CLASS, QuotaSettings, Tenancy, TenantSettings
from constructs.reference import literal
from constructs.settings import Name
from constructs.variable import Rule, listed
from stacks.backend import Backend
from stacks.stack import Stack, StackSettings


class InfraSettings(StackSettings):
    """envs/infra.tfvars."""

    env_prefix: Literal[""]
    """Empty: the platform's host names are its own, `dashboard.<base_domain>`."""
    components: tuple[Literal["atlantis", "certificates", "dashboard", "operators"], ...]
    """Which systems the stack has. A change needs `make synth`: it decides what is in the stack."""
    atlantis: AtlantisSettings = AtlantisSettings()
    """The server that plans and applies pull requests."""
    certificates: CertificatesSettings = CertificatesSettings()
    """Certificates of all routes."""
    dashboard: DashboardSettings = DashboardSettings()
    """The Kubernetes dashboard."""
    operators: OperatorsSettings = OperatorsSettings()
    """The operators that environments need."""
    quotas: dict[Name, QuotaSettings] = Field(default_factory=dict)
    """What each environment may use; an environment that is not named has the defaults."""
    tenants: dict[Name, TenantSettings] = Field(default_factory=dict)
    """What else each environment is granted; an environment that is not named has the defaults."""


class InfraStack(Stack[InfraSettings]):
    """The shared layers, and the namespaces of every environment."""

    def __init__(
        self,
        scope: Construct,
        *,
        file: InfraSettings,
        environments: Sequence[Environment],
        backend: Backend,
        guard: Mapping[str, str],
    ) -> None:
        names = [environment.name for environment in environments]
        super().__init__(
            scope,
            file=file,
            is_infra=True,
            namespace="iac",
            backend=backend,
            pins=[
                Rule(
                    key,
                    f"length(setsubtract(keys(var.{key}), {literal(names)})) == 0",
                    f"an entry has no envs/<name>.tfvars: give only {listed(names)}",
                )
                for key in ("quotas", "tenants")
            ],
        )
        variables = self.variables
        tenancy = Tenancy(
            self,
            "tenancy",
            environments=environments,
            tenants=variables.tenants,
            quotas=variables.quotas,
            actors=["atlantis"],
        )
        if "atlantis" in file.components:
            Atlantis(
                self,
                "atlantis",
                namespace=tenancy.iac.name,
                addresses=self.addresses,
                guard=guard,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.atlantis,
                depends_on=tenancy.ready,
            )
        if "certificates" in file.components:
            Certificates(
                self,
                "certificates",
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.certificates,
                depends_on=tenancy.ready,
            )
        if "operators" in file.components:
            Operators(
                self,
                "operators",
                namespace=tenancy.iac.name,
                databases=[environment.data_namespace for environment in environments],
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.operators,
                depends_on=tenancy.ready,
            )
        if "dashboard" in file.components:
            Dashboard(
                self,
                "dashboard",
                namespace=tenancy.dashboard.name,
                addresses=self.addresses,
                priority_class=PLATFORM_PRIORITY_CLASS,
                settings=variables.dashboard,
                depends_on=tenancy.ready,
            )
        DeletionLock(self, "lock", name="stack", namespace=tenancy.iac.name, holds=self)
