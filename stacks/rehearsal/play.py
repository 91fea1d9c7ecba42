"""The play: every stack applied, planned once more, and everybody tried in every namespace."""

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stacks.bootstrap import namespace_targets
from stacks.cluster import WaitError, kubectl
from stacks.project import INFRA, Project
from stacks.rehearsal import pods, tenancy
from stacks.rehearsal.cluster import Cluster, K3d
from stacks.rehearsal.workspace import CHANGES, EMPTY, Workspace
from stacks.supplied import Supplied, manifest, supplied

_ROOT = Path(__file__).resolve().parent.parent.parent
_MADE = re.compile(r"Apply complete! Resources: (\d+) added")
_CHANGE = re.compile(r"^  # (.+ (?:will|must) be .+)$", re.MULTILINE)
_COMPONENTS = re.compile(r"^components\s*=\s*\[[^\]]*\]", re.MULTILINE)
# How often somebody who waits is told that it goes on, in seconds.
_BEAT = 20


class RehearsalError(Exception):
    """What ends a rehearsal before its end; the message says why."""


class Rehearsal:
    """One rehearsal: what is said of it goes to the terminal, what is broken is kept until the end."""

    def __init__(self, project: Project, environments: Sequence[str], cluster: Cluster, terraform: str) -> None:
        self.project = project
        self.environments = environments
        self.cluster = cluster
        self.broken: list[str] = []
        self._terraform = terraform
        self._made = 0
        self._cells = 0

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks, in the order in which they are applied."""
        return (INFRA, *self.environments)

    def run(self, root: Path) -> None:
        """Go through all of it, in a copy of the repository at `root`. Raises `RehearsalError` and `ClusterError`."""
        began = time.monotonic()
        _say("The cluster")
        with _beat():
            self.cluster.create()
        workspace = self._copied(root)
        _say("\nEach stack, applied")
        for stack in self.stacks:
            self._apply(workspace, stack)
        self._look()
        _say("\nEach stack, planned once more")
        for stack in self.stacks:
            self._plan(workspace, stack)
        _say("\nWho may do what, as the API server answered")
        self._matrix()
        _say(
            f"\n{len(self.stacks)} stacks, {self._made} resources, {self._cells} cells, "
            f"{len(self.broken)} promises broken: {_minutes(time.monotonic() - began)}"
        )

    def _copied(self, root: Path) -> Workspace:
        """Return a copy of the repository, whose states stay in it, and whose nodes are nobody's."""
        kubeconfig, mirror = str(self.cluster.kubeconfig), os.environ.get("CHART_MIRROR")
        workspace = Workspace(_ROOT, root, kubeconfig=kubeconfig, terraform=self._terraform, chart_mirror=mirror)
        if isinstance(self.cluster, K3d) and "dns" in self.project.infra.components:
            _leave_out("dns", root)
            _say("  without dns: external-dns ends where nobody knows its token")
        workspace.keep_states()
        return workspace

    def given(self, stack: str) -> list[str]:
        """Return what takes the place of the tfvars file's: no machine, account or server of yours is to be reached."""
        given: dict[str, object] = {}
        settings = self.project.infra if stack == INFRA else self.project.environments[stack]
        if isinstance(self.cluster, K3d):
            given["backups"] = settings.backups.model_dump(mode="json") | {"bucket": ""}
        if stack == INFRA:
            given |= {"k3s_servers": [], "k3s_agents": []}
            if isinstance(self.cluster, K3d):
                given["certificates"] = self.project.infra.certificates.model_dump(mode="json") | {"email": ""}
            if "atlantis" in self.project.infra.components and self.project.infra.atlantis.credentials_revision > 0:
                given |= {"atlantis_token": _drawn(), "atlantis_webhook_secret": _drawn()}
        return [
            f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given.items()
        ]

    def _apply(self, workspace: Workspace, stack: str) -> None:
        settings = self.project.infra if stack == INFRA else self.project.environments[stack]
        wanted = supplied(settings.model_dump())
        if stack == INFRA:
            house = {"iac", *(secret.namespace for secret in wanted)} - {"kube-system"}
            self._terraformed(workspace, stack, "apply", *namespace_targets(house))
        for secret in wanted:
            kubectl("create", "--filename=-", text=manifest(secret, _made_up(secret)))
            _say(f"  {secret.namespace}/{secret.name} was made up: {', '.join(secret.keys)}")
        began = time.monotonic()
        done = self._terraformed(workspace, stack, "apply")
        found = _MADE.search(done.stdout)
        made = int(found[1]) if found else 0
        self._made += made
        who = "the administrator" if stack == INFRA else f"deployer-{stack}"
        _say(f"{stack:<14} applied as {who}: {made} resources, {_minutes(time.monotonic() - began)}")

    def _plan(self, workspace: Workspace, stack: str) -> None:
        began = time.monotonic()
        done = self._terraformed(workspace, stack, "plan")
        took = _minutes(time.monotonic() - began)
        if done.returncode == EMPTY:
            _say(f"{stack:<14} second plan: empty, as deployer-{stack}, {took}")
            return
        changes = _CHANGE.findall(done.stdout) or ["an output"]
        _say(f"{stack:<14} second plan: NOT EMPTY, as deployer-{stack}, {took}")
        _say("\n".join(f"    {change}" for change in changes))
        self.broken.append(f"the second plan of {stack} is not empty: {'; '.join(changes)}")

    def _terraformed(
        self, workspace: Workspace, stack: str, command: str, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Terraform. Raises `RehearsalError` with what it said."""
        given = [*self.given(stack), *arguments]
        given += ["-detailed-exitcode"] if command == "plan" else ["-auto-approve"]
        _say(f"  {Path(self._terraform).name} -chdir=terraform/stacks/{stack} {shlex.join([command, *arguments])}")
        try:
            with _beat():
                done = workspace.terraform(stack, command, *given, deployer=stack if command == "plan" else None)
        except subprocess.CalledProcessError as error:
            message = f"terraform init of {stack} failed:\n{error.stderr or error.stdout}"
            raise RehearsalError(message) from error
        if done.returncode not in ((EMPTY, CHANGES) if command == "plan" else (EMPTY,)):
            message = f"terraform {command} of {stack} failed:\n{done.stderr or done.stdout[-4000:]}"
            raise RehearsalError(message)
        return done

    def _look(self) -> None:
        """Wait for all pods, and where they are really run, ask the systems for a sign of life."""
        _say("\nPods, until they are ready")
        try:
            _say(f"  {pods.wait_until_ready(self.cluster.patience)} pods are ready")
        except WaitError as error:
            _say("\n".join(pods.situation()))
            self.broken.append(str(error))
        for name in self.environments if isinstance(self.cluster, K3d) else ():
            for words, fault in pods.smoke(self.project.environments[name]):
                _say(f"{name:<14} {words}" if fault is None else f"{name:<14} NOT SO: {words}: {fault}")
                if fault is not None:
                    self.broken.append(f"{name}: {words}: {fault}")

    def _matrix(self) -> None:
        names = list(self.project.environments)
        namespaces = kubectl("get", "namespaces", "--output=jsonpath={.items[*].metadata.name}").split()
        with _beat():
            matrix = tenancy.tried(tenancy.identities_of(names, self.project.infra.components), namespaces)
        self._cells = sum(len(cells) for cells in matrix.values())
        _say("\n".join([*tenancy.table(matrix), "", tenancy.LEGEND]))
        self.broken += tenancy.broken(matrix, names)


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"  # noqa: PLR2004 (of a minute)


@contextmanager
def _beat() -> Iterator[None]:
    """Say now and then how long something has taken, so that nobody takes it for dead."""
    done = threading.Event()
    began = time.monotonic()

    def beat() -> None:
        while not done.wait(_BEAT):
            _say(f"    {_minutes(time.monotonic() - began)} so far")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _drawn() -> str:
    """Return a secret of nobody."""
    return secrets.token_hex(32)


def _made_up(secret: Supplied) -> Mapping[str, bytes]:
    """Return what stands in for what a person would give: it opens nothing."""
    return {
        key: b"{}" if key.endswith(".json") else b"https://example.com" if key.endswith("URL") else _drawn().encode()
        for key in secret.keys
    }


def without(component: str, text: str) -> str:
    """Return a tfvars file without a component in its list."""
    return _COMPONENTS.sub(lambda found: re.sub(rf'"{component}"\s*,?\s*', "", found[0]), text)


def _leave_out(component: str, root: Path) -> None:
    """Take a component out of infra, in the copy at `root`, and synthesize that."""
    path = root / "envs" / f"{INFRA}.tfvars"
    text = path.read_text(encoding="utf-8")
    path.write_text(without(component, text), encoding="utf-8")
    done = subprocess.run([sys.executable, str(root / "main.py")], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        message = f"infra without {component} cannot be synthesized:\n{done.stderr}"
        raise RehearsalError(message)
