"""A person's laptop: make acts as deployers, a person needs the right to, and the state moves into the cluster.

It works in a copy of the workspace, with an environment of its own making, and puts back what it moved.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import KUBECONFIG, Workspace, furnish, kubectl
from tests.support import ROOT

pytestmark = pytest.mark.e2e

STACK = "test"
STACKS = sorted(path.stem for path in (ROOT / "envs").glob("*.tfvars"))
LOCAL, KUBERNETES = ({"type": kind} for kind in ("local", "kubernetes"))
PERSON = "anna.b"
PLUGIN = """\
#!/bin/sh
printf '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%%s"}}' '%s'
"""


class Laptop:
    """A checkout with make, in which `STACK` has Redis only."""

    def __init__(self, root: Path, workspace: Workspace) -> None:
        self.root = root
        shutil.copytree(workspace.root, root, ignore=shutil.ignore_patterns(".terraform"))
        self.terraform = furnish(root)
        tfvars = root / "envs" / f"{STACK}.tfvars"
        text = re.sub(r"components *=.*", 'components = ["redis"]', tfvars.read_text(encoding="utf-8"))
        tfvars.write_text(text, encoding="utf-8")

    def make(self, target: str, *variables: str, arguments: str = "", kubeconfig: str = KUBECONFIG) -> str:
        """Run a target of make, and return what it says, with its exit status as the last line."""
        mirror = os.environ.get("CHART_MIRROR")
        arguments += f" -var=chart_mirror={mirror}" if mirror and target in ("plan", "apply") else ""
        command = [
            "make",
            "--no-print-directory",
            target,
            f"TERRAFORM={self.terraform}",
            f"ARGS={arguments}",
            *variables,
        ]
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        done = subprocess.run(  # noqa: S603
            command,
            cwd=self.root,
            env=environment | {"KUBECONFIG": kubeconfig, "TF_CLI_ARGS": "-no-color"},
            capture_output=True,
            text=True,
            check=False,
        )
        return f"{done.stdout}\n{done.stderr}\n{done.returncode}"

    def plan(self, *variables: str, kubeconfig: str = KUBECONFIG) -> str:
        return self.make("plan", *variables, kubeconfig=kubeconfig)

    def choose(self, backend: dict[str, str]) -> None:
        path = self.root / "cdktf.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["context"]["backend"] = backend
        path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def laptop(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    laptop = Laptop(tmp_path_factory.mktemp("laptop") / "checkout", workspace)
    yield laptop
    laptop.choose(LOCAL)
    moved = laptop.make("state")
    assert moved.endswith("\n0"), moved
    shutil.copytree(laptop.root / ".state", workspace.root / ".state", dirs_exist_ok=True)
    for stack in STACKS:
        kubectl("delete", "secret", f"tfstate-default-{stack}", f"--namespace={home(stack)}", "--ignore-not-found")
    workspace.apply("infra")
    gone = workspace.destroy(STACK)
    assert gone.returncode == 0, gone.stderr


def home(stack: str) -> str:
    return "iac" if stack == "infra" else f"data-{stack}"


def is_empty(plan: str) -> bool:
    return "No changes." in plan and plan.endswith("\n0")


@pytest.fixture(scope="module")
def person(laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """KUBECONFIG of somebody whom a plugin signs in and who has no rights: two files, the user in the second."""
    assert kubectl("create", "serviceaccount", PERSON, "--namespace=default").returncode == 0
    folder = tmp_path_factory.mktemp("person")
    plugin = folder / "sign-in"
    plugin.write_text(PLUGIN % kubectl("create", "token", PERSON, "--namespace=default").stdout, encoding="utf-8")
    plugin.chmod(0o700)
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json").stdout)
    config["users"] = []
    config["contexts"][0]["context"]["user"] = f"{PERSON}@example.com"
    execution = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(plugin),
        "interactiveMode": "Never",
    }
    user = {"name": f"{PERSON}@example.com", "user": {"exec": execution}}
    (folder / "cluster").write_text(json.dumps(config), encoding="utf-8")
    (folder / "user").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "users": [user]}), encoding="utf-8")
    assert laptop
    yield f"{folder / 'cluster'}:{folder / 'user'}"
    kubectl("delete", "serviceaccount", PERSON, "--namespace=default")


def test_an_environment_is_applied_as_its_deployer(laptop: Laptop) -> None:
    applied = laptop.make("apply", f"ENV={STACK}", arguments="-auto-approve")
    assert applied.endswith("\n0"), applied
    assert f"scripts/as-deployer {STACK}" in applied
    assert is_empty(laptop.plan(f"ENV={STACK}"))


def test_the_state_moves_into_the_cluster_by_one_command_that_changes_nothing_else(laptop: Laptop) -> None:
    laptop.choose(KUBERNETES)
    refused = laptop.plan(f"ENV={STACK}")
    assert "Backend configuration changed" in refused
    moved = laptop.make("state")
    assert moved.endswith("\n0"), moved
    for stack in ("infra", STACK):
        assert f"{stack}: moved to kubernetes" in moved
        assert kubectl("get", "secret", f"tfstate-default-{stack}", f"--namespace={home(stack)}").returncode == 0
    assert is_empty(laptop.plan(f"ENV={STACK}"))
    # The guard knows the one backend that it lets through.
    assert re.findall("^  # (.*) will be", laptop.plan("ENV=infra"), re.MULTILINE) == [
        "kubernetes_config_map_v1.atlantis_guard"
    ]
    applied = laptop.make("apply", "ENV=infra", arguments="-auto-approve")
    assert applied.endswith("\n0"), applied
    assert is_empty(laptop.plan("ENV=infra"))


def test_a_second_move_changes_nothing(laptop: Laptop) -> None:
    before = kubectl("get", "secret", f"tfstate-default-{STACK}", f"--namespace={home(STACK)}", "--output=json").stdout
    moved = laptop.make("state")
    assert moved.endswith("\n0"), moved
    for stack in ("infra", STACK):
        assert f"{stack}: the state is in kubernetes already" in moved
    after = kubectl("get", "secret", f"tfstate-default-{STACK}", f"--namespace={home(STACK)}", "--output=json").stdout
    assert json.loads(after)["data"] == json.loads(before)["data"]


def test_a_state_in_the_cluster_that_has_moved_on_is_not_overwritten(laptop: Laptop) -> None:
    old = laptop.root / ".state" / f"{STACK}.tfstate"
    text = old.read_text(encoding="utf-8")
    old.write_text(
        json.dumps(json.loads(text) | {"outputs": {"a": {"value": "b", "type": "string"}}}), encoding="utf-8"
    )
    shutil.rmtree(laptop.root / "terraform" / "stacks" / STACK / ".terraform")
    refused = laptop.make("state")
    assert f"{STACK}: kubernetes holds a newer state" in refused
    assert not refused.endswith("\n0")
    old.write_text(text, encoding="utf-8")
    assert is_empty(laptop.plan(f"ENV={STACK}"))


def test_an_apply_locks_and_writes_the_state_as_the_deployer(laptop: Laptop) -> None:
    for verb in ("get", "list", "create", "update", "delete"):
        for kind in ("secrets", "leases.coordination.k8s.io"):
            who = f"--as=system:serviceaccount:iac:deployer-{STACK}"
            asked = kubectl("auth", "can-i", verb, kind, who, f"--namespace={home(STACK)}")
            elsewhere = kubectl("auth", "can-i", verb, kind, who, "--namespace=iac")
            assert (asked.stdout.strip(), elsewhere.stdout.strip()) == ("yes", "no"), f"{verb} {kind}"
    tfvars = laptop.root / "envs" / f"{STACK}.tfvars"
    text = tfvars.read_text(encoding="utf-8")
    tfvars.write_text(text.replace("redis = {", "redis = {\n  credentials_revision = 7"), encoding="utf-8")
    applied = laptop.make("apply", f"ENV={STACK}", arguments="-auto-approve")
    assert applied.endswith("\n0"), applied
    assert is_empty(laptop.plan(f"ENV={STACK}"))


def test_a_person_without_the_right_is_refused_with_the_command_that_gives_it(laptop: Laptop, person: str) -> None:
    for variables, deployer in (
        ((f"ENV={STACK}",), f"deployer-{STACK}"),
        (("ENV=infra", "AS=deployer-infra"), "deployer-infra"),
    ):
        refused = laptop.plan(*variables, kubeconfig=person)
        assert not refused.endswith("\n0")
        assert f"You, system:serviceaccount:default:{PERSON}, may not act as {deployer}" in refused
        assert "Terraform" not in refused
        (command,) = re.findall(r"^ +(kubectl create rolebinding .*)$", refused, re.MULTILINE)
        _, *arguments = shlex.split(command)
        made = kubectl(*arguments)
        assert made.returncode == 0, made.stderr
        assert is_empty(laptop.plan(*variables, kubeconfig=person))
        kubectl("delete", "rolebinding", arguments[2], "--namespace=iac")


def test_a_person_who_is_no_administrator_is_not_let_into_infra_as_themselves(laptop: Laptop, person: str) -> None:
    refused = laptop.plan("ENV=infra", kubeconfig=person.split(":", maxsplit=1)[0])
    assert not refused.endswith("\n0")
    given = kubectl(
        "create", "clusterrolebinding", PERSON, "--clusterrole=cluster-admin", f"--serviceaccount=default:{PERSON}"
    )
    assert given.returncode == 0
    single = Path(person.split(":", maxsplit=1)[0]).with_name("whole")
    whole = subprocess.run(
        ["kubectl", "config", "view", "--raw", "--flatten"],  # noqa: S607
        env=os.environ | {"KUBECONFIG": person},
        capture_output=True,
        text=True,
        check=True,
    )
    single.write_text(whole.stdout, encoding="utf-8")
    try:
        refused = laptop.plan("ENV=infra", kubeconfig=str(single))
        assert f"You are system:serviceaccount:default:{PERSON} on this cluster, not one of system:masters" in refused
        assert is_empty(laptop.plan("ENV=infra", "AS=deployer-infra", kubeconfig=str(single)))
    finally:
        kubectl("delete", "clusterrolebinding", PERSON)
