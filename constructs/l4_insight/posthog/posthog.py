"""PostHog: product analytics of one environment, on its Postgres and on stores of its own."""

from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.credential_copy import CredentialCopy
from constructs.deletion_lock import DeletionLock
from constructs.environment import Environment
from constructs.footprint import Footprint
from constructs.generated_secret import GeneratedSecret
from constructs.l4_insight.posthog import backups as saved
from constructs.l4_insight.posthog.backups import Backups, PostHogBackupSettings
from constructs.l4_insight.posthog.database import CREDENTIAL
from constructs.route import SOLVER, Addresses
from constructs.settings import Settings


class PostHogSettings(Settings):
    """PostHog."""

    backup: PostHogBackupSettings = PostHogBackupSettings()
    """When what is not in ClickHouse is saved."""
    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have new passwords generated; its pods restart."""


def footprints(settings: PostHogSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what PostHog asks for, its stores too."""
    return (*saved.footprints(backups, ""), SOLVER)


class PostHog(Construct):
    """PostHog at `posthog.<...>`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        addresses: Addresses,  # noqa: ARG002
        backups: BackupSettings,
        credential: GeneratedSecret,
        settings: PostHogSettings,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        copy = CredentialCopy(self, "postgres", source=credential, name=CREDENTIAL, namespace=namespace)
        Backups(
            self,
            "backups",
            environment=environment,
            bucket="",
            backups=backups,
            settings=settings.backup,
            depends_on=[copy.resource],
        )
        DeletionLock(self, "lock", name="posthog", namespace=namespace, holds=self)
