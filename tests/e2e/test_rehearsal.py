"""`make rehearse` itself: whole, with a stack that breaks its promises, and interrupted. It makes its own clusters.

It needs kwokctl, and no `KUBECONFIG`. kwokctl's own variables (`KWOK_ETCD_BINARY` and so on) name programs that are
there already.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.cluster import furnish
from tests.support import ROOT, copy_sources, on_the_path

pytestmark = pytest.mark.e2e

# The cluster's second lock refuses what this would let deployer-staging write: it lets it read.
DOOR = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: door, namespace: data-prod }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: environment-deployer }
subjects: [{ kind: ServiceAccount, name: deployer-staging, namespace: iac }]
"""
RESTLESS = {"resource": {"terraform_data": {"restless": {"input": "${timestamp()}"}}}}
GONE = "The cluster, the copy of the repository and its states are gone."


class Checkout:
    """A checkout in which `make rehearse` is run, with all that may lead it astray in its environment."""

    def __init__(self, root: Path) -> None:
        on_the_path("kwokctl")
        self.root = root
        copy_sources(root, "terraform")
        self._terraform = furnish(root)
        self._scratch = root / "scratch"
        self._scratch.mkdir()
        astray = {"KUBECONFIG": "/nowhere", "TF_VAR_kube_context": "mine", "TF_VAR_kubeconfig": "/nowhere"}
        inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        self._environment = inherited | astray | {"TMPDIR": str(self._scratch)}

    def start(self, *variables: str) -> subprocess.Popen[str]:
        """Start a rehearsal in a process group of its own."""
        command = ["make", "--no-print-directory", "rehearse", f"TERRAFORM={self._terraform}", *variables]
        pipe = subprocess.PIPE
        return subprocess.Popen(  # noqa: S603
            command, cwd=self.root, env=self._environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def leftovers(self) -> Sequence[str]:
        """Return the rehearsals and their processes that are still there."""
        processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout  # noqa: S607
        folders = [str(path) for path in self._scratch.glob("strata-rehearsal-*")]
        return [*folders, *(line for line in processes.splitlines() if str(self._scratch) in line)]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_all_stacks_are_rehearsed_and_nothing_is_left(checkout: Checkout) -> None:
    backend = {"type": "s3", "bucket": "nobody-has-this-one", "region": "eu-central-1"}
    path = checkout.root / "cdktf.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["context"]["backend"] = backend
    path.write_text(json.dumps(content), encoding="utf-8")
    rehearsal = checkout.start()
    out, err = rehearsal.communicate()
    print(out)  # noqa: T201 (the report is what is asked for)
    assert rehearsal.returncode == 0, err
    stacks = sorted(path.stem for path in (ROOT / "envs").glob("*.tfvars"))
    for stack in stacks:
        who = "the administrator" if stack == "infra" else f"deployer-{stack}"
        assert re.search(rf"^{stack} +applied as {who}: [1-9][0-9]* resources, ", out, re.MULTILINE)
        assert re.search(rf"^{stack} +second plan: empty, as deployer-{stack}, ", out, re.MULTILINE)
    deployers = ["deployer-infra", *(f"deployer-{stack}" for stack in stacks if stack != "infra")]
    heading = next(line for line in out.splitlines() if line.startswith(" ") and "viewer" in line)
    assert heading.split() == [*deployers, "viewer", "atlantis"]
    assert "0 promises broken" in out
    assert GONE in out
    assert "BROKEN" not in err
    assert checkout.leftovers() == []


def test_a_promise_that_does_not_hold_is_named_and_fails(checkout: Checkout) -> None:
    (checkout.root / "charts" / "tenancy" / "templates" / "door.yaml").write_text(DOOR, encoding="utf-8")
    restless = checkout.root / "terraform" / "stacks" / "test" / "restless.tf.json"
    restless.write_text(json.dumps(RESTLESS), encoding="utf-8")
    rehearsal = checkout.start("ENV=test")
    out, err = rehearsal.communicate()
    assert rehearsal.returncode == 2, out  # make's own, of a command that failed
    broken = [line for line in err.splitlines() if line.startswith("BROKEN: ")]
    assert broken == [
        "BROKEN: the second plan of test is not empty: terraform_data.restless will be updated in-place",
        "BROKEN: deployer-staging in data-prod should be: refused; it reads ConfigMap, Pod, Role, RoleBinding, Secret",
    ]
    assert re.search(r"^infra +second plan: empty", out, re.MULTILINE)
    assert GONE in out
    assert checkout.leftovers() == []


def test_a_rehearsal_that_is_interrupted_leaves_nothing(checkout: Checkout) -> None:
    rehearsal = checkout.start("ENV=infra")
    assert rehearsal.stdout is not None
    said = next(line for line in rehearsal.stdout if "apply" in line)
    assert "-target=kubernetes_namespace_v1.tenancy_iac" in said
    os.killpg(rehearsal.pid, signal.SIGINT)
    out, err = rehearsal.communicate()
    assert rehearsal.returncode != 0
    assert GONE in out
    assert "BROKEN: interrupted" in err
    assert checkout.leftovers() == []
