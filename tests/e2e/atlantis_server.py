"""Atlantis as the stack infra ships it, run on loopback instead of in its pod.

Everything is read back from the API server: the StatefulSet's variables and mounts, the ConfigMaps and Secrets that it
names, and a token of its ServiceAccount. Only places are replaced: the mounts' folders, the API server's address, and
the port.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.e2e.cluster import kubectl
from tests.e2e.git_server import GitServer, wait_for
from tests.support import free_port

NAMESPACE = "iac"
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
# It keeps what Terraform was called with in a stack and what it found in its environment, and calls it.
_TERRAFORM = """\
#!/bin/sh
case $1 in
  -chdir=*)
    printf '%s\\n' "$*" >> {record}
    env >> {record}.env
    ;;
esac
exec {terraform} "$@"
"""


def get(kind: str, name: str) -> dict[str, Any]:
    found = kubectl("get", kind, name, f"--namespace={NAMESPACE}", "--output=json")
    assert found.returncode == 0, found.stderr
    item: dict[str, Any] = json.loads(found.stdout)
    return item


class AtlantisServer:
    """Atlantis, its files in a folder, and a record of what it lets Terraform do."""

    def __init__(self, folder: Path, *, binary: str, git_server: GitServer, lock_file: Path | None) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.data = folder / "data"
        self._record = folder / "record"
        self._git_server = git_server
        pod = get("statefulset", "atlantis")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json").stdout)
        cluster = config["clusters"][0]["cluster"]
        self._places = {"https://kubernetes.default.svc": cluster["server"], _ACCOUNT: str(folder / "account")}
        self._places["/atlantis-data"] = str(self.data)
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = [mount for mount in container["volumeMounts"] if "configMap" in volumes[mount["name"]]]
        self._places |= {mount["mountPath"]: str(folder / mount["name"] / mount.get("subPath", "")) for mount in mounts}
        for mount in mounts:
            data = get("configmap", volumes[mount["name"]]["configMap"]["name"])["data"]
            _mount(folder / mount["name"], {name: self._here(text) for name, text in data.items()})
        self.token = kubectl("create", "token", "atlantis", f"--namespace={NAMESPACE}", "--duration=2h").stdout.strip()
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        _mount(folder / "account", {"token": self.token, "ca.crt": authority})
        self.guard = folder / "guard"
        if lock_file is not None:
            (self.guard / "..data" / "terraform.lock.hcl").write_bytes(lock_file.read_bytes())
        binaries = folder / "bin"
        binaries.mkdir()
        wrapped = _TERRAFORM.format(record=self._record, terraform=shutil.which("terraform"))
        (binaries / "terraform").write_text(wrapped, encoding="utf-8")
        (binaries / "terraform").chmod(0o755)
        environment = {variable["name"]: self._value(variable) for variable in container["env"]}
        self.web = {key: environment[f"ATLANTIS_WEB_{key}"] for key in ("USERNAME", "PASSWORD")}
        self.webhook_secret = environment["ATLANTIS_GITEA_WEBHOOK_SECRET"]
        self.secrets = {
            "the Git server's token": environment["ATLANTIS_GITEA_TOKEN"],
            "the webhook's secret": self.webhook_secret,
            "the web page's password": self.web["PASSWORD"],
            "the ServiceAccount's token": self.token,
        }
        mirror = os.environ.get("TF_CLI_CONFIG_FILE")
        environment |= {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "ATLANTIS_PORT": str(self.port),
            "ATLANTIS_ATLANTIS_URL": self.address,
            # The Git server's certificate is known to nobody else.
            "SSL_CERT_FILE": str(git_server.certificate),
            "GIT_SSL_CAINFO": str(git_server.certificate),
            "GIT_CONFIG_NOSYSTEM": "1",
            **({"TF_CLI_CONFIG_FILE": mirror} if mirror else {}),
        }
        for place in (folder / "home", self.data):
            place.mkdir()
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [binary, *container["args"]], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)

    def wait_until_up(self) -> None:
        wait_for("Atlantis", self._is_up)

    def calls(self) -> list[str]:
        """What Terraform was called with in a stack, call by call."""
        return self._record.read_text(encoding="utf-8").splitlines() if self._record.exists() else []

    def request(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> int:
        """Call the server from outside, and return the status."""
        request = urllib.request.Request(f"{self.address}{path}", data=body, headers=dict(headers or {}))  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def written(self) -> Iterator[tuple[str, bytes]]:
        """All that was written while it ran, by name: its log, Terraform's environments, and every plan's files."""
        yield "log", (self.folder / "log").read_bytes()
        yield "Terraform's environment", Path(f"{self._record}.env").read_bytes()
        # A checkout may go while it is walked through: that of a pull request that was closed just now.
        for path in (Path(folder, name) for folder, _, names in os.walk(self.data) for name in names):
            # Atlantis itself keeps the address that it clones from there, with the Git server's token in it.
            if path.is_file() and path.name not in ("atlantis.db", "config", "FETCH_HEAD"):
                yield str(path), path.read_bytes()
                if zipfile.is_zipfile(path):
                    with zipfile.ZipFile(path) as plan:
                        for name in plan.namelist():
                            yield f"{path}: {name}", plan.read(name)

    def _value(self, variable: Mapping[str, Any]) -> str:
        if "value" in variable:
            return self._here(str(variable["value"]))
        source = variable["valueFrom"]["secretKeyRef"]
        return base64.b64decode(get("secret", source["name"])["data"][source["key"]]).decode()

    def _here(self, text: str) -> str:
        return re.sub("|".join(map(re.escape, self._places)), lambda found: self._places[found.group()], text)

    def _is_up(self) -> bool | None:
        assert self._process.poll() is None, self.log()
        try:
            return self.request("/healthz") == 200 or None
        except OSError:
            return None


def _mount(folder: Path, data: Mapping[str, str]) -> None:
    """Lay files out as a pod finds them: each one a link into `..data`, which is a link itself."""
    version = folder / "..2026_01_01"
    version.mkdir(parents=True)
    (folder / "..data").symlink_to(version.name)
    for name, text in data.items():
        (version / name).write_text(text, encoding="utf-8")
        (folder / name).symlink_to(f"..data/{name}")
