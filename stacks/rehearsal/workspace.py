"""A copy of the repository in which Terraform may work, with states of its own."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stacks.project import INFRA

# What a plan says by its exit status, where it is asked to.
EMPTY, CHANGES = 0, 2


def copy_sources(source: Path, root: Path, *more: str) -> None:
    """Copy what a synthesis needs into a folder, and the folders `more`, without what is derived from running them."""
    for name in ("main.py", "cdktf.json", "versions.toml"):
        shutil.copy(source / name, root)
    for name in ("stacks", "constructs", "charts", "scripts", "envs", *more):
        shutil.copytree(source / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".terraform"))


class Workspace:
    """A copy of the repository, whose stacks are applied to one cluster as `make` does.

    `KUBECONFIG` of the process leads to the same cluster as `kubeconfig`.
    """

    def __init__(
        self, source: Path, root: Path, *, kubeconfig: str, terraform: str, chart_mirror: str | None = None
    ) -> None:
        self.root = root
        self.kubeconfig = kubeconfig
        self._terraform = terraform
        self._chart_mirror = chart_mirror
        copy_sources(source, root, "terraform")

    def keep_states(self) -> None:
        """Keep the state of every stack in this folder, whatever backend its JSON names."""
        for folder in (self.root / "terraform" / "stacks").iterdir():
            backend = {"local": {"path": str(self.root / ".state" / f"{folder.name}.tfstate")}}
            override = json.dumps({"terraform": {"backend": backend}})
            (folder / "backend_override.tf.json").write_text(override, encoding="utf-8")

    def terraform(
        self, stack: str, command: str, *arguments: str, tfvars: str | None = None, deployer: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Terraform as the stack's deployer; for infra as whoever KUBECONFIG says, or `deployer`."""
        who = deployer or (stack if stack != INFRA else None)
        words = ["-input=false", "-no-color", *self._variables(stack, tfvars or stack, arguments, deployer=who)]
        return self._run(self._folder(stack), command, *words, *arguments, deployer=who)

    def _folder(self, stack: str) -> Path:
        """Return a stack's folder, in which Terraform can be run."""
        folder = self.root / "terraform" / "stacks" / stack
        self._run(folder, "init", "-input=false", "-no-color", check=True)
        return folder

    def _variables(
        self, stack: str, tfvars: str, given: Sequence[str] = (), *, deployer: str | None = None
    ) -> list[str]:
        variables = [f"-var-file={self.root / 'envs' / f'{tfvars}.tfvars'}"]
        variables += [f"-var=chart_mirror={self._chart_mirror}"] if self._chart_mirror else []
        if stack == INFRA:
            # Who acts as a deployer is handed a kubeconfig by scripts/as-deployer.
            variables += [f"-var=kubeconfig={self.kubeconfig}"] if deployer is None else []
            variables += ["-var=enable_infra=true"] if "-var=enable_infra=false" not in given else []
        return variables

    def _run(
        self, folder: Path, *arguments: str, deployer: str | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        act = [str(self.root / "scripts" / "as-deployer"), deployer] if deployer else []
        command = [*act, self._terraform, *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=check)  # noqa: S603
