"""Certificates: cert-manager, and the one issuer that every route of the cluster names."""

from collections.abc import Sequence
from typing import Literal

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.release import Release
from constructs.route import CLUSTER_ISSUER
from constructs.settings import Email, Name, Settings, Url


class CertificatesSettings(Settings):
    """Who signs the certificates of the cluster's routes."""

    email: Email = ""
    """Where Let's Encrypt writes to; empty: certificates are self-signed."""
    acme_server: Url = "https://acme-v02.api.letsencrypt.org/directory"
    """The ACME directory; Let's Encrypt's staging directory while you try things out."""
    challenge: Literal["http01", "cloudflare"] = "http01"
    """How you prove that the domain is yours: over port 80, or by a record in a Cloudflare zone."""
    cloudflare_token_secret: Name = "cloudflare-api-token"  # noqa: S105 (a Secret's name)
    """The Secret in `kube-system` whose key `api-token` may edit the zone; it must be there, for `cloudflare` only."""


class Certificates(Construct):
    """cert-manager in `kube-system` with the ClusterIssuer `platform`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
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
                "global": {"priorityClassName": priority_class, "leaderElection": {"namespace": "kube-system"}},
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                "webhook": {"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}},
                "cainjector": {
                    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
                },
                # This Job answers once the webhook does: without it the issuer's release would race the webhook.
                "startupapicheck": {
                    "enabled": True,
                    "timeout": "5m",
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                },
            },
            depends_on=depends_on,
        )
        Release(
            self,
            "issuer",
            chart="cluster-issuer",
            name="cluster-issuer",
            namespace="kube-system",
            values={
                "name": CLUSTER_ISSUER,
                "email": settings.email,
                "acmeServer": settings.acme_server,
                "challenge": settings.challenge,
                "cloudflareTokenSecret": settings.cloudflare_token_secret,
            },
            depends_on=[manager.resource],
        )
