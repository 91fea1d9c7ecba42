"""The rehearsal without a cluster: which one it takes, what it refuses, and what it makes of the answers."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from constructs.versions import VERSIONS
from stacks.cluster import ClusterError, WaitError
from stacks.project import Project, ProjectError
from stacks.rehearsal import __main__ as command
from stacks.rehearsal import cluster, play, pods, tenancy
from stacks.rehearsal.cluster import K3d, Kwok
from stacks.rehearsal.tenancy import KINDS, Cell

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ENVIRONMENTS = ("prod", "staging")
NAMESPACES = ("data-prod", "data-staging", "iac", "monitoring-staging")
WRITES, READS, REFUSED = Cell(KINDS, KINDS, KINDS), Cell(read=KINDS - {"Secret"}), Cell()
# Writes down how it is called, and does what a real one leaves behind.
K3D = """\
#!/bin/sh
echo "k3d $*" >> "{log}"
case "$1 $2" in
  "cluster create") exit {status} ;;
  "kubeconfig get") echo '{{"its": "kubeconfig"}}' ;;
esac
"""
KUBECTL = """\
#!/bin/sh
case "$*" in
  *"config view"*) echo '{config}' ;;
  *"get namespaces"*) echo '{namespaces}' ;;
esac
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a rehearsal changes of its process is given back: the environment, and who is told of signals."""
    environment, handlers = dict(os.environ), {number: signal.getsignal(number) for number in SIGNALS}
    yield
    os.environ.clear()
    os.environ.update(environment)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def program(tmp_path: Path, name: str, text: str) -> None:
    """Put a program on the PATH, before all others."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def answered(tmp_path: Path, *, context: str, server: str, namespaces: str = "default kube-system") -> None:
    """Let kubectl speak of a cluster."""
    config = {"current-context": context, "clusters": [{"cluster": {"server": server}}]}
    program(tmp_path, "kubectl", KUBECTL.format(config=json.dumps(config), namespaces=namespaces))


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "strata-rehearsal-x"
    folder.mkdir()
    return folder


# --- who may do what ---


def matrix() -> dict[str, dict[str, Cell]]:
    """What is promised."""
    homes = {f"deployer-{name}": (f"data-{name}", f"monitoring-{name}") for name in ENVIRONMENTS}
    rows = {
        identity: {room: WRITES if room in home else REFUSED for room in NAMESPACES} for identity, home in homes.items()
    }
    return {
        "deployer-infra": dict.fromkeys(NAMESPACES, WRITES),
        **rows,
        "viewer": dict.fromkeys(NAMESPACES, READS),
        "atlantis": dict.fromkeys(NAMESPACES, REFUSED),
    }


def test_the_matrix_as_it_is_promised_breaks_nothing() -> None:
    found = matrix()
    assert list(found) == tenancy.identities_of(ENVIRONMENTS, ["atlantis"])
    assert not list(tenancy.broken(found, ENVIRONMENTS))
    assert "atlantis" not in tenancy.identities_of(ENVIRONMENTS, ["vault"])


@pytest.mark.parametrize(
    ("identity", "namespace", "cell", "words"),
    [
        (
            "deployer-staging",
            "data-prod",
            WRITES,
            "should be: refused; it makes ConfigMap, Pod, Role",
        ),
        ("deployer-staging", "data-prod", READS, "should be: refused; it reads ConfigMap, Pod, Role, RoleBinding"),
        ("deployer-staging", "iac", Cell(read=frozenset({"Secret"})), "should be: refused; it reads Secret"),
        ("deployer-prod", "data-prod", READS, "should be: writes; it reads ConfigMap"),
        ("viewer", "iac", Cell(read=KINDS), "should be: reads; it reads ConfigMap, Pod, Role, RoleBinding, Secret"),
        ("viewer", "iac", Cell(made=frozenset({"Pod"}), read=READS.read), "should be: reads; it makes Pod and reads"),
        ("atlantis", "data-prod", READS, "should be: refused; it reads"),
        ("deployer-infra", "iac", REFUSED, "should be: writes; it may do nothing"),
    ],
)
def test_a_cell_that_is_not_as_promised_is_said(identity: str, namespace: str, cell: Cell, words: str) -> None:
    found = matrix()
    found[identity][namespace] = cell
    (sentence,) = tenancy.broken(found, ENVIRONMENTS)
    assert sentence.startswith(f"{identity} in {namespace} {words}")


def test_the_table_has_a_line_for_each_namespace_and_a_column_for_each_identity() -> None:
    found = matrix()
    found["viewer"]["iac"] = Cell(made=frozenset({"Pod"}))
    heading, *lines = tenancy.table(found)
    assert heading.split() == list(found)
    assert [line.split()[0] for line in lines] == list(NAMESPACES)
    cells = {line.split()[0]: re.split(r" {2,}", line)[1:] for line in lines}
    assert cells["data-staging"] == ["writes", "refused", "writes", "reads", "refused"]
    assert cells["iac"][3] == "1, 0, 0 of 5"


# --- which cluster, and no other ---


@pytest.mark.parametrize("kind", [Kwok, K3d])
def test_a_missing_program_is_named_with_the_way_to_get_it(kind: type[cluster.Cluster], tmp_path: Path) -> None:
    os.environ["PATH"] = ""
    words = command.missing(kind(tmp_path), "terraform")
    assert f"{kind.program} is not on the PATH: go install {kind.source}@{kind.version}" in words[0]
    assert [line.split()[0] for line in words] == [kind.program, "kubectl", "terraform"]
    assert kind.version == getattr(VERSIONS.tools, kind.program)


def test_nothing_that_a_person_has_set_leads_to_their_cluster_or_their_state(tmp_path: Path) -> None:
    mine = {
        "KUBECONFIG": "mine",
        "KUBE_CONFIG_PATH": "mine",
        "TF_VAR_kube_context": "mine",
        "TF_CLI_ARGS_apply": "-lock=false",
        "TF_WORKSPACE": "mine",
        "HELM_KUBECONTEXT": "mine",
    }
    os.environ.update({**mine, "TF_CLI_CONFIG_FILE": "kept", "CHART_MIRROR": "kept"})
    Kwok(tmp_path).enter()
    assert os.environ["KUBECONFIG"] == str(tmp_path / "kubeconfig")
    assert not set(mine) - {"KUBECONFIG"} & set(os.environ)
    assert os.environ["TF_CLI_CONFIG_FILE"] == os.environ["CHART_MIRROR"] == "kept"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            {"context": "prod", "server": "https://127.0.0.1:6443"},
            r"https://127.0.0.1:6443 \(prod\) is not the cluster",
        ),
        ({"context": "kwok-x", "server": "https://203.0.113.1:6443"}, "203.0.113.1:6443 .* is not the cluster"),
        (
            {"context": "kwok-x", "server": "https://127.0.0.1:1", "namespaces": "default iac data-prod"},
            "is no new cluster, it has data-prod, iac: nothing is applied",
        ),
    ],
)
def test_another_cluster_is_refused(found: dict[str, str], words: str, tmp_path: Path) -> None:
    answered(tmp_path, **found)
    with pytest.raises(ClusterError, match=words):
        cluster.refuse_others("kwok-x")


def test_the_cluster_that_was_made_is_not_refused(tmp_path: Path) -> None:
    answered(tmp_path, context="kwok-x", server="https://127.0.0.1:32764")
    cluster.refuse_others("kwok-x")


def test_k3d_runs_k3s_of_our_version_for_this_machine_alone_and_touches_no_kubeconfig_of_yours(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program(tmp_path, "k3d", K3D.format(log=log, status=0))
    answered(tmp_path, context="k3d-strata-rehearsal-x", server="https://127.0.0.1:6550")
    made = K3d(folder_of(tmp_path))
    made.create()
    made.delete()
    create, get, delete = log.read_text(encoding="utf-8").splitlines()
    assert create.startswith("k3d cluster create strata-rehearsal-x ")
    assert f"--image=docker.io/rancher/k3s:{VERSIONS.tools.k3s.replace('+', '-')} " in create
    assert "--api-port=127.0.0.1:" in create
    assert "--kubeconfig-update-default=false --kubeconfig-switch-context=false" in create
    assert get == "k3d kubeconfig get strata-rehearsal-x"
    assert delete == "k3d cluster delete strata-rehearsal-x"
    assert made.kubeconfig.read_text(encoding="utf-8") == '{"its": "kubeconfig"}\n'
    assert made.kubeconfig.stat().st_mode & 0o077 == 0


def test_a_cluster_that_cannot_be_made_is_deleted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    program(tmp_path, "k3d", K3D.format(log=log, status=1))
    answered(tmp_path, context="mine", server="https://203.0.113.1:6443")
    program(tmp_path, "terraform", "#!/bin/sh\nexit 1\n")
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(folder_of(tmp_path)))
    assert command.main("k3d", "", "terraform") == 1
    said = capsys.readouterr()
    assert "Rehearsal of infra, test: K3s in a container" in said.out
    assert "BROKEN: k3d failed:" in said.err
    assert [line.split()[2] for line in log.read_text(encoding="utf-8").splitlines()] == ["create", "delete"]
    assert not (tmp_path / "strata-rehearsal-x").exists()


def test_no_other_kind_of_cluster_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main("mine", "", "terraform") == 1
    assert capsys.readouterr().err == "ON=mine: give kwok, which is the default, or k3d\n"


def test_all_environments_are_rehearsed_one_that_is_named_or_the_smallest_that_is_really_run(project: Project) -> None:
    assert command.chosen(project, "", Kwok) == list(project.environments)
    assert command.chosen(project, "", K3d) == ["test"]
    assert command.chosen(project, "prod", K3d) == command.chosen(project, "prod", Kwok) == ["prod"]
    assert command.chosen(project, "infra", Kwok) == []
    with pytest.raises(ProjectError, match="ENV=nothing: give one of prod, staging, test"):
        command.chosen(project, "nothing", Kwok)


# --- what is given in the place of the tfvars file ---


def test_no_machine_and_no_bucket_of_yours_is_reached(project: Project, tmp_path: Path) -> None:
    def given(kind: type[cluster.Cluster], stack: str) -> dict[str, Any]:
        words = play.Rehearsal(project, ["test"], kind(tmp_path), "terraform").given(stack)
        pairs = (word.removeprefix("-var=").partition("=") for word in words)
        return {name: json.loads(value) for name, _, value in pairs}

    assert given(Kwok, "infra") == {"k3s_servers": [], "k3s_agents": []}
    assert given(Kwok, "test") == {}
    assert given(K3d, "test")["backups"]["bucket"] == ""
    assert given(K3d, "infra")["certificates"]["email"] == ""
    assert given(K3d, "infra")["k3s_servers"] == []


@pytest.mark.parametrize(
    "text",
    ['components = ["dns", "vault"]\n', 'components=[\n  "vault",\n  "dns",\n]\n', 'components = ["vault","dns"]'],
)
def test_a_component_is_left_out_however_the_list_is_written(text: str) -> None:
    left = play.without("dns", f'{text}\ndns = {{ provider = "aws" }}\n')
    assert '"dns"' not in left
    assert '"vault"' in left
    assert 'dns = { provider = "aws" }' in left


# --- pods ---


def shown(monkeypatch: pytest.MonkeyPatch, *items: dict[str, Any]) -> None:
    """Let the cluster have these pods and workloads."""

    def kubectl(_: str, kinds: str, *__: str) -> str:
        wanted = [item for item in items if (item["kind"] == "Pod") == (kinds == "pods")]
        return json.dumps({"items": wanted})

    monkeypatch.setattr(pods, "kubectl", kubectl)


def item(kind: str, spec: object = None, **status: object) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "a", "namespace": "iac"}, "spec": spec or {}, "status": status}


READY = item("Pod", phase="Running", conditions=[{"type": "Ready", "status": "True"}])


def test_pods_that_are_ready_or_done_are_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = item("Deployment", {"replicas": 0})
    everywhere = item("DaemonSet", desiredNumberScheduled=2, numberReady=2)
    shown(monkeypatch, READY, item("Pod", phase="Succeeded"), stopped, everywhere)
    assert pods.wait_until_ready(0) == 2


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (item("Pod", phase="Pending"), "Pod iac/a is not ready"),
        (item("Pod", phase="Running", conditions=[{"type": "Ready", "status": "False"}]), "Pod iac/a is not ready"),
        (item("Pod", phase="Failed"), "Pod iac/a is not ready"),
        (item("StatefulSet", {"replicas": 3}, readyReplicas=2), "StatefulSet iac/a has 2 of 3 pods"),
        (item("Deployment"), "Deployment iac/a has 0 of 1 pods"),
        (item("DaemonSet", desiredNumberScheduled=1), "DaemonSet iac/a has 0 of 1 pods"),
    ],
)
def test_what_is_not_ready_is_named(lacking: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown(monkeypatch, READY, lacking)
    with pytest.raises(WaitError, match=words):
        pods.wait_until_ready(-1)


def test_a_sign_of_life_is_asked_of_what_the_environment_has(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = project.environments["test"].model_copy(update={"components": ("postgres", "redis")})
    monkeypatch.setattr(pods, "objects", lambda *_: [])
    monkeypatch.setattr(pods, "kubectl", lambda _, pod, *__: "PONG\n" if pod == "redis-0" else "0\n")
    assert dict(pods.smoke(settings)) == {
        "Redis answers PING": None,
        "Postgres answers SELECT 1": "it answers: 0",
        "its certificates are issued": None,
    }
