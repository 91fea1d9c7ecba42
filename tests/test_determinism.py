"""Synthesis is a pure function of the repository: from any folder, in any home, under any hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, copy_sources


def synthesized(root: Path, cwd: Path, flags: list[str], **environment: str) -> dict[str, bytes]:
    command = [sys.executable, *flags, str(root / "main.py")]
    subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, check=True)  # noqa: S603
    files = [*(root / "terraform").rglob("*"), root / "atlantis.yaml", *(root / "docs").rglob("*")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a synthesis needs, in a folder with a space in its name."""
    root = tmp_path / "a clone"
    root.mkdir()
    copy_sources(root)
    return root


def test_the_same_bytes_from_another_folder_home_hash_seed_and_with_eager_bindings(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    elsewhere = {"PYTHONHASHSEED": "2", "HOME": str(home), "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    first = synthesized(clone, clone, [], PYTHONHASHSEED="1")
    assert synthesized(clone, tmp_path, ["-O"], **elsewhere) == first
    assert synthesized(clone, tmp_path, [], STRATA_EAGER_BINDINGS="1") == first
    assert {name for name in first if name.endswith("cdk.tf.json")} == {
        f"terraform/stacks/{path.stem}/cdk.tf.json" for path in (ROOT / "envs").glob("*.tfvars")
    }


def test_what_terraform_would_read_beside_a_stack_is_refused_before_anything_is_written(clone: Path) -> None:
    folder = clone / "terraform" / "stacks" / "infra"
    folder.mkdir(parents=True)
    names = ["more.tf", "override.tf.json", "terraform.tfvars", "x.auto.tfvars"]
    for name in names:
        (folder / name).write_text("enable_infra = true\n", encoding="utf-8")
    command = [sys.executable, str(clone / "main.py")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert refused.returncode == 1
    words = "Terraform would read it beside the stack; remove it"
    assert refused.stderr.splitlines() == [f"terraform/stacks/infra/{name}: {words}" for name in names]
    assert not (folder / "cdk.tf.json").exists()


def test_a_synthesis_leaves_no_orphan_and_keeps_what_terraform_added_to_a_lock_file(clone: Path) -> None:
    (clone / "envs" / "passing.tfvars").write_text(
        'environment = "passing"\nenv_prefix = "x-passing"\nbase_domain = "example.com"\ncomponents = ["redis"]\n',
        encoding="utf-8",
    )
    stacks = clone / "terraform" / "stacks"
    stacks.mkdir(parents=True)
    (stacks / ".DS_Store").touch()
    synthesized(clone, clone, [])
    lock = stacks / "infra" / ".terraform.lock.hcl"
    added = lock.read_text(encoding="utf-8").replace("  hashes = [\n", '  hashes = [\n    "h1:of-this-platform",\n', 1)
    lock.write_text(added, encoding="utf-8")
    assert (stacks / "passing").is_dir()
    (clone / "envs" / "passing.tfvars").unlink()
    synthesized(clone, clone, [])
    assert not (stacks / "passing").exists()
    assert lock.read_text(encoding="utf-8") == added
