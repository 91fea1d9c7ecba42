"""Sign-in by OpenID Connect: one provider, whom the API server and the platform's web pages trust alike."""

from typing import Annotated, ClassVar

from constructs.reference import Reference, expression
from constructs.settings import Form, Needed, NotBeginning, OptionalName, Settings

# The key of the Secret with the client's secret.
CLIENT_SECRET_KEY = "client-secret"  # noqa: S105 (the key's name)

Issuer = Annotated[
    str,
    Form(
        "(https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?)?",
        'an address such as https://sign-in.example.com/realms/team, or ""',
    ),
    # The API server does not start with the issuer of its own ServiceAccounts' tokens.
    NotBeginning(("https://kubernetes.default.svc",), "the issuer of people's tokens, not the cluster's own"),
]
ClientId = Annotated[str, Form("[A-Za-z0-9._~:/@-]*", 'the id that the provider gave the client, or ""')]
Scope = Annotated[str, Form("[A-Za-z0-9._:/-]+", "a scope such as email")]
Claim = Annotated[str, Form("[A-Za-z0-9._:/-]+", "the name of a claim such as groups")]
ClaimPrefix = Annotated[
    str,
    Form("[a-z][a-z0-9-]*:", "a prefix such as oidc:"),
    NotBeginning(("system:",), "a prefix that is not the cluster's own"),
]
Group = Annotated[str, Form("[A-Za-z0-9._:/@+ -]+", "a group as the provider calls it, without the prefix")]


class OidcSettings(Settings):
    """A provider of OpenID Connect, and what its groups are in the cluster."""

    needs: ClassVar = (Needed("issuer", None, ("client_id",)), Needed("client_id", None, ("issuer",)))

    issuer: Issuer = ""
    """The provider's address, exactly as its discovery document gives it; empty: nobody signs in by a provider."""
    client_id: ClientId = ""
    """The client's id: what people's tokens must be made for."""
    client_secret: OptionalName = ""
    """The Secret in `kubernetes-dashboard` with the client's secret under the key `client-secret`; empty: the client
    is a public one, which has none."""
    scopes: tuple[Scope, ...] = ("profile", "email", "groups")
    """What the dashboard asks the provider for, beside openid."""
    username_claim: Claim = "email"
    """The claim that is a person's name in the cluster."""
    groups_claim: Claim = "groups"
    """The claim with a person's groups."""
    prefix: ClaimPrefix = "oidc:"
    """What names and groups begin with in the cluster, so that the provider can name nobody of the cluster's own."""
    viewers: tuple[Group, ...] = ()
    """Groups whose people may look at everything but Secrets."""
    administrators: tuple[Group, ...] = ()
    """Groups whose people may act as `deployer-infra`, who may do everything."""


def where_on(oidc: OidcSettings, value: object) -> Reference:
    """Return a string where there is a provider, else an empty one."""
    return expression('{} == "" ? "" : {}', oidc.issuer, value)


def members(oidc: OidcSettings, groups: object) -> Reference:
    """Return groups as the API server calls them, each once; none where there is no provider."""
    return expression('toset([for group in {} : join("", [{}, group]) if {} != ""])', groups, oidc.prefix, oidc.issuer)


def api_server_arguments(oidc: OidcSettings) -> Reference:
    """Return what kube-apiserver is started with, a line for each argument without its dashes; or an empty string."""
    arguments = {
        "oidc-issuer-url": oidc.issuer,
        "oidc-client-id": oidc.client_id,
        "oidc-username-claim": oidc.username_claim,
        "oidc-username-prefix": oidc.prefix,
        "oidc-groups-claim": oidc.groups_claim,
        "oidc-groups-prefix": oidc.prefix,
    }
    lines = ", ".join(f'join("=", ["{name}", {{}}])' for name in arguments)
    return expression(
        f'join("\\n", [for argument in [{lines}] : argument if {{}} != ""])', *arguments.values(), oidc.issuer
    )
