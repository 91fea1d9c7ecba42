"""The dashboard and the sign-in: what Headlamp and the API server are told, with a provider and without one."""

import json
import re
from collections.abc import Callable
from typing import Any, Self

import pytest
import yaml

from stacks import doctor
from stacks.project import Project
from stacks.supplied import supplied
from tests.support import Evaluate, Refused, Render, Stack, resources, tfvars_of

Values = dict[str, Any]
ValuesOf = Callable[..., Values]
ISSUER = "https://sign-in.example.com:8443/realms/team"
PROVIDER = {"issuer": ISSUER, "client_id": "strata"}


@pytest.fixture(scope="module")
def evaluated(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> ValuesOf:
    """Return expressions of infra as Terraform evaluates them, for some settings of `oidc`."""

    def run(expressions: Values, **oidc: object) -> Values:
        tenants = {"staging": {"deployers": ["developers"]}}
        tfvars = tfvars_of(project, "infra")
        return evaluate(stacks["infra"], expressions, tfvars=tfvars, enable_infra=True, oidc=oidc, tenants=tenants)

    return run


@pytest.fixture(scope="module")
def values_of(stacks: dict[str, Stack], evaluated: ValuesOf) -> ValuesOf:
    """Return Headlamp's values for some settings of `oidc`."""

    def run(**oidc: object) -> Values:
        expressions = {"values": stacks["infra"]["resource"]["helm_release"]["dashboard_release"]["values"][0]}
        values: Values = yaml.safe_load(evaluated(expressions, **oidc)["values"])
        return values

    return run


def container(render: Render, values: Values) -> Values:
    (found,) = render("headlamp", values)["Deployment/headlamp"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_without_a_provider_headlamp_knows_of_no_sign_in(values_of: ValuesOf, render: Render) -> None:
    rendered = container(render, values_of())
    assert not [argument for argument in rendered["args"] if "oidc" in argument]
    assert not rendered.get("env")


def test_with_a_provider_headlamp_is_told_all_of_it_and_the_secret_is_read_from_its_secret(
    values_of: ValuesOf, render: Render
) -> None:
    rendered = container(render, values_of(**PROVIDER, client_secret="dashboard-client"))  # noqa: S106 (a name)
    given = {item["name"]: item for item in rendered["env"]}
    assert given.pop("HEADLAMP_CONFIG_OIDC_CLIENT_SECRET")["valueFrom"] == {
        "secretKeyRef": {"name": "dashboard-client", "key": "client-secret"}
    }
    assert {name: item["value"] for name, item in given.items()} == {
        "OIDC_CLIENT_ID": "strata",
        "OIDC_ISSUER_URL": ISSUER,
        "OIDC_SCOPES": "profile,email,groups",
        "OIDC_CALLBACK_URL": "https://dashboard.example.com/oidc-callback",
        "OIDC_USE_PKCE": "true",
    }
    for name in given:
        assert [argument for argument in rendered["args"] if argument.endswith(f"=$({name})")], name
    assert not [argument for argument in rendered["args"] if "client-secret" in argument]


def test_a_public_client_has_no_secret_and_scopes_may_be_left_out(values_of: ValuesOf) -> None:
    values = values_of(**PROVIDER, scopes=[])
    assert values["env"] == []
    assert values["config"]["oidc"]["scopes"] == "openid"


def test_headlamp_renders_neither_a_secret_nor_a_binding(values_of: ValuesOf, render: Render) -> None:
    kinds = {name.split("/")[0] for name in render("headlamp", values_of(**PROVIDER))}
    assert kinds == {"Deployment", "Service", "ServiceAccount"}


def test_headlamp_reaches_the_provider_where_there_is_one_on_its_port(
    stacks: dict[str, Stack], evaluated: ValuesOf
) -> None:
    policy = resources(stacks["infra"])["kubernetes_network_policy_v1.dashboard_sign-in-flow"]
    expressions = {"count": policy["count"], "port": policy["spec"]["egress"][0]["ports"][0]["port"]}
    assert evaluated(expressions)["count"] == 0
    assert evaluated(expressions, **PROVIDER) == {"count": 1, "port": 8443}
    assert evaluated(expressions, **{**PROVIDER, "issuer": "https://example.com/a"})["port"] == 443


def test_k3s_is_told_of_a_provider_by_the_api_servers_own_flags(stacks: dict[str, Stack], evaluated: ValuesOf) -> None:
    triggers = resources(stacks["infra"])["terraform_data.k3s_nodes"]["triggers_replace"]
    expressions = {"arguments": triggers["STRATA_API_SERVER_ARGUMENTS"]}
    assert evaluated(expressions) == {"arguments": ""}
    assert evaluated(expressions, **PROVIDER)["arguments"].splitlines() == [
        f"oidc-issuer-url={ISSUER}",
        "oidc-client-id=strata",
        "oidc-username-claim=email",
        "oidc-username-prefix=oidc:",
        "oidc-groups-claim=groups",
        "oidc-groups-prefix=oidc:",
    ]


def test_groups_are_bound_with_the_prefix_and_to_nothing_without_a_provider(
    stacks: dict[str, Stack], evaluated: ValuesOf
) -> None:
    infra = resources(stacks["infra"])
    bindings = {
        "viewers": infra["kubernetes_cluster_role_binding_v1.viewer_groups"],
        "administrators": infra["kubernetes_role_binding_v1.tenancy_deployer-infra_people"],
        "staging": infra["kubernetes_role_binding_v1.tenancy_environment_staging_deployer_people"],
        "prod": infra["kubernetes_role_binding_v1.tenancy_environment_prod_deployer_people"],
    }
    assert [binding["role_ref"]["name"] for binding in bindings.values()] == [
        "viewer",
        "act-as-deployer-infra",
        "act-as-deployer-staging",
        "act-as-deployer-prod",
    ]
    for binding in bindings.values():
        assert [(subject["kind"], subject["name"]) for subject in binding["subject"]] == [("Group", "${each.value}")]
    expressions = {name: f"${{tolist({binding['for_each'][2:-1]})}}" for name, binding in bindings.items()}
    given = {"viewers": ["team/all", "team/all"], "administrators": ["platform"]}
    assert evaluated(expressions, **PROVIDER, **given) == {
        "viewers": ["oidc:team/all"],
        "administrators": ["oidc:platform"],
        "staging": ["oidc:developers"],
        "prod": [],
    }
    assert evaluated(expressions, **given) == {name: [] for name in bindings}


def test_nobody_is_bound_to_cluster_admin_by_a_group(stacks: dict[str, Stack]) -> None:
    for address, binding in resources(stacks["infra"]).items():
        if "_binding_v1." in address and any(subject["kind"] == "Group" for subject in binding["subject"]):
            assert binding["role_ref"]["name"] == "viewer" or binding["role_ref"]["kind"] == "Role", address


def test_the_viewers_role_reads_and_names_neither_secrets_nor_subresources(stacks: dict[str, Stack]) -> None:
    infra = resources(stacks["infra"])
    role = infra["kubernetes_cluster_role_v1.viewer"]
    labels = [selector["match_labels"] for selector in role["aggregation_rule"]["cluster_role_selectors"]]
    assert labels == [
        {"strata/aggregate-to-viewer": "true"},
        {"rbac.authorization.k8s.io/aggregate-to-view": "true"},
    ]
    for rule in infra["kubernetes_cluster_role_v1.viewer_more"]["rule"]:
        assert rule["verbs"] == ["get", "list", "watch"]
        assert not {"secrets", "*", ""} & set(rule["resources"])
        assert all(re.fullmatch("[a-z]+", kind) for kind in rule["resources"])


@pytest.mark.parametrize(
    ("oidc", "words"),
    [
        ({"issuer": ISSUER}, "give client_id, which issuer needs"),
        ({"client_id": "strata"}, "give issuer, which client_id needs"),
        ({**PROVIDER, "issuer": "http://example.com"}, "oidc.issuer: give an address such as"),
        ({**PROVIDER, "issuer": "https://kubernetes.default.svc.cluster.local"}, "not the cluster's own"),
        ({**PROVIDER, "prefix": "system:"}, "a prefix that is not the cluster's own"),
        ({**PROVIDER, "prefix": ""}, "give a prefix such as oidc:"),
    ],
)
def test_a_provider_that_would_stop_the_api_server_or_name_its_own_is_refused_at_plan_too(
    oidc: Values, words: str, evaluated: ValuesOf
) -> None:
    with pytest.raises(Refused, match=re.escape(words)):
        evaluated({}, **oidc)


def test_the_clients_secret_is_asked_for_where_it_is_named(project: Project) -> None:
    infra = project.infra.model_dump()
    named = {**infra["oidc"], **PROVIDER, "client_secret": "dashboard-client"}
    (secret,) = [item for item in supplied({**infra, "oidc": named}) if item.namespace == "kubernetes-dashboard"]
    assert (secret.name, secret.keys, secret.drawn) == ("dashboard-client", ("client-secret",), ())
    for oidc in ({**named, "client_secret": ""}, {**named, "issuer": ""}):
        assert not [item for item in supplied({**infra, "oidc": oidc}) if item.namespace == "kubernetes-dashboard"]


class Answer:
    """What a provider answers."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> str:
        return self._text


@pytest.mark.parametrize(
    ("text", "verdict", "words"),
    [
        (json.dumps({"issuer": ISSUER}), "ok", ISSUER),
        (json.dumps({"issuer": f"{ISSUER}/"}), "mend", f"calls itself {ISSUER}/: give that, to the letter"),
        ("<html>", "mend", "is no discovery document (JSONDecodeError"),
        ("{}", "mend", "is no discovery document (KeyError"),
        ("[]", "mend", "is no discovery document (TypeError"),
    ],
)
def test_the_doctor_asks_the_provider_what_it_calls_itself(
    text: str, verdict: str, words: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(address: str, timeout: float) -> Answer:
        asked.append((address, timeout))
        return Answer(text)

    monkeypatch.setattr("urllib.request.urlopen", answer)
    infra = project.infra.model_dump()
    assert doctor.sign_in(infra) is None
    found = doctor.sign_in({**infra, "oidc": {**infra["oidc"], **PROVIDER}})
    assert found is not None
    assert (found.verdict.value, found.subject) == (verdict, "oidc.issuer")
    assert words in found.words
    assert asked == [(f"{ISSUER}/.well-known/openid-configuration", 5.0)]


def test_the_doctor_says_that_a_provider_does_not_answer(project: Project) -> None:
    infra = project.infra.model_dump()
    found = doctor.sign_in({**infra, "oidc": {**infra["oidc"], "issuer": "https://127.0.0.1:1"}})
    assert found is not None
    assert (found.verdict.value, "refused" in found.words) == ("mend", True)


def added_to_view(objects: dict[str, Values]) -> list[Values]:
    """The rules that a chart adds to the built-in ClusterRole `view`."""
    label = "rbac.authorization.k8s.io/aggregate-to-view"
    roles = [item for item in objects.values() if item["kind"] == "ClusterRole"]
    return [rule for role in roles if label in role["metadata"].get("labels", {}) for rule in role["rules"]]


def test_no_chart_of_infra_adds_a_secret_or_a_write_to_what_viewers_read(
    releases: list[tuple[str, str, Values]], render: Render
) -> None:
    widened = {"global": {"rbac": {"aggregateClusterRoles": True}}}
    assert added_to_view(render("cert-manager", widened)), "nothing would be seen"
    for stack, chart, values in releases:
        for rule in added_to_view(render(chart, values)) if stack == "infra" else []:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}, chart
            assert not {"secrets", "*"} & set(rule["resources"]), chart
