"""Secrets that people supply: which ones the settings need, and how they reach the cluster."""

import base64
import io
import json
from typing import Any

import pytest

from stacks import supplied as module
from stacks.project import Project
from stacks.supplied import Supplied, ask_for, supplied


@pytest.fixture
def infra(project: Project) -> dict[str, Any]:
    return project.infra.model_dump()


class Cluster:
    """A cluster that remembers how it was called, and what Secrets it has."""

    def __init__(self, **keys: str) -> None:
        self.keys = keys
        self.calls: list[tuple[tuple[str, ...], str | None]] = []

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        self.calls.append((arguments, text))
        return self.keys.get(arguments[2].replace("-", "_"), "") if arguments[0] == "get" else ""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(module, "kubectl", cluster.kubectl)
    return cluster


def test_one_token_serves_both_the_records_and_the_certificates(infra: dict[str, Any]) -> None:
    both = {**infra, "certificates": {**infra["certificates"], "challenge": "dns01"}}
    (token,) = (secret for secret in supplied(both) if secret.namespace == "kube-system")
    assert (token.name, token.keys) == ("cloudflare-api-token", ("api-token",))
    assert "external-dns" in token.purpose
    assert "cert-manager" in token.purpose


def test_only_what_the_components_need_is_asked_for(infra: dict[str, Any]) -> None:
    assert {secret.name for secret in supplied(infra)} == {"atlantis-vcs", "cloudflare-api-token"}
    assert supplied({**infra, "components": ("operators",)}) == []
    written = {**infra, "atlantis": {**infra["atlantis"], "credentials_revision": 1}}
    assert {secret.name for secret in supplied(written)} == {"cloudflare-api-token"}


@pytest.mark.parametrize("server", ["github", "github-app", "gitlab", "gitea"])
def test_every_kind_of_server_has_its_keys_and_its_webhooks_secret_is_drawn(server: str, infra: dict[str, Any]) -> None:
    changed = {**infra, "atlantis": {**infra["atlantis"], "vcs": server}}
    (secret,) = (item for item in supplied(changed) if item.name == "atlantis-vcs")
    token, webhook = secret.keys
    assert secret.drawn == (webhook,)
    assert token == ("key.pem" if server == "github-app" else f"{server}_token")


@pytest.mark.parametrize("server", ["github", "gitea", "gitlab", "gogs", "bitbucket"])
def test_kubero_is_given_a_token_only_of_the_git_server_that_is_named(server: str, infra: dict[str, Any]) -> None:
    changed = {**infra, "components": ("kubero",)}
    assert supplied(changed) == []
    (secret,) = supplied({**changed, "kubero": {**infra["kubero"], "git_provider": server}})
    assert (secret.namespace, secret.name) == ("kubero", "kubero-git")
    assert all(key.startswith(f"{server.upper()}_") for key in secret.keys)


@pytest.mark.parametrize("provider", ["akamai", "aws", "azure", "cloudflare", "google", "rfc2136"])
def test_every_provider_of_a_zone_has_its_keys(provider: str, infra: dict[str, Any]) -> None:
    dns01 = {**infra["certificates"]["dns01"], "provider": provider}
    changed = {**infra, "components": ("certificates",)}
    changed["certificates"] = {**infra["certificates"], "challenge": "dns01", "dns01": dns01}
    (secret,) = supplied(changed)
    assert secret.name == dns01[provider]["secret"]
    assert secret.keys


def test_credentials_of_other_providers_are_asked_for_key_by_key(infra: dict[str, Any]) -> None:
    credentials = [{"name": f"AWS_{key}", "secret": "aws", "key": key} for key in ("id", "key")]
    changed = {**infra, "components": ("dns",), "dns": {**infra["dns"], "provider": "aws", "credentials": credentials}}
    (secret,) = supplied(changed)
    assert (secret.name, secret.keys) == ("aws", ("id", "key"))


def test_an_environments_bucket_is_opened_in_each_of_its_namespaces_that_is_saved(project: Project) -> None:
    prod = project.environments["prod"].model_dump()
    assert supplied(prod) == []
    given = {**prod, "backups": {**prod["backups"], "bucket": "backups"}}
    assert [(item.namespace, item.name) for item in supplied(given)] == [
        ("data-prod", "backup-bucket"),
        ("monitoring-prod", "backup-bucket"),
    ]
    assert [item.namespace for item in supplied({**given, "components": ("redis",)})] == ["data-prod"]


def test_what_two_namespaces_need_is_asked_for_once(cluster: Cluster) -> None:
    wanted = [Supplied(f"{kind}-prod", "backup-bucket", ("id", "key"), "purpose") for kind in ("data", "monitoring")]
    answers = iter(["an id", "a key"])
    assert list(ask_for(wanted, lambda _: next(answers))) == []
    made = [json.loads(text) for _, text in cluster.calls if text]
    assert [item["metadata"]["namespace"] for item in made] == ["data-prod", "monitoring-prod"]
    assert made[0]["data"] == made[1]["data"]


TOKEN = "t0ken-of-somebody"  # noqa: S105 (a test's)
VCS = Supplied("iac", "atlantis-vcs", ("github_token", "github_secret"), "purpose", drawn=("github_secret",))


def test_what_is_typed_goes_through_a_pipe_and_is_never_printed(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(ask_for([VCS], lambda _: f" {TOKEN}\n")) == []
    (_, created) = cluster.calls
    assert created[0] == ("create", "--filename=-")
    made = json.loads(created[1] or "")
    assert made["metadata"] == {"name": "atlantis-vcs", "namespace": "iac"}
    values = {key: base64.b64decode(value).decode() for key, value in made["data"].items()}
    assert values["github_token"] == TOKEN
    assert len(values["github_secret"]) == 64
    assert TOKEN not in repr([call[0] for call in cluster.calls])
    captured = capsys.readouterr()
    assert TOKEN not in captured.out + captured.err


def test_a_webhooks_secret_is_another_each_time(cluster: Cluster) -> None:
    for _ in range(2):
        list(ask_for([VCS], lambda _: TOKEN))
    first, second = (json.loads(text or "")["data"]["github_secret"] for _, text in cluster.calls if text)
    assert first != second


def test_nothing_typed_makes_nothing_and_is_told(cluster: Cluster) -> None:
    assert list(ask_for([VCS], lambda _: "\n")) == ["iac/atlantis-vcs is still missing"]
    assert [call[0][0] for call in cluster.calls] == ["get"]


def test_a_secret_that_is_there_is_left_alone(cluster: Cluster) -> None:
    def never(words: str) -> str:
        raise AssertionError(words)

    cluster.keys = {"atlantis_vcs": "github_secret github_token "}
    assert list(ask_for([VCS], never)) == []
    cluster.keys = {"atlantis_vcs": "github_secret "}
    assert list(ask_for([VCS], never)) == [
        "iac/atlantis-vcs is there without github_token: delete it, and run this again"
    ]
    assert {call[0][0] for call in cluster.calls} == {"get"}


def test_a_token_may_come_through_a_pipe_and_its_end_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    assert [module._typed("token: ").strip() for _ in range(2)] == [TOKEN, ""]  # noqa: SLF001 (what main asks with)
    assert TOKEN not in capsys.readouterr().out
