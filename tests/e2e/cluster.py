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
from pathlib import Path
from typing import Any

from constructs.deletion_lock import PROTECTED_LABEL
from stacks.rehearsal import workspace
from stacks.rehearsal.simulation import DEAF
from stacks.rehearsal.workspace import CHANGES, EMPTY
from tests.support import ROOT

__all__ = ["CHANGES", "DEAF", "EMPTY", "KUBECONFIG", "LOCKED", "Workspace", "furnish", "kubectl", "objects", "unlock"]
KUBECONFIG = os.environ.get("KUBECONFIG", "")
# What the deletion lock may keep.
LOCKED = ("configmaps", "persistentvolumeclaims", "clusters.postgresql.cnpg.io", "namespaces")


# With a mirror of one's own for providers, the registry's checksums do not count.
TERRAFORM = """\
#!/bin/sh
folder=.
case $1 in -chdir=*) folder=${1#-chdir=} ;; esac
case "$1 $2" in *init*) [ -z "${TF_CLI_CONFIG_FILE:-}" ] || rm -f "$folder/.terraform.lock.hcl" ;; esac
exec "%s" "$@"
"""


def furnish(root: Path) -> Path:
    """Make a checkout with make of a copy of the sources, and return the Terraform for it."""
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, root)
    for name in ("scripts", "docs"):
        shutil.copytree(ROOT / name, root / name, dirs_exist_ok=True)
    (root / ".venv").mkdir()
    for path in (ROOT / ".venv").iterdir():
        if path.name not in ("synthesized", "pycache"):
            (root / ".venv" / path.name).symlink_to(path)
    terraform = root / ".venv" / "terraform"
    terraform.write_text(TERRAFORM % (shutil.which("terraform") or shutil.which("tofu")), encoding="utf-8")
    terraform.chmod(0o755)
    return terraform


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


class Workspace(workspace.Workspace):
    """A copy of the repository in which Terraform may work, applied to the cluster of KUBECONFIG or another."""

    def __init__(self, root: Path, kubeconfig: str = KUBECONFIG) -> None:
        terraform, mirror = shutil.which("terraform") or "tofu", os.environ.get("CHART_MIRROR")
        super().__init__(ROOT, root, kubeconfig=kubeconfig, terraform=terraform, chart_mirror=mirror)
        self.said = root / "said"

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
        return [self._terraform, *self._variables(stack, stack)]

    def _folder(self, stack: str) -> Path:
        if "TF_CLI_CONFIG_FILE" in os.environ:
            (self.root / "terraform" / "stacks" / stack / ".terraform.lock.hcl").unlink(missing_ok=True)
        return super()._folder(stack)

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
        return self._run(
            self._folder(stack), "state", "pull", deployer=stack if stack != "infra" else None, check=True
        ).stdout

    def synthesize(self) -> None:
        subprocess.run([sys.executable, str(self.root / "main.py")], check=True)  # noqa: S603
