"""Recovery: what an apply that was killed has left, found by a plan and the cluster, and what is done about it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stacks import recover as module
from stacks.recover import RecoveryError, planned, recover, remains

NOW = datetime(2030, 1, 2, 12, 0, tzinfo=UTC)
TERRAFORM = """\
#!/bin/sh
echo "$@" >> called
case $1 in
  show) cat plan.json ;;
  apply) cat recover.tf.json > imported 2> /dev/null; exit 3 ;;
esac
"""


def change(type_: str, name: str, namespace: str | None = None, *, actions: tuple[str, ...] = ("create",)) -> Any:  # noqa: ANN401 (JSON)
    place = {"name": name, "namespace": namespace}
    after = place if type_ == "helm_release" else {"metadata": [place if namespace else {"name": name}]}
    return {"address": f"{type_}.{name}", "type": type_, "change": {"actions": list(actions), "after": after}}


class Cluster:
    """A cluster that has some objects, by kind and name, and some revisions of releases, by name with their status."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], datetime] = {}
        self.revisions: dict[str, dict[str, str]] = {}
        self.deleted: list[tuple[str, ...]] = []

    def kubectl(self, *arguments: str) -> str:
        verb, kind, *rest = arguments
        if verb == "delete":
            self.deleted.append((kind, *rest))
            return ""
        for selector in (word for word in rest if word.startswith("--selector=owner=helm,name=")):
            revisions = self.revisions.get(selector.rpartition("=")[2], {})
            items = [{"metadata": {"name": name, "labels": {"status": status}}} for name, status in revisions.items()]
            return json.dumps({"items": items})
        made = self.made.get((kind, rest[0]))
        return f"{made:%Y-%m-%dT%H:%M:%SZ}" if made else ""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(module, "kubectl", cluster.kubectl)
    monkeypatch.setattr("stacks.terraform.kubectl", lambda *_: '{"items": []}')
    monkeypatch.setattr(module, "_now", lambda: NOW)
    return cluster


def found(*changes: Any) -> module.Remains:  # noqa: ANN401 (JSON)
    return remains(planned({"resource_changes": list(changes)}), NOW)


def test_what_is_there_although_it_would_be_made_is_imported_by_its_own_id(cluster: Cluster) -> None:
    cluster.made = {("namespace", "iac"): NOW, ("networkpolicy", "redis"): NOW, ("clusterrole", "reader"): NOW}
    left = found(
        change("kubernetes_namespace_v1", "iac"),
        change("kubernetes_network_policy_v1", "redis", "data-prod"),
        change("kubernetes_network_policy_v1", "absent", "data-prod"),
        change("kubernetes_cluster_role_v1", "reader", actions=("update",)),
        change("terraform_data", "nodes"),
    )
    assert [(item.address, item.id) for item in left.imports] == [
        ("kubernetes_namespace_v1.iac", "iac"),
        ("kubernetes_network_policy_v1.redis", "data-prod/redis"),
    ]
    assert not left.deletions


def test_a_secret_is_never_imported_for_terraform_would_read_it_into_the_state(cluster: Cluster) -> None:
    cluster.made = {("secret", "redis-auth"): NOW - timedelta(minutes=3)}
    left = found(change("kubernetes_secret_v1", "redis-auth", "data-prod"))
    assert not left.imports
    assert list(left.deletions) == [("secret", "redis-auth", "--namespace=data-prod")]


def test_a_secret_that_is_older_than_any_apply_is_left_alone(cluster: Cluster) -> None:
    cluster.made = {("secret", "redis-auth"): NOW - timedelta(hours=2)}
    with pytest.raises(RecoveryError, match=r"data-prod/redis-auth is there since 2030-01-02 10:00 UTC.*Nothing was"):
        found(change("kubernetes_secret_v1", "redis-auth", "data-prod"))


@pytest.mark.parametrize(
    ("statuses", "actions", "deleted", "imported"),
    [
        (["pending-install"], ("create",), [1], False),
        (["failed"], ("create",), [1], False),
        (["uninstalling"], ("create",), [1], False),
        (["deployed"], ("create",), [], True),
        (["superseded", "deployed", "pending-upgrade"], ("create",), [3], True),
        (["deployed", "pending-upgrade"], ("update",), [2], False),
        (["deployed", "pending-rollback"], ("no-op",), [2], False),
        (["deployed", "failed"], ("update",), [], False),
        (["uninstalling"], ("no-op",), [], False),
        ([], ("create",), [], False),
    ],
)
def test_a_release_loses_the_revisions_that_helm_never_finished(
    cluster: Cluster, statuses: list[str], actions: tuple[str, ...], deleted: list[int], *, imported: bool
) -> None:
    cluster.revisions = {"redis": {f"sh.helm.release.v1.redis.v{n}": status for n, status in enumerate(statuses, 1)}}
    left = found(change("helm_release", "redis", "data-prod", actions=actions))
    assert [words[1] for words in left.deletions] == [f"sh.helm.release.v1.redis.v{n}" for n in deleted]
    assert [item.id for item in left.imports] == (["data-prod/redis"] if imported else [])


def prepare(folder: Path, *changes: Any) -> str:  # noqa: ANN401 (JSON)
    (folder / "plan.json").write_text(json.dumps({"resource_changes": list(changes)}), encoding="utf-8")
    (folder / "cdk.tf.json").write_text(json.dumps({"resource": {}}), encoding="utf-8")
    (folder / "recover.tf.json").write_text("of a recovery that was killed", encoding="utf-8")
    terraform = folder / "terraform"
    terraform.write_text(TERRAFORM, encoding="utf-8")
    terraform.chmod(0o755)
    return str(terraform)


def test_the_apply_has_the_imports_beside_it_and_they_are_gone_after_it(cluster: Cluster, tmp_path: Path) -> None:
    cluster.made = {("namespace", "iac"): NOW}
    terraform = prepare(tmp_path, change("kubernetes_namespace_v1", "iac"))
    assert recover(tmp_path, terraform, ["-var=a=b", "-auto-approve"]) == 3
    imported = json.loads((tmp_path / "imported").read_text(encoding="utf-8"))
    assert imported == {"import": [{"to": "kubernetes_namespace_v1.iac", "id": "iac"}]}
    assert not (tmp_path / "recover.tf.json").exists()
    plan, _, apply = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    assert plan.endswith(" -var=a=b")
    assert apply.endswith("-var=a=b -auto-approve")


def test_nothing_is_deleted_without_a_yes(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.revisions = {"redis": {"sh.helm.release.v1.redis.v1": "pending-install"}}
    terraform = prepare(tmp_path, change("helm_release", "redis", "data-prod"))
    monkeypatch.setattr("builtins.input", lambda _: "y")
    with pytest.raises(RecoveryError, match="Nothing was changed"):
        recover(tmp_path, terraform, ["-var=a=b"])
    assert not cluster.deleted
    assert "apply" not in (tmp_path / "called").read_text(encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    recover(tmp_path, terraform, ["-var=a=b"])
    assert cluster.deleted == [("secret", "sh.helm.release.v1.redis.v1", "--namespace=data-prod")]
