"""Quotas: what an environment may use, beside what its systems ask for."""

from collections.abc import Callable, Iterator, Mapping

from constructs.footprint import Amount, millicores_of, total
from constructs.l2_platform.tenancy import DataQuota, MonitoringQuota, QuotaSettings
from constructs.settings import mebibytes_of
from stacks import footprints
from stacks.environment import EnvironmentSettings
from stacks.infra import InfraSettings
from stacks.problems import found_words


def quota_of(infra: InfraSettings, environment: str, room: str) -> DataQuota | MonitoringQuota:
    """Return the quota of `<room>-<environment>`; an environment that is not named has the defaults."""
    quotas = infra.quotas.get(environment, QuotaSettings())
    return quotas.data if room == "data" else quotas.monitoring


def amount_of(quota: DataQuota | MonitoringQuota) -> Amount:
    """Return a quota as an amount; it bounds memory twice, as it is requested and as it is at most."""
    memory = mebibytes_of(quota.memory)
    return Amount(quota.pods, millicores_of(quota.cpu), memory, memory, mebibytes_of(quota.storage))


def cpu_words(millicores: int) -> str:
    """Return CPU as a file has it: `4`, `1500m`."""
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)


def size_words(mebibytes: int) -> str:
    """Return a size as a file has it: `2Gi`, `2304Mi`; or `0`."""
    if mebibytes == 0:
        return "0"
    return f"{mebibytes}Mi" if mebibytes % 1024 else f"{mebibytes // 1024}Gi"


# Of each of a quota's keys: what it bounds, and the words for it.
_KEYS: Mapping[str, tuple[Callable[[Amount], int], Callable[[int], str]]] = {
    "cpu": (lambda amount: amount.cpu, cpu_words),
    "memory": (lambda amount: max(amount.memory, amount.memory_limit), size_words),
    "storage": (lambda amount: amount.storage, size_words),
    "pods": (lambda amount: amount.pods, str),
}


def refusals(infra: InfraSettings, environments: Mapping[str, EnvironmentSettings]) -> Iterator[str]:
    """Yield a line for each quota that the systems of its namespace cannot fit in, with the sums.

    Counted is the worst moment: every Job at once, and every Deployment in the middle of an update. A quota that
    refused one of these would stop a backup or an upgrade, long after the settings were applied.
    """
    for name, file in environments.items():
        for room, systems in footprints.of_environment(file).items():
            quota = quota_of(infra, name, room)
            amounts = {component: total(item.at_most() for item in asked) for component, asked in systems.items()}
            for key, (count, words) in _KEYS.items():
                needed = sum(count(amount) for amount in amounts.values())
                if needed > count(amount_of(quota)):
                    parts = ", ".join(f"{component} {words(count(amount))}" for component, amount in amounts.items())
                    found = "found" if key in quota.model_fields_set else "the default is"
                    yield (
                        f"envs/infra.tfvars: quotas.{name}.{room}.{key}: {found} {found_words(getattr(quota, key))}; "
                        f"{room}-{name} needs {words(needed)} at most ({parts}): give at least {words(needed)}, "
                        f"or ask for less in envs/{name}.tfvars"
                    )
