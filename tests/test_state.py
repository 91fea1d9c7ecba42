"""The state's move from one backend to another, by Terraform itself and between folders: no cluster is needed."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stacks.state import StateError, last_used, move
from tests.support import on_the_path

OTHER = {"text": {"value": "other", "type": "string"}}


@pytest.fixture
def terraform() -> str:
    return on_the_path("terraform")


@pytest.fixture
def folder(tmp_path: Path, terraform: str) -> Path:
    """A stack `demo` without providers, applied with its state in .state/, then synthesized to keep it elsewhere."""
    folder = tmp_path / "terraform" / "stacks" / "demo"
    folder.mkdir(parents=True)
    synthesize(folder, "../../../.state/demo.tfstate")
    apply(terraform, folder)
    synthesize(folder, "../../../elsewhere.tfstate")
    return folder


def synthesize(folder: Path, path: str, text: str = "first") -> None:
    stack = {"terraform": {"backend": {"local": {"path": path}}}, "output": {"text": {"value": text}}}
    (folder / "cdk.tf.json").write_text(json.dumps(stack), encoding="utf-8")


def apply(terraform: str, folder: Path) -> None:
    for arguments in (("init", "-input=false", "-reconfigure"), ("apply", "-auto-approve", "-input=false")):
        subprocess.run([terraform, *arguments], cwd=folder, capture_output=True, check=True)  # noqa: S603


def plan(terraform: str, folder: Path) -> int:
    command = [terraform, "plan", "-detailed-exitcode", "-input=false"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode  # noqa: S603


def state(path: Path) -> Any:  # noqa: ANN401 (a state)
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_state_is_moved_and_the_old_one_stays(folder: Path, terraform: str, tmp_path: Path) -> None:
    old = state(tmp_path / ".state" / "demo.tfstate")
    assert plan(terraform, folder) == 1
    assert move(tmp_path, "demo", terraform) == "demo: moved to local, serial 1; the old one stays in local"
    assert state(tmp_path / "elsewhere.tfstate") == state(tmp_path / ".state" / "demo.tfstate") == old
    assert plan(terraform, folder) == 0


def test_a_second_move_changes_nothing(folder: Path, terraform: str, tmp_path: Path) -> None:
    move(tmp_path, "demo", terraform)
    before = (tmp_path / "elsewhere.tfstate").read_bytes()
    assert move(tmp_path, "demo", terraform) == "demo: the state is in local already"
    assert (tmp_path / "elsewhere.tfstate").read_bytes() == before
    assert plan(terraform, folder) == 0


def test_a_move_that_was_killed_after_the_copy_is_finished_by_the_next(
    folder: Path, terraform: str, tmp_path: Path
) -> None:
    shutil.copy(tmp_path / ".state" / "demo.tfstate", tmp_path / "elsewhere.tfstate")
    assert move(tmp_path, "demo", terraform) == "demo: the state is in local already"
    assert plan(terraform, folder) == 0


def test_a_state_is_found_in_a_checkout_that_terraform_has_forgotten(
    folder: Path, terraform: str, tmp_path: Path
) -> None:
    shutil.rmtree(folder / ".terraform")
    assert "moved to local" in move(tmp_path, "demo", terraform)
    assert plan(terraform, folder) == 0


def test_an_empty_state_is_none_whatever_history_it_claims(folder: Path, terraform: str, tmp_path: Path) -> None:
    empty = state(tmp_path / ".state" / "demo.tfstate") | {"lineage": "another", "serial": 9, "outputs": {}}
    (tmp_path / "elsewhere.tfstate").write_text(json.dumps(empty), encoding="utf-8")
    assert "moved to local" in move(tmp_path, "demo", terraform)
    assert plan(terraform, folder) == 0


def test_an_older_state_of_the_same_history_is_overwritten(folder: Path, terraform: str, tmp_path: Path) -> None:
    shutil.copy(tmp_path / ".state" / "demo.tfstate", tmp_path / "elsewhere.tfstate")
    synthesize(folder, "../../../.state/demo.tfstate", "second")
    apply(terraform, folder)
    synthesize(folder, "../../../elsewhere.tfstate", "second")
    assert "serial 2 over 1" in move(tmp_path, "demo", terraform)
    assert plan(terraform, folder) == 0


def test_a_newer_state_is_never_overwritten(folder: Path, terraform: str, tmp_path: Path) -> None:
    newer = state(tmp_path / ".state" / "demo.tfstate") | {"serial": 5, "outputs": OTHER}
    (tmp_path / "elsewhere.tfstate").write_text(json.dumps(newer), encoding="utf-8")
    with pytest.raises(StateError, match=r"newer state \(serial 5, local has 1\); nothing was changed"):
        move(tmp_path, "demo", terraform)
    assert state(tmp_path / "elsewhere.tfstate") == newer
    assert plan(terraform, folder) == 1


def test_a_state_of_the_same_serial_that_went_another_way_is_never_overwritten(
    folder: Path, terraform: str, tmp_path: Path
) -> None:
    other = state(tmp_path / ".state" / "demo.tfstate") | {"outputs": OTHER}
    (tmp_path / "elsewhere.tfstate").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(StateError, match="nothing was changed"):
        move(tmp_path, "demo", terraform)
    assert state(tmp_path / "elsewhere.tfstate") == other
    assert folder.is_dir()


def test_the_state_of_another_installation_is_never_overwritten(folder: Path, terraform: str, tmp_path: Path) -> None:
    other = state(tmp_path / ".state" / "demo.tfstate") | {"lineage": "another"}
    (tmp_path / "elsewhere.tfstate").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(StateError, match="another installation; nothing was changed"):
        move(tmp_path, "demo", terraform)
    assert state(tmp_path / "elsewhere.tfstate") == other
    assert folder.is_dir()


def test_a_stack_that_was_never_applied_is_made_ready_for_the_new_backend(
    folder: Path, terraform: str, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / ".state")
    assert move(tmp_path, "demo", terraform) == "demo: there is no state to move"
    assert not (tmp_path / "elsewhere.tfstate").exists()
    assert plan(terraform, folder) == 2


def test_what_was_not_given_is_left_out_of_a_recorded_backend(tmp_path: Path) -> None:
    folder = tmp_path / "terraform" / "stacks" / "demo" / ".terraform"
    folder.mkdir(parents=True)
    config = {"bucket": "states", "acl": None, "endpoints": {"s3": "https://s3.local", "iam": None}}
    record = {"backend": {"type": "s3", "config": config}}
    (folder / "terraform.tfstate").write_text(json.dumps(record), encoding="utf-8")
    assert last_used(tmp_path, "demo") == {"s3": {"bucket": "states", "endpoints": {"s3": "https://s3.local"}}}
