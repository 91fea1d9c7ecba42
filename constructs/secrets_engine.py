"""A secrets engine: what a system brings into Vault, in the words of bank-vaults' configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from constructs.network_flow import Flow
from constructs.reference import Reference


@dataclass(frozen=True)
class SuppliedPassword:
    """A key of a Secret. Another `revision` of it is read at once."""

    secret: str
    key: str
    revision: int


@dataclass(frozen=True)
class SecretsEngine:
    """An engine, the policies on it, the Kubernetes roles that are given them, and what Vault must reach for it.

    `engine` is one entry of bank-vaults' `secrets`; `policies` is a list of {name, rules}; `roles` is a list of roles
    of the auth method `kubernetes`, whose clients' `namespaces` may call Vault. `passwords` are environment variables
    with where they come from: the engine names them as `${env "NAME"}`. Each Secret of `certificates` is mounted in
    Vault's pods under its path.
    """

    engine: Mapping[str, object]
    policies: Reference
    roles: Reference
    namespaces: Reference
    flow: Flow
    passwords: Mapping[str, SuppliedPassword] = field(default_factory=dict)
    certificates: Mapping[str, str] = field(default_factory=dict)
