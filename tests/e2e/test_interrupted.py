"""Applies that end in the middle: Terraform is killed, a chart is never ready. What is run again converges."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

import pytest

from tests.e2e.cluster import EMPTY, Workspace, kubectl, objects, unlock

pytestmark = pytest.mark.e2e

TERRAFORM = shutil.which("terraform") or "tofu"
APPLY = (TERRAFORM, "apply", "-no-color")
RECOVER = (sys.executable, "-m", "stacks.recover", "infra", TERRAFORM)
DASHBOARD = "helm_release.dashboard_release"


def kill(workspace: Workspace, command: tuple[str, ...], when: Callable[[], bool]) -> None:
    """Kill a command and all that it started, as a machine that loses its power would."""
    process = workspace.start("infra", *command)
    while not when():
        assert process.poll() is None, workspace.said.read_text(encoding="utf-8")[-3000:]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def is_pending() -> bool:
    return bool(
        objects("secrets", "--all-namespaces", "--selector=owner=helm,status in (pending-install,pending-upgrade)")
    )


def has_namespace() -> bool:
    return kubectl("get", "namespace", "iac").returncode == 0


def recover(workspace: Workspace) -> str:
    process = workspace.start("infra", *RECOVER)
    process.wait()
    words = workspace.said.read_text(encoding="utf-8")
    assert process.returncode == 0, words[-3000:]
    return words


def set_dashboard(workspace: Workspace, memory: str) -> None:
    path = workspace.root / "envs" / "infra.tfvars"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("dashboard ")]
    path.write_text("\n".join([*lines, f'dashboard = {{ memory = "{memory}" }}', ""]), encoding="utf-8")


def test_a_first_apply_that_is_killed_again_and_again_is_recovered(checkout: Workspace) -> None:
    kill(checkout, APPLY, has_namespace)
    kill(checkout, RECOVER, is_pending)
    kill(checkout, RECOVER, is_pending)
    words = recover(checkout)
    assert "pending-install" in words
    assert checkout.plan("infra") == EMPTY
    assert not (checkout.root / "terraform" / "stacks" / "infra" / "recover.tf.json").exists()
    assert not is_pending()


def test_an_upgrade_that_is_killed_is_refused_by_helm_and_recovered(checkout: Workspace) -> None:
    set_dashboard(checkout, "160Mi")
    kill(checkout, APPLY, is_pending)
    again = checkout.terraform("infra", "apply", "-auto-approve")
    assert "another operation (install/upgrade/rollback) is in progress" in again.stderr
    assert "kubernetes-dashboard/headlamp is pending-upgrade" in recover(checkout)
    assert checkout.plan("infra") == EMPTY
    (pod,) = objects("deployments", "--namespace=kubernetes-dashboard")
    assert pod["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "160Mi"


def test_a_recovery_without_anything_left_behind_is_an_apply(checkout: Workspace) -> None:
    words = recover(checkout)
    assert "left behind" not in words
    assert "0 added, 0 changed, 0 destroyed" in words


def test_a_chart_that_is_never_ready_is_undone_and_its_next_apply_converges(checkout: Workspace) -> None:
    path = checkout.root / "terraform" / "stacks" / "infra" / "cdk.tf.json"
    stack = json.loads(path.read_text(encoding="utf-8"))
    stack["resource"]["helm_release"]["dashboard_release"]["timeout"] = 10
    path.write_text(json.dumps(stack), encoding="utf-8")

    def is_undone(status: list[str]) -> bool:
        releases = objects("secrets", "--namespace=kubernetes-dashboard", "--selector=owner=helm,name=headlamp")
        return [item["metadata"]["labels"]["status"] for item in releases][-1:] == status

    # No node has as much.
    set_dashboard(checkout, "900000Gi")
    failed = checkout.terraform("infra", "apply", "-auto-approve")
    assert "context deadline exceeded" in failed.stderr
    assert is_undone(["deployed"])
    set_dashboard(checkout, "170Mi")
    checkout.apply("infra")
    assert checkout.plan("infra") == EMPTY

    unlock("configmaps", "deletion-lock-stack", "iac")
    gone = checkout.destroy("infra", f"-target={DASHBOARD}")
    assert gone.returncode == 0, gone.stderr
    set_dashboard(checkout, "900000Gi")
    failed = checkout.terraform("infra", "apply", "-auto-approve")
    assert "context deadline exceeded" in failed.stderr
    assert is_undone([])
    set_dashboard(checkout, "170Mi")
    checkout.apply("infra")
    assert checkout.plan("infra") == EMPTY


def test_infra_is_destroyed_and_what_it_leaves_does_not_keep_it_from_coming_back(checkout: Workspace) -> None:
    checkout.demolish()
    assert kubectl("get", "namespaces", "iac", "kubernetes-dashboard").returncode != 0
    assert not objects("secrets", "--all-namespaces", "--selector=owner=helm")
    checkout.apply("infra")
    assert checkout.plan("infra") == EMPTY
