"""The committed stacks are the snapshots: what a pull request reviews is what a synthesis writes."""

import difflib
import json
from pathlib import Path

import pytest

from stacks.project import Project
from tests.support import ROOT, Stack

NAMES = sorted(path.stem for path in (ROOT / "envs").glob("*.tfvars"))


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_stack_is_what_is_synthesized(name: str, stacks: dict[str, Stack]) -> None:
    path = ROOT / "terraform" / "stacks" / name / "cdk.tf.json"
    committed = json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=1, sort_keys=True)
    synthesized = json.dumps(stacks[name], indent=1, sort_keys=True)
    difference = difflib.unified_diff(committed.splitlines(), synthesized.splitlines(), "committed", "synthesized", n=2)
    assert committed == synthesized, "run make synth, and review:\n" + "\n".join(difference)


@pytest.mark.parametrize("name", ["atlantis.yaml", "docs/reference/settings.md"])
def test_the_committed_derived_file_is_what_is_synthesized(
    name: str, project: Project, stacks: dict[str, Stack]
) -> None:
    assert stacks
    derived: Path = project.root / name
    assert (ROOT / name).read_text(encoding="utf-8") == derived.read_text(encoding="utf-8"), "run make synth"


def test_no_stack_is_committed_that_has_no_tfvars() -> None:
    assert sorted(path.name for path in (ROOT / "terraform" / "stacks").iterdir()) == NAMES
