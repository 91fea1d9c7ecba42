"""What the tests share: the stacks, synthesized once for the whole run, and Terraform to evaluate them with."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from stacks.project import Project, load
from stacks.synthesis import synthesize
from tests.support import ROOT, Evaluate, Refused, Stack


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The repository's own project, in a folder of its own."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "cdktf.json", root)
    shutil.copytree(ROOT / "envs", root / "envs")
    return load(root)


@pytest.fixture(scope="session")
def stacks(project: Project) -> dict[str, Stack]:
    """The synthesized stacks by name, as parsed JSON."""
    synthesize(project)
    folders = (project.root / "terraform" / "stacks").iterdir()
    return {folder.name: json.loads((folder / "cdk.tf.json").read_text(encoding="utf-8")) for folder in folders}


@pytest.fixture(scope="session")
def environment_stacks(stacks: dict[str, Stack]) -> dict[str, Stack]:
    """All stacks but infra."""
    return {name: stack for name, stack in stacks.items() if name != "infra"}


@pytest.fixture(scope="session")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """Let Terraform evaluate expressions in a stack's variables and locals; no provider and no network is needed.

    `evaluate(stack, {"size": "${var.redis.storage}"}, tfvars=path, enable_infra=False)` returns the values by name.
    """
    terraform = shutil.which("terraform")
    if terraform is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs terraform on the PATH")
        pytest.skip("needs terraform on the PATH")

    def run(stack: Stack, expressions: Mapping[str, str], *, tfvars: Path | None = None, **variables: object) -> Stack:
        folder = tmp_path_factory.mktemp("terraform")
        configuration = {
            "variable": stack["variable"],
            "locals": stack.get("locals", {}),
        }
        if expressions:
            configuration["output"] = {name: {"value": value} for name, value in expressions.items()}
        # Terraform's errors quote the line they are about: one line each, or a test would match the whole file.
        (folder / "main.tf.json").write_text(json.dumps(configuration, indent=1), encoding="utf-8")
        arguments = [f"-var={name}={json.dumps(value).strip(chr(34))}" for name, value in variables.items()]
        files = [f"-var-file={tfvars}"] if tfvars is not None else []
        kubeconfig = [] if "kubeconfig" in variables else ["-var=kubeconfig=unused"]
        command = [terraform, "apply", "-auto-approve", "-input=false", "-no-color", *files, *kubeconfig, *arguments]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
        environment |= {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
        applied = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if applied.returncode != 0:
            words = " ".join(applied.stderr.replace("│", " ").split())
            assert "Error: Invalid value for variable" in words, words
            raise Refused(words)
        state = json.loads((folder / "terraform.tfstate").read_text(encoding="utf-8"))
        return {name: output["value"] for name, output in state["outputs"].items()}

    return run
