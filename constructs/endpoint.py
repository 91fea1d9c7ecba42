"""An endpoint: what one system hands to another that is to connect to it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoint:
    """A host and port inside the cluster, and the key of the Secret, in the same namespace, that opens it."""

    host: str
    port: int
    secret: str
    password_key: str
    user: str = ""
