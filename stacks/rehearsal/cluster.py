"""A cluster of the rehearsal's own: made for it, reached by a kubeconfig of its own alone, and deleted after it."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from constructs.versions import VERSIONS
from stacks.cluster import ClusterError, kubectl
from stacks.rehearsal.simulation import K3S, simulate

# What would lead a program of the rehearsal to another cluster, another state or other settings.
_MEDDLING = ("HELM_KUBE", "KUBE", "MAKE", "MFLAGS", "TF_CLI_ARGS", "TF_DATA_DIR", "TF_VAR_", "TF_WORKSPACE")
_LOOPBACK = ("0.0.0.0", "127.0.0.1", "::1", "localhost")  # noqa: S104 (what k3d calls this machine)
_NAMESPACES = {"default", "kube-node-lease", "kube-public", "kube-system"}
# As many as the most instances of a database that must not share one.
_NODES = 5


class Cluster(ABC):
    """A cluster that is made by one program, in a folder that is empty before and after."""

    program: str
    source: str
    version: str
    prefix: str
    words: str
    # For how many seconds pods are waited for.
    patience: int

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.kubeconfig = folder / "kubeconfig"

    def missing(self) -> str | None:
        """Return how to get the program, if it is not there."""
        if shutil.which(self.program):
            return None
        return f"{self.program} is not on the PATH: go install {self.source}@{self.version}, or {self._releases}"

    def enter(self) -> None:
        """Let this process, and all that it starts, know no other cluster than this one."""
        for variable in [name for name in os.environ if name.startswith(_MEDDLING)]:
            del os.environ[variable]
        os.environ["KUBECONFIG"] = str(self.kubeconfig)

    def create(self) -> None:
        """Make the cluster, and see that it is the one. Raises `ClusterError`."""
        self._make()
        refuse_others(self.prefix + self.name)
        self._furnish()

    def delete(self) -> None:
        """Delete the cluster. Raises `ClusterError`."""
        self._call(self.deletion())

    @abstractmethod
    def deletion(self) -> Sequence[str]:
        """Return the command that deletes it."""

    @abstractmethod
    def _make(self) -> None:
        """Make the cluster, and write its kubeconfig."""

    @abstractmethod
    def _furnish(self) -> None:
        """Give it what the stacks need and it does not bring."""

    @property
    @abstractmethod
    def _releases(self) -> str:
        """Where the program is to be had without Go."""

    def _call(self, command: Sequence[str], **variables: str) -> str:
        """Return what a command prints. Raises `ClusterError` with what it said."""
        sys.stdout.write(f"  {shlex.join(command)}\n")
        sys.stdout.flush()
        done = subprocess.run(  # noqa: S603
            command, env=os.environ | variables, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            message = f"{command[0]} failed:\n{(done.stderr or done.stdout).strip()}"
            raise ClusterError(message)
        return done.stdout


class Kwok(Cluster):
    """Etcd, the API server, its controllers and the scheduler as processes of this machine; pods are not run."""

    program = "kwokctl"
    source = "sigs.k8s.io/kwok/cmd/kwokctl"
    version = VERSIONS.tools.kwokctl
    prefix = "kwok-"
    words = "a real API server, nodes and pods simulated by kwok"
    patience = 120
    _releases = "https://kwok.sigs.k8s.io/docs/user/installation"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._stop = threading.Event()

    def _make(self) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "strata", "kwok")
        configuration = self.folder / "kwokctl.json"
        configuration.write_text(json.dumps(_kwokctl(cache)), encoding="utf-8")
        place = [f"--config={configuration}", f"--name={self.name}", f"--kubeconfig={self.kubeconfig}"]
        self._call(["kwokctl", "create", "cluster", *place, "--wait=120s"], **self._variables())

    def _furnish(self) -> None:
        kubectl("apply", f"--filename={K3S}")
        nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(f"node-{number}") for number in range(_NODES)]}
        kubectl("apply", "--filename=-", text=json.dumps(nodes))
        threading.Thread(target=simulate, args=(self._stop,), daemon=True).start()

    def deletion(self) -> Sequence[str]:
        """Return the command that deletes it."""
        variables = [f"{name}={value}" for name, value in self._variables().items()]
        return ["env", *variables, "kwokctl", "delete", "cluster", f"--name={self.name}"]

    def delete(self) -> None:
        """Stop to simulate, and delete the cluster. Raises `ClusterError`."""
        self._stop.set()
        if (self.folder / "kwok" / "clusters" / self.name).is_dir():
            super().delete()

    def _variables(self) -> Mapping[str, str]:
        return {"KWOK_WORKDIR": str(self.folder / "kwok"), "KWOK_RUNTIME": "binary"}


class K3d(Cluster):
    """K3s itself, in a container; pods are run from their images."""

    program = "k3d"
    source = "github.com/k3d-io/k3d/v5"
    version = VERSIONS.tools.k3d
    prefix = "k3d-"
    words = "K3s in a container, pods run from their images"
    # Images are pulled, and databases make themselves: on a runner of four cores.
    patience = 1200
    _releases = "https://k3d.io"

    def _make(self) -> None:
        image = f"docker.io/rancher/k3s:{VERSIONS.tools.k3s.replace('+', '-')}"
        alone = ["--kubeconfig-update-default=false", "--kubeconfig-switch-context=false"]
        place = [f"--api-port=127.0.0.1:{_free_port()}", f"--image={image}", "--servers=1", "--wait", "--timeout=300s"]
        self._call(["k3d", "cluster", "create", self.name, *place, *alone])
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(self._call(["k3d", "kubeconfig", "get", self.name]), encoding="utf-8")

    def _furnish(self) -> None:
        """K3s brings all of it."""

    def deletion(self) -> Sequence[str]:
        """Return the command that deletes it."""
        return ["k3d", "cluster", "delete", self.name]


def _free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def refuse_others(context: str) -> None:
    """Refuse the cluster of KUBECONFIG if it is not new, on this machine, and called as it is to be.

    Raises `ClusterError`.
    """
    config = json.loads(kubectl("config", "view", "--minify", "--output=json"))
    found, server = config["current-context"], config["clusters"][0]["cluster"]["server"]
    if found != context or urlsplit(server).hostname not in _LOOPBACK:
        message = f"{server} ({found}) is not the cluster that was made, {context} on this machine: nothing is applied"
        raise ClusterError(message)
    names = kubectl("get", "namespaces", "--output=jsonpath={.items[*].metadata.name}").split()
    if strange := sorted(set(names) - _NAMESPACES):
        message = f"{server} is no new cluster, it has {', '.join(strange)}: nothing is applied"
        raise ClusterError(message)


def _kwokctl(cache: Path) -> Mapping[str, object]:
    """Return kwokctl's configuration: K3s' version of Kubernetes, what K3s switches on, and nothing for other machines.

    https://kwok.sigs.k8s.io/docs/user/configuration
    """
    version, _, _ = VERSIONS.tools.k3s.partition("+")
    switches = {
        "kube-apiserver": ("enable-admission-plugins", "NodeRestriction"),
        "kube-controller-manager": ("use-service-account-credentials", "true"),
    }
    return {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokctlConfiguration",
        "options": {"bindAddress": "127.0.0.1", "cacheDir": str(cache), "kubeVersion": version, "runtime": "binary"},
        "componentsPatches": [
            {"name": name, "extraArgs": [{"key": key, "value": value}]} for name, (key, value) in switches.items()
        ],
    }


def _node(name: str) -> Mapping[str, object]:
    """Return a node with room for whatever is tried on it."""
    room = {"cpu": "64", "memory": "256Gi", "pods": "500", "ephemeral-storage": "1Ti"}
    labels = {f"kubernetes.io/{key}": value for key, value in (("arch", "amd64"), ("hostname", name), ("os", "linux"))}
    metadata = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "status": {"allocatable": room, "capacity": room},
    }
