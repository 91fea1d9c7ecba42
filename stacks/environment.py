"""The stack of one environment: L3 and L4, in two namespaces that it does not own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import ValidationInfo, field_validator

from constructs import Construct
from constructs.deletion_lock import DeletionLock
from constructs.environment import Environment
from constructs.l3_data.postgres import (
    NO_BUCKET,
    Postgres,
    PostgresRecovery,
    PostgresRecoverySettings,
    PostgresSettings,
    SystemDatabases,
)
from constructs.l3_data.redis import Redis, RedisSettings
from constructs.l4_insight.posthog import database
from constructs.l4_insight.posthog.posthog import PostHog, PostHogSettings
from constructs.l4_insight.signoz import SigNoz, SigNozSettings
from constructs.metrics import ScrapeTarget
from constructs.postgres_cluster import DatabaseAccess
from constructs.reference import Reference, literal, mebibytes
from constructs.settings import mebibytes_of
from constructs.variable import Rule
from stacks.backend import Backend
from stacks.stack import Stack, StackSettings

_NEEDS_POSTGRES = "posthog needs postgres, where its database is; add it to components"
_TAKEN = f"{database.SYSTEM} is PostHog's own database; give another name"
_TOO_SMALL = (
    f"give {database.LEAST_MEBIBYTES}Mi or more: there is a connection for every 8Mi, and PostHog opens a hundred"
)


class EnvironmentSettings(StackSettings):
    """envs/<environment>.tfvars."""

    components: tuple[Literal["posthog", "postgres", "redis", "signoz"], ...]
    """Which systems the stack has. A change needs `make synth`: it decides what is in the stack."""
    redis: RedisSettings = RedisSettings()
    """Redis (L3)."""
    postgres: PostgresSettings = PostgresSettings()
    """Postgres (L3)."""
    postgres_recovery: PostgresRecovery = PostgresRecoverySettings()
    """Which generation of Postgres serves: see docs/how-to/restore.md."""
    signoz: SigNozSettings = SigNozSettings()
    """SigNoz (L4)."""
    posthog: PostHogSettings = PostHogSettings()
    """PostHog (L4)."""

    @field_validator("postgres_recovery")
    @classmethod
    def _has_a_bucket_to_restore_from(
        cls, recovery: PostgresRecoverySettings, info: ValidationInfo
    ) -> PostgresRecoverySettings:
        backups = info.data.get("backups")
        if recovery.source > 0 and backups is not None and not backups.bucket:
            raise ValueError(NO_BUCKET)
        return recovery


def contradictions(file: EnvironmentSettings) -> Iterator[tuple[str, str]]:
    """Yield the keys of an environment's file that are right, each by itself, but not with its `components`."""
    if "posthog" not in file.components:
        return
    if "postgres" not in file.components:
        yield "components", _NEEDS_POSTGRES
    if database.SYSTEM in file.postgres.databases:
        yield "postgres.databases", _TAKEN
    if mebibytes_of(file.postgres.memory) < database.LEAST_MEBIBYTES:
        yield "postgres.memory", f'found "{file.postgres.memory}"; {_TOO_SMALL}'


def _pins(file: EnvironmentSettings) -> Iterator[Rule]:
    """Yield the same as `contradictions` of what may change without a synthesis, as Terraform asks it."""
    yield Rule("postgres_recovery", 'var.postgres_recovery.source == 0 || var.backups.bucket != ""', NO_BUCKET)
    if "posthog" in file.components:
        name = literal(database.SYSTEM)
        size = mebibytes(Reference("var.postgres.memory")).expression
        yield Rule("postgres", f"!contains(keys(var.postgres.databases), {name})", _TAKEN)
        yield Rule("postgres", f"try({size} >= {database.LEAST_MEBIBYTES}, true)", f"memory: {_TOO_SMALL}")


class EnvironmentStack(Stack[EnvironmentSettings]):
    """One environment's data and insight."""

    def __init__(self, scope: Construct, *, file: EnvironmentSettings, backend: Backend) -> None:
        environment = Environment(file.environment, file.env_prefix)
        super().__init__(
            scope,
            file=file,
            is_infra=False,
            namespace=environment.data_namespace,
            backend=backend,
            pins=list(_pins(file)),
        )
        variables = self.variables
        targets: list[ScrapeTarget] = []
        if "redis" in file.components:
            redis = Redis(self, "redis", environment=environment, backups=variables.backups, settings=variables.redis)
            targets += redis.targets
        access: Mapping[str, DatabaseAccess] = {}
        if "postgres" in file.components:
            postgres = Postgres(
                self,
                "postgres",
                environment=environment,
                backups=variables.backups,
                recovery=variables.postgres_recovery,
                settings=variables.postgres,
                systems=self._systems_with_databases(),
            )
            targets += postgres.targets
            access = postgres.access
        if "signoz" in file.components:
            SigNoz(
                self,
                "signoz",
                environment=environment,
                addresses=self.addresses,
                backups=variables.backups,
                targets=targets,
                settings=variables.signoz,
            )
        if "posthog" in file.components:
            PostHog(
                self,
                "posthog",
                environment=environment,
                addresses=self.addresses,
                backups=variables.backups,
                postgres=access[database.SYSTEM],
                settings=variables.posthog,
            )
        DeletionLock(self, "lock", name="stack", namespace=environment.data_namespace, holds=self)

    def _systems_with_databases(self) -> Sequence[SystemDatabases]:
        """Return the systems of L4 that have databases of their own in the environment's Postgres."""
        if "posthog" not in self.file.components:
            return []
        return [SystemDatabases(database.SYSTEM, database.DATABASES, self.variables.posthog.credentials_revision)]
