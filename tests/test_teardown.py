"""Teardown: what is told, what is asked, and that nothing is unlocked before the last backup is there."""

from collections.abc import Sequence
from typing import Any

import pytest

from stacks import teardown as module
from stacks.teardown import Choices, TeardownError, main, tear_down


class Cluster:
    """An environment with a lock, a database and a volume; it remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.saved: tuple[list[str], list[str]] = (["data-staging/redis"], [])
        self.found = {
            ("configmaps", "data-staging"): ["deletion-lock-redis", "redis-config"],
            ("clusters.postgresql.cnpg.io", "data-staging"): ["postgres"],
            ("secrets --selector=strata/protected=true", "monitoring-staging"): ["posthog-keys"],
            ("persistentvolumeclaims", "data-staging"): ["data-redis-0"],
        }

    def objects(self, kind: str, namespace: str, *arguments: str) -> Sequence[dict[str, Any]]:
        spec = {"resources": {"requests": {"storage": "1Gi"}}}
        kind = " ".join((kind, *arguments)) if kind == "secrets" else kind
        return [{"metadata": {"name": name}, "spec": spec} for name in self.found.get((kind, namespace), ())]

    def kubectl(self, verb: str, kind: str, name: str, *_: str) -> str:
        self.done.append(f"{verb} {kind} {name}")
        return ""

    def back_up(self, stack: str) -> tuple[list[str], list[str]]:
        self.done.append(f"back up {stack}")
        return self.saved

    def destroy(self) -> int:
        self.done.append("destroy")
        return 0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    for name in ("objects", "kubectl", "back_up"):
        monkeypatch.setattr(module, name, getattr(cluster, name))
    return cluster


def choices(*, is_dry: bool = False, with_backup: bool = True, with_volumes: bool = False) -> Choices:
    return Choices(is_dry=is_dry, with_backup=with_backup, with_volumes=with_volumes)


UNLOCKED = [
    "annotate configmaps deletion-lock-redis",
    "annotate clusters.postgresql.cnpg.io postgres",
    "annotate secrets posthog-keys",
]


def test_a_dry_run_tells_all_of_it_and_touches_nothing(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    tear_down("staging", choices(is_dry=True), cluster.destroy, lambda _: pytest.fail("asked"))
    told = capsys.readouterr().out
    for words in (
        "saved once more",
        "unlocked: configmaps data-staging/deletion-lock-redis",
        "unlocked: clusters data-staging/postgres",
        "kept, unless it is a database's: persistentvolumeclaims data-staging/data-redis-0 (1Gi)",
        "Nothing was changed",
    ):
        assert words in told
    assert "redis-config" not in told
    assert not cluster.done


@pytest.mark.parametrize("typed", ["", "yes", "prod"])
def test_another_name_changes_nothing(typed: str, cluster: Cluster) -> None:
    with pytest.raises(TeardownError, match="Nothing was changed"):
        tear_down("staging", choices(), cluster.destroy, lambda _: typed)
    assert not cluster.done


def test_a_backup_comes_first_then_the_locks_then_the_destroy(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    tear_down("staging", choices(), cluster.destroy, lambda _: "staging")
    assert cluster.done == ["back up staging", *UNLOCKED, "destroy"]
    assert "docs/how-to/delete-for-good.md: persistentvolumeclaims data-staging/data-redis-0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (([], []), "no store of it is saved anywhere"),
        ((["data-staging/redis"], ["data-staging/postgres: no answer"]), "data-staging/postgres: no answer"),
    ],
)
def test_without_a_whole_backup_nothing_is_unlocked(
    saved: tuple[list[str], list[str]], words: str, cluster: Cluster
) -> None:
    cluster.saved = saved
    with pytest.raises(TeardownError, match=words) as refused:
        tear_down("staging", choices(), cluster.destroy, lambda _: "staging")
    assert "BACKUP=no" in str(refused.value)
    assert cluster.done == ["back up staging"]


def test_volumes_are_deleted_last_and_only_when_that_was_chosen(cluster: Cluster) -> None:
    tear_down("staging", choices(with_backup=False, with_volumes=True), cluster.destroy, lambda _: "staging")
    volume = "persistentvolumeclaims data-redis-0"
    assert cluster.done == [*UNLOCKED, "destroy", f"annotate {volume}", f"delete {volume}"]


def test_a_destroy_that_fails_deletes_no_volume(cluster: Cluster) -> None:
    with pytest.raises(TeardownError, match="not destroyed whole"):
        tear_down("staging", choices(with_backup=False, with_volumes=True), lambda: 1, lambda _: "staging")
    assert cluster.done == UNLOCKED


@pytest.mark.parametrize(("name", "words"), [("infra", "delete-for-good.md"), ("nowhere", "give one of prod")])
def test_what_is_no_environment_is_refused(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(name, "terraform") == 1
    assert words in capsys.readouterr().err
