"""A route: a host name of the environment, led by Traefik over TLS to a Service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes.ingress_v1 import (
    IngressV1,
    IngressV1Metadata,
    IngressV1Spec,
    IngressV1SpecRule,
    IngressV1SpecRuleHttp,
    IngressV1SpecRuleHttpPath,
    IngressV1SpecRuleHttpPathBackend,
    IngressV1SpecRuleHttpPathBackendService,
    IngressV1SpecRuleHttpPathBackendServicePort,
    IngressV1SpecTls,
)

from constructs import Construct
from constructs.footprint import Footprint
from constructs.reference import Reference, expression, text

CLUSTER_ISSUER = "platform"
# cert-manager's pod beside a route while its certificate is asked for by HTTP-01, with the sizes that are its defaults.
SOLVER = Footprint("cm-acme-http-solver", cpu=10, memory=64, memory_limit=64, pods=0, at_times=1)


@dataclass(frozen=True)
class Addresses:
    """What an environment's host names are made of."""

    env_prefix: str
    base_domain: str

    def host(self, service: str) -> Reference:
        """Return the host name of a service: `x-staging-signoz.example.com`, `signoz.example.com`."""
        return expression('join(".", [join("-", compact([{}, {}])), {}])', self.env_prefix, service, self.base_domain)


# All paths of a host.
EVERYTHING: Mapping[str, str] = {"/": "Prefix"}
# All paths of a host that no branch takes. Traefik asks the longest rule first, and `Path("/s")` is shorter than
# `PathPrefix("/")`: only without a path at all does the rule come last (v3.7.8, pkg/muxer/http/mux.go).
THE_REST: Mapping[str, str] = {"": "ImplementationSpecific"}


@dataclass(frozen=True)
class Branch:
    """Paths of the host that lead to the port of another Service."""

    paths: Mapping[str, str]
    backend: str
    port: int


class Route(Construct):
    """An Ingress for the host of `service`, with a certificate of the cluster's issuer, to a port of its Service.

    `paths` are the paths that it leads to, each with its type: `Exact`, or `Prefix` for all below it as well. With
    `branches` some paths lead elsewhere; give `THE_REST` as `paths` then.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        service: str,
        backend: str,
        port: int,
        addresses: Addresses,
        paths: Mapping[str, str] = EVERYTHING,
        branches: Sequence[Branch] = (),
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        self.host = addresses.host(service)
        found = [path for branch in (*branches, Branch(paths, backend, port)) for path in _paths(branch)]
        http = IngressV1SpecRuleHttp(path=found)
        IngressV1(
            self,
            "this",
            metadata=IngressV1Metadata(
                name=service,
                namespace=namespace,
                annotations={
                    "cert-manager.io/cluster-issuer": CLUSTER_ISSUER,
                    "traefik.ingress.kubernetes.io/router.entrypoints": "websecure",
                },
            ),
            spec=IngressV1Spec(
                ingress_class_name="traefik",
                rule=[IngressV1SpecRule(host=text(self.host), http=http)],
                tls=[IngressV1SpecTls(hosts=[text(self.host)], secret_name=f"{service}-tls")],
            ),
            depends_on=list(depends_on),
        )


def _paths(branch: Branch) -> list[IngressV1SpecRuleHttpPath]:
    to_service = IngressV1SpecRuleHttpPathBackend(
        service=IngressV1SpecRuleHttpPathBackendService(
            name=branch.backend, port=IngressV1SpecRuleHttpPathBackendServicePort(number=branch.port)
        )
    )
    return [
        IngressV1SpecRuleHttpPath(path=path or None, path_type=kind, backend=to_service)
        for path, kind in branch.paths.items()
    ]
