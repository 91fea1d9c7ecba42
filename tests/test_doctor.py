"""The doctor: what would stop a bootstrap is a line with what to do, and nothing waits for a network for long."""

import json
import socket
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stacks import doctor, supplied
from stacks.cluster import ClusterError
from stacks.doctor import Finding, Verdict
from stacks.project import Project

OK, MEND, LATER, NOT_CHECKED = Verdict.OK, Verdict.MEND, Verdict.LATER, Verdict.NOT_CHECKED


@pytest.fixture
def infra(project: Project) -> dict[str, Any]:
    return project.infra.model_dump()


def one(findings: Sequence[Finding], subject: str) -> tuple[Verdict, str]:
    (found,) = (finding for finding in findings if finding.subject == subject)
    return found.verdict, found.words


def say(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, str | None]) -> None:
    """Let programs print what the table says of the words that their call begins with; others are not there."""

    def said(*command: str) -> str | None:
        return next((words for begin, words in answers.items() if " ".join(command).startswith(begin)), None)

    monkeypatch.setattr(doctor, "said", said)


def answer(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, str | ClusterError]) -> None:
    """Let the cluster answer what the table says of words in a call of kubectl; it has nothing else."""

    def kubectl(*arguments: str, text: str | None = None) -> str:
        assert text is None
        found = next((words for part, words in answers.items() if part in " ".join(arguments)), "")
        if isinstance(found, ClusterError):
            raise found
        return found

    monkeypatch.setattr(doctor, "kubectl", kubectl)
    monkeypatch.setattr(supplied, "kubectl", kubectl)


@pytest.mark.parametrize(
    ("program", "printed", "verdict", "words"),
    [
        ("node", "v24.1.0\n", OK, "v24.1.0"),
        ("node", "v20.11.1\n", MEND, "is too old"),
        ("node", None, MEND, "does not run"),
        ("terraform", '{"terraform_version": "1.11.4"}', OK, "1.11.4"),
        ("terraform", '{"terraform_version": "1.9.8"}', MEND, "1.9.8 is too old"),
        ("terraform", '{"terraform_version": "2.0.0-rc1"}', OK, "2.0.0"),
        ("terraform", None, MEND, "install Terraform or OpenTofu"),
        ("kubectl", '{"clientVersion": {"gitVersion": "v1.36.3"}}', OK, "v1.36.3"),
        ("kubectl", None, MEND, "install it"),
    ],
)
def test_a_program_that_is_missing_or_too_old_is_told(
    program: str, printed: str | None, verdict: Verdict, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JSII_NODE", "node")
    say(monkeypatch, {program: printed})
    found, said = one(list(doctor.tools("terraform")), program)
    assert (found, words in said) == (verdict, True), said


def test_a_program_that_does_not_exist_or_fails_says_nothing() -> None:
    assert doctor.said("no-such-program") is None
    assert doctor.said("false") is None
    assert doctor.said("echo", "a") == "a\n"


@pytest.mark.parametrize("damage", ["shorter", "missing"])
def test_a_damaged_cache_of_jsii_is_found(damage: str, tmp_path: Path) -> None:
    source = tmp_path / "package"
    source.mkdir()
    for name in ("package.json", "index.js"):
        (source / name).write_text("{}  ", encoding="utf-8")
    archive = tmp_path / "demo@1.0.0.jsii.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source, "package")
    root = tmp_path / "cache"
    assert doctor.jsii_cache(root, [archive]).verdict is OK
    unpacked = root / "@cdktf" / "demo" / "1.0.0" / "digest"
    unpacked.parent.mkdir(parents=True)
    source.rename(unpacked)
    assert doctor.jsii_cache(root, [archive]).verdict is OK
    if damage == "missing":
        (unpacked / "index.js").unlink()
    else:
        (unpacked / "index.js").write_text("{", encoding="utf-8")
    found = doctor.jsii_cache(root, [archive])
    assert found.verdict is MEND
    assert f"delete {root}" in found.words


def test_the_archives_that_the_cache_is_compared_with_are_found() -> None:
    assert len(doctor._archives()) == 4  # noqa: SLF001 (what would silently become no comparison at all)


def test_settings_as_they_are_shipped_are_to_be_mended(project: Project) -> None:
    findings = list(doctor.files(project))
    assert one(findings, "base_domain")[0] is MEND
    assert "envs/infra.tfvars, envs/prod.tfvars" in one(findings, "base_domain")[1]
    assert one(findings, "certificates.email")[0] is MEND
    assert one(findings, "state")[0] is LATER


def test_settings_that_are_filled_in_are_not(project: Project) -> None:
    certificates = project.infra.certificates.model_copy(update={"email": "ops@example.org"})
    changed = {"base_domain": "strata.test", "certificates": certificates, "components": ("certificates",)}
    infra = project.infra.model_copy(update=changed)
    environments = {
        name: file.model_copy(
            update={"base_domain": "strata.test", "backups": file.backups.model_copy(update={"bucket": "backups"})}
        )
        for name, file in project.environments.items()
    }
    findings = list(doctor.files(Project(project.root, project.cdktf, infra, environments)))
    assert [finding.verdict for finding in findings] == [OK, OK]


@pytest.mark.parametrize(
    ("answers", "subject", "verdict", "words"),
    [
        ({}, "git", NOT_CHECKED, "no checkout"),
        ({"git status": " M envs/infra.tfvars\n"}, "git", LATER, "not committed: envs/infra.tfvars"),
        ({"git status": ""}, "git", LATER, "git push --set-upstream"),
        ({"git status": "", "git rev-list": "2\n"}, "git", LATER, "2 commits to push"),
        ({"git status": "", "git rev-list": "0\n"}, "git", OK, "pushed"),
        ({"git status": "", "git remote": "origin\tgit@github.com:Example/Platform.git (fetch)\n"}, "repo", OK, "exa"),
        ({"git status": "", "git remote": "origin\tgit@github.com:me/strata.git (fetch)\n"}, "repo", MEND, "no remote"),
    ],
)
def test_what_atlantis_would_not_find_is_told(
    answers: dict[str, str],
    subject: str,
    verdict: Verdict,
    words: str,
    infra: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    say(monkeypatch, answers)
    name = "atlantis.repository" if subject == "repo" else subject
    found, said = one(list(doctor.repository(infra)), name)
    assert (found, words in said) == (verdict, True), said


def test_ssh_is_looked_at_only_where_nodes_are_installed(
    infra: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    say(monkeypatch, {})
    assert list(doctor.ssh(infra)) == []
    servers = {**infra, "k3s_servers": ({"name": "a", "host": "192.0.2.1", "external_address": ""},)}
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert one(list(doctor.ssh(servers)), "ssh")[0] is MEND
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert "ssh-add <key>" in one(list(doctor.ssh(servers)), "ssh")[1]
    say(monkeypatch, {"ssh-add": "256 SHA256:x"})
    assert one(list(doctor.ssh(servers)), "ssh")[0] is OK
    given = {**servers, "k3s": {**infra["k3s"], "ssh_key": "~/key"}}
    assert one(list(doctor.ssh(given)), "ssh")[0] is MEND
    (tmp_path / "key").touch()
    assert one(list(doctor.ssh(given)), "ssh")[0] is OK


def test_a_kubeconfig_is_one_that_is_there_and_nobody_else_reads(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    environment = {"KUBECONFIG": str(path)}
    assert doctor.kubeconfig({}, has_servers=False).verdict is MEND
    assert doctor.kubeconfig(environment, has_servers=False).verdict is MEND
    assert doctor.kubeconfig(environment, has_servers=True).verdict is LATER
    path.touch(mode=0o644)
    path.chmod(0o644)
    found = doctor.kubeconfig(environment, has_servers=False)
    assert (found.verdict, f"chmod 600 {path}" in found.words) == (MEND, True)
    path.chmod(0o600)
    assert doctor.kubeconfig(environment, has_servers=False).verdict is OK
    assert doctor.kubeconfig({"KUBECONFIG": f"{path}:{tmp_path}/none"}, has_servers=False).verdict is MEND


def k3s_cluster(**changes: str | ClusterError) -> dict[str, str | ClusterError]:
    node = {
        "metadata": {"annotations": {"k3s.io/node-args": '["server"]'}},
        "status": {"nodeInfo": {"kubeletVersion": "v1.36.3+k3s1"}},
    }
    you = {"username": "system:admin", "groups": ["system:masters"]}
    return {
        "config view": json.dumps({"clusters": [{"cluster": {"server": "https://192.0.2.1:6443"}}]}),
        "/readyz": "ok",
        "get nodes": json.dumps({"items": [node]}),
        "ingressclass": "ingressclass/traefik",
        "storageclass": "storageclass/local-path",
        "whoami": json.dumps({"status": {"userInfo": you}}),
        **changes,
    }


def test_a_sound_cluster_of_k3s_has_nothing_to_mend(infra: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, k3s_cluster())
    assert {finding.verdict for finding in doctor.cluster(infra)} == {OK}


ANNA = json.dumps({"status": {"userInfo": {"username": "anna", "groups": ["developers"]}}})
NO_POLICIES = {
    "metadata": {"annotations": {"k3s.io/node-args": '["server","--disable-network-policy"]'}},
    "status": {"nodeInfo": {"kubeletVersion": "v1.36.3+k3s1"}},
}


@pytest.mark.parametrize(
    ("changes", "subject", "verdict", "words"),
    [
        ({"ingressclass": ""}, "Traefik", MEND, "is not there"),
        ({"storageclass": ""}, "the storage class local-path", MEND, "is not there"),
        ({"get nodes": json.dumps({"items": [NO_POLICIES]})}, "network policies", MEND, "every flow passes"),
        ({"get nodes": '{"items": []}'}, "K3s", LATER, "made for K3s"),
        ({"whoami": ANNA, "can-i": ClusterError("no")}, "rights", MEND, "you are anna, and may not apply infra"),
        ({"whoami": ANNA, "can-i": "yes"}, "rights", OK, "AS=deployer-infra"),
    ],
)
def test_what_a_cluster_lacks_is_told(
    changes: dict[str, str | ClusterError],
    subject: str,
    verdict: Verdict,
    words: str,
    infra: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer(monkeypatch, k3s_cluster(**changes))
    found, said = one(list(doctor.cluster(infra)), subject)
    assert (found, words in said) == (verdict, True), said


def test_the_cluster_of_another_list_of_servers_is_told(infra: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, k3s_cluster())
    for host, verdict in (("192.0.2.1", OK), ("192.0.2.9", MEND)):
        servers = {**infra, "k3s_servers": ({"name": "a", "host": host, "external_address": ""},)}
        assert one(list(doctor.cluster(servers)), "cluster")[0] is verdict


def test_secrets_are_looked_for_by_their_keys_and_their_values_are_never_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, {"get secret atlantis-vcs": "github_token ", "get secret cloudflare-api-token": "api-token "})
    findings = list(doctor.secrets(project))
    assert one(findings, "Secret iac/atlantis-vcs") == (
        MEND,
        "has no github_secret: delete it, then make secrets ENV=infra",
    )
    assert one(findings, "Secret kube-system/cloudflare-api-token")[0] is OK
    answer(monkeypatch, {})
    assert {finding.verdict for finding in doctor.secrets(project)} == {LATER}


def test_a_token_that_terraform_is_to_write_is_looked_for_in_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, {})
    atlantis = project.infra.atlantis.model_copy(update={"credentials_revision": 1})
    infra = project.infra.model_copy(update={"atlantis": atlantis})
    written = Project(project.root, project.cdktf, infra, project.environments)
    monkeypatch.delenv("TF_VAR_atlantis_token", raising=False)
    assert one(list(doctor.secrets(written)), "TF_VAR_atlantis_token")[0] is LATER
    monkeypatch.setenv("TF_VAR_atlantis_token", "t")
    assert one(list(doctor.secrets(written)), "TF_VAR_atlantis_token")[0] is OK


@pytest.mark.parametrize(
    ("addresses", "verdict", "words"),
    [
        (["192.0.2.1"], OK, "leads to 192.0.2.1"),
        ([], LATER, "external-dns makes its record"),
        (None, NOT_CHECKED, "no name server answered"),
    ],
)
def test_a_host_name_is_resolved_and_nobody_waits_for_a_network_that_is_not_there(
    addresses: list[str] | None, verdict: Verdict, words: str, infra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_WAIT", 0.2)

    def getaddrinfo(host: str, port: int) -> list[tuple[object, ...]]:
        assert (host, port) == ("atlantis.example.com", 443)
        if addresses is None:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(None, None, None, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    found = doctor.names(infra)
    assert found is not None
    assert (found.verdict, words in found.words) == (verdict, True), found.words


def test_nothing_more_is_looked_at_where_jsii_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "jsii_cache", lambda *_: doctor.mend("jsii", "damaged"))
    say(monkeypatch, {})
    *_, before, last = doctor.examine("terraform")
    assert (before.subject, last.verdict) == ("jsii", NOT_CHECKED)


def test_a_run_prints_a_line_for_each_finding_and_fails_if_one_must_be_mended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for findings, status in (
        ([doctor.ok("a", "b"), doctor.later("c", "d"), doctor.not_checked("e", "f")], 0),
        ([doctor.ok("a", "b"), doctor.mend("c", "d")], 1),
    ):
        monkeypatch.setattr(doctor, "examine", lambda _, found=findings: iter(found))
        assert doctor.main("terraform") == status
        lines = capsys.readouterr().out.splitlines()
        assert lines[: len(findings)] == [str(finding) for finding in findings]


def test_offline_and_without_a_kubeconfig_the_rest_is_still_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(doctor, "resolve", lambda _: None)
    findings = list(doctor.examine("terraform"))
    assert one(findings, "kubeconfig")[0] is MEND
    assert one(findings, "cluster")[0] is NOT_CHECKED
    assert one(findings, "atlantis.example.com")[0] is NOT_CHECKED
