"""DNS: external-dns, which gives every route's host name its records."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from cdktf import ITerraformDependable

from constructs import Construct
from constructs.footprint import Footprint, footprint
from constructs.reference import expression
from constructs.release import Release
from constructs.settings import Cpu, Domain, Form, Name, Needed, OptionalName, Settings, Size, Sized, Target

VariableName = Annotated[str, Form("[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]
SecretKey = Annotated[str, Form("[A-Za-z0-9._-]+", "a key of the Secret")]
Owner = Annotated[
    str, Form("([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?", 'an id of lower-case letters, digits, dots and dashes, or ""')
]
Repository = Annotated[
    str, Form("([a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+)?", 'an image without its tag such as ghcr.io/owner/name, or ""')
]
Tag = Annotated[
    str,
    Form("([A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@sha256:[0-9a-f]{64})?)?", 'an image\'s tag such as v1.2.3, or ""'),
]

# The providers within external-dns 0.21.0 that can hold TXT records of ownership, and the door to all others. Left out
# are aws-sd and pihole, which cannot, inmemory, which is for tests, and second names of the same provider.
Provider = Literal[
    "akamai",
    "alibabacloud",
    "aws",
    "azure",
    "azure-private-dns",
    "civo",
    "cloudflare",
    "coredns",
    "dnsimple",
    "exoscale",
    "gandi",
    "godaddy",
    "google",
    "linode",
    "ns1",
    "oci",
    "ovh",
    "pdns",
    "plural",
    "rfc2136",
    "scaleway",
    "transip",
    "webhook",
]

# Every annotation that external-dns obeys begins with this prefix. No object can have one with two slashes.
_NO_ANNOTATION = "strata/none/"

_RESTRICTED = {
    "privileged": False,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "capabilities": {"drop": ["ALL"]},
}


class Variable(Settings):
    """An environment variable with a value that everybody may see."""

    name: VariableName
    """Its name, such as `AWS_REGION`; any flag of external-dns is one: `EXTERNAL_DNS_GOOGLE_PROJECT`."""
    value: str
    """Its value."""


class Credential(Settings):
    """An environment variable with a value from a Secret."""

    name: VariableName
    """Its name, such as `AWS_SECRET_ACCESS_KEY`."""
    secret: Name
    """The Secret in `kube-system`; it must be there."""
    key: SecretKey
    """The Secret's key."""


class WebhookSettings(Sized):
    """A provider that is not in external-dns: a container beside it, which is given the variables in its place."""

    cpu: Cpu = "10m"
    memory: Size = "64Mi"
    repository: Repository = ""
    """Its image without the tag."""
    tag: Tag = ""
    """Its image's tag, exact; a digest may follow: `v1.2.3@sha256:...`."""


class DnsSettings(Sized):
    """Who serves the zone, and what external-dns may do in it."""

    needs: ClassVar[tuple[Needed, ...]] = (Needed("provider", "webhook", ("webhook.repository", "webhook.tag")),)

    cpu: Cpu = "10m"
    memory: Size = "128Mi"
    provider: Provider = "cloudflare"
    """Who serves the zone."""
    cloudflare_token_secret: Name = "cloudflare-api-token"  # noqa: S105 (a Secret's name)
    """The Secret in `kube-system` whose key `api-token` may edit the zone; it must be there, for `cloudflare` only."""
    credentials: tuple[Credential, ...] = ()
    """Environment variables from Secrets, for the other providers."""
    variables: tuple[Variable, ...] = ()
    """Environment variables that are no secret."""
    files_secret: OptionalName = ""
    """A Secret in `kube-system` whose keys are files in `/etc/kubernetes`, for providers that read one; or none."""
    webhook: WebhookSettings = WebhookSettings()
    """The provider's container, for `webhook` only."""
    policy: Literal["sync", "upsert-only", "create-only"] = "sync"
    """Whether records that external-dns made are deleted with their routes, only changed, or only made."""
    owner: Owner = ""
    """The id under which this cluster owns its records; empty: `base_domain`. No two clusters may share one."""
    zones: tuple[Domain, ...] = ()
    """The zones, or domains, beyond which nothing is touched; empty: `base_domain`. Give the zone where it is above."""
    default_targets: tuple[Target, ...] = ()
    """Where all records lead instead of to the nodes' addresses; needed where those are private."""


def footprints(settings: DnsSettings) -> tuple[Footprint, ...]:
    """Return what external-dns asks for."""
    webhook = [settings.webhook.resources()] if settings.provider == "webhook" else []
    return (footprint("external-dns", settings.resources(), *webhook),)


class Dns(Construct):
    """external-dns in `kube-system`: it reads Ingresses and nothing else, and obeys no annotation."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        base_domain: str,
        priority_class: str,
        settings: DnsSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        cloudflare = expression(
            '{} == "cloudflare" ? [{{ name = "CF_API_TOKEN", secret = {}, key = "api-token" }}] : []',
            settings.provider,
            settings.cloudflare_token_secret,
        )
        credentials = expression(
            "[for item in concat({}, {}) : "
            "{{ name = item.name, valueFrom = {{ secretKeyRef = {{ name = item.secret, key = item.key }} }} }}]",
            cloudflare,
            settings.credentials,
        )
        variables = expression("concat({}, {})", credentials, settings.variables)
        Release(
            self,
            "release",
            chart="external-dns",
            name="external-dns",
            namespace="kube-system",
            values={
                "fullnameOverride": "external-dns",
                "provider": {
                    "name": settings.provider,
                    "webhook": {
                        "image": {"repository": settings.webhook.repository, "tag": settings.webhook.tag},
                        "env": expression('[for item in {} : item if {} == "webhook"]', variables, settings.provider),
                        "securityContext": _RESTRICTED,
                        "resources": settings.webhook.resources(),
                    },
                },
                "env": expression('[for item in {} : item if {} != "webhook"]', variables, settings.provider),
                "extraVolumes": expression(
                    '{0} == "" ? [] : [{{ name = "files", secret = {{ secretName = {0} }} }}]', settings.files_secret
                ),
                "extraVolumeMounts": expression(
                    '{} == "" ? [] : [{{ name = "files", mountPath = "/etc/kubernetes", readOnly = true }}]',
                    settings.files_secret,
                ),
                "sources": ["ingress"],
                "annotationPrefix": _NO_ANNOTATION,
                "policy": settings.policy,
                "registry": "txt",
                "txtOwnerId": expression("coalesce({}, {})", settings.owner, base_domain),
                "domainFilters": expression("coalescelist({}, [{}])", settings.zones, base_domain),
                "triggerLoopOnEvent": True,
                "interval": "5m",
                "extraArgs": {
                    # A certificate's names are no reason for a record.
                    "ignore-ingress-tls-spec": True,
                    # K3s writes its nodes' addresses into every Ingress: unforced, targets of our own would be ignored.
                    "default-targets": settings.default_targets,
                    "force-default-targets": True,
                },
                "priorityClassName": priority_class,
                "podSecurityContext": {
                    "runAsNonRoot": True,
                    "fsGroup": 65534,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "securityContext": _RESTRICTED,
                "resources": settings.resources(),
            },
            # Its one kind, DNSEndpoint, is no source here.
            skip_crds=True,
            depends_on=depends_on,
        )
