"""What the tests on a cluster share: infra, applied once for the whole run."""

import threading
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import KUBECONFIG, Workspace, kubectl, objects, simulate
from tests.support import ROOT


@pytest.fixture(scope="session")
def names() -> list[str]:
    """The environments, staging and prod among them."""
    return sorted(path.stem for path in (ROOT / "envs").glob("*.tfvars") if path.stem != "infra")


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace in which infra is applied."""
    assert KUBECONFIG, "set KUBECONFIG to the cluster that may be used"
    assert kubectl("get", "namespace", "iac").returncode != 0, "this cluster has Strata already: give another one"
    stop = threading.Event()
    thread = threading.Thread(target=simulate, args=(stop,), daemon=True)
    if any("kwok.x-k8s.io/node" in node["metadata"].get("annotations", {}) for node in objects("nodes")):
        kubectl("apply", f"--filename={ROOT / 'tests' / 'e2e' / 'k3s.yaml'}")
        thread.start()
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    workspace.apply("infra")
    yield workspace
    stop.set()
