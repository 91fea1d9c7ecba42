"""An endpoint: what one system hands to another that is to connect to it."""

from dataclasses import dataclass

from constructs.reference import Reference, expression


@dataclass(frozen=True)
class Endpoint:
    """A host and port inside the cluster, and the key of the Secret, in the same namespace, that opens it."""

    host: str
    port: int
    secret: str
    password_key: str
    user: str = ""


def port_of(address: object) -> Reference:
    """Return the port of an address that begins with https:// or http://, or of what stands for one: 443."""
    return expression(
        'try(tonumber(regex("^https?://[^/:]+:([0-9]+)", {0})[0]), startswith({0}, "http://") ? 80 : 443)', address
    )
