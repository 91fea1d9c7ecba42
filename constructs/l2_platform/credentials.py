"""Credentials: logins of the platform database that Vault makes for an hour, and takes back."""

from constructs.network_flow import Flow
from constructs.reference import Reference, expression
from constructs.secrets_engine import SecretsEngine, SuppliedPassword

# The one who may call the functions below, which know its name. Of other roles it may make such as enter no database.
ISSUER = "vault"
_PASSWORD = "DATABASE_PASSWORD"  # noqa: S105 (a variable's name)

# In template1, and so in every database: they act for the role that owns it, and has its name.
#
# Vault would else have to create roles, and be an administrator of every owner: rights that CloudNativePG cannot give
# to databases that are declared later. A login acts as the owner from its start, which no function may tell it, but a
# role that may create roles. What it owns in spite of that, it leaves to the owner.
FUNCTIONS = (
    """\
DO $body$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vault') THEN
    CREATE ROLE vault LOGIN;
  END IF;
  ALTER ROLE vault CREATEROLE;
END $body$""",
    "CREATE SCHEMA credentials",
    "GRANT USAGE ON SCHEMA credentials TO PUBLIC",
    """\
CREATE FUNCTION credentials.owner() RETURNS name
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  owner name;
BEGIN
  IF session_user <> 'vault' THEN
    RAISE EXCEPTION 'only vault may call this';
  END IF;
  SELECT rolname INTO owner FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba
    WHERE datname = current_database() AND rolname = datname AND NOT rolsuper AND NOT rolcanlogin;
  IF owner IS NULL THEN
    RAISE EXCEPTION 'the database % does not belong to a role of its name', current_database();
  END IF;
  RETURN owner;
END $body$""",
    """\
CREATE FUNCTION credentials.is_issued(login name) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
  SELECT EXISTS (
    SELECT FROM pg_auth_members
      JOIN pg_roles AS member ON member.oid = pg_auth_members.member
      JOIN pg_roles AS owner ON owner.oid = roleid
    WHERE member.rolname = login AND owner.rolname = credentials.owner()
      AND member.rolcanlogin AND NOT member.rolsuper
  )
$body$""",
    """\
CREATE FUNCTION credentials.issue(login name, password text, expiration timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  owner name := credentials.owner();
BEGIN
  EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L VALID UNTIL %L IN ROLE %I', login, password, expiration, owner);
  EXECUTE format('GRANT %I TO vault WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', login);
END $body$""",
    """\
CREATE FUNCTION credentials.renew(login name, expiration timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF credentials.is_issued(login) THEN
    EXECUTE format('ALTER ROLE %I VALID UNTIL %L', login, expiration);
  END IF;
END $body$""",
    """\
CREATE FUNCTION credentials.revoke(login name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF credentials.is_issued(login) THEN
    EXECUTE format('ALTER ROLE %I NOLOGIN', login);
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = login;
    EXECUTE format('REASSIGN OWNED BY %I TO %I', login, credentials.owner());
    EXECUTE format('DROP OWNED BY %I', login);
    EXECUTE format('DROP ROLE %I', login);
  END IF;
END $body$""",
)

# Everybody over TLS; applications into the database of the role that they belong to, and into no other.
ACCESS = (
    f"hostssl all {ISSUER} all scram-sha-256",
    "hostssl samerole all all scram-sha-256",
    "host all all all reject",
)


def secrets_engine(
    databases: Reference, *, host: str, flow: Flow, password: SuppliedPassword, authority: str
) -> SecretsEngine:
    """Return Vault's engine `database`, with a role for each of `databases` (a map of objects with `clients`).

    `password` is the issuer's; the Secret `authority` holds the certificate that the server's is signed by.
    """
    folder = f"/etc/strata/{authority}"
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@{host}:5432/"
    connections = expression(
        "[for name in sort(keys({})) : {{ name = name, plugin_name = {}, username = {}, password = {}, "
        "allowed_roles = [name], verify_connection = false, password_authentication = {}, "
        "connection_url = join({}, [{}, name, {}]) }}]",
        databases,
        "postgresql-database-plugin",
        ISSUER,
        f'${{env "{_PASSWORD}"}}',
        "scram-sha-256",
        "",
        url,
        f"?sslmode=verify-full&sslrootcert={folder}/ca.crt",
    )
    roles = expression(
        "[for name in sort(keys({})) : {{ name = name, db_name = name, default_ttl = {}, max_ttl = {}, "
        "creation_statements = [{}, join({}, [{}, name, {}])], renew_statements = [{}], "
        "revocation_statements = [{}] }}]",
        databases,
        "1h",
        "24h",
        # Quoted, for Atlantis' guard takes a bare name before a bracket for a function of Terraform's.
        "SELECT credentials.\"issue\"('{{name}}', '{{password}}', '{{expiration}}')",
        "",
        'ALTER ROLE "{{name}}" SET role = \'',
        "'",
        "SELECT credentials.\"renew\"('{{name}}', '{{expiration}}')",
        "SELECT credentials.\"revoke\"('{{name}}')",
    )
    return SecretsEngine(
        engine={
            "type": "database",
            "path": "database",
            "description": "Logins of the platform database.",
            "configuration": {"config": connections, "roles": roles},
        },
        policies=expression(
            "[for name in sort(keys({})) : {{ name = join({}, [{}, name]), rules = join({}, [{}, name, {}]) }}]",
            databases,
            "",
            "database-",
            "",
            'path "database/creds/',
            '" {\n  capabilities = ["read"]\n}\n',
        ),
        roles=expression(
            "[for name in sort(keys({0})) : {{ name = join({1}, [{2}, name]), bound_service_account_names = [{3}], "
            "bound_service_account_namespaces = {0}[name].clients, token_policies = [join({1}, [{2}, name])], "
            "token_ttl = {4} }} if length({0}[name].clients) > 0]",
            databases,
            "",
            "database-",
            "*",
            "1h",
        ),
        namespaces=clients_of(databases),
        flow=flow,
        passwords={_PASSWORD: password},
        certificates={authority: folder},
    )


def clients_of(databases: Reference) -> Reference:
    """Return the namespaces whose pods are clients of any of the databases."""
    return expression("distinct(flatten([for name in sort(keys({0})) : {0}[name].clients]))", databases)
