"""The platform database: taken by the API server, and its logins issued and taken back by a real Postgres."""

import base64
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import EMPTY, Workspace, kubectl, objects
from tests.e2e.postgres_server import PostgresServer
from tests.e2e.vault_pods import Pods, wait_for
from tests.support import on_the_path

pytestmark = pytest.mark.e2e

DATABASES = 'database = { databases = { shop = { clients = ["shop-production"] }, blog-two = {} } }\n'
BUCKET = 'backups = { bucket = "strata-backups", endpoint = "https://s3.example.com:9000" }\n'
EXPIRATION = "2099-01-01 00:00:00+0000"


def write(workspace: Workspace, *lines: str) -> None:
    path = workspace.root / "envs" / "infra.tfvars"
    kept = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(("database ", "backups "))
    ]
    path.write_text("\n".join([*kept, *lines]), encoding="utf-8")


@pytest.fixture(scope="module")
def server(workspace: Workspace) -> Iterator[PostgresServer]:
    """Postgres as the cluster's own objects describe it."""
    write(workspace, DATABASES)
    workspace.apply("infra")
    (cluster,) = objects("clusters.postgresql.cnpg.io", "--namespace=iac")
    databases = objects("databases.postgresql.cnpg.io", "--namespace=iac")
    secret = json.loads(kubectl("get", "secret", "database-vault", "--namespace=iac", "--output=json").stdout)
    # Postgres does not run as root, and pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer(Path(folder), cluster["spec"], [item["spec"] for item in databases])
        server.administer("postgres", f"ALTER ROLE vault PASSWORD '{password(secret['data'])}'")
        yield server
        server.stop()


def password(data: dict[str, str]) -> str:
    return base64.b64decode(data["password"]).decode()


@pytest.fixture(scope="module")
def vault() -> str:
    """The password that Vault has."""
    return password(json.loads(kubectl("get", "secret", "database-vault", "--namespace=iac", "-ojson").stdout)["data"])


def test_the_databases_are_taken_and_a_second_plan_is_empty(workspace: Workspace) -> None:
    write(workspace, DATABASES)
    workspace.apply("infra")
    assert workspace.plan("infra") == EMPTY
    made = objects("databases.postgresql.cnpg.io", "--namespace=iac")
    assert {(item["spec"]["name"], item["spec"]["owner"]) for item in made} == {
        ("shop", "shop"),
        ("blog-two", "blog-two"),
    }
    assert {item["spec"]["databaseReclaimPolicy"] for item in made} == {"retain"}


def test_what_the_job_asks_is_allowed_and_nothing_else_is(workspace: Workspace) -> None:
    assert workspace
    account = "--as=system:serviceaccount:iac:operators-ready"
    question = json.loads(kubectl("get", "configmap", "operators-ready", "--namespace=iac", "-ojson").stdout)
    text = question["data"]["cluster.yaml"]
    assert kubectl("create", "--dry-run=server", "--filename=-", account, text=text).returncode == 0
    for verb, kind in (("get", "secrets"), ("list", "pods"), ("delete", "clusters.postgresql.cnpg.io")):
        assert kubectl("auth", "can-i", verb, kind, "--namespace=iac", account).stdout.strip() == "no"
    assert not objects("jobs", "--namespace=iac", "--selector=app.kubernetes.io/name=operators-ready")


def test_with_a_bucket_the_database_is_saved_on_a_schedule(workspace: Workspace) -> None:
    write(workspace, DATABASES, BUCKET)
    workspace.apply("infra")
    (store,) = objects("objectstores.barmancloud.cnpg.io", "--namespace=iac")
    assert store["spec"]["configuration"]["destinationPath"] == "s3://strata-backups/infra/database"
    (backup,) = objects("scheduledbackups.postgresql.cnpg.io", "--namespace=iac")
    assert backup["spec"]["pluginConfiguration"] == {"name": "barman-cloud.cloudnative-pg.io"}
    assert workspace.plan("infra") == EMPTY
    write(workspace, DATABASES)
    workspace.apply("infra")
    assert not objects("scheduledbackups.postgresql.cnpg.io", "--namespace=iac")
    assert workspace.plan("infra") == EMPTY


def issue(server: PostgresServer, vault: str, login: str, password: str) -> None:
    """Do as Vault does."""
    for statement in (
        f"SELECT credentials.issue('{login}', '{password}', '{EXPIRATION}')",
        f"ALTER ROLE \"{login}\" SET role = 'shop'",
    ):
        assert server.ask("shop", "vault", vault, statement)[0] == 0


def test_a_login_is_issued_and_what_it_makes_belongs_to_the_database(server: PostgresServer, vault: str) -> None:
    issue(server, vault, "v-first", "secret-1")
    assert (
        server.ask("shop", "v-first", "secret-1", "CREATE TABLE orders (id int); INSERT INTO orders VALUES (7)")[0] == 0
    )
    assert server.administer("shop", "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'") == "shop"


def test_a_login_enters_its_own_database_over_tls_and_no_other(server: PostgresServer) -> None:
    assert server.ask("shop", "v-first", "secret-1", "SELECT current_user") == (0, "shop")
    for database in ("blog-two", "vault", "postgres", "template1"):
        status, words = server.ask(database, "v-first", "secret-1", "SELECT 1")
        assert status != 0
        assert "pg_hba.conf rejects connection" in words
    assert "pg_hba.conf rejects connection" in server.ask("shop", "v-first", "secret-1", "SELECT 1", tls="disable")[1]
    assert "pg_hba.conf rejects connection" in server.ask("shop", "postgres", "", "SELECT 1")[1]


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT credentials.issue('v-own', 'x', '{EXPIRATION}')",
        f"SELECT credentials.renew('v-first', '{EXPIRATION}')",
        "SELECT credentials.revoke('v-first')",
        "SELECT credentials.owner()",
        "SET ROLE vault",
        "SET ROLE postgres",
        "CREATE ROLE another",
        "ALTER ROLE shop LOGIN",
        "DROP SCHEMA credentials CASCADE",
        "ALTER FUNCTION credentials.owner() OWNER TO shop",
        "CREATE FUNCTION credentials.more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE DATABASE another",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
    ],
)
def test_a_login_cannot_give_itself_more(statement: str, server: PostgresServer) -> None:
    for prefix in ("", "SET ROLE NONE; "):
        status, words = server.ask("shop", "v-first", "secret-1", prefix + statement)
        assert status != 0
        assert re.search(
            "permission denied|must be owner|only vault may call this|only roles with", words, re.IGNORECASE
        ), words


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT credentials.revoke('postgres')",
        "SELECT credentials.revoke('shop')",
        "SELECT credentials.revoke('vault')",
        "SELECT credentials.renew('postgres', '2000-01-01')",
        "SELECT credentials.revoke('nobody-of-that-name')",
    ],
)
def test_vault_takes_back_what_it_issued_and_nothing_else(statement: str, server: PostgresServer, vault: str) -> None:
    before = server.administer("postgres", "SELECT rolname, rolvaliduntil, rolcanlogin FROM pg_roles ORDER BY 1")
    assert server.ask("shop", "vault", vault, statement)[0] == 0
    assert (
        server.administer("postgres", "SELECT rolname, rolvaliduntil, rolcanlogin FROM pg_roles ORDER BY 1") == before
    )


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE DATABASE more",
        "SELECT * FROM orders",
        "SET ROLE shop",
        'SET ROLE "v-first"',
        "CREATE TABLE here ()",
        "GRANT shop TO vault",
        "ALTER ROLE vault SUPERUSER",
        "CREATE ROLE more SUPERUSER",
        "CREATE ROLE more IN ROLE shop",
        "ALTER ROLE shop LOGIN",
        "ALTER ROLE postgres PASSWORD 'x'",
    ],
)
def test_vault_has_no_right_but_to_issue(statement: str, server: PostgresServer, vault: str) -> None:
    status, words = server.ask("shop", "vault", vault, statement)
    assert status != 0
    assert "permission denied" in words


def test_a_role_that_vault_makes_by_itself_enters_no_database(server: PostgresServer, vault: str) -> None:
    assert server.ask("shop", "vault", vault, "CREATE ROLE outsider LOGIN PASSWORD 'secret-3'")[0] == 0
    for database in ("shop", "vault", "postgres"):
        assert "pg_hba.conf rejects connection" in server.ask(database, "outsider", "secret-3", "SELECT 1")[1]


def test_no_login_is_issued_for_a_database_that_is_somebody_elses(server: PostgresServer, vault: str) -> None:
    for database, owner in (("postgres", "postgres"), ("vault", "vault"), ("template1", "postgres")):
        status, words = server.ask(database, "vault", vault, f"SELECT credentials.issue('v-x', 'x', '{EXPIRATION}')")
        assert status != 0, owner
        assert "does not" in words


def test_a_login_is_renewed_and_expires(server: PostgresServer, vault: str) -> None:
    assert server.ask("shop", "vault", vault, "SELECT credentials.renew('v-first', '2000-01-01')")[0] == 0
    assert server.ask("shop", "v-first", "secret-1", "SELECT 1")[0] != 0
    assert server.ask("shop", "vault", vault, f"SELECT credentials.renew('v-first', '{EXPIRATION}')")[0] == 0
    assert server.ask("shop", "v-first", "secret-1", "SELECT 1") == (0, "1")


def test_a_login_that_is_taken_back_leaves_all_it_made_to_the_database(server: PostgresServer, vault: str) -> None:
    own = "SET ROLE NONE; CREATE TABLE hidden (id int); INSERT INTO hidden VALUES (8)"
    assert server.ask("shop", "v-first", "secret-1", own)[0] == 0
    assert server.administer("shop", "SELECT tableowner FROM pg_tables WHERE tablename = 'hidden'") == "v-first"
    assert server.ask("shop", "vault", vault, "SELECT credentials.revoke('v-first')")[0] == 0
    assert server.ask("shop", "v-first", "secret-1", "SELECT 1")[0] != 0
    assert server.administer("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'v-first'") == "0"
    issue(server, vault, "v-next", "secret-2")
    assert server.ask("shop", "v-next", "secret-2", "SELECT id FROM orders UNION SELECT id FROM hidden ORDER BY 1") == (
        0,
        "7\n8",
    )
    assert server.ask("shop", "v-next", "secret-2", "DROP TABLE hidden")[0] == 0


@pytest.fixture(scope="module")
def vault_pods(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Vault's real programs, configured with what the cluster holds: for this server in the place of the cluster's."""
    for name in ("vault", "bank-vaults", "unshare"):
        on_the_path(name)
    pods = Pods(tmp_path_factory.mktemp("vault"))
    pods.start()
    wait_for(pods.is_unsealed, "unsealed")
    text = pods.configuration()
    assert "database-rw.iac.svc:5432" in text
    text = text.replace("database-rw.iac.svc:5432", f"localhost:{server.port}")
    done = pods.configure(text.replace("/etc/strata/database-ca/ca.crt", str(server.authority)))
    assert done.returncode == 0, done.stdout + done.stderr
    made = kubectl("create", "namespace", "shop-production")
    assert made.returncode == 0, made.stderr
    yield pods
    kubectl("delete", "namespace", "shop-production")
    pods.stop()


def test_a_client_gets_a_login_from_vault_and_queries(vault_pods: Pods, server: PostgresServer) -> None:
    wait_for(
        lambda: kubectl("get", "serviceaccount", "default", "--namespace=shop-production").returncode == 0, "there"
    )
    code, token = vault_pods.log_in("database-shop", "default", "shop-production")
    assert code == 200
    code, lease = vault_pods.call("database/creds/shop", token=token)
    assert (code, lease["lease_duration"]) == (200, 3600)
    login = (lease["data"]["username"], lease["data"]["password"])
    assert server.ask("shop", *login, "INSERT INTO orders VALUES (9); SELECT current_user") == (0, "shop")
    code, renewed = vault_pods.call("sys/leases/renew", token=token, data={"lease_id": lease["lease_id"]})
    assert (code, renewed["renewable"]) == (200, True)

    administrator = vault_pods.administrator()
    assert vault_pods.call("sys/leases/revoke", token=administrator, data={"lease_id": lease["lease_id"]})[0] == 204
    assert server.ask("shop", *login, "SELECT 1")[0] != 0
    _, another = vault_pods.call("database/creds/shop", token=token)
    assert another["data"]["username"] != login[0]
    found = server.ask("shop", another["data"]["username"], another["data"]["password"], "SELECT max(id) FROM orders")
    assert found == (0, "9")


def test_nobody_else_gets_a_login_from_vault(vault_pods: Pods) -> None:
    _, token = vault_pods.log_in("database-shop", "default", "shop-production")
    assert vault_pods.call("database/creds/blog-two", token=token)[0] == 403
    assert vault_pods.call("database/config/shop", token=token)[0] == 403
    assert vault_pods.log_in("database-shop", "default", "kubernetes-dashboard")[0] == 403
    assert vault_pods.log_in("database-blog-two", "default", "shop-production")[0] != 200
    _, staging = vault_pods.log_in("staging", "default", "data-staging")
    assert vault_pods.call("database/creds/shop", token=staging)[0] == 403
