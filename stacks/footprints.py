"""What the systems of a stack ask for, as its tfvars file says: the functions `footprints` of all constructs."""

from collections.abc import Mapping

from constructs.footprint import Footprint
from constructs.l1_bootstrap import atlantis, certificates, dns, k3s
from constructs.l2_platform import dashboard, database, kubero, operators, telemetry, vault
from constructs.l3_data import postgres, redis
from constructs.l4_insight import signoz
from constructs.l4_insight.posthog import posthog
from stacks.environment import EnvironmentSettings
from stacks.infra import InfraSettings

Systems = Mapping[str, tuple[Footprint, ...]]


def of_infra(file: InfraSettings) -> Systems:
    """Return what each system of L1 and L2 asks for, and what K3s itself takes of its nodes."""
    systems = {
        "atlantis": atlantis.footprints(file.atlantis),
        "certificates": certificates.footprints(),
        "dashboard": dashboard.footprints(file.dashboard),
        "database": database.footprints(file.database, file.backups),
        "dns": dns.footprints(file.dns),
        "kubero": kubero.footprints(file.kubero),
        "operators": operators.footprints(file.operators),
        "telemetry": telemetry.footprints(file.telemetry, nodes_of(file)),
        "vault": vault.footprints(file.vault, file.backups),
    }
    return {"k3s": k3s.footprints(len(file.k3s_servers), len(file.k3s_agents)), **_chosen(file.components, systems)}


def nodes_of(file: InfraSettings) -> int:
    """Return how many nodes there are; a cluster that was there before counts as one."""
    return max(len(file.k3s_servers), 1) + len(file.k3s_agents)


def of_environment(file: EnvironmentSettings) -> Mapping[str, Systems]:
    """Return what each system of L3, in `data`, and of L4, in `monitoring`, asks for."""
    data = {
        "postgres": postgres.footprints(file.postgres, file.postgres_recovery, file.backups),
        "redis": redis.footprints(file.redis, file.backups),
    }
    monitoring = {
        "posthog": posthog.footprints(file.posthog, file.backups),
        "signoz": signoz.footprints(file.signoz, file.backups),
    }
    return {"data": _chosen(file.components, data), "monitoring": _chosen(file.components, monitoring)}


def _chosen(components: tuple[str, ...], systems: Systems) -> Systems:
    return {component: asked for component, asked in systems.items() if component in components}
