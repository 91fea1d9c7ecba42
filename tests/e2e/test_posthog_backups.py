"""PostHog's backups and its way back, by the shipped scripts, on a real Postgres and buckets that rclone serves.

No cluster is needed. Postgres' programs are of the version that CloudNativePG's image has, where they are at hand.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from constructs.l4_insight.posthog.backups import RESTORED
from tests.e2e.postgres_server import PostgresServer
from tests.support import ROOT, free_port, on_the_path

pytestmark = pytest.mark.e2e

SNAPSHOTS, MIRROR = (ROOT / "charts" / name / "scripts" for name in ("snapshots", "object-mirror"))
PASSWORD = "secret-1"  # noqa: S105 (of a server that ends with the test)
SPEC = {
    "postgresql": {"parameters": {}, "pg_hba": ["host all all all scram-sha-256"]},
    "bootstrap": {"initdb": {"database": "app", "owner": "app"}},
    "managed": {"roles": [{"name": "posthog", "login": True}]},
}
# What PostHog's migrations ask of the owner of a database, who is no superuser.
MIGRATIONS = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE EXTENSION IF NOT EXISTS btree_gin",
    "CREATE EXTENSION IF NOT EXISTS ltree",
    "CREATE TABLE posthog_cohort (id serial PRIMARY KEY, name text)",
    'CREATE INDEX CONCURRENTLY "cohort_name_trgm_idx" ON posthog_cohort USING gin (name gin_trgm_ops)',
    "INSERT INTO posthog_cohort (name) SELECT 'cohort ' || n FROM generate_series(1, 1000) AS n",
)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    # Postgres does not run as root, and pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        found = PostgresServer(Path(folder), SPEC, [{"name": "posthog", "owner": "posthog"}])
        try:
            found.administer("postgres", f"ALTER ROLE posthog PASSWORD '{PASSWORD}'")
            yield found
        finally:
            found.stop()


class Buckets:
    """Two buckets behind S3: a folder each, `posthog` and `saved`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("posthog", "saved"):
            (root / name).mkdir(parents=True)
        self.port = free_port()
        command = [on_the_path("rclone"), "--config=", "serve", "s3", str(root), "--auth-key=key,secret"]
        self._process = subprocess.Popen([*command, f"--addr=127.0.0.1:{self.port}"], stderr=subprocess.DEVNULL)  # noqa: S603
        time.sleep(1)

    def variables(self) -> dict[str, str]:
        """What the charts give the scripts of the way to them."""
        keys = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
        common = {"PROVIDER": "Other", "ENDPOINT": f"http://127.0.0.1:{self.port}", "NO_CHECK_BUCKET": "true", **keys}
        remotes = {f"RCLONE_CONFIG_{name}": {"TYPE": "s3", **common} for name in ("SOURCE", "MIRROR")}
        named = {f"{name}_{key}": value for name, settings in remotes.items() for key, value in settings.items()}
        return {**named, **{f"RCLONE_S3_{key}": value for key, value in common.items()}}

    def change(self, verb: str, name: str, content: str = "") -> None:
        """Change an object by S3: the server would not see a file that changes beneath it."""
        command = [on_the_path("rclone"), "--config=", verb, f"source:posthog/recordings/{name}"]
        environment = {"PATH": os.environ["PATH"], **self.variables()}
        subprocess.run(command, env=environment, input=content, text=True, check=True)  # noqa: S603

    def files(self, bucket: str) -> dict[str, str]:
        folder = self.root / bucket
        return {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            for path in folder.rglob("*")
            if path.is_file()
        }

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def buckets(tmp_path: Path) -> Iterator[Buckets]:
    found = Buckets(tmp_path / "buckets")
    yield found
    found.stop()


def run(script: Path, variables: Mapping[str, str], snapshots: Path | None = None) -> subprocess.CompletedProcess[str]:
    text = script.read_text(encoding="utf-8")
    if snapshots is not None:
        snapshots.mkdir(exist_ok=True)
        text = text.replace("/snapshots", str(snapshots))
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(["/bin/sh", "-c", text], env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def postgres(server: PostgresServer, **more: str) -> dict[str, str]:
    """What the chart gives the scripts of the way to Postgres, with its programs of the server's own version."""
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "posthog", "PGPASSWORD": PASSWORD}
    return {**login, "PGDATABASE": "posthog", "INTO": RESTORED, "PATH": server.path(), **more}


def migrate(server: PostgresServer) -> None:
    for statement in MIGRATIONS:
        status, words = server.ask("posthog", "posthog", PASSWORD, statement)
        assert status == 0, words


def test_the_owner_of_the_database_may_do_what_migrations_do(server: PostgresServer) -> None:
    migrate(server)
    found = server.administer("posthog", "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension")
    assert found == "btree_gin ltree pg_trgm plpgsql"
    assert (
        server.administer("postgres", "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = 'posthog'") == "f"
    )


def test_a_dump_comes_back_beside_what_is_there_and_takes_its_name(
    server: PostgresServer, buckets: Buckets, tmp_path: Path
) -> None:
    migrate(server)
    place = {"PLACE": ":s3:saved/database", "KEEP_DAYS": "14", "SYSTEM": "posthog", **buckets.variables()}
    saved = run(SNAPSHOTS / "posthog" / "save", postgres(server), tmp_path / "out")
    assert saved.returncode == 0, saved.stderr
    sent = run(SNAPSHOTS / "upload", {**place}, tmp_path / "out")
    assert sent.returncode == 0, sent.stderr
    (name,) = (path.name for path in (buckets.root / "saved" / "database").iterdir())
    assert server.ask("posthog", "posthog", PASSWORD, "DELETE FROM posthog_cohort WHERE id > 10")[0] == 0

    # As the restore's steps do: nothing of the database in use is touched before the last of them.
    server.administer("postgres", f'CREATE DATABASE "{RESTORED}" OWNER "posthog"')
    late = run(SNAPSHOTS / "download", {**place, "FROM": "", "SINCE": "20990101T000000Z"}, tmp_path / "in")
    assert "has no snapshot since one of 20990101T000000Z" in late.stderr
    wanted = {**place, "FROM": "", "SINCE": "20990101T000000Z 20200101T000000Z"}
    brought = run(SNAPSHOTS / "download", wanted, tmp_path / "in")
    assert brought.stdout.strip() == f"brought {name}"
    done = run(SNAPSHOTS / "posthog" / "restore", postgres(server), tmp_path / "in")
    assert done.returncode == 0, done.stderr
    assert server.administer("posthog", "SELECT count(*) FROM posthog_cohort") == "10"
    comment = f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{RESTORED}'"  # noqa: S608 (our words)
    assert server.administer("postgres", comment) == name

    server.administer(
        "postgres",
        'BEGIN; ALTER DATABASE "posthog" RENAME TO "posthog_before_20261124T120000Z"; '
        f'ALTER DATABASE "{RESTORED}" RENAME TO "posthog"; COMMIT',
    )
    asked = "SELECT count(*), max(id) FROM posthog_cohort; INSERT INTO posthog_cohort (name) VALUES ('a') RETURNING id"
    assert server.ask("posthog", "posthog", PASSWORD, asked) == (0, "1000|1000\n1001")
    assert server.administer("posthog_before_20261124T120000Z", "SELECT count(*) FROM posthog_cohort") == "10"
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert server.administer("posthog", owners) == "posthog"
    index = "EXPLAIN SELECT * FROM posthog_cohort WHERE name LIKE '%ohort 77%'"
    assert server.ask("posthog", "posthog", PASSWORD, f"SET enable_seqscan = off; {index}")[0] == 0


def test_a_database_without_tables_is_no_backup(server: PostgresServer, tmp_path: Path) -> None:
    done = run(SNAPSHOTS / "posthog" / "save", postgres(server), tmp_path / "out")
    assert done.returncode == 1
    assert "has no table yet" in done.stderr
    assert not list((tmp_path / "out").glob("*.dump"))


def test_objects_come_back_as_they_were_at_a_time_and_what_was_deleted_before_does_not(buckets: Buckets) -> None:
    place = {"SOURCE": "source:posthog", "PLACE": "mirror:saved/objects", "KEEP_DAYS": "14", "ENOUGH": "2", "FROM": ""}
    variables = {**place, **buckets.variables()}

    def mirror() -> str:
        done = run(MIRROR / "mirror", variables)
        assert done.returncode == 0, done.stderr
        time.sleep(1.1)
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())

    for name in ("a", "b", "c", "d", "f", "g"):
        buckets.change("rcat", name, name)
    mirror()
    buckets.change("deletefile", "a")
    then = mirror()
    buckets.change("deletefile", "b")
    buckets.change("rcat", "c", "changed")
    mirror()
    assert {path.split("/")[-1] for path in buckets.files("saved") if "/deleted/" in path} == {"a", "b", "c"}

    # The store loses its volume, and a recording was made since.
    for name in ("c", "d", "f", "g"):
        buckets.change("deletefile", name)
    buckets.change("rcat", "e", "e")
    refused = run(MIRROR / "mirror", variables)
    assert refused.returncode == 1
    assert "has 1 objects, and its mirror 4: nothing was changed" in refused.stderr
    done = run(MIRROR / "restore", {**variables, "FROM": then})
    assert done.returncode == 0, done.stderr
    assert buckets.files("posthog") == {f"recordings/{name}": name for name in ("b", "c", "d", "e", "f", "g")}


def test_what_was_deleted_goes_from_the_mirror_when_its_time_is_over(buckets: Buckets) -> None:
    variables = {"SOURCE": "source:posthog", "PLACE": "mirror:saved/objects", "KEEP_DAYS": "14", **buckets.variables()}
    buckets.change("rcat", "a", "a")
    old, new = ("20200101T000000Z", time.strftime("%Y%m%dT000000Z", time.gmtime()))
    for name in (old, new):
        folder = buckets.root / "saved" / "objects" / "deleted" / name
        folder.mkdir(parents=True)
        (folder / "b").write_text("b", encoding="utf-8")
    done = run(MIRROR / "mirror", variables)
    assert done.returncode == 0, done.stderr
    assert set(buckets.files("saved")) == {"objects/current/recordings/a", f"objects/deleted/{new}/b"}
