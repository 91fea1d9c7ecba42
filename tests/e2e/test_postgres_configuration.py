"""What Terraform computes for Postgres, given to real servers: no cluster is needed, but the programs are."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.postgres_server import PostgresServer
from tests.support import free_port, on_the_path

pytestmark = pytest.mark.e2e

Values = dict[str, Any]


@contextmanager
def served(spec: Values, databases: Sequence[Values]) -> Iterator[PostgresServer]:
    # Postgres does not run as root, and pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer(Path(folder), spec, databases)
        try:
            yield server
        finally:
            server.stop()


def specification(values: Values) -> tuple[Values, list[Values]]:
    """What the chart makes of the values: the spec of the Cluster, and those of its databases."""
    cluster = values["cluster"]
    spec = {
        "postgresql": cluster["postgresql"],
        "bootstrap": {"initdb": cluster["initdb"]},
        "managed": {"roles": cluster["roles"]},
    }
    return spec, values["databases"]


@pytest.mark.parametrize(
    "settings", [{"memory": "256Mi", "storage": "1Gi"}, {"memory": "2Gi", "wal_storage": "2Gi"}], ids=["small", "large"]
)
def test_a_server_takes_every_parameter(settings: Values, generations: Callable[..., dict[str, Values]]) -> None:
    (values,) = generations(postgres=settings).values()
    with served(*specification(values)) as server:
        for name, value in values["cluster"]["postgresql"]["parameters"].items():
            same = f"SELECT pg_size_bytes(current_setting('{name}')) = pg_size_bytes('{value}')"
            if not value.endswith("MB"):
                same = f"SELECT current_setting('{name}') = '{value}'"
            assert server.administer("postgres", same) == "t", name


def test_a_dump_of_one_generation_is_taken_by_another(generations: Callable[..., dict[str, Values]]) -> None:
    (values,) = generations(postgres={"databases": {"shop": {}}}).values()
    with served(*specification(values)) as old, served(*specification(values)) as new:
        for server in (old, new):
            server.administer("postgres", "ALTER ROLE shop PASSWORD 'secret-1'")
        made = "CREATE TABLE orders (id serial PRIMARY KEY, what text); INSERT INTO orders (what) VALUES ('tea')"
        assert old.ask("shop", "shop", "secret-1", made)[0] == 0
        dump = old.run("pg_dump", "--format=custom", "shop")
        new.run("pg_restore", "--clean", "--if-exists", "--exit-on-error", "--dbname=shop", given=dump)
        assert new.ask("shop", "shop", "secret-1", "SELECT what FROM orders") == (0, "tea")
        assert new.ask("shop", "shop", "secret-1", "INSERT INTO orders (what) VALUES ('ink') RETURNING id") == (0, "2")
        assert new.ask("postgres", "shop", "secret-1", "CREATE TABLE mine (id int)")[0] != 0


def test_a_server_takes_the_time_that_cloudnativepg_makes_of_a_restores(
    generations: Callable[..., dict[str, Values]],
) -> None:
    (values,) = generations().values()
    with served(*specification(values)) as server:
        # ConvertToPostgresFormat of github.com/cloudnative-pg/machinery v0.5.0, of 2026-11-23T04:00:00Z
        assert server.takes("recovery_target_time", "2026-11-23 04:00:00.000000+00:00")
        assert not server.takes("recovery_target_time", "2026-11-23T04:00:00Z")


# As CloudNativePG 1.30 writes it (pkg/management/pgbouncer/config), but for TLS and the query that finds passwords.
POOLER = """\
[databases]
* = host={folder} port={port}
[pgbouncer]
pool_mode = {mode}
auth_type = md5
auth_file = {folder}/users
ignore_startup_parameters = extra_float_digits,options
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
{parameters}
"""


@contextmanager
def pooled(server: PostgresServer, pooler: Values) -> Iterator[int]:
    """Run PgBouncer in front of a server, and yield its port."""
    listen = free_port()
    parameters = "\n".join(f"{name} = {value}" for name, value in pooler["parameters"].items())
    file = server.folder / "pgbouncer.ini"
    text = POOLER.format(
        folder=server.folder, port=server.port, mode=pooler["poolMode"], listen=listen, parameters=parameters
    )
    file.write_text(text, encoding="utf-8")
    (server.folder / "users").write_text('"shop" "secret-1"\n', encoding="utf-8")
    user = "nobody" if os.geteuid() == 0 else None
    command = [on_the_path("pgbouncer"), str(file)]
    with subprocess.Popen(command, user=user, stderr=subprocess.PIPE, text=True) as running:  # noqa: S603
        try:
            said = ""
            while "process up" not in said:
                line = running.stderr.readline() if running.stderr else ""
                assert line, f"PgBouncer ended: {said}"
                said += line
            assert "ERROR" not in said
            assert "unknown parameter" not in said
            yield listen
        finally:
            running.terminate()


def test_pgbouncer_takes_its_parameters_and_leads_many_clients_to_few_connections(
    generations: Callable[..., dict[str, Values]],
) -> None:
    settings = {"memory": "256Mi", "databases": {"shop": {}}, "pooler": {"instances": 8}}
    (values,) = generations(postgres=settings).values()
    (pooler,) = values["poolers"]
    assert pooler["parameters"]["default_pool_size"] == "2"
    with served(*specification(values)) as server:
        server.administer("postgres", "ALTER ROLE shop PASSWORD 'secret-1' CONNECTION LIMIT 2")

        def answers(port: int) -> list[str]:
            address = f"host=127.0.0.1 port={port} dbname=shop user=shop password=secret-1"
            asking = [on_the_path("psql"), "-XAtqc", "SELECT pg_sleep(0.5), 7", address]

            def ask(_: int) -> str:
                done = subprocess.run(asking, capture_output=True, text=True, check=False)  # noqa: S603
                return done.stdout.strip() or done.stderr.strip()

            with ThreadPoolExecutor(10) as clients:
                return list(clients.map(ask, range(10)))

        with pooled(server, pooler) as port:
            assert answers(port) == ["|7"] * 10
        assert any("too many connections" in answer for answer in answers(server.port))
