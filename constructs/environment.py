"""The names of an environment's objects: one rule, for infra which makes the namespaces and the stack in them."""

from dataclasses import dataclass

ENVIRONMENT_LABEL = "strata/environment"
PRIORITY_CLASS_PREFIX = "environment-"


@dataclass(frozen=True)
class Environment:
    """One environment: `staging`, `prod`, ... Its host names begin with `host_prefix`, which one may have empty."""

    name: str
    host_prefix: str

    @property
    def data_namespace(self) -> str:
        """Where L3 lies."""
        return f"data-{self.name}"

    @property
    def monitoring_namespace(self) -> str:
        """Where L4 lies."""
        return f"monitoring-{self.name}"

    @property
    def namespaces(self) -> tuple[str, str]:
        """Both."""
        return self.data_namespace, self.monitoring_namespace

    @property
    def priority_class(self) -> str:
        """The PriorityClass of all its pods."""
        return f"{PRIORITY_CLASS_PREFIX}{self.name}"
