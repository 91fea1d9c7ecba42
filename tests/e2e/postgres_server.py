"""A real Postgres beside the tests, with the roles, databases, functions and rules that CloudNativePG would make."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import free_port, need, on_the_path


class PostgresServer:
    """A server over TLS, from the spec of a `Cluster` and its `Database` resources."""

    def __init__(self, folder: Path, cluster: Mapping[str, Any], databases: Sequence[Mapping[str, Any]]) -> None:
        self.folder = folder
        self.port = free_port()
        self.authority = folder / "server.crt"
        self._programs = Path(os.path.realpath(_program("initdb"))).parent
        self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        folder.chmod(0o755)
        key = folder / "server.key"
        certificate = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
        files = ("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(self.authority))
        self._run(on_the_path("openssl"), "req", *certificate.split(), *files)
        shutil.chown(key, self._user)
        self._data = folder / "data"
        self._data.mkdir()
        shutil.chown(self._data, self._user)
        shutil.chown(folder, self._user)
        self._as_user("initdb", "--username=postgres", "--auth=trust", f"--pgdata={self._data}")
        rules = ["local all all trust", *cluster["postgresql"].get("pg_hba", ["host all all all scram-sha-256"])]
        (self._data / "pg_hba.conf").write_text("".join(f"{rule}\n" for rule in rules), encoding="utf-8")
        options = f"-p {self.port} -k {folder} -c ssl=on -c ssl_cert_file={self.authority} -c ssl_key_file={key}"
        parameters = cluster["postgresql"]["parameters"]
        options += "".join(f" -c {name}={value}" for name, value in parameters.items())
        self._as_user(
            "pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--log={folder / 'log'}", f"--options={options}"
        )
        self._make(cluster, databases)

    def _make(self, cluster: Mapping[str, Any], databases: Sequence[Mapping[str, Any]]) -> None:
        """Do what CloudNativePG does with the specs."""
        initdb = cluster["bootstrap"]["initdb"]
        self.administer("postgres", f'CREATE ROLE "{initdb["owner"]}" LOGIN')
        self.administer("postgres", f'CREATE DATABASE "{initdb["database"]}" OWNER "{initdb["owner"]}"')
        for statement in initdb.get("postInitTemplateSQL", []):
            self.administer("template1", statement)
        for role in cluster.get("managed", {}).get("roles", []):
            if role["name"] != initdb["owner"]:
                self.administer("postgres", f'CREATE ROLE "{role["name"]}" {"LOGIN" if role["login"] else "NOLOGIN"}')
        for database in databases:
            self.administer("postgres", f'CREATE DATABASE "{database["name"]}" OWNER "{database["owner"]}"')

    def administer(self, database: str, statement: str) -> str:
        """Run a statement as the superuser, who is let in by the socket only, and return what it prints."""
        return self._run(
            _program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-p", str(self.port),
            "-U", "postgres", "-d", database, "-c", statement,
        )  # fmt: skip

    def takes(self, parameter: str, value: str) -> bool:
        """Tell whether a server like this one would start with a parameter."""
        user = self._user if os.geteuid() == 0 else None
        command = [
            str(self._programs / "postgres"),
            "-C",
            parameter,
            "-c",
            f"{parameter}={value}",
            "-D",
            str(self._data),
        ]
        return subprocess.run(command, cwd=self.folder, user=user, capture_output=True, check=False).returncode == 0  # noqa: S603

    def path(self) -> str:
        """Return a PATH on which the programs of the server's own version come first."""
        return f"{self._programs}:{os.environ['PATH']}"

    def run(self, program: str, *arguments: str, given: bytes = b"") -> bytes:
        """Run a program of the server's own version as the superuser, and return what it writes."""
        path = self._programs / program
        need(path.is_file(), f"{program} beside initdb")
        place = [f"--host={self.folder}", f"--port={self.port}", "--username=postgres"]
        done = subprocess.run([str(path), *place, *arguments], input=given, capture_output=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(
        self, database: str, user: str, password: str, statement: str, *, tls: str = "verify-full"
    ) -> tuple[int, str]:
        """Run statements, each by itself, as somebody on the network, and return the exit status and what is said."""
        address = (
            f"host=localhost hostaddr=127.0.0.1 port={self.port} dbname={database} user={user} sslmode={tls} "
            f"sslrootcert={self.authority}"
        )
        commands = [f"--command={part}" for part in statement.split("; ")]
        done = subprocess.run(  # noqa: S603
            [_program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", address, *commands],
            env={**os.environ, "PGPASSWORD": password},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def stop(self) -> None:
        self._as_user("pg_ctl", "stop", "--mode=immediate", f"--pgdata={self._data}")

    def _as_user(self, program: str, *arguments: str) -> None:
        user = self._user if os.geteuid() == 0 else None
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(  # noqa: S603
            command, cwd=self.folder, user=user, capture_output=program != "pg_ctl", text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    @staticmethod
    def _run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def _program(name: str) -> str:
    """Return where a program of Postgres is: on the PATH, or where Debian puts it."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    need(found, f"{name} on the PATH")
    return str(found)
