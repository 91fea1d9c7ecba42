"""The state backend: one line of cdktf.json for all stacks."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from stacks.backend import Backend
from stacks.project import CdktfJson, Context, Project
from stacks.synthesis import synthesize

BACKEND: TypeAdapter[Backend] = TypeAdapter(Backend)


def test_local_state_lies_outside_the_folders_that_a_synthesis_may_remove() -> None:
    block = BACKEND.validate_python({"type": "local"}).block("prod", "data-prod")
    assert block == {"local": {"path": "../../../.state/prod.tfstate"}}


@pytest.mark.parametrize(
    "backend", [{"type": "local"}, {"type": "kubernetes"}, {"type": "s3", "bucket": "states", "region": "r"}]
)
def test_a_stack_has_exactly_the_one_backend(backend: dict[str, str], project: Project, tmp_path: Path) -> None:
    context = Context(backend=BACKEND.validate_python(backend), promotion=())
    synthesize(Project(tmp_path, CdktfJson(output="terraform", context=context), project.infra, project.environments))
    for path in (tmp_path / "terraform" / "stacks").glob("*/cdk.tf.json"):
        assert list(json.loads(path.read_text(encoding="utf-8"))["terraform"]["backend"]) == [backend["type"]]
        assert str(tmp_path) not in path.read_text(encoding="utf-8")


def test_state_in_kubernetes_lies_in_a_namespace_of_the_stacks_own() -> None:
    block = BACKEND.validate_python({"type": "kubernetes"}).block("prod", "data-prod")
    assert block == {"kubernetes": {"secret_suffix": "prod", "namespace": "data-prod"}}


def test_state_in_s3_is_locked_and_encrypted_and_no_two_stacks_share_a_key() -> None:
    backend = BACKEND.validate_python({"type": "s3", "bucket": "states", "region": "eu-central-1"})
    blocks = [backend.block(name, "unused")["s3"] for name in ("staging", "prod")]
    assert [block["key"] for block in blocks if isinstance(block, dict)] == [
        "strata/staging.tfstate",
        "strata/prod.tfstate",
    ]
    for block in blocks:
        assert isinstance(block, dict)
        assert block["use_lockfile"] is True
        assert block["encrypt"] is True
        assert "endpoints" not in block


def test_an_imitation_of_s3_is_spoken_to_by_path() -> None:
    backend = BACKEND.validate_python({"type": "s3", "bucket": "states", "region": "x", "endpoint": "https://s3.local"})
    block = backend.block("prod", "unused")["s3"]
    assert isinstance(block, dict)
    assert block["endpoints"] == {"s3": "https://s3.local"}
    assert block["use_path_style"] is True


@pytest.mark.parametrize(
    "context", [{"type": "git"}, {}, {"type": "s3"}, {"type": "s3", "bucket": "b", "region": "r", "access_key": "k"}]
)
def test_an_unknown_backend_or_a_credential_in_it_is_refused(context: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        BACKEND.validate_python(context)
