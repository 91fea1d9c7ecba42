"""The bootstrap: its steps come in order, each does only what is left to do, and each stops with words for a person."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from constructs.l1_bootstrap.k3s import K3sNode
from constructs.oidc import OidcSettings
from stacks import bootstrap, doctor
from stacks.backend import KubernetesBackend, LocalBackend
from stacks.bootstrap import Bootstrap, Stop
from stacks.project import CdktfJson, Context, Project
from tests.support import ROOT


class Person:
    """Somebody at a laptop, and the make that they run: `failing` are targets that do not succeed."""

    def __init__(self, *failing: str, typed: str = "yes") -> None:
        self.failing = failing
        self.typed = typed
        self.called: list[str] = []
        self.read: list[str] = []

    def make(self, *target: str) -> bool:
        self.called.append(" ".join(target))
        return target[0] not in self.failing

    def ask(self, _: str) -> str:
        return self.typed


REAL_ANSWER = bootstrap.answer
SERVERS = (K3sNode(name="alpha", host="192.0.2.1"),)


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch) -> None:
    """The namespace is there, all is pushed, Atlantis answers."""
    monkeypatch.setattr(bootstrap, "kubectl", lambda *_: "namespace/iac")
    monkeypatch.setattr(doctor, "repository", lambda _: iter([doctor.ok("git", "pushed")]))
    monkeypatch.setattr(bootstrap, "answer", lambda _: None)
    monkeypatch.delenv("STRATA_ARGS", raising=False)


def run(project: Project, person: Person, *, backend: str = "kubernetes", **changes: Any) -> None:  # noqa: ANN401 (settings)
    kind = KubernetesBackend(type="kubernetes") if backend == "kubernetes" else LocalBackend(type="local")
    context = Context(backend=kind, promotion=project.cdktf.context.promotion)
    infra = project.infra.model_copy(update=changes)
    changed = replace(project, cdktf=CdktfJson(output="terraform", context=context), infra=infra)
    Bootstrap(changed, person.make, person.ask, person.read.append).run()


def test_all_steps_come_in_their_order(project: Project) -> None:
    person = Person()
    run(project, person)
    assert person.called == ["doctor", "secrets", "move-state ENV=infra", "apply ENV=infra ARGS=", "state", "synth"]
    text = "\n".join(person.read)
    assert "https://atlantis.example.com/events" in text
    assert "github_secret" in text


def test_the_first_run_makes_the_namespace_and_stops_before_a_local_state_meets_atlantis(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "kubectl", lambda *_: "")
    monkeypatch.setenv("STRATA_ARGS", "-var=chart_mirror=/srv/charts")
    person = Person()
    with pytest.raises(Stop, match=r"Atlantis refuses a local state: set context\.backend"):
        run(project, person, backend="local")
    assert person.called == [
        "doctor",
        "apply ENV=infra ARGS=-var=chart_mirror=/srv/charts -target=kubernetes_namespace_v1.tenancy_iac",
        "secrets",
        "apply ENV=infra ARGS=-var=chart_mirror=/srv/charts",
    ]


def test_a_namespace_is_made_for_every_secret_that_is_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"iac"}
    monkeypatch.setattr(bootstrap, "kubectl", lambda *arguments: "there" if arguments[2] in there else "")
    secret = "dashboard-client"  # noqa: S105 (a Secret's name)
    oidc = OidcSettings(issuer="https://sign-in.example.com", client_id="strata", client_secret=secret)
    person = Person()
    run(project, person, oidc=oidc)
    assert person.called[1] == "apply ENV=infra ARGS=-target=kubernetes_namespace_v1.tenancy_kubernetes-dashboard"
    there.add("kubernetes-dashboard")
    person = Person()
    run(project, person, oidc=oidc)
    assert person.called[1] == "secrets"


def test_a_token_of_kuberos_finds_its_namespace_made(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "kubectl", lambda *asked: "" if "kubero" in asked else "namespace/iac")
    person = Person()
    run(project, person, kubero=project.infra.kubero.model_copy(update={"git_provider": "github"}))
    assert person.called[:3] == [
        "doctor",
        "apply ENV=infra ARGS=-target=kubernetes_namespace_v1.tenancy_kubero",
        "secrets",
    ]


def test_a_state_cannot_lie_in_a_namespace_that_is_not_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "kubectl", lambda *_: "")
    with pytest.raises(Stop, match="for the first apply"):
        run(project, Person())


def test_nodes_are_installed_only_where_they_are_listed(project: Project) -> None:
    person = Person()
    run(project, person, k3s_servers=SERVERS)
    assert person.called[:2] == ["doctor", "nodes"]


@pytest.mark.parametrize("target", ["doctor", "secrets", "move-state", "apply", "state", "synth"])
def test_a_step_that_fails_is_the_last_one(target: str, project: Project) -> None:
    person = Person(target)
    with pytest.raises(Stop, match=rf"make {target} failed"):
        run(project, person)
    assert person.called[-1].split()[0] == target


def test_what_is_not_pushed_stops_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "repository", lambda _: iter([doctor.later("git", "2 commits to push")]))
    with pytest.raises(Stop, match="2 commits to push"):
        run(project, Person())


def test_an_atlantis_that_does_not_answer_stops_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "answer", lambda url: f"{url}: certificate verify failed")
    with pytest.raises(Stop, match=r"atlantis\.example\.com/healthz: certificate verify failed"):
        run(project, Person())


def test_only_yes_is_yes(project: Project) -> None:
    with pytest.raises(Stop, match="add the webhook"):
        run(project, Person(typed="y"))


def test_without_atlantis_a_local_state_will_do(project: Project) -> None:
    person = Person()
    run(project, person, backend="local", components=("operators",))
    assert "state" not in person.called
    assert "make apply ENV=staging" in person.read[-1]


def test_every_target_that_it_calls_exists(project: Project) -> None:
    person = Person()
    run(project, person, k3s_servers=SERVERS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for call in person.called:
        assert f"\n{call.split()[0]}:" in makefile


def test_the_namespaces_are_at_the_addresses_that_they_are_made_by() -> None:
    addresses = Path(ROOT / "tests" / "addresses.txt").read_text(encoding="utf-8")
    for name in ("iac", "kubernetes-dashboard"):
        assert f"kubernetes_namespace_v1.tenancy_{name}\n" in addresses


def test_an_address_that_leads_nowhere_is_told() -> None:
    assert REAL_ANSWER("https://127.0.0.1:1/healthz") is not None
