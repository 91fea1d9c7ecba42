"""Faults: what a user sees, what a user runs, and that it converges with nothing lost. It prints a table of them.

Where Terraform is killed is drawn: `FAULTS_SEED` draws the same again. The fault of the API server needs its process on
this machine, found by the port of KUBECONFIG; it is skipped elsewhere, and started again by this test, no longer by who
had started it.
"""

import hashlib
import http.server
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.e2e.cluster import DEAF, EMPTY, KUBECONFIG, Workspace, kubectl, objects
from tests.support import need

pytestmark = pytest.mark.e2e

TERRAFORM = shutil.which("terraform") or "tofu"
SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))
DRAWN = random.Random(SEED)  # noqa: S311 (moments, no secrets)
HELM = "helm.sh/release.v1"
# Of the stack `test`, which has Redis only here.
PLACE = "--namespace=data-test"


@dataclass
class Table:
    """What was tried: a row for each time."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, fault: str, seen: str, ran: str, after: str) -> None:
        self.rows.append((fault, seen, ran, after))
        sys.stdout.write(f"\n| {fault} | {seen} | {ran} | {after} |\n")


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    sys.stdout.write(
        f"\nseed {SEED}\n\n| fault | what the user sees | what the user runs | after it |\n|---|---|---|---|\n"
    )
    sys.stdout.writelines(f"| {' | '.join(row)} |\n" for row in table.rows)


@dataclass(frozen=True)
class Done:
    """A command that has ended: what it said, and in how many seconds."""

    status: int
    said: str
    seconds: float


def words(target: str, stack: str) -> tuple[str, ...]:
    """What `make` runs for a target."""
    module = (
        ("stacks.recover", stack, TERRAFORM) if target == "recover" else ("stacks.terraform", stack, TERRAFORM, target)
    )
    return sys.executable, "-m", *module


def make(workspace: Workspace, target: str, stack: str, kubeconfig: str = KUBECONFIG) -> Done:
    began = time.monotonic()
    process = workspace.start(stack, *words(target, stack), kubeconfig=kubeconfig)
    process.wait()
    return Done(process.returncode, workspace.said.read_text(encoding="utf-8"), time.monotonic() - began)


def succeed(workspace: Workspace, target: str, stack: str) -> Done:
    done = make(workspace, target, stack)
    assert done.status == 0, done.said[-4000:]
    return done


def converge(workspace: Workspace, stack: str) -> tuple[str, str]:
    """Do what a user does after a fault: apply, and where that does not do, recover; return what was seen and run."""
    again = make(workspace, "apply", stack)
    if again.status == 0:
        seen, ran = "", "make apply"
    else:
        assert "make recover" in again.said, again.said[-4000:]
        seen, ran = error_of(again.said), "make apply, make recover"
        succeed(workspace, "recover", stack)
    assert workspace.plan(stack) == EMPTY
    assert not unfinished()
    return seen, ran


def error_of(said: str) -> str:
    """The first known words of what Terraform said."""
    known = (
        "cannot re-use a name that is still in use",
        "another operation (install/upgrade/rollback) is in progress",
        "already exists",
        "Error acquiring the state lock",
        "context deadline exceeded",
        "Unauthorized",
        "cannot impersonate resource",
        "connection refused",
    )
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╷╵]", "", said).split())
    return next((item for item in known if item in text), text[-200:])


def unfinished() -> list[str]:
    selector = "--selector=owner=helm,status in (pending-install,pending-upgrade,pending-rollback)"
    found = objects("secrets", "--all-namespaces", selector)
    return [f"{item['metadata']['labels']['name']} {item['metadata']['labels']['status']}" for item in found]


def kept() -> dict[str, str]:
    """What must never be lost, each with its identity: volumes and namespaces, and Secrets with all that is in them."""
    found = {}
    for kind in ("namespaces", "persistentvolumeclaims", "secrets"):
        for item in objects(kind, *([] if kind == "namespaces" else ["--all-namespaces"])):
            if item.get("type") == HELM or item["metadata"]["name"].startswith("tfstate-"):
                continue
            content = hashlib.sha256(json.dumps(item.get("data"), sort_keys=True).encode()).hexdigest()[:12]
            name = f"{kind}/{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
            found[name] = f"{item['metadata']['uid']} {content}"
    return found


def lost(before: dict[str, str]) -> dict[str, str]:
    after = kept()
    return {name: f"{was} -> {after.get(name)}" for name, was in before.items() if after.get(name) != was}


def readers_of_another() -> list[str]:
    """The pods that are older than a Secret whose keys they took when they started."""
    made = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): item["metadata"]["creationTimestamp"]
        for item in objects("secrets", "--all-namespaces")
        if item.get("type") != HELM
    }
    found = []
    for pod in objects("pods", "--all-namespaces"):
        namespace, name, born = (pod["metadata"][key] for key in ("namespace", "name", "creationTimestamp"))
        named = re.findall(r'"secret(?:KeyRef|Ref)?": {[^{}]*"(?:name|secretName)": "([^"]+)"', json.dumps(pod["spec"]))
        found += [f"{namespace}/{name}: {item}" for item in set(named) if made.get((namespace, item), "") > born]
    return found


def set_redis(workspace: Workspace, memory: str) -> None:
    path = workspace.root / "envs" / "test.tfvars"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'(redis = \{\n  memory  = )"\w+"', rf'\1"{memory}"', text), encoding="utf-8")


def anew() -> str:
    """A description that no release has."""
    return f"of {time.time_ns()}"


@contextmanager
def changed(workspace: Workspace, stack: str, **arguments: object) -> Iterator[dict[str, Any]]:
    """Give every release of a stack other arguments for a while, in its JSON; a new `description` upgrades it."""
    path = workspace.root / "terraform" / "stacks" / stack / "cdk.tf.json"
    before = path.read_text(encoding="utf-8")
    content = json.loads(before)
    for release in content["resource"]["helm_release"].values():
        release.update(arguments)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    yield content
    path.write_text(before, encoding="utf-8")


@pytest.fixture(scope="module")
def workspace(checkout: Workspace) -> Workspace:
    """A workspace in which infra is applied, and `test` with Redis only."""
    path = checkout.root / "envs" / "test.tfvars"
    text = re.sub(r"components *=.*", 'components = ["redis"]', path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    checkout.synthesize()
    checkout.apply("infra")
    checkout.apply("test")
    return checkout


def plain(workspace: Workspace) -> str:
    """What was said until now, without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", workspace.said.read_text(encoding="utf-8", errors="replace"))


def kill_at_random(workspace: Workspace, target: str, stack: str, number: signal.Signals = signal.SIGKILL) -> str:
    """Stop an apply when a drawn share of its resources is done, and a moment later; return where that was."""
    share, moment = DRAWN.random(), DRAWN.uniform(0, 1.5)
    process = workspace.start(stack, *words(target, stack))
    while process.poll() is None:
        said = plain(workspace)
        found = re.search(r"Plan: (?:(\d+) to import, )?(\d+) to add, (\d+) to change", said)
        wanted = sum(int(count or 0) for count in found.groups()) if found else 0
        done = len(re.findall(r"^\S+: (?:Creation|Modifications|Import) complete", said, re.MULTILINE))
        if found and done >= int(share * wanted):
            time.sleep(moment)
            break
        time.sleep(0.05)
    ended = process.poll() is not None
    if not ended:
        os.killpg(process.pid, number)
        process.wait()
    said = plain(workspace)
    done = len(re.findall(r"^\S+: (?:Creation|Modifications|Import) complete", said, re.MULTILINE))
    left = ", ".join(unfinished()) or "none pending"
    return f"{target} at {share:.0%} + {moment:.1f} s" + (" (it had ended)" if ended else f": {done} done, {left}")


@pytest.mark.parametrize("stack", ["test", "staging", "infra"])
def test_terraform_killed_three_times_at_the_first_apply(workspace: Workspace, stack: str, table: Table) -> None:
    if stack == "infra":
        workspace.demolish()
    elif stack == "test":
        gone = workspace.destroy("test")
        assert gone.returncode == 0, gone.stderr
    before = {name: what for name, what in kept().items() if f"-{stack}" not in name} if stack != "infra" else {}
    moments = [kill_at_random(workspace, target, stack) for target in ("apply", "recover", "recover")]
    seen, ran = converge(workspace, stack)
    assert not lost(before)
    assert not readers_of_another()
    if stack == "infra":
        workspace.apply("test")
    table.add(f"{stack}: first apply, kill -9: {'; '.join(moments)}", seen, ran, "second plan empty, nothing lost")


@pytest.mark.parametrize("stack", ["test", "staging", "infra"])
def test_terraform_killed_three_times_at_an_upgrade(workspace: Workspace, stack: str, table: Table) -> None:
    if stack == "staging":
        workspace.apply("staging")
    before = kept()
    with changed(workspace, stack, description=anew()):
        moments = [kill_at_random(workspace, target, stack) for target in ("apply", "recover", "recover")]
        seen, ran = converge(workspace, stack)
    assert not lost(before)
    succeed(workspace, "apply", stack)
    table.add(
        f"{stack}: upgrade of all releases, kill -9: {'; '.join(moments)}", seen, ran, "second plan empty, nothing lost"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_terraform_asked_to_stop_ends_by_itself(workspace: Workspace, number: signal.Signals, table: Table) -> None:
    before = kept()
    with changed(workspace, "test", description=anew()):
        moment = kill_at_random(workspace, "apply", "test", number)
        seen, ran = converge(workspace, "test")
    assert not lost(before)
    succeed(workspace, "apply", "test")
    table.add(f"test: {number.name} to the group: {moment}", seen, ran, "second plan empty, nothing lost")


class ApiServer:
    """The API server of KUBECONFIG, if it is a process of this machine."""

    def __init__(self) -> None:
        content = yaml.safe_load(Path(KUBECONFIG).read_text(encoding="utf-8"))
        self.port = urlsplit(content["clusters"][0]["cluster"]["server"]).port
        found = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if self._is_it(path)]
        need(found, "a kube-apiserver on this machine, at the port of KUBECONFIG")
        self.process = int(found[0].name)
        self.command = (found[0] / "cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self.folder = (found[0] / "cwd").readlink()

    def _is_it(self, path: Path) -> bool:
        try:
            said = path.read_bytes().decode().replace("\0", " ")
        except OSError:
            return False
        return bool(re.search(rf"^\S*kube-apiserver .*--secure-port[ =]{self.port}\b", said))

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        while kubectl("get", "--raw=/livez", "--request-timeout=2s").returncode == 0:
            time.sleep(0.1)

    def begin(self) -> None:
        """Start it again, as it was; it goes on after this test."""
        self.process = subprocess.Popen(  # noqa: S603
            self.command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ).pid
        deadline = time.monotonic() + 120
        while kubectl("get", "--raw=/readyz", "--request-timeout=2s").returncode != 0:
            assert time.monotonic() < deadline, "the API server did not come back"
            time.sleep(0.5)


def wait_until(is_so: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 180
    while not is_so():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.05)


def has_said(workspace: Workspace, text: str) -> Callable[[], bool]:
    return lambda: text in plain(workspace)


@pytest.mark.parametrize("away", [3, 75], ids=["seconds", "a minute"])
def test_the_api_server_is_killed_in_an_upgrade_and_comes_back(workspace: Workspace, away: int, table: Table) -> None:
    server = ApiServer()
    before = kept()
    with changed(workspace, "test", description=anew()):
        process = workspace.start("test", *words("apply", "test"))
        wait_until(unfinished, process)
        server.kill()
        # The simulated cluster's own programs end without an API server for long; Terraform gives up before.
        began = time.monotonic()
        while time.monotonic() - began < away and process.poll() is None:
            time.sleep(0.5)
        server.begin()
        process.wait()
        said = workspace.said.read_text(encoding="utf-8")
        if process.returncode != 0:
            assert "The API server did not answer" in said, said[-3000:]
        status = "the apply went on" if process.returncode == 0 else "The API server did not answer"
        seen, ran = converge(workspace, "test")
    assert not lost(before)
    succeed(workspace, "apply", "test")
    table.add(
        f"API server away for {away} s in an upgrade", f"{status}; {seen}", ran, "second plan empty, nothing lost"
    )


@contextmanager
def held(workspace: Workspace, stack: str) -> Iterator[subprocess.Popen[bytes]]:
    """An apply that waits for its question to be answered, and holds the lock meanwhile."""
    act = ["scripts/as-deployer", stack, sys.executable, "-m", "stacks.terraform", *workspace.terraform_words(stack)]
    # The words that make hands over: Terraform, and the variables.
    command = [*act[:5], stack, act[5], "apply", *act[6:]]
    said = workspace.root / "said-by-the-first"
    with said.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=workspace.root,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    wait_until(lambda: "Enter a value" in said.read_text(encoding="utf-8", errors="replace"), process)
    yield process
    if process.poll() is None:
        process.communicate(b"yes\n")


def test_a_second_apply_in_the_same_checkout_waits_for_the_first(workspace: Workspace, table: Table) -> None:
    with changed(workspace, "test", description=anew()):
        with held(workspace, "test") as first:
            second = make(workspace, "apply", "test")
            assert second.status == 1
            assert "Somebody is at work on this stack in this checkout" in second.said, second.said[-3000:]
            stolen = workspace.terraform("test", "force-unlock", "-force", "00000000-0000-0000-0000-000000000000")
            assert stolen.returncode != 0
            first.communicate(b"yes\n")
            assert first.returncode == 0
        assert workspace.plan("test") == EMPTY
    with held(workspace, "test") as first:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    succeed(workspace, "apply", "test")
    table.add(
        f"two applies of a stack, backend `local` (refused after {second.seconds:.0f} s)",
        "Somebody is at work on this stack in this checkout",
        "the first goes on; then make apply",
        "second plan empty; a lock of a killed one is gone with it",
    )


@contextmanager
def in_the_cluster(workspace: Workspace, other: Path) -> Iterator[Workspace]:
    """Keep the state of `test` in the cluster for a while, and a second checkout that has it, too."""
    shutil.copytree(workspace.root, other, ignore=shutil.ignore_patterns(".terraform", ".state", "said*"))
    second = Workspace.__new__(Workspace)
    second.root, second.kubeconfig, second.said = other, workspace.kubeconfig, other / "said"
    backend = {"kubernetes": {"secret_suffix": "test", "namespace": "data-test"}}
    paths = [item.root / "terraform" / "stacks" / "test" / "cdk.tf.json" for item in (workspace, second)]
    before = paths[0].read_text(encoding="utf-8")
    for path in paths:
        content = json.loads(before)
        content["terraform"]["backend"] = backend
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    act = [str(workspace.root / "scripts" / "as-deployer"), "test", sys.executable]
    moved = subprocess.run(  # noqa: S603
        [*act, "-m", "stacks.state", "test", TERRAFORM], cwd=workspace.root, capture_output=True, text=True, check=False
    )
    assert moved.returncode == 0, moved.stderr
    with pytest.MonkeyPatch.context() as patch:
        # For `terraform init`, which a workspace runs as nobody in particular.
        patch.setenv("KUBE_CONFIG_PATH", workspace.kubeconfig)
        yield second
    # Back again: what is in the cluster is the newer one.
    pulled = workspace.state("test")
    for path in paths:
        path.write_text(before, encoding="utf-8")
    (workspace.root / ".state" / "test.tfstate").write_text(pulled, encoding="utf-8")
    shutil.rmtree(workspace.root / "terraform" / "stacks" / "test" / ".terraform")
    gone = kubectl("delete", "secret", "tfstate-default-test", PLACE)
    assert gone.returncode == 0, gone.stderr


def test_a_lock_in_the_cluster_is_respected_and_given_back_by_its_id_only(
    workspace: Workspace, tmp_path: Path, table: Table
) -> None:
    before = kept()
    with in_the_cluster(workspace, tmp_path / "other") as second:
        with changed(workspace, "test", description="both"), changed(second, "test", description="both"):
            with held(workspace, "test") as first:
                refused = make(second, "apply", "test")
                assert refused.status == 1
                assert "The state is locked by who is named above" in refused.said, refused.said[-3000:]
                (lock,) = re.findall(r"force-unlock ([0-9a-f-]{36})", refused.said)
                stolen = second.command("terraform", "test", TERRAFORM, "force-unlock", "-force", lock[::-1])
                assert stolen.returncode != 0
                first.communicate(b"yes\n")
                assert first.returncode == 0
            assert second.plan("test") == EMPTY
        with changed(second, "test", description=anew()):
            process = second.start("test", *words("apply", "test"))
            wait_until(unfinished, process)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            refused = make(second, "apply", "test")
            (lock,) = re.findall(r"force-unlock ([0-9a-f-]{36})", refused.said)
            unlocked = second.command("terraform", "test", TERRAFORM, "force-unlock", "-force", lock)
            assert unlocked.returncode == 0, unlocked.stderr
            seen, ran = converge(second, "test")
        assert not lost(before)
        succeed(second, "apply", "test")
    assert workspace.plan("test") == EMPTY
    table.add(
        f"two checkouts, backend `kubernetes` (refused after {refused.seconds:.0f} s)",
        "The state is locked by who is named above",
        "the first goes on; then make apply",
        "second plan empty; another lock's id is refused",
    )
    table.add(
        "kill -9, backend `kubernetes`",
        f"Error acquiring the state lock; {seen}",
        f"force-unlock, {ran}",
        "second plan empty",
    )


def test_two_stacks_are_applied_at_once(workspace: Workspace, table: Table) -> None:
    processes = {
        stack: workspace.start(stack, *words("apply", stack), said=workspace.root / f"said-{stack}")
        for stack in ("staging", "prod")
    }
    for stack, process in processes.items():
        process.wait()
        assert process.returncode == 0, (workspace.root / f"said-{stack}").read_text(encoding="utf-8")[-3000:]
    for stack in processes:
        assert workspace.plan(stack) == EMPTY
    table.add("staging and prod at once", "nothing: both are applied", "nothing", "second plans empty")


FILLER = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "own", "namespace": "data-test"},
    "spec": {
        "selector": {"matchLabels": {"app": "own"}},
        "template": {
            "metadata": {"labels": {"app": "own"}},
            "spec": {
                "securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "own",
                        "image": "own",
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        "resources": {"requests": {"memory": "1500Mi"}, "limits": {"memory": "1500Mi"}},
                    }
                ],
            },
        },
    },
}


@contextmanager
def full() -> Iterator[None]:
    """A quota of which somebody's own pods leave no more than what is needed now."""
    made = kubectl("create", "--filename=-", text=json.dumps(FILLER))
    assert made.returncode == 0, made.stderr
    wait_until(lambda: len(objects("pods", PLACE, "--selector=app=own")) == 1)
    yield
    kubectl("delete", "deployment", "own", PLACE)
    wait_until(lambda: not objects("pods", PLACE, "--selector=app=own"))


def test_a_full_quota_is_named_within_the_apply_and_room_mends_it(workspace: Workspace, table: Table) -> None:
    before = kept()
    set_redis(workspace, "700Mi")
    with full():
        process = workspace.start("test", *words("apply", "test"))
        wait_until(unfinished, process)
        began = time.monotonic()
        wait_until(has_said(workspace, "The cluster says: data-test: StatefulSet redis: FailedCreate"), process)
        told = time.monotonic() - began
    process.wait()
    said = workspace.said.read_text(encoding="utf-8")
    assert process.returncode == 0, said[-3000:]
    assert "The quota of data-test is used up" in said
    assert workspace.plan("test") == EMPTY
    assert not lost(before)
    table.add(
        f"a full quota (told {told:.0f} s after the upgrade began), room made meanwhile",
        "The cluster says: ... exceeded quota: environment, requested: ..., used: ..., limited: ...",
        "make room",
        f"the same apply goes on and ends well after {time.monotonic() - began:.0f} s",
    )


def test_a_full_quota_ends_the_apply_with_the_reason_and_the_release_as_it_was(
    workspace: Workspace, table: Table
) -> None:
    set_redis(workspace, "256Mi")
    succeed(workspace, "apply", "test")
    before = kept()
    set_redis(workspace, "700Mi")
    with changed(workspace, "test", timeout=45), full():
        failed = make(workspace, "apply", "test")
        assert failed.status == 1
        assert "context deadline exceeded" in failed.said
        assert "exceeded quota: environment, requested" in failed.said.partition("The cluster's warnings")[2]
        assert not unfinished()
    succeed(workspace, "apply", "test")
    assert workspace.plan("test") == EMPTY
    set_redis(workspace, "256Mi")
    succeed(workspace, "apply", "test")
    assert not lost(before)
    table.add(
        f"a full quota, to the timeout (of 45 s here; ended after {failed.seconds:.0f} s)",
        "context deadline exceeded; The cluster's warnings: ... exceeded quota",
        "make room, make apply",
        "second plan empty, nothing lost",
    )


def person(workspace: Workspace, path: Path) -> str:
    """The kubeconfig of somebody with a token, who may act as the deployer of `test`."""
    for command in (
        ("create", "serviceaccount", "person", "--namespace=default"),
        (
            "create",
            "rolebinding",
            "person",
            "--namespace=iac",
            "--role=act-as-deployer-test",
            "--serviceaccount=default:person",
        ),
    ):
        made = kubectl(*command)
        assert made.returncode == 0, made.stderr
    token = kubectl("create", "token", "person", "--namespace=default").stdout.strip()
    content = yaml.safe_load(Path(workspace.kubeconfig).read_text(encoding="utf-8"))
    content["users"][0]["user"] = {"token": token}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("withdrawn", "advice"),
    [
        (("serviceaccount", "person", "--namespace=default"), "does not take the credentials of KUBECONFIG"),
        (("rolebinding", "person", "--namespace=iac"), "You may not act as deployer-test any more"),
    ],
    ids=["token", "right"],
)
def test_who_loses_a_token_or_a_right_in_an_upgrade_is_told(
    workspace: Workspace, tmp_path: Path, withdrawn: tuple[str, ...], advice: str, table: Table
) -> None:
    before = kept()
    kubeconfig = person(workspace, tmp_path / "person")
    with changed(workspace, "test", description=anew()):
        process = workspace.start("test", *words("apply", "test"), kubeconfig=kubeconfig)
        wait_until(unfinished, process)
        assert kubectl("delete", *withdrawn).returncode == 0
        process.wait()
        said = workspace.said.read_text(encoding="utf-8")
        assert process.returncode != 0, said[-3000:]
        assert advice in said, said[-3000:]
        again = make(workspace, "apply", "test", kubeconfig=kubeconfig)
        assert again.status == 1
        seen, ran = converge(workspace, "test")
    for kind, name, namespace in (("serviceaccount", "person", "default"), ("rolebinding", "person", "iac")):
        kubectl("delete", kind, name, f"--namespace={namespace}", "--ignore-not-found")
    succeed(workspace, "apply", "test")
    assert not {name: what for name, what in lost(before).items() if "person" not in name}
    table.add(
        f"{withdrawn[0]} withdrawn in an upgrade",
        f"{advice}; {seen}",
        f"sign in again, {ran}",
        "second plan empty, nothing lost",
    )


class Away(http.server.BaseHTTPRequestHandler):
    """A server of charts that is there and has no time."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_chart_source_that_is_away_is_named_and_changes_nothing(
    workspace: Workspace, tmp_path: Path, table: Table
) -> None:
    need(os.environ.get("CHART_MIRROR"), "CHART_MIRROR, a folder with the charts")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Away)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cut, missing = tmp_path / "cut", tmp_path / "missing"
    for folder in (cut, missing):
        folder.mkdir()
    for path in Path(os.environ["CHART_MIRROR"]).glob("redis-*.tgz"):
        (cut / path.name).write_bytes(path.read_bytes()[:1000])
    sources = {
        "answers 503": (f"http://127.0.0.1:{server.server_port}", ""),
        "refuses": ("http://127.0.0.1:9", ""),
        "refuses (oci)": ("", "oci://127.0.0.1:9/charts"),
        "is cut off": ("", str(cut)),
        "is not there": ("", str(missing)),
    }
    before = kept()
    set_redis(workspace, "300Mi")
    for name, (repository, mirror) in sources.items():
        with changed(workspace, "test") as content:
            if repository:
                release = content["resource"]["helm_release"]["redis_release"]
                release.update(repository=repository, chart="redis")
                path = workspace.root / "terraform" / "stacks" / "test" / "cdk.tf.json"
                path.write_text(json.dumps(content, indent=2), encoding="utf-8")
            with pytest.MonkeyPatch.context() as patch:
                if mirror:
                    patch.setenv("CHART_MIRROR", mirror)
                failed = make(workspace, "apply", "test")
        assert failed.status == 1
        assert "The chart could not be had from where it is named above" in failed.said, failed.said[-3000:]
        table.add(
            f"a chart's source {name}",
            "The chart could not be had from where it is named above",
            "make apply",
            "as it was",
        )
    server.shutdown()
    assert not lost(before)
    succeed(workspace, "apply", "test")
    set_redis(workspace, "256Mi")
    succeed(workspace, "apply", "test")
    assert workspace.plan("test") == EMPTY


def test_a_webhook_that_gives_no_answer_is_named(workspace: Workspace, table: Table) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["services"]}
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "deaf", "labels": {DEAF: "true"}},
        "webhooks": [
            {
                "name": "deaf.example.com",
                "clientConfig": {"url": "https://127.0.0.1:9"},
                "rules": [rule],
                "failurePolicy": "Fail",
                "timeoutSeconds": 2,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    before = kept()
    gone = kubectl("delete", "service", "redis-metrics", PLACE)
    assert gone.returncode == 0, gone.stderr
    assert kubectl("create", "--filename=-", text=json.dumps(webhook)).returncode == 0
    try:
        wait_until(
            lambda: kubectl("create", "service", "clusterip", "x", "--tcp=1", "--dry-run=server").returncode != 0
        )
        failed = make(workspace, "apply", "test")
    finally:
        kubectl("delete", "validatingwebhookconfiguration", "deaf")
    assert failed.status == 1
    assert "The API server asks the webhook deaf.example.com" in failed.said, failed.said[-3000:]
    seen, ran = converge(workspace, "test")
    assert not lost(before)
    table.add(
        "a webhook that gives no answer",
        f"The API server asks the webhook ..., and had no answer; {seen}",
        ran,
        "second plan empty",
    )


def test_a_namespace_that_is_being_deleted_is_named_and_made_again(workspace: Workspace, table: Table) -> None:
    keeper = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "keeper", "namespace": "data-test", "finalizers": ["example.com/keeper"]},
    }
    assert kubectl("create", "--filename=-", text=json.dumps(keeper)).returncode == 0
    assert kubectl("delete", "namespace", "data-test", "--wait=false").returncode == 0
    wait_until(lambda: not objects("services", PLACE))
    failed = make(workspace, "apply", "test")
    assert failed.status == 1
    assert "Somebody has deleted the namespace data-test" in failed.said, failed.said[-3000:]
    patched = kubectl(
        "patch", "configmap", "keeper", PLACE, "--type=merge", '--patch={"metadata": {"finalizers": null}}'
    )
    assert patched.returncode == 0, patched.stderr
    wait_until(lambda: kubectl("get", "namespace", "data-test").returncode != 0)
    failed = make(workspace, "apply", "test")
    assert failed.status == 1
    assert "an administrator applies the stack infra first" in failed.said
    succeed(workspace, "apply", "infra")
    seen, ran = converge(workspace, "test")
    table.add(
        "a namespace that is being deleted",
        f"Somebody has deleted the namespace data-test; {seen}",
        f"let it go; make apply ENV=infra, {ran}",
        "second plans empty; what was in it is gone",
    )
