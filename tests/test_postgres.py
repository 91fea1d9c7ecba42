"""Postgres (L3): what its values make of the settings, and what a restore would do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from constructs.l3_data.postgres import PostgresRecoverySettings
from stacks import tfvars
from stacks.project import Project
from stacks.restore import postgres as module
from stacks.restore.postgres import block, steps, without_block
from stacks.restore.step import Request, RestoreError
from tests.support import Refused, Render

Values = dict[str, Any]
RESTORED = {"generation": 2, "source": 1, "until": "2026-11-23T04:00:00Z", "keep": [1]}


# What the values are.


def test_the_first_generation_is_made_empty_and_serves(generations: Callable[..., dict[str, Values]]) -> None:
    (values,) = generations().values()
    assert (values["fullnameOverride"], values["mode"]) == ("postgres", "standalone")
    assert values["cluster"]["annotations"] == {"cnpg.io/hibernation": "off"}
    assert values["backups"]["scheduledBackups"][0]["schedule"] == "0 0 3 * * *"
    assert values["poolers"] == []


def test_a_generation_that_is_kept_has_no_pods_and_no_schedule(generations: Callable[..., dict[str, Values]]) -> None:
    found = generations(postgres_recovery=RESTORED, postgres={"pooler": {"instances": 1}})
    assert set(found) == {"postgres", "postgres-2"}
    kept, serving = found["postgres"], found["postgres-2"]
    assert kept["cluster"]["annotations"] == {"cnpg.io/hibernation": "on"}
    assert (kept["mode"], kept["backups"]["scheduledBackups"], kept["poolers"]) == ("standalone", [], [])
    assert kept["backups"]["enabled"] is True
    assert (serving["mode"], len(serving["backups"]["scheduledBackups"]), len(serving["poolers"])) == ("recovery", 1, 1)
    assert serving["recovery"]["clusterName"] == "postgres"
    assert serving["recovery"]["pitrTarget"] == {"time": RESTORED["until"]}


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ("256Mi", ("64MB", "192MB", "16MB", "32")),
        ("2Gi", ("512MB", "1536MB", "128MB", "256")),
        ("64Gi", ("16384MB", "49152MB", "1024MB", "500")),
    ],
)
def test_the_parameters_follow_the_memory(
    memory: str, expected: tuple[str, ...], generations: Callable[..., dict[str, Values]]
) -> None:
    (values,) = generations(postgres={"memory": memory}).values()
    found = values["cluster"]["postgresql"]["parameters"]
    names = ("shared_buffers", "effective_cache_size", "maintenance_work_mem", "max_connections")
    assert tuple(found[name] for name in names) == expected
    assert all(isinstance(value, str) for value in found.values()), "CloudNativePG takes text alone"


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ({"storage": "1Gi"}, "128MB"),
        ({"storage": "10Gi"}, "1280MB"),
        ({"storage": "10Gi", "wal_storage": "4Gi"}, "512MB"),
        ({"storage": "1Ti"}, "2048MB"),
    ],
)
def test_the_log_leaves_room_on_its_volume(
    sizes: dict[str, str], most: str, generations: Callable[..., dict[str, Values]]
) -> None:
    (values,) = generations(postgres=sizes).values()
    assert values["cluster"]["postgresql"]["parameters"]["max_wal_size"] == most
    assert values["cluster"]["walStorage"]["enabled"] is ("wal_storage" in sizes)


@pytest.mark.parametrize(("instances", "size"), [(1, "32"), (4, "8"), (10, "3")])
def test_all_poolers_together_leave_half_of_the_connections(
    instances: int, size: str, generations: Callable[..., dict[str, Values]]
) -> None:
    (values,) = generations(postgres={"memory": "512Mi", "pooler": {"instances": instances}}).values()
    (pooler,) = values["poolers"]
    assert pooler["parameters"]["default_pool_size"] == size
    assert int(size) * instances <= int(values["cluster"]["postgresql"]["parameters"]["max_connections"]) / 2


def test_the_chart_takes_a_recovery_from_the_folder_of_the_source(
    generations: Callable[..., dict[str, Values]], render: Render
) -> None:
    objects = render("cluster", generations(postgres_recovery=RESTORED)["postgres-2"], "data-test")
    cluster = objects["Cluster/postgres-2"]["spec"]
    (source,) = cluster["externalClusters"]
    assert source["plugin"]["parameters"] == {"barmanObjectName": "postgres-2-recovery", "serverName": "postgres"}
    stores = [objects[f"ObjectStore/postgres-2-{name}"]["spec"] for name in ("recovery", "backups")]
    folders = {store["configuration"]["destinationPath"] for store in stores}
    assert folders == {"s3://strata-backups/test/postgres"}
    # Its own name within that folder is CloudNativePG's default, the Cluster's.
    assert "serverName" not in cluster["plugins"][0]["parameters"]


# PostHog's part of it.


def test_posthog_has_a_role_and_a_database_beside_those_of_users(generations: Callable[..., dict[str, Values]]) -> None:
    (values,) = generations("staging", postgres={"memory": "1Gi", "databases": {"shop": {}}}).values()
    secrets = {role["name"]: role["passwordSecret"]["name"] for role in values["cluster"]["roles"]}
    assert secrets == {name: f"postgres-{name}" for name in ("app", "posthog", "shop")}
    assert values["databases"] == [{"name": name, "owner": name} for name in ("posthog", "shop")]


@pytest.mark.parametrize(
    ("postgres", "words"),
    [
        ({"memory": "512Mi"}, "memory: give 1024Mi or more"),
        ({"memory": "1Gi", "databases": {"posthog": {}}}, "posthog is PostHog's own database"),
    ],
)
def test_a_plan_without_a_synthesis_refuses_what_posthog_cannot_do_with(
    postgres: Values, words: str, generations: Callable[..., dict[str, Values]]
) -> None:
    with pytest.raises(Refused, match=words):
        generations("staging", postgres=postgres)


# The restore.


class Cluster:
    """An environment whose first generation serves, with two backups; it remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.clusters = ["postgres"]
        self.stores = ["postgres-backups"]
        self.windows: dict[str, str] = {}
        self.backups = [
            ("postgres-scheduled-1", "postgres", "2026-11-20T03:00:05Z"),
            ("postgres-scheduled-2", "postgres", "2026-11-21T03:00:05Z"),
        ]

    def objects(self, kind: str, namespace: str, *_: str) -> list[Values]:
        assert namespace == "data-staging"
        if kind.startswith("clusters."):
            return [{"metadata": {"name": name}} for name in self.clusters]
        if kind.startswith("objectstores."):
            windows = {name: {"firstRecoverabilityPoint": first} for name, first in self.windows.items()}
            return [{"metadata": {"name": name}, "status": {"serverRecoveryWindow": windows}} for name in self.stores]
        if kind.startswith("backups."):
            broken = {"metadata": {"name": "broken"}, "spec": {"cluster": {"name": "postgres"}}, "status": {}}
            return [broken] + [
                {
                    "metadata": {"name": name},
                    "spec": {"cluster": {"name": cluster}},
                    "status": {"phase": "completed", "stoppedAt": ended},
                }
                for name, cluster, ended in self.backups
            ]
        return []

    def kubectl(self, verb: str, *words: str) -> str:
        self.done.append(" ".join((verb, *words[:2])))
        return "True Cluster in healthy state" if verb == "get" and words[0].startswith("clusters.") else ""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(module, "objects", cluster.objects)
    monkeypatch.setattr(module, "kubectl", cluster.kubectl)
    monkeypatch.setattr(Request, "apply", lambda _: cluster.done.append("apply"))
    return cluster


FILE = '# Ours.\nenvironment = "staging" # the first\n'


@pytest.fixture
def request_(project: Project, tmp_path: Path) -> Request:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "staging.tfvars").write_text(FILE, encoding="utf-8")
    settings = project.environments["staging"]
    backups = settings.backups.model_copy(update={"bucket": "strata-backups"})
    return Request(tmp_path, settings.model_copy(update={"backups": backups}), "", "terraform", ())


def at(request: Request, to: str = "", **recovery: Any) -> Request:  # noqa: ANN401 (fields of the settings)
    settings = request.settings.model_copy(update={"postgres_recovery": PostgresRecoverySettings(**recovery)})
    return replace(request, settings=settings, to=to)


def written(request: Request) -> Values:
    """Take the steps, and return the block that is written."""
    for step in steps(request):
        step.run()
    found: Values = tfvars.read(request.root / "envs" / "staging.tfvars")["postgres_recovery"]
    return found


def test_a_restore_stops_what_serves_before_it_makes_another(request_: Request, cluster: Cluster) -> None:
    assert written(request_) == {"generation": 2, "source": 1, "until": "", "keep": (1,)}
    assert cluster.done[:2] == ["annotate clusters.postgresql.cnpg.io postgres", "apply"]


def test_a_dry_run_says_which_backup_it_would_be(request_: Request, cluster: Cluster) -> None:
    (_, words, *_) = [step.words for step in steps(at(request_, "2026-11-21T02:00:00Z"))]
    backup = "postgres-scheduled-1 of postgres, complete at 2026-11-20 03:00:05 UTC"
    assert words.endswith(f"postgres-2 from {backup}, until 2026-11-21T02:00:00Z")
    assert not cluster.done
    assert (request_.root / "envs" / "staging.tfvars").read_text(encoding="utf-8") == FILE


@pytest.mark.parametrize(
    ("to", "until"),
    [
        ("2026-11-21T05:00:00+02:00", "2026-11-21T03:00:00Z"),
        ("postgres-scheduled-2", "2026-11-21T03:00:06Z"),
    ],
)
def test_a_time_is_written_in_utc_and_a_backup_as_just_after_it(
    to: str, until: str, request_: Request, cluster: Cluster
) -> None:
    assert cluster
    assert written(at(request_, to))["until"] == until


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("2026-11-20T03:00:05Z", "no backup of postgres was complete by then: give TO=2026-11-20T03:00:06Z or later"),
        ("2999-01-01T00:00:00Z", "is still to come"),
        ("postgres-scheduled-3", "no complete backup is called so"),
        ("broken", "no complete backup is called so"),
        ("2026-11-20", "give a time with its zone"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_anything_is_done(
    to: str, words: str, request_: Request, cluster: Cluster
) -> None:
    with pytest.raises(RestoreError, match=words):
        steps(at(request_, to))
    assert not cluster.done


def test_without_a_bucket_or_a_backup_nothing_is_restored(
    request_: Request, cluster: Cluster, project: Project
) -> None:
    with pytest.raises(RestoreError, match=r"gives no backups\.bucket"):
        steps(replace(request_, settings=project.environments["staging"]))
    cluster.backups = []
    with pytest.raises(RestoreError, match="no backup of postgres is complete"):
        steps(request_)
    cluster.windows = {"postgres": "2026-11-20T03:00:05Z"}
    assert "the oldest backup of postgres" in steps(request_)[1].words


def test_a_time_before_the_generation_that_serves_is_found_in_the_one_before(
    request_: Request, cluster: Cluster
) -> None:
    cluster.clusters.append("postgres-2")
    cluster.backups.append(("postgres-2-scheduled-1", "postgres-2", "2026-11-22T03:00:05Z"))
    now = {"generation": 2, "source": 1, "keep": (1,)}
    assert (
        steps(at(request_, "2026-11-23T00:00:00Z", **now))[1].words.count("postgres-2-scheduled-1 of postgres-2,") == 1
    )
    assert "postgres-scheduled-2 of postgres," in steps(at(request_, "2026-11-22T00:00:00Z", **now))[1].words


def test_no_number_is_used_twice(request_: Request, cluster: Cluster) -> None:
    cluster.stores.append("postgres-7-backups")
    assert written(request_)["generation"] == 8


def test_in_a_cluster_that_is_new_the_bucket_alone_knows(request_: Request, cluster: Cluster) -> None:
    cluster.clusters, cluster.stores, cluster.backups = [], [], []
    path = request_.root / "envs" / "staging.tfvars"
    recovery = PostgresRecoverySettings(generation=2, source=1, keep=(1,))
    path.write_text(f"{FILE}\n{block(recovery)}", encoding="utf-8")
    assert written(at(request_, **recovery.model_dump())) == {"generation": 3, "source": 2, "until": "", "keep": ()}
    assert cluster.done[0] == "apply"


def test_the_block_is_replaced_and_all_else_stays(request_: Request, cluster: Cluster) -> None:
    assert cluster
    path = request_.root / "envs" / "staging.tfvars"
    first = PostgresRecoverySettings(generation=2, source=1, keep=(1,))
    path.write_text(f"{FILE}\n{block(first)}", encoding="utf-8")
    cluster.clusters.append("postgres-2")
    written(at(request_, **first.model_dump()))
    second = PostgresRecoverySettings(generation=3, source=1, keep=(1, 2))
    assert path.read_text(encoding="utf-8") == f"{FILE}\n{block(second)}"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"{text}# mine\n",
        lambda text: text.replace("keep       = [1]", "keep       = [1] # until Friday"),
        lambda text: text.replace("  source     = 1", "  source = 1"),
        lambda text: f'{text}base_domain = "example.com"\n',
    ],
    ids=["a comment after it", "a comment in it", "another form", "a setting after it"],
)
def test_a_block_that_another_hand_has_touched_stays_as_it_is(change: Callable[[str], str], tmp_path: Path) -> None:
    recovery = PostgresRecoverySettings(generation=2, source=1, keep=(1,))
    path = tmp_path / "staging.tfvars"
    path.write_text(change(f"{FILE}\n{block(recovery)}"), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(RestoreError, match="may hold words of yours"):
        without_block(path, recovery)
    assert path.read_bytes() == before


def test_a_recovery_that_is_given_up_is_told_with_the_way_back(
    request_: Request, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kubectl(verb: str, *words: str) -> str:
        cluster.done.append(verb)
        return "True" if words[0] == "jobs" else "False Setting up primary"

    monkeypatch.setattr(module, "kubectl", kubectl)
    (wait,) = [step for step in steps(request_) if step.words.startswith("wait until postgres-2")]
    with pytest.raises(RestoreError, match="jobRole=full-recovery"):
        wait.run()


def test_pods_that_do_not_go_are_told_of_and_nothing_is_written(
    request_: Request, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def objects(kind: str, namespace: str, *words: str) -> list[Values]:
        return [{"metadata": {"name": "postgres-1"}}] if kind == "pods" else cluster.objects(kind, namespace, *words)

    monkeypatch.setattr(module, "objects", objects)
    monkeypatch.setattr(module, "_STOP_SECONDS", -1)
    with pytest.raises(RestoreError, match="kubectl delete pods --force"):
        steps(request_)[0].run()
    assert "apply" not in cluster.done
