"""Terraform for one stack: what is said of a failure, and what the cluster says meanwhile."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stacks import terraform as module
from stacks.cluster import ClusterError
from stacks.terraform import FAULTS, WARNINGS, Watch, advices, namespaces, run
from tests.support import ROOT

QUOTA = (
    'Create Pod redis-0 in StatefulSet redis failed error: pods "redis-0" is forbidden: exceeded quota: environment, '
    "requested: requests.memory=732Mi, used: requests.memory=1500Mi, limited: requests.memory=2Gi"
)


def framed(words: str) -> str:
    """An error as Terraform prints it on a terminal: coloured, framed and broken into lines."""
    lines = [" ".join(words.split()[at : at + 4]) for at in range(0, len(words.split()), 4)]
    body = "".join(f"\x1b[31m│\x1b[0m \x1b[0m{line}\n" for line in lines)
    return f"\x1b[31m╷\x1b[0m\x1b[0m\n\x1b[31m│\x1b[0m \x1b[0m\x1b[1m\x1b[31mError: \x1b[0m{body}\x1b[31m╵\x1b[0m\n"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (
            "Error acquiring the state lock Error message: resource temporarily unavailable Lock Info: ID: 1-a",
            "wait until they are done.*never left behind",
        ),
        (
            "Error acquiring the state lock Error message: the state is already locked Lock Info: ID: 02b5a27d Path: x",
            "scripts/as-deployer test terraform -chdir=terraform/stacks/test force-unlock 02b5a27d\n.*make recover",
        ),
        ('configmaps "x" already exists', "make recover ENV=test"),
        ("installation failed cannot re-use a name that is still in use", "make recover ENV=test"),
        ("another operation (install/upgrade/rollback) is in progress", "make recover ENV=test"),
        ("Upgrade failed: release redis failed: context deadline exceeded", "warnings below"),
        ("Unauthorized", "Sign in again"),
        ('User "anna" cannot impersonate resource "serviceaccounts"', "may not act as deployer-test any more"),
        ('Get "https://10.0.0.1:6443/api": dial tcp 10.0.0.1:6443: connect: connection refused', "did not answer"),
        (
            'locating chart looks like "http://mirror" is no chart repository or cannot be reached: connection refused',
            "The chart could not be had",
        ),
        ("Unable to load chart /charts/redis-0.34.18.tgz: unexpected EOF", "The chart could not be had"),
        ('failed calling webhook "webhook.cert-manager.io": context deadline exceeded', "webhook.cert-manager.io"),
        (
            "unable to create new content in namespace data-test because it is being terminated",
            "kubectl get namespace data-test",
        ),
        ('namespaces "data-test" not found', "make apply ENV=infra"),
        ("x509: certificate has expired or is not yet valid", "clock"),
        ("Error saving state Failed to save state. has been written to the file errored.tfstate", "state push"),
        ('persistentvolumeclaims "x" is forbidden: exceeded quota: environment', "quota is used up"),
    ],
)
def test_what_terraform_says_is_told_in_words_of_the_platform(words: str, advice: str) -> None:
    (found,) = advices(framed(words), "test")
    assert re.search(advice, found, re.DOTALL), found


def test_each_advice_is_given_once_and_an_error_that_says_all_itself_has_none() -> None:
    words = framed("Unauthorized") + framed("redis: give at least 64Mi.") + framed("Unauthorized")
    assert len(advices(words, "test")) == 1


def test_infra_is_mended_by_its_administrator() -> None:
    (found,) = advices(framed("Error acquiring the state lock Lock Info: ID: 1-a"), "infra")
    assert "scripts/as-administrator terraform -chdir=terraform/stacks/infra force-unlock 1-a" in found


@pytest.mark.parametrize("fault", [*FAULTS, *WARNINGS], ids=lambda fault: fault.pattern[:20])
def test_an_advice_names_only_targets_and_pages_that_are_there(fault: module.Fault) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z]+) ENV=", fault.advice):
        assert f"\n{target}:" in makefile
    for page in re.findall(r"(?:docs|scripts)/[a-z/.-]+[a-z]", fault.advice):
        assert (ROOT / page).exists(), page


class Cluster:
    """A cluster whose events may change."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.answers = True

    def warn(self, uid: str, message: str, *, count: int = 1, namespace: str = "data-test") -> None:
        self.events = [event for event in self.events if event["metadata"]["uid"] != uid]
        event = {"metadata": {"uid": uid, "namespace": namespace}, "reason": "FailedCreate", "count": count}
        about = {"kind": "StatefulSet", "name": "redis"}
        self.events.append({**event, "involvedObject": about, "message": message, "lastTimestamp": f"{count:03}"})

    def kubectl(self, *arguments: str) -> str:
        if not self.answers:
            message = "connection refused"
            raise ClusterError(message)
        namespace = arguments[2].partition("=")[2]
        return json.dumps({"items": [event for event in self.events if event["metadata"]["namespace"] == namespace]})


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(module, "kubectl", cluster.kubectl)
    return cluster


def test_only_warnings_that_are_new_or_given_again_are_the_applys(cluster: Cluster) -> None:
    cluster.warn("old", "of yesterday")
    cluster.warn("again", "back-off")
    watch = Watch("test", ["data-test", "monitoring-test"])
    watch.begin()
    cluster.warn("again", "back-off", count=2)
    cluster.warn("new", "unhealthy", namespace="monitoring-test")
    cluster.warn("foreign", "unhealthy", namespace="data-prod")
    assert [item.message for item in watch.warnings()] == ["unhealthy", "back-off"]


def test_a_full_quota_is_told_once_while_terraform_waits_and_what_may_pass_is_not(cluster: Cluster) -> None:
    watch = Watch("test", ["data-test"])
    watch.begin()
    cluster.warn("probe", "Readiness probe failed")
    cluster.warn("quota", QUOTA)
    (told,) = watch.untold()
    assert "data-test: StatefulSet redis: FailedCreate: Create Pod redis-0" in told
    assert "The quota of data-test is used up" in told
    cluster.warn("quota", QUOTA, count=9)
    assert not list(watch.untold())


def prepare(folder: Path, script: str) -> tuple[Path, str]:
    folder = folder / "test"
    folder.mkdir()
    stack = {"resource": {"helm_release": {"redis": {"namespace": "data-test"}, "each": {"namespace": "${each.key}"}}}}
    (folder / "cdk.tf.json").write_text(json.dumps(stack), encoding="utf-8")
    terraform = folder / "terraform"
    terraform.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    terraform.chmod(0o755)
    return folder, str(terraform)


def test_the_namespaces_are_those_of_the_json(tmp_path: Path) -> None:
    assert namespaces(prepare(tmp_path, "")[0]) == ["data-test"]
    assert namespaces(ROOT / "terraform" / "stacks" / "prod") == ["data-prod", "monitoring-prod"]


def test_a_failure_is_explained_and_has_terraforms_exit_status(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.05)
    folder, terraform = prepare(tmp_path, 'sleep 0.5; echo "Error: context deadline exceeded" >&2; exit 3')
    watch_begins = Watch.begin

    def begin(watch: Watch) -> None:
        watch_begins(watch)
        cluster.warn("quota", QUOTA)

    monkeypatch.setattr(Watch, "begin", begin)
    assert run(folder, terraform, ["apply"]) == 3
    said = capfd.readouterr().err
    while_waiting, error, rest = said.partition("Error: context deadline exceeded")
    assert error
    assert "The cluster says: data-test: StatefulSet redis" in while_waiting
    assert "Why it was not ready is in the cluster's warnings below" in rest
    assert rest.count("exceeded quota") == 1


def test_what_ends_well_is_not_commented(cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, terraform = prepare(tmp_path, 'echo "$@"; echo warned >&2')
    cluster.warn("old", QUOTA)
    assert run(folder, terraform, ["apply", "-var=a=b"]) == 0
    assert capfd.readouterr() == ("apply -var=a=b\n", "warned\n")


def test_a_cluster_that_does_not_answer_keeps_nothing_from_being_said(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.answers = False
    folder, terraform = prepare(tmp_path, 'echo "Error: connection refused" >&2; exit 1')
    assert run(folder, terraform, ["apply"]) == 1
    said = capfd.readouterr().err
    assert "The API server did not answer" in said
    assert "The cluster was not asked for its warnings: connection refused" in said


def test_an_interrupt_reaches_terraform_once_and_what_it_says_then_is_heard(tmp_path: Path) -> None:
    """As Ctrl-C does, which the terminal sends to all of the group."""
    trap = 'trap "echo interrupted >> heard; sleep 0.3; exit 1" INT'
    folder, terraform = prepare(tmp_path, f"{trap}; echo ready > ready; while :; do sleep 0.05; done")
    code = """
import sys, pathlib, stacks.terraform
sys.exit(stacks.terraform.run(pathlib.Path(sys.argv[1]), sys.argv[2], []))
"""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code, str(folder), terraform],
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    while not (folder / "ready").exists():
        assert process.poll() is None
        time.sleep(0.05)
    subprocess.run(["/bin/kill", f"-{signal.SIGINT.value}", "--", f"-{process.pid}"], check=True)  # noqa: S603
    assert process.wait() == 1
    assert (folder / "heard").read_text(encoding="utf-8") == "interrupted\n"
