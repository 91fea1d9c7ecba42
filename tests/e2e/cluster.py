"""A cluster to try things on, and a copy of the repository in which Terraform may work.

`KUBECONFIG` names a cluster that has no Strata yet, `CHART_MIRROR` (optional) where the charts are. With
`TF_CLI_CONFIG_FILE` set, providers come from a mirror of your own, and the lock files with the registry's checksums are
left out. Nodes that are simulated by kwok run no webhook, so there the failure policy of webhooks is set to `Ignore`.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from constructs.deletion_lock import PROTECTED_LABEL
from tests.support import ROOT, copy_sources

KUBECONFIG = os.environ.get("KUBECONFIG", "")
EMPTY, CHANGES = 0, 2
# On a webhook that is meant to give no answer.
DEAF = "strata/deaf"
# What the deletion lock may keep.
LOCKED = ("configmaps", "persistentvolumeclaims", "clusters.postgresql.cnpg.io", "namespaces")


def kubectl(*arguments: str, text: str | None = None, kubeconfig: str = KUBECONFIG) -> subprocess.CompletedProcess[str]:
    command = ["kubectl", f"--kubeconfig={kubeconfig}", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603


def objects(*arguments: str) -> list[dict[str, Any]]:
    found = kubectl("get", *arguments, "--output=json")
    assert found.returncode == 0, found.stderr
    items: list[dict[str, Any]] = json.loads(found.stdout)["items"]
    return items


def unlock(kind: str, name: str, namespace: str | None = None) -> None:
    place = [f"--namespace={namespace}"] if namespace else []
    done = kubectl("annotate", kind, name, *place, f"strata/delete={name}", "--overwrite")
    assert done.returncode == 0, done.stderr


class Workspace:
    """A copy of the repository in which Terraform may work."""

    def __init__(self, root: Path, kubeconfig: str = KUBECONFIG) -> None:
        self.root = root
        self.kubeconfig = kubeconfig
        self.said = root / "said"
        copy_sources(root, "terraform")

    def terraform(self, stack: str, *arguments: str, tfvars: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of Terraform as `make` does: infra as whoever KUBECONFIG says, the others as their deployer."""
        command, *rest = arguments
        words = ["-input=false", "-no-color", *self._variables(stack, tfvars or stack, rest)]
        return self._run(self._folder(stack), command, *words, *rest, deployer=stack)

    def start(
        self, stack: str, *command: str, said: Path | None = None, kubeconfig: str = KUBECONFIG
    ) -> subprocess.Popen[bytes]:
        """Start a command with the stack's variables as its last arguments, in a process group of its own.

        An environment's runs as its deployer, with the credentials of `kubeconfig`. What it says is in the file `said`,
        the workspace's own if not given: a pipe that nobody reads would stop it.
        """
        act = [] if stack == "infra" else [str(ROOT / "scripts" / "as-deployer"), stack]
        words = [*act, *command, "-auto-approve", *self._variables(stack, stack)]
        folder = self._folder(stack)
        with (said or self.said).open("wb") as file:
            return subprocess.Popen(  # noqa: S603
                words,
                cwd=self.root if command[0] == sys.executable else folder,
                env={**os.environ, "KUBECONFIG": kubeconfig},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def command(
        self, module: str, stack: str, *arguments: str, typed: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `stacks/` for an environment as `make` does, with what a person would type."""
        self._folder(stack)
        act = [str(ROOT / "scripts" / "as-deployer"), stack, sys.executable, "-m", f"stacks.{module}", stack]
        environment = {**os.environ, **variables}
        return subprocess.run(  # noqa: S603
            [*act, *arguments], cwd=self.root, env=environment, input=typed, capture_output=True, text=True, check=False
        )

    def terraform_words(self, stack: str) -> list[str]:
        """Return the words that `make` hands to a command that calls Terraform itself."""
        return [shutil.which("terraform") or "tofu", *self._variables(stack, stack)]

    def _folder(self, stack: str) -> Path:
        """Return a stack's folder, in which Terraform can be run."""
        folder = self.root / "terraform" / "stacks" / stack
        if "TF_CLI_CONFIG_FILE" in os.environ:
            (folder / ".terraform.lock.hcl").unlink(missing_ok=True)
        self._run(folder, "init", "-input=false", "-no-color", check=True)
        return folder

    def _variables(self, stack: str, tfvars: str, given: Sequence[str] = ()) -> list[str]:
        mirror = os.environ.get("CHART_MIRROR")
        variables = [f"-var-file={self.root / 'envs' / f'{tfvars}.tfvars'}"]
        variables += [f"-var=chart_mirror={mirror}"] if mirror else []
        if stack == "infra":
            variables += [f"-var=kubeconfig={self.kubeconfig}"]
            variables += ["-var=enable_infra=true"] if "-var=enable_infra=false" not in given else []
        return variables

    def apply(self, stack: str, *arguments: str) -> None:
        done = self.terraform(stack, "apply", "-auto-approve", *arguments)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr

    def destroy(self, stack: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.terraform(stack, "destroy", "-auto-approve", *arguments)

    def plan(self, stack: str) -> int:
        done = self.terraform(stack, "plan", "-detailed-exitcode")
        assert done.returncode in (EMPTY, CHANGES), done.stderr
        return done.returncode

    def demolish(self) -> None:
        """Destroy every stack that was applied, after every lock is opened."""
        stacks = {path.name for path in (self.root / "terraform" / "stacks").iterdir()}
        states = stacks & {path.name.split(".")[0] for path in (self.root / ".state").glob("*.tfstate")}
        for stack in sorted(states, key=lambda name: name == "infra"):
            for kind in LOCKED:
                for item in objects(kind, *([] if kind == "namespaces" else ["--all-namespaces"])):
                    unlock(kind, item["metadata"]["name"], item["metadata"].get("namespace"))
            for secret in objects("secrets", "--all-namespaces", f"--selector={PROTECTED_LABEL}=true"):
                unlock("secrets", secret["metadata"]["name"], secret["metadata"]["namespace"])
            gone = self.destroy(stack)
            assert gone.returncode == 0, gone.stderr

    def state(self, stack: str) -> str:
        """Return the state of a stack, wherever it is kept."""
        return self._run(self._folder(stack), "state", "pull", deployer=stack, check=True).stdout

    def synthesize(self) -> None:
        subprocess.run([sys.executable, str(self.root / "main.py")], check=True)  # noqa: S603

    @staticmethod
    def _run(
        folder: Path, *arguments: str, deployer: str = "infra", check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        act = [str(ROOT / "scripts" / "as-deployer"), deployer] if deployer != "infra" else []
        command = [*act, shutil.which("terraform") or "tofu", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=check)  # noqa: S603


def simulate(stop: threading.Event) -> None:
    """Make do with simulated nodes: let them take pods, and let pass what their webhooks would have been asked."""
    kubectl("taint", "nodes", "--all", "node.kubernetes.io/not-ready-")
    while not stop.wait(0.2):
        for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
            selector = f"--selector={DEAF}!=true"
            for item in json.loads(kubectl("get", kind, selector, "--output=json").stdout or '{"items": []}')["items"]:
                patch = [
                    {"op": "replace", "path": f"/webhooks/{index}/{field}", "value": value}
                    for index, webhook in enumerate(item["webhooks"])
                    if webhook["failurePolicy"] != "Ignore"
                    for field, value in (("failurePolicy", "Ignore"), ("timeoutSeconds", 1))
                ]
                if patch:
                    kubectl("patch", kind, item["metadata"]["name"], "--type=json", f"--patch={json.dumps(patch)}")
