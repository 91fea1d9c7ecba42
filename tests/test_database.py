"""The platform database: what its cluster is given, and what Vault is told of it."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from constructs.l2_platform.credentials import secrets_engine
from constructs.network_flow import Flow, Peer
from constructs.reference import Reference, resolve
from constructs.secrets_engine import SuppliedPassword
from stacks.doctor import files
from stacks.infra import InfraSettings
from stacks.project import Project
from stacks.supplied import supplied
from tests.support import Evaluate, Render, Stack, tfvars_of

Values = dict[str, Any]
SHOP = {"shop": {"clients": ["shop-production", "shop-staging"]}, "blog": {}}
BUCKET = {"bucket": "strata-backups", "endpoint": "https://s3.example.com:9000", "region": "eu-central-1"}


@pytest.fixture(scope="module")
def values_of(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> Callable[..., Values]:
    """Return what Terraform makes of some settings: the chart's values, and the ports that the pods may call."""

    def run(**variables: object) -> Values:
        stack = stacks["infra"]
        flow = stack["resource"]["kubernetes_network_policy_v1"]["database_flow"]["spec"]
        expressions = {
            "values": stack["resource"]["helm_release"]["database_release"]["values"][0],
            "ports": [item["port"] for rule in flow["egress"] for item in rule["ports"]],
            "clients": flow["ingress"][2]["from"][0]["namespace_selector"]["match_expressions"][0]["values"],
        }
        found = evaluate(stack, expressions, tfvars=tfvars_of(project, "infra"), enable_infra=True, **variables)
        return {**found, "values": yaml.safe_load(found["values"])}

    return run


def test_each_database_is_owned_by_a_role_that_nobody_signs_in_as(values_of: Callable[..., Values]) -> None:
    found = values_of(database={"databases": SHOP})
    assert found["values"]["databases"] == [{"name": name, "owner": name} for name in ("blog", "shop")]
    assert found["values"]["cluster"]["roles"] == [
        {"name": name, "ensure": "present", "login": False} for name in ("blog", "shop")
    ]
    assert found["clients"] == ["iac", "shop-production", "shop-staging"]


def test_nobody_signs_in_as_the_superuser_nor_without_tls_nor_into_a_database_that_is_not_theirs(
    values_of: Callable[..., Values],
) -> None:
    cluster = values_of()["values"]["cluster"]
    assert cluster["enableSuperuserAccess"] is False
    assert cluster["postgresql"]["pg_hba"] == [
        "hostssl all vault all scram-sha-256",
        "hostssl samerole all all scram-sha-256",
        "host all all all reject",
    ]
    assert cluster["initdb"]["secret"] == {"name": "database-vault"}


def test_without_a_bucket_nothing_is_saved_and_nothing_more_is_opened(values_of: Callable[..., Values]) -> None:
    found = values_of()
    assert found["values"]["backups"]["enabled"] is False
    assert {str(port) for port in found["ports"]} == {"5432", "8000", "6443"}


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", "443"), ("https://s3.example.com", "443"), ("http://minio.storage.svc", "80"), (BUCKET["endpoint"], "9000")],
)
def test_with_a_bucket_the_plugin_saves_and_its_port_is_open(
    endpoint: str, port: str, values_of: Callable[..., Values], render: Render
) -> None:
    found = values_of(backups={**BUCKET, "endpoint": endpoint}, database={"backup": {"retention_days": 7}})
    assert {str(port) for port in found["ports"]} == {"5432", "8000", "6443", port}
    objects = render("cluster", found["values"])
    store = objects["ObjectStore/database-backups"]["spec"]
    assert store["retentionPolicy"] == "7d"
    configuration = store["configuration"]
    assert configuration["destinationPath"] == "s3://strata-backups/infra/database"
    assert configuration["endpointURL"] == (endpoint or "https://s3.eu-central-1.amazonaws.com")
    assert configuration["s3Credentials"]["accessKeyId"] == {"name": "backup-bucket", "key": "ACCESS_KEY_ID"}
    assert "encryption" not in {**configuration["wal"], **configuration["data"]}
    assert {"name": "AWS_DEFAULT_REGION", "value": "eu-central-1"} in store["instanceSidecarConfiguration"]["env"]
    (plugin,) = objects["Cluster/database"]["spec"]["plugins"]
    assert plugin["isWALArchiver"] is True
    assert "backup" not in objects["Cluster/database"]["spec"]
    backup = objects["ScheduledBackup/database-scheduled"]["spec"]
    assert backup["schedule"] == "0 0 3 * * *"
    assert backup["method"] == "plugin"


def test_what_makes_a_database_waits_for_the_operators_webhooks(stacks: dict[str, Stack]) -> None:
    releases = stacks["infra"]["resource"]["helm_release"]
    assert "helm_release.operators_ready" in releases["database_release"]["depends_on"]
    assert "helm_release.operators_barman-cloud" in releases["operators_ready"]["depends_on"]
    assert "helm_release.operators_cloudnative-pg" in releases["operators_barman-cloud"]["depends_on"]
    assert "helm_release.certificates_cert-manager" in releases["operators_barman-cloud"]["depends_on"]


def test_the_operators_are_asked_again_when_one_of_them_changes(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    def asked(**variables: object) -> str:
        expressions = {"values": stacks["infra"]["resource"]["helm_release"]["operators_ready"]["values"][0]}
        tfvars = tfvars_of(project, "infra")
        found: str = evaluate(stacks["infra"], expressions, tfvars=tfvars, enable_infra=True, **variables)["values"]
        return found

    assert len({asked(), asked(operators={"memory": "300Mi"}), asked(operators={"plugin": {"memory": "300Mi"}})}) == 3


def test_the_question_is_asked_by_an_account_that_may_do_no_more_than_ask(render: Render) -> None:
    objects = render("operators-ready", {"image": "kubectl:1", "priorityClassName": "platform"})
    (rule,) = objects["Role/operators-ready"]["rules"]
    assert rule == {"apiGroups": ["postgresql.cnpg.io"], "resources": ["clusters"], "verbs": ["create"]}
    job = objects["Job/operators-ready"]
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][:2] == ["create", "--dry-run=server"]
    assert "hook-succeeded" in job["metadata"]["annotations"]["helm.sh/hook-delete-policy"]


@pytest.fixture(scope="module")
def engine(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> dict[str, Any]:
    """What Vault is told of two databases, one of them without clients."""
    found = secrets_engine(
        Reference("var.database.databases"),
        host="database-rw.iac.svc",
        flow=Flow(Peer(pods={"a": "b"}), ports=(5432,)),
        password=SuppliedPassword("database-vault", "password", 1),
        authority="database-ca",
    )
    parts = {"engine": found.engine, "policies": found.policies, "roles": found.roles, "namespaces": found.namespaces}
    return evaluate(
        stacks["infra"],
        {name: resolve(part) for name, part in parts.items()},
        tfvars=tfvars_of(project, "infra"),
        enable_infra=True,
        database={"databases": SHOP},
    )


def test_vault_connects_as_one_that_may_only_call_the_functions(engine: dict[str, Any]) -> None:
    configuration = engine["engine"]["configuration"]
    assert [item["name"] for item in configuration["config"]] == ["blog", "shop"]
    shop = configuration["config"][1]
    assert shop["connection_url"] == (
        "postgresql://{{username}}:{{password}}@database-rw.iac.svc:5432/shop"
        "?sslmode=verify-full&sslrootcert=/etc/strata/database-ca/ca.crt"
    )
    assert (shop["username"], shop["password"]) == ("vault", '${env "DATABASE_PASSWORD"}')
    assert shop["allowed_roles"] == ["shop"]
    assert configuration["roles"][1]["creation_statements"] == [
        "SELECT credentials.\"issue\"('{{name}}', '{{password}}', '{{expiration}}')",
        "ALTER ROLE \"{{name}}\" SET role = 'shop'",
    ]


def test_the_clients_of_a_database_and_nobody_else_get_its_logins(engine: dict[str, Any]) -> None:
    assert engine["namespaces"] == ["shop-production", "shop-staging"]
    (role,) = engine["roles"]
    assert role["name"] == "database-shop"
    assert role["bound_service_account_namespaces"] == ["shop-production", "shop-staging"]
    assert role["token_policies"] == ["database-shop"]
    rules = {policy["name"]: policy["rules"] for policy in engine["policies"]}
    assert rules["database-shop"] == 'path "database/creds/shop" {\n  capabilities = ["read"]\n}\n'


def test_the_bucket_is_asked_for_where_there_is_something_to_save(project: Project) -> None:
    infra = project.infra.model_dump()
    assert "backup-bucket" not in {secret.name for secret in supplied(infra)}
    given = {**infra, "backups": {**infra["backups"], **BUCKET}}
    (secret,) = (item for item in supplied(given) if item.name == "backup-bucket")
    assert (secret.namespace, secret.keys) == ("iac", ("ACCESS_KEY_ID", "ACCESS_SECRET_KEY"))
    assert not [item for item in supplied({**given, "components": ("dns",)}) if item.name == "backup-bucket"]


def test_the_doctor_says_what_is_not_saved(project: Project) -> None:
    def bucket(infra: InfraSettings) -> list[str]:
        changed = Project(project.root, project.cdktf, infra, project.environments)
        return [finding.words for finding in files(changed) if finding.subject == "backups.bucket"]

    words, *environments = bucket(project.infra)
    assert "database and vault would be lost with the node's disk" in words
    assert [word.split("envs/")[1] for word in environments] == [
        f"{name}.tfvars, then make secrets ENV={name}" for name in project.environments
    ]
    given = project.infra.backups.model_copy(update={"bucket": "strata-backups"})
    assert bucket(project.infra.model_copy(update={"backups": given})) == environments
