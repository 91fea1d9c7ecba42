"""Certificates: the issuer that is rendered for each way to prove a domain, and what Traefik is told."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from stacks.project import Project
from tests.support import Evaluate, Refused, Render, Stack, tfvars_of

ValuesOf = Callable[..., dict[str, Any]]

PROVIDERS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "akamai": (
        {"service_consumer_domain": "akab-1.luna.akamaiapis.net"},
        {
            "akamai": {
                "serviceConsumerDomain": "akab-1.luna.akamaiapis.net",
                "clientTokenSecretRef": {"name": "akamai-dns", "key": "client-token"},
                "clientSecretSecretRef": {"name": "akamai-dns", "key": "client-secret"},
                "accessTokenSecretRef": {"name": "akamai-dns", "key": "access-token"},
            }
        },
    ),
    "aws": (
        {"region": "eu-central-1", "hosted_zone_id": "Z0123", "secret": "mine"},
        {
            "route53": {
                "region": "eu-central-1",
                "hostedZoneID": "Z0123",
                "accessKeyIDSecretRef": {"name": "mine", "key": "access-key-id"},
                "secretAccessKeySecretRef": {"name": "mine", "key": "secret-access-key"},
            }
        },
    ),
    "azure": (
        {"subscription_id": "s", "tenant_id": "t", "client_id": "1", "resource_group": "dns"},
        {
            "azureDNS": {
                "subscriptionID": "s",
                "tenantID": "t",
                "clientID": "1",
                "resourceGroupName": "dns",
                "clientSecretSecretRef": {"name": "azure-dns", "key": "client-secret"},
            }
        },
    ),
    "cloudflare": ({}, {"cloudflare": {"apiTokenSecretRef": {"name": "cloudflare-api-token", "key": "api-token"}}}),
    "google": (
        {"project": "my-project"},
        {
            "cloudDNS": {
                "project": "my-project",
                "serviceAccountSecretRef": {"name": "google-dns", "key": "key.json"},
            }
        },
    ),
    "rfc2136": (
        {"nameserver": "ns1.example.com:53", "key_name": "strata.", "algorithm": "HMACSHA512"},
        {
            "rfc2136": {
                "nameserver": "ns1.example.com:53",
                "tsigKeyName": "strata.",
                "tsigAlgorithm": "HMACSHA512",
                "tsigSecretSecretRef": {"name": "rfc2136-dns", "key": "tsig-secret"},
            }
        },
    ),
}


@pytest.fixture(scope="module")
def values_of(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> ValuesOf:
    """Return the values of a release, as Terraform evaluates them, for some settings of `certificates`."""

    def run(release: str, **settings: object) -> dict[str, Any]:
        stack = stacks["infra"]
        expressions = {"values": stack["resource"]["helm_release"][f"certificates_{release}"]["values"][0]}
        tfvars = tfvars_of(project, "infra")
        found = evaluate(stack, expressions, tfvars=tfvars, enable_infra=True, certificates=settings)
        values: dict[str, Any] = yaml.safe_load(found["values"])
        return values

    return run


def test_without_an_address_the_clusters_own_authority_signs_for_its_domain_and_no_other(
    values_of: ValuesOf, render: Render, project: Project
) -> None:
    rendered = render("cluster-issuer", values_of("issuer"))
    assert rendered["ClusterIssuer/platform"]["spec"] == {"ca": {"secretName": "platform-ca"}}
    authority = rendered["Certificate/platform-ca"]["spec"]
    assert authority["secretName"] == "platform-ca"
    assert authority["isCA"] is True
    assert authority["nameConstraints"] == {
        "critical": True,
        "permitted": {"dnsDomains": [project.infra.base_domain]},
    }
    assert rendered[f"ClusterIssuer/{authority['issuerRef']['name']}"]["spec"] == {"selfSigned": {}}


def test_http01_needs_no_node_port(values_of: ValuesOf, render: Render) -> None:
    rendered = render("cluster-issuer", values_of("issuer", email="ops@example.com"))
    assert set(rendered) == {"ClusterIssuer/platform"}
    (solver,) = rendered["ClusterIssuer/platform"]["spec"]["acme"]["solvers"]
    assert solver == {"http01": {"ingress": {"ingressClassName": "traefik", "serviceType": "ClusterIP"}}}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_dns01_names_the_secret_and_what_the_provider_needs(provider: str, values_of: ValuesOf, render: Render) -> None:
    settings, expected = PROVIDERS[provider]
    dns01 = {"provider": provider, provider: settings}
    rendered = render("cluster-issuer", values_of("issuer", email="ops@example.com", challenge="dns01", dns01=dns01))
    assert rendered["ClusterIssuer/platform"]["spec"]["acme"]["solvers"] == [{"dns01": expected}]


def test_a_provider_without_what_it_needs_is_refused_at_plan_too(values_of: ValuesOf) -> None:
    for provider, (settings, _) in PROVIDERS.items():
        for key in set(settings) - {"secret", "hosted_zone_id", "algorithm"}:
            rest = {name: value for name, value in settings.items() if name != key}
            with pytest.raises(Refused, match=f'give {provider}.{key}, which the provider "{provider}" needs'):
                values_of("issuer", dns01={"provider": provider, provider: rest})


def test_nameservers_are_asked_alone_where_they_are_given(values_of: ValuesOf) -> None:
    keys = ("dns01RecursiveNameservers", "dns01RecursiveNameserversOnly")
    values = values_of("cert-manager", dns01={"nameservers": ["1.1.1.1:53", "[2620:fe::fe]:53"]})
    assert [values[key] for key in keys] == ["1.1.1.1:53,[2620:fe::fe]:53", True]
    values = values_of("cert-manager")
    assert [values[key] for key in keys] == ["", False]


def test_no_role_of_a_namespace_may_ask_for_certificates_by_hand(values_of: ValuesOf, render: Render) -> None:
    aggregated = [
        name
        for name, item in render("cert-manager", values_of("cert-manager")).items()
        if any("aggregate-to" in label for label in item["metadata"].get("labels", {}))
    ]
    assert not aggregated


def test_traefik_is_told_only_where_it_is_k3s_own(values_of: ValuesOf, render: Render) -> None:
    config = render("traefik-config", values_of("traefik"))["HelmChartConfig/traefik"]
    assert config["metadata"]["namespace"] == "kube-system"
    told = yaml.safe_load(config["spec"]["valuesContent"])
    redirection = told["ports"]["web"]["http"]["redirections"]["entryPoint"]
    assert redirection == {"to": "websecure", "scheme": "https", "permanent": True}
    assert render("traefik-config", values_of("traefik", redirect=False)) == {}
