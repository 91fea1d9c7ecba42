"""The frame of every restore: what is shown, what is asked, and what is said when a step fails."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from stacks.project import Project
from stacks.restore import __main__ as command
from stacks.restore.step import Request, RestoreError, Step
from tests.support import ROOT


@pytest.fixture
def request_(project: Project) -> Request:
    return Request(ROOT, project.environments["staging"], "", "terraform", ())


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that were taken, of a store with three; the last one fails."""
    done: list[str] = []

    def fail() -> None:
        message = "the disk is full"
        raise RestoreError(message)

    def steps(_: Request) -> Sequence[Step]:
        first, second = (Step(words, lambda words=words: done.append(words)) for words in ("stop it", "bring it"))  # type: ignore[misc]
        return [first, second, Step("start it", fail)]

    monkeypatch.setattr(command, "_SYSTEMS", {"redis": steps})
    return done


def test_a_dry_run_shows_the_steps_and_takes_none(
    request_: Request, taken: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command.restore(request_, "redis", is_dry=True, ask=lambda _: pytest.fail("asked"))
    assert "  1. stop it\n  2. bring it\n  3. start it\nNothing was changed" in capsys.readouterr().out
    assert not taken


@pytest.mark.parametrize("typed", ["", "yes", "prod", "Staging"])
def test_only_the_environments_own_name_goes_on(typed: str, request_: Request, taken: list[str]) -> None:
    with pytest.raises(RestoreError, match="Nothing was changed"):
        command.restore(request_, "redis", is_dry=False, ask=lambda _: typed)
    assert not taken


def test_a_step_that_fails_says_what_is_left(request_: Request, taken: list[str]) -> None:
    with pytest.raises(RestoreError) as refused:
        command.restore(request_, "redis", is_dry=False, ask=lambda _: "staging")
    assert taken == ["stop it", "bring it"]
    assert str(refused.value).startswith("the disk is full\nStep 3 failed.")
    assert str(refused.value).endswith("\n  3. start it")


@pytest.mark.parametrize("system", ["", "vault", "postgres"])
def test_a_system_that_the_environment_has_not_is_refused(system: str, request_: Request, taken: list[str]) -> None:
    settings = request_.settings.model_copy(update={"components": ("redis",)})
    with pytest.raises(RestoreError, match="give one that staging has: redis"):
        command.restore(replace(request_, settings=settings), system, is_dry=True, ask=lambda _: "")
    assert not taken


@pytest.mark.parametrize(
    ("to", "snapshot"),
    [
        ("", ""),
        ("2026-11-23T04:00:00Z", "20261123T040000Z"),
        ("2026-11-23t04:00z", "20261123T040000Z"),
        ("2026-11-23 04:00:00+02:00", "20261123T020000Z"),
        ("redis-20261123T020000Z.rdb", "redis-20261123T020000Z.rdb"),
    ],
)
def test_a_time_is_read_in_its_own_zone_and_a_name_as_it_stands(to: str, snapshot: str, request_: Request) -> None:
    assert replace(request_, to=to).snapshot() == snapshot


@pytest.mark.parametrize("to", ["2026-11-23", "2026-11-23T04:00:00", "2026-11-23 04:00"])
def test_a_time_without_a_zone_is_refused(to: str, request_: Request) -> None:
    with pytest.raises(RestoreError, match="give a time with its zone"):
        replace(request_, to=to).snapshot()


@pytest.mark.parametrize(
    ("name", "words"), [("infra", "docs/reference/systems/vault.md"), ("nowhere", "give one of prod")]
)
def test_what_is_no_environment_is_refused(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(name, "redis", "terraform") == 1
    assert words in capsys.readouterr().err
