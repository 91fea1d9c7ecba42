"""Certificates: cert-manager, and the one issuer that every route of the cluster names."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.footprint import Footprint, footprint, surge
from constructs.metrics import PodTarget
from constructs.reference import expression
from constructs.release import Release
from constructs.route import CLUSTER_ISSUER
from constructs.settings import Email, Form, Name, Needed, Settings, Url

Nameserver = Annotated[
    str,
    Form(r"([a-z0-9.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}", "a name server with its port such as 1.1.1.1:53"),
]
OptionalNameserver = Annotated[
    str, Form(r"(([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?)?", 'a name server such as ns1.example.com:53, or ""')
]
# An identifier of a provider's: nothing that would mean more than a word to anybody.
Identifier = Annotated[str, Form("[A-Za-z0-9._/:-]*", "letters, digits, and the characters . _ / : -")]


class AkamaiSolver(Settings):
    """Akamai Edge DNS."""

    secret: Name = "akamai-dns"  # noqa: S105 (a Secret's name)
    """The Secret in `kube-system` with the keys `client-token`, `client-secret` and `access-token`."""
    service_consumer_domain: Identifier = ""
    """The host name of its API; `akamai` needs it."""


class AwsSolver(Settings):
    """AWS Route 53."""

    secret: Name = "aws-dns"  # noqa: S105 (a Secret's name)
    """The Secret in `kube-system` with the keys `access-key-id` and `secret-access-key`."""
    region: Identifier = ""
    """The region to sign requests for, such as eu-central-1; `aws` needs it."""
    hosted_zone_id: Identifier = ""
    """The one hosted zone to write to; empty: cert-manager looks for it."""


class AzureSolver(Settings):
    """Azure DNS, by a service principal."""

    secret: Name = "azure-dns"  # noqa: S105 (a Secret's name)
    """The Secret in `kube-system` with the key `client-secret`."""
    subscription_id: Identifier = ""
    """The subscription of the zone; `azure` needs it."""
    tenant_id: Identifier = ""
    """The tenant of the service principal; `azure` needs it."""
    client_id: Identifier = ""
    """The id of the service principal; `azure` needs it."""
    resource_group: Identifier = ""
    """The resource group of the zone; `azure` needs it."""


class CloudflareSolver(Settings):
    """Cloudflare."""

    secret: Name = "cloudflare-api-token"  # noqa: S105 (a Secret's name)
    """The Secret in `kube-system` with the key `api-token`, a token that may edit the zone."""


class GoogleSolver(Settings):
    """Google Cloud DNS."""

    secret: Name = "google-dns"  # noqa: S105 (a Secret's name)
    """The Secret in `kube-system` with the key `key.json`, a service account's."""
    project: Identifier = ""
    """The project of the zone; `google` needs it."""


class Rfc2136Solver(Settings):
    """Any name server that takes dynamic updates (RFC 2136) signed with TSIG."""

    secret: Name = "rfc2136-dns"  # noqa: S105 (a Secret's name)
    """The Secret in `kube-system` with the key `tsig-secret`."""
    nameserver: OptionalNameserver = ""
    """The authoritative name server, with its port or on 53; `rfc2136` needs it."""
    key_name: Identifier = ""
    """The name of the TSIG key; `rfc2136` needs it."""
    algorithm: Literal["HMACMD5", "HMACSHA1", "HMACSHA256", "HMACSHA512"] = "HMACSHA256"
    """The algorithm of the TSIG key."""


class Dns01Settings(Settings):
    """Who serves the zone in which a challenge's record is written. Names are the same as `dns.provider`."""

    needs: ClassVar[tuple[Needed, ...]] = (
        Needed("provider", "akamai", ("akamai.service_consumer_domain",)),
        Needed("provider", "aws", ("aws.region",)),
        Needed("provider", "azure", tuple(f"azure.{key}" for key in AzureSolver.model_fields if key != "secret")),
        Needed("provider", "google", ("google.project",)),
        Needed("provider", "rfc2136", ("rfc2136.nameserver", "rfc2136.key_name")),
    )

    provider: Literal["akamai", "aws", "azure", "cloudflare", "google", "rfc2136"] = "cloudflare"
    """Who serves the zone. What else it needs is in the block of its name."""
    nameservers: tuple[Nameserver, ...] = ()
    """Who is asked whether the record is there; empty: the cluster's own DNS, then the zone's name servers."""
    akamai: AkamaiSolver = AkamaiSolver()
    """For `akamai` only."""
    aws: AwsSolver = AwsSolver()
    """For `aws` only."""
    azure: AzureSolver = AzureSolver()
    """For `azure` only."""
    cloudflare: CloudflareSolver = CloudflareSolver()
    """For `cloudflare` only."""
    google: GoogleSolver = GoogleSolver()
    """For `google` only."""
    rfc2136: Rfc2136Solver = Rfc2136Solver()
    """For `rfc2136` only."""


class CertificatesSettings(Settings):
    """Who signs the certificates of the cluster's routes."""

    email: Email = ""
    """Where Let's Encrypt writes to; empty: a certificate authority of the cluster's own signs them."""
    acme_server: Url = "https://acme-v02.api.letsencrypt.org/directory"
    """The ACME directory; Let's Encrypt's staging directory while you try things out."""
    challenge: Literal["http01", "dns01"] = "http01"
    """How you prove that the domain is yours: over port 80, or by a record in its zone."""
    dns01: Dns01Settings = Dns01Settings()
    """The zone, for `dns01` only."""
    redirect: bool = True
    """Whether Traefik sends port 80 on to https; false where it is not the Traefik that K3s brings."""


_CONTROLLER = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
_WEBHOOK = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}


def footprints() -> tuple[Footprint, ...]:
    """Return what cert-manager asks for."""
    return (
        footprint("cert-manager", _CONTROLLER, at_times=surge(1)),
        footprint("cert-manager-cainjector", _CONTROLLER, at_times=surge(1)),
        footprint("cert-manager-webhook", _WEBHOOK, at_times=surge(1)),
        footprint("cert-manager-startupapicheck", _WEBHOOK, pods=0, at_times=1),
    )


class Certificates(Construct):
    """cert-manager in `kube-system` with the ClusterIssuer `platform`, and Traefik's way from port 80 to https.

    What asks for certificates of its own in the same stack waits for `ready`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        base_domain: str,
        priority_class: str,
        settings: CertificatesSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        manager = Release(
            self,
            "cert-manager",
            chart="cert-manager",
            name="cert-manager",
            namespace="kube-system",
            values={
                "crds": {"enabled": True, "keep": True},
                "global": {
                    "priorityClassName": priority_class,
                    "leaderElection": {"namespace": "kube-system"},
                    # The chart would let every `admin` and `edit` of a namespace ask for a certificate of any name.
                    "rbac": {"aggregateClusterRoles": False},
                },
                "dns01RecursiveNameservers": expression('join(",", {})', settings.dns01.nameservers),
                "dns01RecursiveNameserversOnly": expression("length({}) > 0", settings.dns01.nameservers),
                "resources": _CONTROLLER,
                "webhook": {"resources": _WEBHOOK},
                "cainjector": {"resources": _CONTROLLER},
                # This Job answers once the webhook does: without it the issuer's release would race the webhook.
                "startupapicheck": {"enabled": True, "timeout": "5m", "resources": _WEBHOOK},
            },
            depends_on=depends_on,
        )
        dns01 = settings.dns01
        Release(
            self,
            "issuer",
            chart="cluster-issuer",
            name="cluster-issuer",
            namespace="kube-system",
            values={
                "name": CLUSTER_ISSUER,
                "domain": base_domain,
                "email": settings.email,
                "acmeServer": settings.acme_server,
                "challenge": settings.challenge,
                "dns01": {
                    "provider": dns01.provider,
                    "akamai": {
                        "secretName": dns01.akamai.secret,
                        "serviceConsumerDomain": dns01.akamai.service_consumer_domain,
                    },
                    "aws": {
                        "secretName": dns01.aws.secret,
                        "region": dns01.aws.region,
                        "hostedZoneID": dns01.aws.hosted_zone_id,
                    },
                    "azure": {
                        "secretName": dns01.azure.secret,
                        "subscriptionID": dns01.azure.subscription_id,
                        "tenantID": dns01.azure.tenant_id,
                        "clientID": dns01.azure.client_id,
                        "resourceGroupName": dns01.azure.resource_group,
                    },
                    "cloudflare": {"secretName": dns01.cloudflare.secret},
                    "google": {"secretName": dns01.google.secret, "project": dns01.google.project},
                    "rfc2136": {
                        "secretName": dns01.rfc2136.secret,
                        "nameserver": dns01.rfc2136.nameserver,
                        "keyName": dns01.rfc2136.key_name,
                        "algorithm": dns01.rfc2136.algorithm,
                    },
                },
            },
            depends_on=[manager.resource],
        )
        self.ready: Sequence[ITerraformDependable] = (manager.resource,)
        self.targets = (
            PodTarget(
                job="cert-manager",
                port=9402,
                pods={"app.kubernetes.io/name": "cert-manager", "app.kubernetes.io/component": "controller"},
                namespace="kube-system",
            ),
        )
        entry_point = {"to": "websecure", "scheme": "https", "permanent": True}
        Release(
            self,
            "traefik",
            chart="traefik-config",
            name="traefik-config",
            namespace="kube-system",
            values={
                "enabled": settings.redirect,
                "traefik": {"ports": {"web": {"http": {"redirections": {"entryPoint": entry_point}}}}},
            },
            depends_on=depends_on,
        )
