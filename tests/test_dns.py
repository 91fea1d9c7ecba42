"""DNS: what external-dns is given for each kind of provider, and what it may do with it."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from stacks.project import Project
from tests.support import Evaluate, Refused, Render, Stack, tfvars_of

Values = dict[str, Any]
ValuesOf = Callable[..., Values]


@pytest.fixture(scope="module")
def values_of(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> ValuesOf:
    """Return the chart's values, as Terraform evaluates them, for some settings of `dns`."""

    def run(**settings: object) -> Values:
        stack = stacks["infra"]
        expressions = {"values": stack["resource"]["helm_release"]["dns_release"]["values"][0]}
        found = evaluate(stack, expressions, tfvars=tfvars_of(project, "infra"), enable_infra=True, dns=settings)
        values: Values = yaml.safe_load(found["values"])
        return values

    return run


def secret(name: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": name, "key": key}}


def test_cloudflare_needs_its_secret_and_no_setting(values_of: ValuesOf) -> None:
    values = values_of()
    assert values["provider"]["name"] == "cloudflare"
    assert values["env"] == [{"name": "CF_API_TOKEN", "valueFrom": secret("cloudflare-api-token", "api-token")}]
    assert values["provider"]["webhook"]["env"] == values["extraVolumes"] == values["extraVolumeMounts"] == []


def test_another_provider_is_given_its_own_variables_and_files_and_no_token_of_cloudflares(
    values_of: ValuesOf,
) -> None:
    values = values_of(
        provider="google",
        credentials=[{"name": "A", "secret": "google-dns", "key": "a"}],
        variables=[{"name": "EXTERNAL_DNS_GOOGLE_PROJECT", "value": "my-project"}],
        files_secret="google-dns",  # noqa: S106 (a Secret's name)
    )
    assert values["env"] == [
        {"name": "A", "valueFrom": secret("google-dns", "a")},
        {"name": "EXTERNAL_DNS_GOOGLE_PROJECT", "value": "my-project"},
    ]
    assert values["extraVolumes"] == [{"name": "files", "secret": {"secretName": "google-dns"}}]
    assert values["extraVolumeMounts"] == [{"name": "files", "mountPath": "/etc/kubernetes", "readOnly": True}]


def test_only_the_container_of_a_webhook_is_given_its_credentials(values_of: ValuesOf, render: Render) -> None:
    values = values_of(
        provider="webhook",
        webhook={"repository": "ghcr.io/example/webhook", "tag": "v1.2.3"},
        credentials=[{"name": "KEY", "secret": "hetzner-dns", "key": "api-key"}],
    )
    spec = render("external-dns", values)["Deployment/external-dns"]["spec"]["template"]["spec"]
    containers = {container["name"]: container for container in spec["containers"]}
    assert "env" not in containers["external-dns"]
    assert containers["webhook"]["image"] == "ghcr.io/example/webhook:v1.2.3"
    assert containers["webhook"]["env"] == [{"name": "KEY", "valueFrom": secret("hetzner-dns", "api-key")}]


def test_a_webhook_without_its_image_is_refused_at_plan_too(values_of: ValuesOf) -> None:
    with pytest.raises(Refused, match=r'dns: give webhook\.tag, which the provider "webhook" needs'):
        values_of(provider="webhook", webhook={"repository": "ghcr.io/example/webhook"})


def test_the_owner_and_the_zones_are_never_empty(values_of: ValuesOf, project: Project) -> None:
    domain = project.infra.base_domain
    values = values_of()
    assert (values["txtOwnerId"], values["domainFilters"]) == (domain, [domain])
    values = values_of(owner="rehearsal", zones=["example.org", "example.net"])
    assert (values["txtOwnerId"], values["domainFilters"]) == ("rehearsal", ["example.org", "example.net"])


def test_it_reads_the_hosts_of_ingresses_and_obeys_no_annotation(values_of: ValuesOf, render: Render) -> None:
    values = values_of()
    assert values["sources"] == ["ingress"]
    # The name of an annotation has at most one slash, or the API server refuses it.
    assert values["annotationPrefix"].removesuffix("/").count("/") == 1
    assert values["annotationPrefix"].endswith("/")
    rendered = render("external-dns", values)
    rules = rendered["ClusterRole/external-dns"]["rules"]
    assert {resource for rule in rules for resource in rule["resources"]} == {"ingresses"}
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert {kind.split("/")[0] for kind in rendered} == {
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "Service",
        "ServiceAccount",
    }


def test_its_arguments_say_what_the_settings_say(values_of: ValuesOf, render: Render) -> None:
    values = values_of(default_targets=["203.0.113.7", "2001:db8::7"], policy="upsert-only")
    spec = render("external-dns", values)["Deployment/external-dns"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert set(container["args"]) == {
        "--log-level=info",
        "--log-format=text",
        "--interval=5m",
        "--events",
        "--source=ingress",
        "--policy=upsert-only",
        "--registry=txt",
        "--txt-owner-id=example.com",
        "--domain-filter=example.com",
        "--annotation-prefix=strata/none/",
        "--provider=cloudflare",
        "--default-targets=203.0.113.7",
        "--default-targets=2001:db8::7",
        "--force-default-targets",
        "--ignore-ingress-tls-spec",
    }


@pytest.mark.parametrize("provider", ["cloudflare", "webhook"])
def test_its_pods_are_restricted(provider: str, values_of: ValuesOf, render: Render) -> None:
    values = values_of(provider=provider, webhook={"repository": "ghcr.io/example/webhook", "tag": "v1.2.3"})
    spec = render("external-dns", values)["Deployment/external-dns"]["spec"]["template"]["spec"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        context = container["securityContext"]
        assert (context["runAsNonRoot"], context["allowPrivilegeEscalation"]) == (True, False)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}


def test_a_release_brings_no_kind_that_nobody_reads(stacks: dict[str, Stack]) -> None:
    releases = stacks["infra"]["resource"]["helm_release"]
    assert [name for name, release in releases.items() if release.get("skip_crds")] == ["dns_release"]
