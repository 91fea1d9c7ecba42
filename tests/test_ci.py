"""The workflows hold no key but where they must, and what they run says what it found."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.guard import PROVIDERS_LOCK
from tests.support import ROOT

WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").iterdir()}
# PyYAML reads the key `on` as what YAML 1.1 says it is.
PARSED: dict[str, Any] = {name: yaml.load(text, Loader=yaml.BaseLoader) for name, text in WORKFLOWS.items()}  # noqa: S506 (strings alone)
LOCKS = sorted((ROOT / "terraform" / "stacks").glob("*/.terraform.lock.hcl"))
SCRIPTS = ROOT / ".ci"


def test_an_action_is_its_commit_everywhere_the_same() -> None:
    used = [line for text in WORKFLOWS.values() for line in text.splitlines() if "uses:" in line]
    pins = {re.fullmatch(r" +- uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line) for line in used}
    assert None not in pins
    assert len({match[1] for match in pins if match}) == len({match.group(1, 2, 3) for match in pins if match})


@pytest.mark.parametrize("name", PARSED)
def test_a_job_may_read_the_repository_ends_by_itself_and_keeps_no_token(name: str) -> None:
    assert PARSED[name]["permissions"] == {}
    for job in PARSED[name]["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        assert int(job["timeout-minutes"]) <= 120
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert [step["with"]["persist-credentials"] for step in checkouts] == ["false"]


def test_what_runs_a_pull_requests_code_has_no_secret() -> None:
    assert {name for name, text in WORKFLOWS.items() if re.search(r"\bsecrets\b", text)} == {"drift.yml"}
    assert set(PARSED["drift.yml"]["on"]) == {"schedule", "workflow_dispatch"}
    assert "refs/heads/main" in PARSED["drift.yml"]["jobs"]["drift"]["if"]
    assert not [
        name for name, workflow in PARSED.items() if {"pull_request_target", "workflow_run"} & set(workflow["on"])
    ]


def test_every_stacks_committed_lock_file_has_the_registrys_checksums() -> None:
    wanted = set(re.findall(r"zh:[0-9a-f]{64}", PROVIDERS_LOCK.read_text(encoding="utf-8")))
    assert len(LOCKS) == len(list((ROOT / "terraform" / "stacks").iterdir()))
    for lock in LOCKS:
        assert set(re.findall(r"zh:[0-9a-f]{64}", lock.read_text(encoding="utf-8"))) == wanted


def _run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | variables
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with what .ci/fresh looks at."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "fresh").write_bytes((SCRIPTS / "fresh").read_bytes())
    (tmp_path / "terraform").mkdir()
    (tmp_path / "terraform" / "cdk.tf.json").write_text("one\n", encoding="utf-8")
    (tmp_path / "terraform" / ".terraform.lock.hcl").write_text("zh\n", encoding="utf-8")
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=one"]):
        done = _run("git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@example.com", *command)
        assert done.returncode == 0, done.stderr
    return tmp_path


def _fresh(repository: Path) -> subprocess.CompletedProcess[str]:
    command = f'cd "{repository}" && bash .ci/fresh terraform'
    return _run("sh", "-c", command, GITHUB_STEP_SUMMARY=str(repository / "summary"))


def test_what_is_committed_as_synthesized_is_passed_in_silence(repository: Path) -> None:
    (repository / "terraform" / ".terraform.lock.hcl").write_text("zh\nh1\n", encoding="utf-8")
    done = _fresh(repository)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (repository / "summary").exists()


def test_what_is_not_is_shown_and_said_what_to_do(repository: Path) -> None:
    (repository / "terraform" / "cdk.tf.json").write_text("two\n", encoding="utf-8")
    (repository / "terraform" / "new.json").write_text("three\n", encoding="utf-8")
    done = _fresh(repository)
    assert done.returncode == 1
    assert {"-one", "+two", "+three"} <= set(done.stdout.splitlines())
    assert "run `make synth`, and commit the result" in done.stderr
    assert "+two" in (repository / "summary").read_text(encoding="utf-8")
    assert _run("git", "-C", repository, "diff", "--cached", "--name-only").stdout == ""


def test_a_diff_is_bounded_in_both_directions(repository: Path) -> None:
    (repository / "terraform" / "cdk.tf.json").write_text("\n".join(["x" * 2000] * 2000), encoding="utf-8")
    done = _fresh(repository)
    assert done.returncode == 1
    assert len(done.stdout) < 50_000
    assert re.search(r"and \d{4} more lines", done.stderr)


REGISTRY = """#!/bin/sh
for word; do case $word in -chdir=*) folder=${word#-chdir=} ;; esac; done
echo "$@" >> "$CALLS"
sed -i.bak 's/^  hashes = \\[/&\\n    "h1:abc=",/; $EDIT' "$folder/.terraform.lock.hcl"
exit $STATUS
"""


@pytest.mark.parametrize(
    ("edit", "status", "is_accepted"),
    [("", 0, True), ("s/zh:1a6d5c/zh:000000/", 0, False), ("/zh:faf23e/d", 0, False), ("", 1, False)],
    ids=["the same", "another checksum", "one fewer", "refused"],
)
def test_a_lock_file_that_is_not_the_registrys_is_seen(
    tmp_path: Path, edit: str, status: int, *, is_accepted: bool
) -> None:
    terraform = tmp_path / "terraform"
    terraform.write_text(REGISTRY.replace("$EDIT", edit).replace("$STATUS", str(status)), encoding="utf-8")
    terraform.chmod(0o755)
    calls = tmp_path / "calls"
    done = _run(SCRIPTS / "providers", PATH=f"{tmp_path}:{os.environ['PATH']}", CALLS=str(calls))
    assert (done.returncode == 0) is is_accepted, done.stdout + done.stderr
    made = calls.read_text(encoding="utf-8").splitlines()
    assert len(made) == len(LOCKS)
    assert all(call.count("-platform=") == 4 for call in made)
