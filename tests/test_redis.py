"""Redis: what its chart makes of the settings, and the steps of its way back."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stacks.cluster import ClusterError
from stacks.project import Project
from stacks.restore import __main__ as command
from stacks.restore import redis as module
from stacks.restore.step import Request, RestoreError
from tests.pods import Pods, pods_of_object
from tests.redis_release import NAMESPACE, redis_objects
from tests.support import ROOT, Evaluate, Render, Stack, resources

Objects = dict[str, dict[str, Any]]
Make = Callable[..., Objects]
BUCKET = {"bucket": "saved", "endpoint": "https://s3.example.com"}


@pytest.fixture(scope="module")
def make(project: Project, stacks: dict[str, Stack], evaluate: Evaluate, render: Render) -> Make:
    def run(**settings: object) -> Objects:
        return redis_objects(project, stacks, evaluate, render, settings, BUCKET)

    return run


@pytest.fixture(scope="module")
def alone(make: Make) -> Objects:
    return make()


@pytest.fixture(scope="module")
def three(make: Make) -> Objects:
    return make(replicas=3)


def pods(objects: Objects) -> list[Pods]:
    return [pods for item in objects.values() for pods in pods_of_object(item, NAMESPACE)]


def environment(objects: Objects, cronjob: str, container: str) -> dict[str, Any]:
    spec = objects[f"CronJob/{cronjob}"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (found,) = [item for item in (*spec["initContainers"], *spec["containers"]) if item["name"] == container]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in found["env"]}


def test_one_server_has_nothing_that_only_three_need(alone: Objects, three: Objects) -> None:
    assert alone["StatefulSet/redis"]["spec"]["replicas"] == 1
    assert three["StatefulSet/redis"]["spec"]["replicas"] == 3
    more = {"PodDisruptionBudget/redis", "Deployment/redis-master-discovery", "Service/redis-master"}
    assert more <= set(three)
    assert not {name for name in alone if name.startswith("PodDisruptionBudget/") or "master" in name}


def test_the_disruption_budget_has_the_one_field_that_the_api_server_takes(three: Objects) -> None:
    assert "minAvailable" not in three["PodDisruptionBudget/redis"]["spec"]
    assert three["PodDisruptionBudget/redis"]["spec"]["maxUnavailable"] == 1


def test_the_volumes_and_all_that_cannot_change_are_the_same_for_one_and_three(alone: Objects, three: Objects) -> None:
    for key in ("serviceName", "selector", "volumeClaimTemplates"):
        assert alone["StatefulSet/redis"]["spec"][key] == three["StatefulSet/redis"]["spec"][key]
    assert "persistentVolumeClaimRetentionPolicy" not in three["StatefulSet/redis"]["spec"]


def test_three_servers_are_on_three_nodes_and_have_time_to_hand_over(three: Objects) -> None:
    spec = three["StatefulSet/redis"]["spec"]["template"]["spec"]
    (spread,) = spec["topologySpreadConstraints"]
    labels = three["StatefulSet/redis"]["spec"]["template"]["metadata"]["labels"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert (spread["whenUnsatisfiable"], spread["maxSkew"], spread["minDomains"]) == ("DoNotSchedule", 1, 3)
    assert spec["terminationGracePeriodSeconds"] == 60


@pytest.mark.parametrize("replicas", [1, 3])
def test_every_container_is_bounded_and_passes_as_restricted(replicas: int, make: Make) -> None:
    for item in pods(make(replicas=replicas)):
        assert item.spec["priorityClassName"] == "environment-staging", item.name
        for container in item.containers():
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), (item.name, container["name"])
            assert set(container["resources"]["limits"]) == {"memory"}, (item.name, container["name"])
            context = {**item.spec.get("securityContext", {}), **container["securityContext"]}
            assert context["runAsNonRoot"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_servers_sentinels_and_what_checks_a_snapshot_are_of_one_version(three: Objects) -> None:
    images = {
        container["image"] for item in pods(three) for container in item.containers() if "/redis:" in container["image"]
    }
    assert len(images) == 1


@pytest.mark.parametrize(("replicas", "host"), [(1, f"redis.{NAMESPACE}.svc"), (3, f"redis-master.{NAMESPACE}.svc")])
def test_a_snapshot_is_taken_of_the_master_with_a_password_of_the_secret(replicas: int, host: str, make: Make) -> None:
    objects = make(replicas=replicas)
    found = environment(objects, "redis-snapshots", "save")
    assert found["REDIS_HOST"] == host
    assert f"Service/{host.partition('.')[0]}" in objects
    assert found["REDISCLI_AUTH"] == {"secretKeyRef": {"name": "redis-auth", "key": "redis-password"}}
    assert environment(objects, "redis-snapshots", "upload")["PLACE"] == ":s3:saved/staging/redis"


def test_the_restore_never_runs_by_itself_and_has_the_first_servers_volume(alone: Objects) -> None:
    spec = alone["CronJob/redis-restore"]["spec"]
    assert spec["suspend"] is True
    volumes = spec["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    (claim,) = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]
    (template,) = alone["StatefulSet/redis"]["spec"]["volumeClaimTemplates"]
    assert claim == f"{template['metadata']['name']}-redis-0"


def test_without_a_bucket_nothing_is_saved(
    project: Project, stacks: dict[str, Stack], evaluate: Evaluate, render: Render
) -> None:
    objects = redis_objects(project, stacks, evaluate, render, {})
    assert not [name for name in objects if name.startswith("CronJob/")]


@pytest.mark.parametrize(("memory", "data"), [("64Mi", 12), ("256Mi", 99), ("1Gi", 444), ("16Gi", 7356)])
def test_a_fork_of_all_data_fits_into_the_containers_memory(memory: str, data: int, make: Make) -> None:
    configuration = make(memory=memory)["ConfigMap/redis-config"]["data"]["redis.conf"]
    (line,) = [line for line in configuration.splitlines() if line.startswith("maxmemory ")]
    assert line == f"maxmemory {data}mb"


def test_writes_that_no_replica_gets_are_refused_where_there_are_replicas(alone: Objects, three: Objects) -> None:
    (started,) = three["StatefulSet/redis"]["spec"]["template"]["spec"]["initContainers"]
    assert "min-replicas-to-write 1" in started["command"][2].rpartition("min-slaves-to-write 0")[2]
    assert "min-replicas-to-write" not in json.dumps(alone)


def test_every_pod_has_network_rules_of_its_own(three: Objects, stacks: dict[str, Stack]) -> None:
    rules = [
        item["spec"]["pod_selector"]["match_labels"].items()
        for address, item in resources(stacks["staging"]).items()
        if address.startswith("kubernetes_network_policy_v1.redis_")
    ]
    for item in pods(three):
        assert len([labels for labels in rules if labels <= item.labels.items()]) == 1, item.name


def test_metrics_have_a_name_that_answers_with_the_servers_alone(three: Objects, stacks: dict[str, Stack]) -> None:
    service = resources(stacks["staging"])["kubernetes_service_v1.redis_metrics"]["spec"]
    assert service["cluster_ip"] == "None"
    chosen = [item.name for item in pods(three) if service["selector"].items() <= item.labels.items()]
    assert chosen == ["redis"]
    containers = three["StatefulSet/redis"]["spec"]["template"]["spec"]["containers"]
    ports = [port for item in containers for port in item["ports"] if port["name"] == "metrics"]
    assert [port["containerPort"] for port in ports] == [9121]


def test_the_handover_may_execute_in_the_servers_alone(three: Objects) -> None:
    for rule in three["Role/redis-handover"]["rules"]:
        assert rule["resourceNames"] == ["redis-0", "redis-1", "redis-2"]


# kubectl, in a cluster that is a folder: of each pod its containers, what it says and what it is told.
KUBECTL = """#!/bin/sh
for word; do case $word in redis-[0-2]) pod=$word ;; --container=*) container=${word#*=} ;; esac; done
[ "$1" = exec ] || { cat "$pod.containers" 2> /dev/null; exit 0; }
case $* in *--stdin*) tee -a "$pod.$container" | grep -q FAILOVER && echo role:master > redis-0.says; exit 0 ;; esac
cat "$pod.says"
"""


@pytest.fixture
def handover(three: Objects, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The Job's script on pods that are given by what they say of their replication; None: a pod that is not ready."""
    (container,) = three["Job/redis-handover"]["spec"]["template"]["spec"]["containers"]
    for name, text in (("kubectl", KUBECTL), ("sleep", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)

    def run(replicas: int, **says: str | None) -> subprocess.CompletedProcess[str]:
        for name, words in says.items():
            pod = name.replace("_", "-")
            containers = f"{'False' if words is None else 'True'} redis sentinel metrics "
            (tmp_path / f"{pod}.containers").write_text(containers, encoding="utf-8")
            (tmp_path / f"{pod}.says").write_text(words or "", encoding="utf-8")
        path = f"{tmp_path}:{os.environ['PATH']}"
        environment = {"PATH": path, "PASSWORD": "drawn", "REPLICAS": str(replicas)}
        command = [*container["command"], container["args"][0]]
        return subprocess.run(  # noqa: S603
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


MASTER, IN_SYNC, BEHIND = "role:master", "role:slave\nmaster_link_status:up", "role:slave\nmaster_link_status:down"
Handover = Callable[..., subprocess.CompletedProcess[str]]


def test_where_nothing_runs_nobody_is_told_anything(handover: Handover, tmp_path: Path) -> None:
    done = handover(1)
    assert (done.returncode, done.stdout) == (0, "the password is known to: nobody, no server runs\n")
    assert not list(tmp_path.glob("redis-*"))


def test_every_server_and_sentinel_that_runs_learns_the_password(handover: Handover, tmp_path: Path) -> None:
    assert handover(3, redis_0=IN_SYNC, redis_1=MASTER, redis_2=None).returncode == 0
    for pod in ("redis-0", "redis-1"):
        told = (tmp_path / f"{pod}.redis").read_text(encoding="utf-8").splitlines()
        assert told == ["ACL SETUSER default >drawn", "CONFIG SET masterauth drawn"]
        assert (tmp_path / f"{pod}.sentinel").read_text(encoding="utf-8").count("drawn") == 3
    assert not (tmp_path / "redis-2.redis").exists()


def test_the_one_that_stays_becomes_the_master_while_writes_wait(handover: Handover, tmp_path: Path) -> None:
    done = handover(1, redis_0=IN_SYNC, redis_1=MASTER, redis_2=IN_SYNC)
    assert done.returncode == 0, done.stderr
    assert "SENTINEL FAILOVER mymaster" in (tmp_path / "redis-0.sentinel").read_text(encoding="utf-8")
    told = (tmp_path / "redis-1.redis").read_text(encoding="utf-8").splitlines()[2:]
    priorities = ["CONFIG SET replica-priority 0", "CONFIG SET replica-priority 100"]
    assert told == [priorities[0], "CLIENT PAUSE 20000 WRITE", priorities[1]]
    assert (tmp_path / "redis-2.redis").read_text(encoding="utf-8").splitlines()[2:] == priorities


@pytest.mark.parametrize("first", [None, BEHIND])
def test_three_do_not_become_one_that_lacks_what_the_others_have(
    first: str | None, handover: Handover, tmp_path: Path
) -> None:
    refused = handover(1, redis_0=first, redis_1=MASTER, redis_2=IN_SYNC)
    assert refused.returncode == 1
    assert "redis-0 is the one that stays, and it is not" in refused.stderr
    assert "priority" not in (tmp_path / "redis-1.redis").read_text(encoding="utf-8")


def test_what_replicas_held_is_kept_when_they_start(alone: Objects, three: Objects, tmp_path: Path) -> None:
    def started(objects: Objects) -> Mapping[str, Any]:
        containers = objects["StatefulSet/redis"]["spec"]["template"]["spec"]["containers"]
        (server,) = [item for item in containers if item["name"] == "redis"]
        lifecycle: Mapping[str, Any] = server.get("lifecycle", {})
        return lifecycle

    def start() -> None:
        shell, option, script = started(three)["postStart"]["exec"]["command"]
        subprocess.run([shell, option, script.replace("/data", str(tmp_path))], check=True)  # noqa: S603

    assert "postStart" not in started(alone)
    assert "preStop" in started(three)
    start()
    assert not list(tmp_path.iterdir()), "a server that is new"
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    for content in ("of days ago", "of a day"):
        (folder / "file").write_text(content, encoding="utf-8")
        start()
        # The master's files take the place of its own, and it is started again and again.
        (folder / "file").unlink()
        (folder / "file").write_text("the master's", encoding="utf-8")
        start()
        (kept,) = tmp_path.glob("appendonlydir.at-start-*")
        assert (kept / "file").read_text(encoding="utf-8") == content
        (folder / "file").unlink()
        os.utime(kept, (time.time() - 2 * 86400,) * 2)


# The way back.


class Cluster:
    """A cluster with a Redis whose pods are gone after they were asked for twice."""

    def __init__(self, replicas: int) -> None:
        containers = [{"name": "redis"}, *([{"name": "sentinel"}] if replicas > 1 else [])]
        self.template = {"spec": {"template": {"spec": {"containers": containers}}}}
        self.answers = {
            "cronjob": ["cronjob.batch/redis-restore"],
            "persistentvolumeclaim": ["persistentvolumeclaim/data-redis-0"],
            "pods": ["pod/redis-0", "pod/redis-0", ""],
        }
        self.replicas = replicas
        self.done: list[str] = []
        self.is_silent = False

    def kubectl(self, *arguments: str) -> str:
        verb, kind, *rest = arguments
        if verb == "scale":
            self.replicas = int(rest[-1].removeprefix("--replicas="))
            self.done.append(f"scaled to {self.replicas}")
            return ""
        if verb == "logs":
            if self.is_silent:
                message = "no preferred addresses found"
                raise ClusterError(message)
            return "restored redis-20261123T020000Z.rdb\n"
        if kind == "statefulset":
            return json.dumps(self.template) if "--output=json" in rest else str(self.replicas)
        answers = self.answers[kind]
        if not answers:
            message = f"{kind} not found"
            raise ClusterError(message)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def start(self, cronjob: str, namespace: str, variables: Mapping[str, str]) -> str:
        assert self.answers["pods"] == [""], "a server still runs"
        self.done.append(f"{namespace}/{cronjob} from {variables['FROM'] or 'the newest'}")
        return "redis-restore-1"


@pytest.fixture(params=[1, 3])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster(request.param)
    monkeypatch.setattr(module, "kubectl", cluster.kubectl)
    monkeypatch.setattr(module, "start", cluster.start)
    monkeypatch.setattr(module, "finish", lambda job, _: cluster.done.append(f"finished {job}"))
    monkeypatch.setattr("stacks.cluster.time.sleep", lambda _: None)
    return cluster


def restore(project: Project, to: str = "") -> None:
    request = Request(ROOT, project.environments["staging"], to, "terraform", ())
    command.restore(request, "redis", is_dry=False, ask=lambda _: "staging")


def test_redis_is_stopped_filled_and_started_with_as_many_servers_as_it_had(
    cluster: Cluster, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    replicas = cluster.replicas
    restore(project, "2026-11-23T03:00:00Z")
    assert cluster.done == [
        "scaled to 0",
        f"{NAMESPACE}/redis-restore from 20261123T030000Z",
        "finished redis-restore-1",
        f"scaled to {replicas}",
    ]
    said = capsys.readouterr().out
    assert "restored redis-20261123T020000Z.rdb" in said
    assert "ls /data" in said


def test_a_restore_that_was_broken_off_while_redis_was_stopped_is_done_again(
    cluster: Cluster, project: Project
) -> None:
    replicas, cluster.replicas = cluster.replicas, 0
    restore(project)
    assert cluster.done[-1] == f"scaled to {replicas}"


def test_redis_is_started_though_nobody_hears_the_job(cluster: Cluster, project: Project) -> None:
    replicas, cluster.is_silent = cluster.replicas, True
    restore(project)
    assert cluster.done[-1] == f"scaled to {replicas}"


@pytest.mark.parametrize(("kind", "answers"), [("cronjob", [""]), ("persistentvolumeclaim", [])])
def test_nothing_is_stopped_where_there_is_no_backup_or_no_volume(
    kind: str, answers: list[str], cluster: Cluster, project: Project
) -> None:
    cluster.answers[kind] = answers
    with pytest.raises(RestoreError, match=r"Step 1 failed\. What is left to do"):
        restore(project)
    assert not cluster.done


def test_a_job_that_fails_leaves_the_words_by_which_redis_is_started_again(
    cluster: Cluster, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicas = cluster.replicas

    def fail(*_: object) -> None:
        message = "no snapshot up to then"
        raise RestoreError(message)

    monkeypatch.setattr(module, "finish", fail)
    with pytest.raises(RestoreError, match=f"kubectl scale statefulset redis --namespace={NAMESPACE} --replicas="):
        restore(project)
    assert cluster.replicas == 0 != replicas
