"""K3s' nodes, converged over real SSH: every machine is an sshd of its own on loopback, with a folder as its disk.

What stands in for K3s, systemd and the installer is in tests/machine; converge.sh and node.sh run as they are.
"""

import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from constructs.l2_platform.telemetry import TelemetrySettings
from stacks.project import Project
from tests.support import ROOT, Stack, need, on_the_path

VERSION = "v1.36.4+k3s1"
NAMES = ("alpha", "beta", "gamma")
LEFT_OUT = "put it back, or remove it (volumes on its disk are lost):"
STAND_INS = ROOT / "tests" / "machine"
SCRIPT = ROOT / "scripts" / "k3s" / "converge.sh"
Node = dict[str, Any]
Installed = Callable[..., tuple[list[Node], list[Node]]]
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


@dataclass
class Machine:
    """A machine that is none: an address on loopback with an sshd, and a folder."""

    name: str
    address: str
    folder: Path
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def internal(self) -> str:
        return self.address.replace("127.0.0.", "10.1.0.")

    def node(self, **changes: object) -> Node:
        user = getpass.getuser()
        return {"name": self.name, "host": self.address, "user": user, "port": self.port, **changes}

    def read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def config(self) -> str:
        return self.read("etc/rancher/k3s/config.yaml")

    def stand_in(self, program: str, text: str) -> None:
        path = self.folder / "local" / "bin" / program
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def is_untouched(self) -> bool:
        return not (self.root / "etc" / "rancher").exists() and not (self.root / "var" / "lib" / "rancher").exists()

    def build(self) -> None:
        for folder in ("etc", "var/lib", "run/systemd/system", "tmp", "cluster", "proc", "dev", "usr"):
            (self.root / folder).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            real = Path("/") / name
            if real.is_symlink():
                (self.root / name).symlink_to(real.readlink())
            elif real.is_dir():
                (self.root / name).mkdir()
        for name in ("passwd", "group", "ld.so.cache"):
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), self.root / "etc")
        if Path("/etc/alternatives").is_dir():
            shutil.copytree("/etc/alternatives", self.root / "etc" / "alternatives", symlinks=True)
        for name, text in (("hostname", self.name), ("address", self.address), ("internal", self.internal)):
            (self.root / "etc" / name).write_text(f"{text}\n", encoding="utf-8")
        shutil.copytree(STAND_INS / "bin", self.folder / "local" / "bin")
        shutil.copytree(STAND_INS / "lib", self.folder / "local" / "lib")

    def start(self, authorized: Path) -> None:
        with socket.create_server((self.address, 0)) as probe:
            self.port = probe.getsockname()[1]
        key = self.folder / "host_key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress {self.address}:{self.port}\nHostKey {key}\nAuthorizedKeysFile {authorized}\nPidFile none\n"
            "UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin prohibit-password\nForceCommand {STAND_INS / 'enter.sh'} {self.folder}\n"
            # A bash that is the first one within ssh would read the ~/.bashrc of whoever runs the tests.
            "SetEnv SHLVL=1\n",
            encoding="utf-8",
        )
        command = [str(SSHD), "-D", "-e", "-f", str(config)]
        if os.getuid() == 0:
            # For root's sshd, /run/sshd must be there.
            inside = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", inside, "sh", *command]
        with (self.folder / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
        # A busy machine takes seconds to start one; whatever ended will not come up.
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as attempt:
                if attempt.connect_ex((self.address, self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail((self.folder / "sshd.log").read_text(encoding="utf-8"))

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


@dataclass
class Lab:
    """Some machines, and the laptop that converges them."""

    folder: Path
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "laptop" / "kube" / "config"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "laptop" / "known_hosts"

    @property
    def key(self) -> Path:
        return self.folder / "laptop" / "key"

    def machine(self, name: str, disk: Path | None = None) -> Machine:
        """Return the machine of that name, a new one with a copy of another's disk or with an empty one."""
        if name not in self.machines:
            machine = Machine(name, f"127.0.0.{len(self.machines) + 11}", self.folder / "machines" / name)
            if disk is None:
                machine.build()
            else:
                for part in ("root", "local"):
                    shutil.copytree(disk / part, machine.folder / part, symlinks=True)
            machine.start(self.folder / "laptop" / "authorized_keys")
            self.machines[name] = machine
            key = (machine.folder / "host_key.pub").read_text(encoding="utf-8")
            with self.known_hosts.open("a", encoding="utf-8") as file:
                file.write(f"[{machine.address}]:{machine.port} {key}")
        return self.machines[name]

    def stop(self) -> None:
        for machine in self.machines.values():
            machine.stop()

    def environment(self, servers: Sequence[Node], agents: Sequence[Node] = (), **changes: str) -> dict[str, str]:
        """What Terraform would hand to the script; `test_terraform_hands_...` holds the two together."""
        settings = {
            "SERVERS": "\n".join(map(line, servers)),
            "AGENTS": "\n".join(map(line, agents)),
            "VERSION": VERSION,
            "INSTALLER": "https://get.k3s.io -",
            "API_ADDRESS": "",
            "TLS_SANS": "",
            "SNAPSHOT_SCHEDULE": "0 */6 * * *",
            "SNAPSHOT_RETENTION": "12",
            "SNAPSHOT_S3_SECRET": "",
            "API_SERVER_ARGUMENTS": "",
            "READY_TIMEOUT": "10",
            "SSH_KEY": str(self.key),
            "SSH_KNOWN_HOSTS": str(self.known_hosts),
            "KUBECONFIG": str(self.kubeconfig),
            **{key.upper(): value for key, value in changes.items()},
        }
        return {**self.laptop(), **{f"STRATA_{key}": value for key, value in settings.items()}}

    def laptop(self) -> dict[str, str]:
        return {
            "PATH": f"{STAND_INS / 'laptop'}:{os.environ['PATH']}",
            "HOME": str(self.folder / "laptop"),
            "TMPDIR": str(self.folder / "laptop" / "tmp"),
            "RECORDS": str(self.folder / "records"),
            "REAL_SSH": str(shutil.which("ssh")),
        }

    def converge(
        self, servers: Sequence[Node], agents: Sequence[Node] = (), **changes: str
    ) -> subprocess.CompletedProcess[str]:
        environment = self.environment(servers, agents, **changes)
        return subprocess.run(["bash", SCRIPT], env=environment, capture_output=True, text=True, check=False)  # noqa: S603, S607

    def log(self) -> list[str]:
        """What was changed or seen ready since it was last asked, in order."""
        path = self.folder / "cluster" / "log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def records(self, name: str) -> str:
        path = self.folder / "records" / name
        return path.read_text(encoding="utf-8") if path.exists() else ""


def line(node: Node) -> str:
    keys = ("name", "host", "user", "port", "internal_address", "external_address")
    return " ".join(str(node.get(key) or "-") for key in keys)


def new_lab(folder: Path) -> Lab:
    lab = Lab(folder)
    for name in ("laptop/tmp", "machines", "cluster/addresses", "records"):
        (folder / name).mkdir(parents=True)
    shutil.copy(STAND_INS / "installer.sh", folder / "cluster")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(lab.key))
    shutil.copy(lab.folder / "laptop" / "key.pub", lab.folder / "laptop" / "authorized_keys")
    return lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    need(SSHD and shutil.which("ssh-keygen"), "sshd: apt-get install openssh-server")
    need(
        sys.platform == "linux" and run("unshare", "--map-root-user", "--mount", "--net", "true").returncode == 0,
        "Linux with user namespaces (unshare)",
    )
    lab = new_lab(tmp_path)
    yield lab
    lab.stop()


@pytest.fixture(scope="session")
def installed_labs() -> dict[tuple[tuple[str, ...], tuple[str, ...]], Lab]:
    """The labs whose nodes are installed already, to be copied: by the names of their servers and agents."""
    return {}


@pytest.fixture
def installed(
    lab: Lab,
    installed_labs: dict[tuple[tuple[str, ...], tuple[str, ...]], Lab],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installed:
    """Let the lab begin with a cluster: `servers, agents = installed(["alpha"], ["delta"])`."""

    def install_once(servers: Sequence[str], agents: Sequence[str] = ()) -> tuple[list[Node], list[Node]]:
        key = tuple(servers), tuple(agents)
        if key not in installed_labs:
            template = new_lab(tmp_path_factory.mktemp("installed"))
            nodes = [[template.machine(name).node() for name in names] for names in key]
            done(template.converge(*nodes))
            template.log()
            template.stop()
            installed_labs[key] = template
        template = installed_labs[key]
        shutil.copytree(template.folder / "cluster", lab.folder / "cluster", dirs_exist_ok=True)
        shutil.copytree(template.kubeconfig.parent, lab.kubeconfig.parent)
        for name in (*servers, *agents):
            lab.machine(name, template.machines[name].folder)
        return [lab.machines[name].node() for name in servers], [lab.machines[name].node() for name in agents]

    return install_once


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def refused(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The findings of a run that changed nothing."""
    assert result.returncode == 1, result.stderr + result.stdout
    *findings, last = result.stderr.splitlines()
    assert last == "Nothing was changed.", result.stderr
    return findings


def install(name: str, role: str = "server", version: str = VERSION) -> list[str]:
    unit = "k3s" if role == "server" else "k3s-agent"
    return [
        f"{name} install {version} as {role}, skip_start=true, channel=none",
        f"{name} restart --no-block {unit}.service",
        f"{name} ready",
    ]


def test_one_server_comes_up_with_etcd_encrypted_secrets_and_snapshots(lab: Lab) -> None:
    alpha = lab.machine("alpha")
    done(lab.converge([alpha.node()], tls_sans="k8s.example.com 10.9.9.9"))
    assert lab.log() == install("alpha")
    assert alpha.config() == (
        "# Written by Strata from envs/infra.tfvars: a change by hand is overwritten.\n"
        'node-name: "alpha"\n'
        'node-label:\n  - "strata/managed=true"\n'
        "secrets-encryption: true\n"
        'write-kubeconfig-mode: "0600"\n'
        f'tls-san:\n  - "10.9.9.9"\n  - "{alpha.address}"\n  - "k8s.example.com"\n'
        'etcd-snapshot-schedule-cron: "0 */6 * * *"\n'
        "etcd-snapshot-retention: 12\n"
    )
    assert alpha.read("etc/rancher/k3s/config.yaml.d/cluster.yaml") == "cluster-init: true\n"
    for path in ("config.yaml", "config.yaml.d/cluster.yaml"):
        assert (alpha.root / "etc/rancher/k3s" / path).stat().st_mode & 0o777 == 0o600


def test_the_kubeconfig_is_fetched_for_its_owner_alone_and_names_the_server(lab: Lab) -> None:
    alpha = lab.machine("alpha")
    done(lab.converge([alpha.node(external_address="203.0.113.7")]))
    assert "server: https://203.0.113.7:6443\n" in lab.kubeconfig.read_text(encoding="utf-8")
    assert lab.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in lab.kubeconfig.parent.iterdir()] == ["config"]
    lab.kubeconfig.chmod(0o644)
    done(lab.converge([alpha.node(external_address="203.0.113.7")], api_address="k8s.example.com"))
    assert "server: https://k8s.example.com:6443\n" in lab.kubeconfig.read_text(encoding="utf-8")
    assert lab.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_three_servers_and_two_agents_join_one_after_the_other(lab: Lab) -> None:
    alpha, beta, gamma, delta, epsilon = (lab.machine(name) for name in ("alpha", "beta", "gamma", "delta", "epsilon"))
    servers, agents = [machine.node() for machine in (alpha, beta, gamma)], [delta.node(), epsilon.node()]
    assert "5 nodes as wanted, 5 changed" in done(lab.converge(servers, agents))
    assert lab.log() == [
        *(line for name in NAMES for line in install(name)),
        *(line for name in ("delta", "epsilon") for line in install(name, "agent")),
    ]
    joins = f'server: "https://{alpha.address}:6443"\ntoken-file: "/etc/rancher/k3s/token"\n'
    for server in (beta, gamma):
        assert server.read("etc/rancher/k3s/config.yaml.d/cluster.yaml") == joins
        assert server.config().replace(f'"{server.name}"', '"alpha"') == alpha.config()
    for agent in (delta, epsilon):
        assert agent.config().endswith(joins)
        assert "secrets-encryption" not in agent.config()
    for machine in (beta, gamma, delta, epsilon):
        assert (machine.root / "etc/rancher/k3s/token").stat().st_mode & 0o777 == 0o600


def test_a_second_run_touches_nothing(lab: Lab, installed: Installed) -> None:
    servers, agents = installed(["alpha"], ["delta"])
    files = [path for machine in lab.machines.values() for path in machine.root.rglob("*.*")]
    before = {path: path.stat().st_mtime_ns for path in [*files, lab.kubeconfig]}
    assert done(lab.converge(servers, agents)) == "K3s: 2 nodes as wanted, 0 changed\n"
    assert lab.log() == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_token_is_in_no_argument_no_output_no_environment_and_no_file_of_the_laptop(lab: Lab) -> None:
    alpha, beta, gamma, delta = (lab.machine(name) for name in ("alpha", "beta", "gamma", "delta"))
    result = lab.converge([machine.node() for machine in (alpha, beta, gamma)], [delta.node()])
    output = done(result) + result.stderr
    token = alpha.read("var/lib/rancher/k3s/server/token").strip()
    secret = token.split(":")[-1]
    assert {machine.read("etc/rancher/k3s/token").strip() for machine in (beta, gamma, delta)} == {token}
    environments = (lab.folder / "cluster" / "environments").read_text(encoding="utf-8")
    assert "INSTALL_K3S_VERSION" in environments
    arguments = lab.records("arguments")
    assert "take_token" in arguments
    assert secret not in output + arguments + environments
    assert lab.records("leaks") == ""
    assert run("grep", "-r", secret, str(lab.folder / "laptop")).stdout == ""
    assert list((lab.folder / "laptop" / "tmp").iterdir()) == []


def test_an_upgrade_saves_a_snapshot_and_takes_servers_one_at_a_time_and_then_agents(
    lab: Lab, installed: Installed
) -> None:
    servers, agents = installed(NAMES, ["delta", "epsilon"])
    # A node that was restarted is not ready at once.
    (lab.folder / "cluster" / "polls").write_text("1", encoding="utf-8")
    newer = "v1.37.1+k3s2"
    done(lab.converge(servers, agents, version=newer))
    assert lab.log() == [
        *(f"{name} ready" for name in NAMES),
        "alpha snapshot before-v1.37.1-k3s2",
        *(line for name in NAMES for line in install(name, version=newer)),
        *(line for name in ("delta", "epsilon") for line in install(name, "agent", newer)),
    ]


def test_a_way_back_and_a_jump_are_refused(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(["alpha"])
    for version, words in (
        ("v1.36.3+k3s1", "runs v1.36.4+k3s1, and K3s does not go back to v1.36.3+k3s1; set k3s in versions.toml"),
        ("v1.36.4+k3s0", "runs v1.36.4+k3s1, and K3s does not go back to v1.36.4+k3s0; set k3s in versions.toml"),
        ("v1.35.9+k3s1", "runs v1.36.4+k3s1, and K3s does not go back to v1.35.9+k3s1; set k3s in versions.toml"),
        ("v1.38.0+k3s1", "runs v1.36.4+k3s1, and K3s does not skip a minor version on its way to v1.38.0+k3s1"),
        ("v2.0.0+k3s1", "runs v1.36.4+k3s1, and K3s does not skip a minor version on its way to v2.0.0+k3s1"),
        ("stable", "runs the version 'v1.36.4+k3s1', which cannot be compared with stable"),
    ):
        (finding,) = refused(lab.converge(servers, version=version))
        assert finding.startswith(f"alpha ({servers[0]['host']}): {words}")
    assert lab.log() == []


def test_every_step_forward_is_an_upgrade(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(["alpha"])
    for version in ("v1.36.4+k3s2", "v1.36.10+k3s1", "v1.37.0+k3s1"):
        done(lab.converge(servers, version=version))
        name = version.replace("+", "-")
        assert lab.log() == ["alpha ready", f"alpha snapshot before-{name}", *install("alpha", version=version)]


def test_the_api_servers_arguments_reach_one_server_at_a_time_and_no_agent(lab: Lab, installed: Installed) -> None:
    servers, agents = installed(NAMES, ["delta", "epsilon"])
    before = lab.machines["alpha"].config()
    given = "oidc-issuer-url=https://sign-in.example.com\noidc-groups-prefix=oidc:"
    done(lab.converge(servers, agents, api_server_arguments=given))
    rolled = [
        *(f"{name} ready" for name in NAMES),
        *(line for name in NAMES for line in (f"{name} restart --no-block k3s.service", f"{name} ready")),
    ]
    assert lab.log() == rolled
    items = ('"oidc-issuer-url=https://sign-in.example.com"', '"oidc-groups-prefix=oidc:"')
    assert lab.machines["alpha"].config() == f"{before}kube-apiserver-arg:\n  - {items[0]}\n  - {items[1]}\n"
    assert "kube-apiserver" not in lab.machines["delta"].config()
    done(lab.converge(servers, agents))
    assert lab.log() == rolled
    assert lab.machines["alpha"].config() == before


def test_a_changed_setting_is_written_and_restarts_one_server_at_a_time_without_an_installer(
    lab: Lab, installed: Installed
) -> None:
    servers, _ = installed(NAMES)
    done(lab.converge(servers, snapshot_retention="3", snapshot_s3_secret="etcd-s3"))  # noqa: S106 (a Secret's name)
    assert lab.log() == [
        *(f"{name} ready" for name in NAMES),
        *(line for name in NAMES for line in (f"{name} restart --no-block k3s.service", f"{name} ready")),
    ]
    wanted = 'etcd-snapshot-retention: 3\netcd-s3: true\netcd-s3-config-secret: "etcd-s3"\n'
    assert lab.machine("beta").config().endswith(wanted)
    assert "token-file" in lab.machine("beta").read("etc/rancher/k3s/config.yaml.d/cluster.yaml")


def test_the_order_of_the_servers_in_the_list_is_nothing_that_restarts_them(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(NAMES)
    done(lab.converge(servers[::-1]))
    assert lab.log() == []


def test_one_server_becomes_three(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(["alpha"])
    # The new ones stand first in the list, and still join the cluster that is there.
    done(lab.converge([lab.machine("beta").node(), lab.machine("gamma").node(), *servers]))
    # A new server is a new name in the first one's certificate.
    assert lab.log() == [
        "alpha ready",
        "alpha restart --no-block k3s.service",
        "alpha ready",
        *install("beta"),
        *install("gamma"),
    ]
    assert len(list((lab.folder / "cluster" / "clusters").iterdir())) == 1


@pytest.mark.parametrize("program", ["curl", "systemctl"])
def test_a_run_that_failed_half_way_is_finished_by_the_next(program: str, lab: Lab, installed: Installed) -> None:
    servers, _ = installed(["alpha"])
    beta, gamma = lab.machine("beta"), lab.machine("gamma")
    servers += [beta.node(), gamma.node()]
    sound = (beta.folder / "local" / "bin" / program).read_text(encoding="utf-8").removeprefix("#!/bin/sh\n")
    beta.stand_in(program, 'case "$1" in is-active) exit 3 ;; esac\necho "it breaks here" >&2\nexit 1')
    failed = lab.converge(servers)
    assert failed.returncode == 1
    assert "it breaks here" in failed.stderr
    assert re.search(r"^beta \(127\.0\.0\.\d+\): (install|restart) failed", failed.stderr, re.MULTILINE)
    assert gamma.is_untouched()
    beta.stand_in(program, sound)
    lab.log()
    done(lab.converge(servers))
    log = lab.log()
    assert log[-3:] == install("gamma")
    assert log[:-3] in (install("beta"), install("beta")[1:])
    assert done(lab.converge(servers)) == "K3s: 3 nodes as wanted, 0 changed\n"


def test_a_run_that_was_killed_is_finished_by_the_next_which_waits_for_its_remains(lab: Lab) -> None:
    alpha, delta = lab.machine("alpha"), lab.machine("delta")
    hang = lab.folder / "cluster" / "hang"
    hang.touch()
    environment = lab.environment([alpha.node()], [delta.node()])
    quiet = subprocess.DEVNULL
    first = subprocess.Popen(["bash", SCRIPT], env=environment, start_new_session=True, stdout=quiet, stderr=quiet)  # noqa: S603, S607
    path = lab.folder / "cluster" / "log"
    end = time.monotonic() + 60
    while not (path.exists() and "alpha hangs" in path.read_text(encoding="utf-8")):
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second = subprocess.Popen(["bash", SCRIPT], env=environment, stdout=subprocess.PIPE, stderr=quiet, text=True)  # noqa: S603, S607
    time.sleep(1)
    assert "restart" not in path.read_text(encoding="utf-8")
    hang.unlink()
    output, _ = second.communicate(timeout=60)
    assert "2 nodes as wanted, 2 changed" in output
    assert lab.log()[-6:] == [*install("alpha"), *install("delta", "agent")]
    assert done(lab.converge([alpha.node()], [delta.node()])) == "K3s: 2 nodes as wanted, 0 changed\n"


def test_a_node_that_does_not_become_ready_stops_the_run_before_the_next(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(NAMES)
    alpha, beta = lab.machine("alpha"), lab.machine("beta")
    (alpha.root / "etc" / "broken").touch()
    failed = lab.converge(servers, version="v1.36.5+k3s1", ready_timeout="2")
    assert failed.returncode == 1
    assert "its API does not answer after 2 seconds" in failed.stderr
    assert lab.log() == []
    (alpha.root / "etc" / "broken").unlink()
    (beta.root / "etc" / "broken").touch()
    failed = lab.converge(servers, version="v1.36.5+k3s1", ready_timeout="2")
    assert "beta is not ready after 2 seconds" in failed.stderr
    log = lab.log()
    assert not [line for line in log if line.startswith("gamma") and line != "gamma ready"]
    (beta.root / "etc" / "broken").unlink()
    done(lab.converge(servers, version="v1.36.5+k3s1"))
    log = lab.log()
    assert log[-3:] == install("gamma", version="v1.36.5+k3s1")
    assert not [line for line in log if line.startswith(("alpha install", "beta install"))]


def test_servers_that_are_down_are_brought_up_before_any_other_is_touched(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(NAMES)
    (lab.machine("gamma").root / "run" / "active" / "k3s.service").unlink()
    done(lab.converge(servers))
    assert lab.log() == ["gamma restart --no-block k3s.service", "gamma ready", *(f"{name} ready" for name in NAMES)]
    for machine in lab.machines.values():
        (machine.root / "run" / "active" / "k3s.service").unlink()
    done(lab.converge(servers))
    log = lab.log()
    assert log[:3] == [f"{name} restart --no-block k3s.service" for name in NAMES]
    assert done(lab.converge(servers)) == "K3s: 3 nodes as wanted, 0 changed\n"


def test_a_node_that_left_the_lists_is_refused_with_the_commands_that_remove_it(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(["alpha"], ["delta"])
    assert refused(lab.converge(servers, version="v1.36.5+k3s1")) == [
        f"delta: is in the cluster, and neither in k3s_servers nor in k3s_agents; {LEFT_OUT}",
        f"  kubectl --kubeconfig={lab.kubeconfig} drain delta --ignore-daemonsets --delete-emptydir-data",
        f"  kubectl --kubeconfig={lab.kubeconfig} delete node delta",
        "  ssh <delta> sudo k3s-agent-uninstall.sh",
    ]
    assert lab.log() == []


def test_a_server_that_left_is_uninstalled_as_a_server_and_a_node_by_hand_is_left_alone(
    lab: Lab, installed: Installed
) -> None:
    servers, _ = installed(NAMES)
    (cluster,) = (lab.folder / "cluster" / "clusters").iterdir()
    by_hand = cluster / "nodes" / "by-hand"
    by_hand.mkdir()
    assert "0 changed" in done(lab.converge(servers))
    findings = refused(lab.converge(servers[:1]))
    assert [line.split(":")[0] for line in findings if not line.startswith(" ")] == ["beta", "gamma"]
    assert findings.count("  ssh <gamma> sudo k3s-uninstall.sh") == 1


def test_a_machine_in_the_place_of_a_node_is_refused_until_the_old_node_is_deleted(
    lab: Lab, installed: Installed
) -> None:
    servers, _ = installed(["alpha"], ["delta"])
    other = lab.machine("other")
    (finding,) = refused(lab.converge(servers, [other.node(name="delta")]))
    assert finding == (
        f"delta ({other.address}): the cluster has a node delta, and it is not this machine; if this one replaces it: "
        f"kubectl --kubeconfig={lab.kubeconfig} delete node delta"
    )
    assert other.is_untouched()


def test_every_finding_on_every_machine_is_told_at_once_and_nothing_is_changed(lab: Lab) -> None:
    names = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta")
    _, beta, gamma, delta, epsilon, zeta, eta = (lab.machine(name) for name in names)
    beta.stop()
    known = lab.known_hosts.read_text(encoding="utf-8").splitlines()
    known = [entry for entry in known if not entry.startswith(f"[{gamma.address}]")]
    key = known[0].split(" ", 1)[1]
    known = [f"[{delta.address}]:{delta.port} {key}" if f"[{delta.address}]" in entry else entry for entry in known]
    lab.known_hosts.write_text("\n".join([*known, ""]), encoding="utf-8")
    epsilon.stand_in("id", "echo 1000")
    epsilon.stand_in("sudo", 'echo "sudo: a password is required" >&2\nexit 1')
    zeta.stand_in("uname", '[ "$1" = -m ] && echo riscv64 || echo Linux')
    (zeta.root / "run" / "systemd" / "system").rmdir()
    zeta.stand_in("date", "echo 1000000000")
    (eta.folder / "listener").write_text("10250", encoding="utf-8")
    nodes = [machine.node(internal_address=machine.internal) for machine in lab.machines.values()]
    nodes[-1]["internal_address"] = "10.200.0.1"
    findings = refused(lab.converge(nodes[:3], nodes[3:]))
    expected = [
        f"beta ({beta.address}): cannot be reached by ssh: .*Connection refused; look whether ssh -p {beta.port} .*",
        f"gamma ({gamma.address}): its host key is not known; ssh-keyscan -p {gamma.port} {gamma.address}, .*",
        f"delta ({delta.address}): its host key is not the one that known_hosts has; .*",
        f"epsilon ({epsilon.address}): {getpass.getuser()} may not become root without a password; add .*visudo.*",
        f"zeta ({zeta.address}): is a riscv64 machine; give one that is x86_64 or aarch64",
        f"zeta ({zeta.address}): was not started by systemd; give a machine that is",
        f"zeta ({zeta.address}): its clock is [0-9]+ seconds off; timedatectl set-ntp true",
        f"eta ({eta.address}): no interface has the internal_address 10.200.0.1; give one of: .*{eta.internal}.*",
        f"eta ({eta.address}): has another program on port 10250; stop it .*",
    ]
    assert len(findings) == len(expected), findings
    for finding, pattern in zip(findings, expected, strict=True):
        assert re.fullmatch(re.sub(r"([().])(?!\*)", r"\\\1", pattern), finding), finding
    assert all(machine.is_untouched() for machine in lab.machines.values())
    assert not lab.kubeconfig.exists()


def test_a_key_that_is_not_accepted_is_told(lab: Lab) -> None:
    alpha = lab.machine("alpha")
    (lab.folder / "laptop" / "authorized_keys").write_text("", encoding="utf-8")
    (finding,) = refused(lab.converge([alpha.node()]))
    assert f"alpha ({alpha.address}): no key is accepted for {getpass.getuser()}; add yours" in finding


def test_a_user_who_is_not_root_goes_through_sudo(lab: Lab) -> None:
    alpha = lab.machine("alpha")
    alpha.stand_in("id", "echo 1000")
    alpha.stand_in("sudo", '[ "$1" = -n ] || exit 1\nshift\necho "$1" >>/cluster/sudo\nexec "$@"')
    done(lab.converge([alpha.node()]))
    assert set((lab.folder / "cluster" / "sudo").read_text(encoding="utf-8").split()) == {"sh"}


def test_a_k3s_that_strata_did_not_install_is_refused(lab: Lab) -> None:
    alpha, beta = lab.machine("alpha"), lab.machine("beta")
    for machine in (alpha, beta):
        (machine.root / "var/lib/rancher/k3s/server/db").mkdir(parents=True)
    (beta.root / "etc/rancher/k3s").mkdir(parents=True)
    (beta.root / "etc/rancher/k3s/config.yaml").write_text("disable: traefik\n", encoding="utf-8")
    findings = refused(lab.converge([alpha.node()], [beta.node()]))
    words = "has a K3s that Strata did not install, perhaps without encrypted Secrets"
    assert [words in finding for finding in findings] == [True, True]


def test_a_server_of_another_cluster_is_refused(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(["alpha"])
    beta, gamma = lab.machine("beta"), lab.machine("gamma")
    done(lab.converge([beta.node()], kubeconfig=str(lab.folder / "laptop" / "other")))
    (finding,) = refused(lab.converge([*servers, beta.node(), gamma.node()]))
    assert finding.startswith(f"beta ({beta.address}): belongs to another cluster than alpha;")
    assert gamma.is_untouched()


def test_an_agent_whose_servers_are_not_listed_is_refused(lab: Lab, installed: Installed) -> None:
    _, agents = installed(["alpha"], ["delta"])
    beta = lab.machine("beta")
    lab.kubeconfig.unlink()
    (finding,) = refused(lab.converge([beta.node()], agents))
    assert "delta" in finding
    assert "is an agent of a cluster of which k3s_servers has no server" in finding
    assert beta.is_untouched()


def test_a_node_that_changes_its_role_is_refused(lab: Lab, installed: Installed) -> None:
    servers, agents = installed(NAMES, ["delta", "epsilon"])
    findings = refused(lab.converge([*servers[:2], agents[0]], [servers[2], agents[1]]))
    assert [finding.split(";")[0] for finding in findings] == [
        f"delta ({agents[0]['host']}): is an agent, and listed as a server",
        f"gamma ({servers[2]['host']}): is a server, and listed as an agent",
    ]


def test_a_kubeconfig_of_another_cluster_is_never_overwritten(lab: Lab, installed: Installed) -> None:
    servers, _ = installed(["alpha"])
    beta = lab.machine("beta")
    ours = lab.kubeconfig.read_text(encoding="utf-8")
    words = f"{lab.kubeconfig}: is there already, and not of this cluster; give another path as KUBECONFIG, or move"
    (finding,) = refused(lab.converge([beta.node()]))
    assert finding.startswith(words)
    assert lab.kubeconfig.read_text(encoding="utf-8") == ours
    assert beta.is_untouched()
    for content in ("", "clusters: []\n", "    certificate-authority-data: b3RoZXI=\n", f"{ours}{ours}"):
        lab.kubeconfig.write_text(content, encoding="utf-8")
        (finding,) = refused(lab.converge(servers))
        assert finding.startswith(words)
        assert lab.kubeconfig.read_text(encoding="utf-8") == content


def test_a_private_network_is_what_nodes_join_in_and_flannel_is_told_its_interface(lab: Lab) -> None:
    alpha, delta = lab.machine("alpha"), lab.machine("delta")
    nodes = [machine.node(internal_address=machine.internal) for machine in (alpha, delta)]
    done(lab.converge(nodes[:1], nodes[1:]))
    for key in ("node-ip", "advertise-address"):
        assert f'{key}: "{alpha.internal}"\n' in alpha.config()
    assert f'server: "https://{alpha.internal}:6443"\n' in delta.config()
    for machine in (alpha, delta):
        assert machine.config().endswith('flannel-iface: "eth1"\n')
    assert f"server: https://{alpha.address}:6443\n" in lab.kubeconfig.read_text(encoding="utf-8")
    assert "0 changed" in done(lab.converge(nodes[:1], nodes[1:]))
    (finding,) = refused(lab.converge(nodes[:1], [delta.node()]))
    assert finding.endswith("alpha and it are not in one network; give internal_address to all nodes or to none")


def test_an_installer_with_another_digest_is_not_run(lab: Lab) -> None:
    alpha = lab.machine("alpha")
    digest = run("sha256sum", str(STAND_INS / "installer.sh")).stdout.split()[0]
    failed = lab.converge([alpha.node()], installer=f"https://mirror.example.com/k3s {'0' * 64}")
    assert failed.returncode == 1
    assert f"the installer from https://mirror.example.com/k3s has the SHA-256 {digest}, not" in failed.stderr
    assert lab.log() == []
    done(lab.converge([alpha.node()], installer=f"https://mirror.example.com/k3s {digest}"))
    fetched = (lab.folder / "cluster" / "fetched").read_text(encoding="utf-8")
    assert fetched.count("--proto =https") == fetched.count("https://mirror.example.com/k3s") == 2


def test_nothing_but_a_node_reaches_the_command_line_of_ssh(lab: Lab) -> None:
    for changes in (
        {"host": "-oProxyCommand=touch${IFS}owned"},
        {"host": "a;touch owned"},
        {"host": "$(touch owned)"},
        {"host": ""},
        {"user": "-oProxyCommand=touch owned"},
        {"user": "root;touch owned"},
        {"name": "a'$(touch owned)'"},
        {"name": "-x"},
        {"port": "22 -oProxyCommand=x"},
        {"external_address": "1.2.3.4;touch owned"},
    ):
        result = lab.converge([{"name": "alpha", "host": "127.0.0.1", "user": "root", "port": 22, **changes}])
        assert result.returncode == 1
        assert result.stderr.startswith("not a node: ")
    assert lab.records("arguments") == ""
    assert not list(lab.folder.rglob("owned"))


# By Terraform: the resource itself, without the providers that the rest of the stack needs.


@dataclass
class Record:
    """The one resource of the stack infra, with the stack's own variables, in a folder as deep as the stack's."""

    lab: Lab
    folder: Path
    components: tuple[str, ...]
    telemetry: TelemetrySettings

    def settings(self) -> dict[str, Any]:
        return {"ssh_key": str(self.lab.key), "ssh_known_hosts": str(self.lab.known_hosts), "ready_timeout": 10}

    def terraform(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        known = {
            "environment": "infra",
            "env_prefix": "",
            "base_domain": "example.com",
            "components": list(self.components),
            "enable_infra": True,
            "kubeconfig": str(self.lab.kubeconfig),
            "k3s": self.settings(),
            "telemetry": {"environment": self.telemetry.environment},
        }
        (self.folder / "given.auto.tfvars.json").write_text(json.dumps({**known, **variables}), encoding="utf-8")
        environment = {**self.lab.laptop(), "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
        command = [str(shutil.which("terraform")), *arguments, "-input=false", "-no-color"]
        return subprocess.run(  # noqa: S603
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def apply(self, **variables: object) -> subprocess.CompletedProcess[str]:
        return self.terraform("apply", "-auto-approve", "-target=terraform_data.k3s_nodes", **variables)


@pytest.fixture
def record(lab: Lab, stacks: dict[str, Stack], project: Project) -> Record:
    on_the_path("terraform")
    folder = lab.folder / "a clone" / "terraform" / "stacks" / "infra"
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "scripts", lab.folder / "a clone" / "scripts")
    infra = stacks["infra"]
    resource = {"terraform_data": infra["resource"]["terraform_data"]}
    configuration = {"variable": infra["variable"], "resource": resource}
    (folder / "main.tf.json").write_text(json.dumps(configuration), encoding="utf-8")
    record = Record(lab, folder, project.infra.components, project.infra.telemetry)
    assert record.terraform("init").returncode == 0
    return record


def test_terraform_converges_once_and_again_only_where_something_changed(record: Record) -> None:
    lab = record.lab
    alpha, delta = lab.machine("alpha"), lab.machine("delta")
    nodes: dict[str, Any] = {"k3s_servers": [alpha.node()], "k3s_agents": [delta.node(external_address="203.0.113.9")]}
    applied = record.apply(**nodes)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "1 added" in applied.stdout
    assert lab.log() == [*install("alpha"), *install("delta", "agent")]
    assert 'node-external-ip: "203.0.113.9"' in delta.config()
    assert lab.kubeconfig.stat().st_mode & 0o777 == 0o600
    again = record.apply(**nodes)
    assert "0 added, 0 changed, 0 destroyed" in again.stdout, again.stdout + again.stderr
    assert lab.log() == []
    state = (record.folder / "terraform.tfstate").read_text(encoding="utf-8")
    token = alpha.read("var/lib/rancher/k3s/server/token").strip()
    assert token.split(":")[-1] not in state + applied.stdout + applied.stderr
    changed = record.apply(**nodes, k3s={**record.settings(), "snapshot": {"retention": 3}})
    assert "1 added, 0 changed, 1 destroyed" in changed.stdout, changed.stdout + changed.stderr
    assert "etcd-snapshot-retention: 3\n" in alpha.config()


def test_a_failed_apply_is_gone_on_with_by_the_next(record: Record) -> None:
    lab = record.lab
    alpha = lab.machine("alpha")
    sound = (alpha.folder / "local" / "bin" / "curl").read_text(encoding="utf-8").removeprefix("#!/bin/sh\n")
    alpha.stand_in("curl", "exit 22")
    failed = record.apply(k3s_servers=[alpha.node()])
    assert failed.returncode == 1
    assert "cannot fetch https://get.k3s.io" in failed.stdout
    alpha.stand_in("curl", sound)
    assert record.apply(k3s_servers=[alpha.node()]).returncode == 0
    assert lab.log() == install("alpha")


def test_a_destroy_and_an_emptied_list_change_no_node(record: Record) -> None:
    lab = record.lab
    alpha = lab.machine("alpha")
    assert record.apply(k3s_servers=[alpha.node()]).returncode == 0
    lab.log()
    emptied = record.apply(k3s_servers=[])
    assert "1 destroyed" in emptied.stdout
    assert record.apply(k3s_servers=[alpha.node()]).returncode == 0
    destroyed = record.terraform("destroy", "-auto-approve", k3s_servers=[alpha.node()])
    assert "1 destroyed" in destroyed.stdout, destroyed.stdout + destroyed.stderr
    assert lab.log() == []
    assert (alpha.root / "run" / "active" / "k3s.service").exists()


def test_without_servers_there_is_nothing_for_terraform_to_do(record: Record) -> None:
    applied = record.apply()
    assert "0 added, 0 changed, 0 destroyed" in applied.stdout, applied.stdout + applied.stderr
