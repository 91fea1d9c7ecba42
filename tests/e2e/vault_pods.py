"""Vault's pods as processes: the commands, files and accounts that the cluster holds, at addresses of this machine.

A process sees the files of its ServiceAccount where a pod does, in a mount namespace of its own. `Pods` does what a
kubelet does: it starts again what has ended.
"""

import base64
import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import yaml

from tests.e2e.cluster import kubectl, objects
from tests.support import free_port

NAMESPACE = "iac"
KEYS = "vault-keys"
_PLACE = "/run/secrets/kubernetes.io"
_MOUNT = f'mount -t tmpfs tmpfs /run; mkdir -p {_PLACE}; cp -r "$0" {_PLACE}/serviceaccount; exec "$@"'


def token_of(account: str, namespace: str) -> str:
    made = kubectl("create", "token", account, f"--namespace={namespace}")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def keys() -> dict[str, str]:
    """What the Secret with the keys holds, encoded as it is there."""
    found = kubectl("get", "secret", KEYS, f"--namespace={NAMESPACE}", "--output=jsonpath={.data}")
    assert found.returncode == 0, found.stderr
    data: dict[str, str] = json.loads(found.stdout or "{}")
    return data


def put_keys(data: dict[str, str] | None) -> None:
    patch = json.dumps({"data": data})
    done = kubectl("patch", "secret", KEYS, f"--namespace={NAMESPACE}", "--type=merge", f"--patch={patch}")
    assert done.returncode == 0, done.stderr


def wait_for(done: Callable[[], object], words: str, seconds: float = 90) -> float:
    """Return after how many seconds it is so. Fails where it is not in time."""
    start = time.monotonic()
    while not done():
        assert time.monotonic() - start < seconds, words
        time.sleep(0.1)
    return time.monotonic() - start


class Pods:
    """Vault's pods, of which as many run as the cluster's StatefulSet has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = [free_port() for _ in range(3)]
        self.metrics_ports = [free_port() for _ in range(3)]
        self.cluster_ports = [free_port() for _ in range(3)]
        self.data = [folder / f"data-vault-{ordinal}" for ordinal in range(3)]
        server = urlsplit(_cluster()["server"])
        self._api = {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port)}
        self._servers: dict[int, subprocess.Popen[bytes]] = {}
        self._sidecars: dict[int, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()
        self._kubelet: threading.Thread | None = None
        self.log = folder / "log"
        self.lost: set[int] = set()

    # What a kubelet does.

    def start(self) -> None:
        (stateful_set,) = [
            item for item in objects("statefulsets", f"--namespace={NAMESPACE}") if item["metadata"]["name"] == "vault"
        ]
        (self._sidecar,) = [
            container
            for container in stateful_set["spec"]["template"]["spec"]["containers"]
            if container["name"] == "bank-vaults"
        ]
        self.replicas: int = stateful_set["spec"]["replicas"]
        for ordinal in range(self.replicas):
            self._write_configuration(ordinal)
        self._stop.clear()
        self._kubelet = threading.Thread(target=self._keep, daemon=True)
        self._kubelet.start()

    def stop(self) -> None:
        self._stop.set()
        if self._kubelet is not None:
            self._kubelet.join()
        self.kill()

    def kill(self) -> None:
        """Kill every server and every sidecar at once, as a power failure does."""
        for process in (*self._servers.values(), *self._sidecars.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def kill_server(self, ordinal: int, *, node_is_lost: bool = False) -> None:
        if node_is_lost:
            self.lost.add(ordinal)
        self._servers[ordinal].send_signal(signal.SIGKILL)
        self._servers[ordinal].wait()

    def _keep(self) -> None:
        with self.log.open("ab") as log:
            while not self._stop.wait(0.2):
                there = [ordinal for ordinal in range(self.replicas) if ordinal not in self.lost]
                for ordinal in there:
                    if self._ended(self._servers, ordinal):
                        self._servers[ordinal] = self._start_server(ordinal, log)
                for ordinal in there:
                    if self._ended(self._sidecars, ordinal):
                        self._sidecars[ordinal] = self._start_sidecar(ordinal, log)
                    if self.replicas > 1:
                        # Each opens the same port for its metrics: on one machine they take turns.
                        self._take_turn(self._sidecars[ordinal])

    @staticmethod
    def _take_turn(sidecar: subprocess.Popen[bytes]) -> None:
        try:
            sidecar.wait(timeout=20)
        except subprocess.TimeoutExpired:
            sidecar.kill()
            sidecar.wait()

    @staticmethod
    def _ended(processes: dict[int, subprocess.Popen[bytes]], ordinal: int) -> bool:
        return ordinal not in processes or processes[ordinal].poll() is not None

    def _start_server(self, ordinal: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = {
            "VAULT_API_ADDR": self.address(ordinal),
            "VAULT_CLUSTER_ADDR": f"https://127.0.0.1:{self.cluster_ports[ordinal]}",
            "VAULT_RAFT_NODE_ID": f"vault-{ordinal}",
            "VAULT_K8S_POD_NAME": f"vault-{ordinal}",
            "VAULT_K8S_NAMESPACE": NAMESPACE,
        }
        command = ["vault", "server", f"-config={self.folder / f'vault-{ordinal}.hcl'}"]
        return self._popen("vault", command, environment, log)

    def _start_sidecar(self, ordinal: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [*self._sidecar["command"], *self._sidecar["args"], *(["--once"] if self.replicas > 1 else [])]
        environment = {"VAULT_ADDR": self.address(ordinal), "POD_NAME": f"vault-{ordinal}"}
        return self._popen("vault", command, environment, log)

    def _write_configuration(self, ordinal: int) -> None:
        found = kubectl("get", "configmap", "vault-config", f"--namespace={NAMESPACE}", "--output=json")
        text = json.loads(found.stdout)["data"]["extraconfig-from-values.hcl"]
        text = text.replace("[::]:8200", f"127.0.0.1:{self.ports[ordinal]}")
        text = text.replace("[::]:8201", f"127.0.0.1:{self.cluster_ports[ordinal]}")
        text = text.replace("[::]:8202", f"127.0.0.1:{self.metrics_ports[ordinal]}")
        text = text.replace("/vault/data", str(self.data[ordinal]))
        for other, port in enumerate(self.ports):
            text = text.replace(f"vault-{other}.vault-internal:8200", f"127.0.0.1:{port}")
        assert "vault-internal" not in text
        self.data[ordinal].mkdir(exist_ok=True)
        (self.folder / f"vault-{ordinal}.hcl").write_text(text, encoding="utf-8")

    def _popen(
        self, account: str, command: Sequence[str], environment: dict[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        everything = {**self._environment(), **environment}
        return subprocess.Popen(self._mounted(account, command), env=everything, stdout=log, stderr=log)  # noqa: S603

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self._api}

    def _mounted(self, account: str, command: Sequence[str]) -> list[str]:
        """Let a command see the files of a ServiceAccount where a pod sees them."""
        place = self.folder / f"account-{account}"
        place.mkdir(exist_ok=True)
        (place / "token").write_text(token_of(account, NAMESPACE), encoding="utf-8")
        (place / "namespace").write_text(NAMESPACE, encoding="utf-8")
        (place / "ca.crt").write_bytes(base64.b64decode(_cluster()["certificate-authority-data"]))
        space = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", _MOUNT, str(place)]
        return [*space, *command]

    # What runs beside them.

    @staticmethod
    def configuration() -> str:
        """What bank-vaults is to write into Vault."""
        found = kubectl("get", "configmap", "vault-configuration", f"--namespace={NAMESPACE}", "--output=json")
        text: str = json.loads(found.stdout)["data"]["vault.yaml"]
        return text

    def configure(self, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the init container of `vault-configure`, where `text` is given with that configuration."""
        text = self.configuration() if text is None else text
        host, port = self._api.values()
        assert "https://kubernetes.default.svc:443" in text
        path = self.folder / "vault.yaml"
        path.write_text(text.replace("https://kubernetes.default.svc:443", f"https://{host}:{port}"), encoding="utf-8")
        (deployment,) = [
            item
            for item in objects("deployments", f"--namespace={NAMESPACE}")
            if item["metadata"]["name"] == "vault-configure"
        ]
        (once,) = deployment["spec"]["template"]["spec"]["initContainers"]
        command = [word.replace("/configuration/vault.yaml", str(path)) for word in once["command"]]
        return self.run("vault-configure", command, _passwords(once["env"]))

    def snapshot(self, place: Path) -> subprocess.CompletedProcess[str]:
        """Run the container that saves."""
        (job,) = objects("cronjobs", f"--namespace={NAMESPACE}")
        (save,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"]
        command = [*save["command"], *(word.replace("/snapshots", str(place)) for word in save["args"])]
        return self.run("vault-snapshots", command)

    def run(
        self, account: str, command: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self._environment(), **(variables or {}), "VAULT_ADDR": self.address(0)}
        words = self._mounted(account, command)
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603

    # What a client does.

    def address(self, ordinal: int) -> str:
        return f"http://127.0.0.1:{self.ports[ordinal]}"

    def call(
        self, path: str, *, token: str = "", data: object = None, method: str | None = None, ordinal: int = 0
    ) -> tuple[int, dict[str, Any]]:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.address(ordinal)}/v1/{path}", data=body, method=method)  # noqa: S310
        request.add_header("X-Vault-Token", token)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")
        except OSError:
            return 0, {}

    def is_unsealed(self, ordinal: int = 0) -> bool:
        return self.call("sys/seal-status", ordinal=ordinal)[1].get("sealed") is False

    def leader(self) -> str | None:
        """The address of the server that leads, where one answers and leads."""
        for ordinal in range(self.replicas):
            answer = self.call("sys/leader", ordinal=ordinal)[1]
            if answer.get("is_self"):
                return str(answer["leader_address"])
        return None

    def log_in(self, role: str, account: str, namespace: str, ordinal: int = 0) -> tuple[int, str]:
        """Sign in with a token of a ServiceAccount; the answer's code, and Vault's token."""
        data = {"role": role, "jwt": token_of(account, namespace)}
        code, answer = self.call("auth/kubernetes/login", data=data, ordinal=ordinal)
        return code, answer.get("auth", {}).get("client_token", "")

    def administrator(self, ordinal: int = 0) -> str:
        code, token = self.log_in("administrator", "vault-administrator", NAMESPACE, ordinal)
        assert token, code
        return token


def _passwords(variables: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The variables of a container that come from Secrets."""
    found = {}
    for variable in variables:
        if "valueFrom" in variable:
            source = variable["valueFrom"]["secretKeyRef"]
            place = (f"--namespace={NAMESPACE}", f"--output=jsonpath={{.data.{source['key']}}}")
            found[variable["name"]] = base64.b64decode(kubectl("get", "secret", source["name"], *place).stdout).decode()
    return found


def without(configuration: str, environment: str) -> str:
    """The configuration as it is without an environment: what infra's next apply writes when its file is gone."""
    found = yaml.safe_load(configuration)
    found["policies"] = [item for item in found["policies"] if item["name"] != environment]
    found["secrets"] = [item for item in found["secrets"] if item["path"] != environment]
    for auth in found["auth"]:
        auth["roles"] = [item for item in auth["roles"] if item["name"] != environment]
    return yaml.safe_dump(found)


def _cluster() -> dict[str, str]:
    shown = kubectl("config", "view", "--minify", "--flatten", "--raw", "--output=jsonpath={.clusters[0].cluster}")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, str] = json.loads(shown.stdout)
    return found
