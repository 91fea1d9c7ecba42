"""PostHog: product analytics of one environment, on its Postgres and on stores of its own."""

from pydantic import Field

from constructs import Construct
from constructs.backups import BackupSettings
from constructs.credential_copy import CredentialCopy
from constructs.deletion_lock import DeletionLock
from constructs.environment import Environment
from constructs.footprint import Footprint
from constructs.generated_secret import GeneratedSecret
from constructs.route import SOLVER, Addresses
from constructs.settings import Settings


class PostHogSettings(Settings):
    """PostHog."""

    credentials_revision: int = Field(default=1, ge=1)
    """Bump it to have new passwords generated; its pods restart."""


def footprints(settings: PostHogSettings, backups: BackupSettings) -> tuple[Footprint, ...]:  # noqa: ARG001
    """Return what PostHog asks for, its stores too."""
    return (SOLVER,)


class PostHog(Construct):
    """PostHog at `posthog.<...>`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        addresses: Addresses,  # noqa: ARG002
        backups: BackupSettings,  # noqa: ARG002
        credential: GeneratedSecret,
        settings: PostHogSettings,  # noqa: ARG002
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        CredentialCopy(self, "postgres", source=credential, name="posthog-postgres", namespace=namespace)
        DeletionLock(self, "lock", name="posthog", namespace=namespace, holds=self)
