"""The stack of one environment: L3 and L4, in two namespaces that it does not own."""

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
)
from constructs.l3_data.redis import Redis, RedisSettings
from constructs.l4_insight.posthog.posthog import PostHog, PostHogSettings
from constructs.l4_insight.signoz import SigNoz, SigNozSettings
from constructs.metrics import ScrapeTarget
from constructs.variable import Rule
from stacks.backend import Backend
from stacks.stack import Stack, StackSettings


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
            pins=[
                Rule("postgres_recovery", 'var.postgres_recovery.source == 0 || var.backups.bucket != ""', NO_BUCKET)
            ],
        )
        variables = self.variables
        targets: list[ScrapeTarget] = []
        if "redis" in file.components:
            redis = Redis(self, "redis", environment=environment, backups=variables.backups, settings=variables.redis)
            targets += redis.targets
        if "postgres" in file.components:
            postgres = Postgres(
                self,
                "postgres",
                environment=environment,
                backups=variables.backups,
                recovery=variables.postgres_recovery,
                settings=variables.postgres,
            )
            targets += postgres.targets
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
                settings=variables.posthog,
            )
        DeletionLock(self, "lock", name="stack", namespace=environment.data_namespace, holds=self)
