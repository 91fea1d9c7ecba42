"""What the tests on a cluster share: infra, applied for each file of tests and destroyed after it."""

import threading
from collections.abc import Iterator

import pytest

from stacks.rehearsal.simulation import K3S, simulate
from tests.e2e.cluster import KUBECONFIG, Workspace, kubectl, objects
from tests.support import ROOT


@pytest.fixture(scope="session")
def names() -> list[str]:
    """The environments, staging and prod among them."""
    return sorted(path.stem for path in (ROOT / "envs").glob("*.tfvars") if path.stem != "infra")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace beside a cluster without Strata; what is applied from it is destroyed in the end."""
    assert KUBECONFIG, "set KUBECONFIG to the cluster that may be used"
    assert kubectl("get", "namespace", "iac").returncode != 0, "this cluster has Strata already: give another one"
    stop = threading.Event()
    thread = threading.Thread(target=simulate, args=(stop,), daemon=True)
    if any("kwok.x-k8s.io/node" in node["metadata"].get("annotations", {}) for node in objects("nodes")):
        made = kubectl("apply", f"--filename={K3S}")
        assert made.returncode == 0, made.stderr
        thread.start()
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    yield workspace
    workspace.demolish()
    stop.set()


@pytest.fixture(scope="module")
def workspace(checkout: Workspace) -> Workspace:
    """A workspace in which infra is applied."""
    checkout.apply("infra")
    return checkout
