"""Who acts on the cluster: a command runs as the stack's deployer or as an administrator, and never as anybody else.

The kubeconfigs are read by the real kubectl; what the API server would say, a stand-in says. The same on an API server:
tests/e2e/test_laptop.py.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, on_the_path

Run = Callable[..., subprocess.CompletedProcess[str]]
Config = dict[str, Any]

STAND_IN = """\
#!/bin/sh
case "$*" in
  *"config view"*) exec "{kubectl}" "$@" ;;
  *whoami*groups*) printf '%s' "$YOU" ;;
  *whoami*) printf '%s' "${{YOU%% *}}" ;;
  *"can-i impersonate serviceaccounts/deployer-"*) echo "$MAY_ACT"; echo "$MAY_ACT_ERROR" >&2; [ "$MAY_ACT" = yes ] ;;
  *"can-i create configmaps"*) echo "$MAY_WRITE"; [ "$MAY_WRITE" = yes ] ;;
  *) exit 99 ;;
esac
"""
SHOW = """\
printf '%s|' "$KUBECONFIG" "$KUBE_CONFIG_PATH" "$TF_VAR_kubeconfig" "${TF_VAR_kube_context-}" "${KUBE_CTX-}"
env | grep -c ^KUBE_
"""
USER = {"token": "secret"}
ADMINISTRATOR = 'system:admin ["system:masters","system:authenticated"]'
ANNA = 'oidc:anna@example.com ["developers","system:authenticated"]'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script of scripts/ with a kubeconfig: the person may do everything, unless the answers say otherwise."""
    kubectl = on_the_path("kubectl")
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "kubectl"
    stand_in.write_text(STAND_IN.format(kubectl=kubectl), encoding="utf-8")
    stand_in.chmod(0o755)

    def script(*arguments: str, kubeconfig: str | None = None, **answers: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "TF_"))}
        environment |= {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
        environment |= {"YOU": ADMINISTRATOR, "MAY_ACT": "yes", "MAY_ACT_ERROR": "", "MAY_WRITE": "yes"}
        environment |= {"KUBECONFIG": str(tmp_path / "kubeconfig") if kubeconfig is None else kubeconfig, **answers}
        command = [str(ROOT / "scripts" / arguments[0]), *arguments[1:]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)  # noqa: S603

    return script


def write(path: Path, user: Mapping[str, object] | None = USER, *, name: str = "me", server: str = "one") -> Path:
    """Write a kubeconfig with one context; without a user, nobody is signed in by it."""
    context = {"cluster": server, **({"user": name} if user is not None else {})}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": server,
        "clusters": [{"name": server, "cluster": {"server": f"https://{server}.example.com:6443"}}],
        "contexts": [{"name": server, "context": context}],
        "users": [{"name": name, "user": user}] if user is not None else [],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def seen(path: Path) -> Config:
    """What the real kubectl reads of a kubeconfig that a script has made."""
    done = subprocess.run(  # noqa: S603
        [str(shutil.which("kubectl")), "config", "view", "--raw", "--output=json", f"--kubeconfig={path}"],
        capture_output=True,
        text=True,
        check=True,
    )
    config: Config = json.loads(done.stdout)
    return config


KEEP = ("sh", "-c", 'cp "$KUBECONFIG" kept')


def test_a_command_acts_as_the_deployer_with_the_persons_own_credentials(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "kubeconfig")
    done = run("as-deployer", "staging", *KEEP)
    assert done.returncode == 0, done.stderr
    (user,) = seen(tmp_path / "kept")["users"]
    assert user["user"] == {"token": "secret", "as": "system:serviceaccount:iac:deployer-staging"}


@pytest.mark.parametrize("name", ["anna.b@k3s.example.com", "arn:aws:iam::1:user/a", "user", "a b", "as"])
def test_any_name_of_a_user_will_do(name: str, run: Run, tmp_path: Path) -> None:
    write(tmp_path / "kubeconfig", name=name)
    assert run("as-deployer", "prod", *KEEP).returncode == 0
    (user,) = seen(tmp_path / "kept")["users"]
    assert user["name"] == name
    assert user["user"]["as"] == "system:serviceaccount:iac:deployer-prod"


def test_a_plugin_that_signs_in_is_kept_whole(run: Run, tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sign-in",
        "args": ["user:", "as: somebody", "tokenFile: a"],
        "env": [{"name": "as", "value": "user:"}],
        "installHint": "one line\n  user:\n    as: another\n",
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": False,
    }
    write(tmp_path / "kubeconfig", {"exec": plugin})
    done = run("as-deployer", "staging", *KEEP)
    assert done.returncode == 0, done.stderr
    (user,) = seen(tmp_path / "kept")["users"]
    assert user["user"] == {"exec": plugin, "as": "system:serviceaccount:iac:deployer-staging"}


def test_several_kubeconfigs_are_read_as_kubectl_reads_them(run: Run, tmp_path: Path) -> None:
    paths = [write(tmp_path / name, {"token": name}, name=name, server=name) for name in ("one", "two")]
    joined = ":".join(str(path) for path in paths)
    for context, wanted in (("", "one"), ("two", "two")):
        done = run("as-deployer", "staging", *KEEP, kubeconfig=joined, TF_VAR_kube_context=context)
        assert done.returncode == 0, done.stderr
        config = seen(tmp_path / "kept")
        assert [user["user"]["token"] for user in config["users"]] == [wanted]
        assert config["clusters"][0]["cluster"]["server"] == f"https://{wanted}.example.com:6443"


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (None, "has no credentials: give a kubeconfig with a user"),
        ({}, "has no credentials: give a kubeconfig with a user"),
        ({"token": "a", "as": "system:admin"}, "acts as somebody else already"),
        ({"token": "a", "as": "b", "as-groups": ["system:masters"]}, "acts as somebody else already"),
        ({"tokenFile": "token"}, "relative path: make it absolute"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./sign-in"}}, "make it absolute"),
    ],
)
def test_a_kubeconfig_that_could_not_be_acted_with_is_refused(
    user: dict[str, object] | None,
    words: str,
    run: Run,
    tmp_path: Path,
) -> None:
    write(tmp_path / "kubeconfig", user)
    done = run("as-deployer", "staging", *KEEP)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("script", [("as-deployer", "staging"), ("as-administrator",)])
@pytest.mark.parametrize(
    ("kubeconfig", "words"), [("", "KUBECONFIG is not set"), ("/nowhere/kubeconfig", "/nowhere/kubeconfig")]
)
def test_without_a_kubeconfig_nothing_runs_not_even_with_the_one_in_the_home_folder(
    script: tuple[str, ...],
    kubeconfig: str,
    words: str,
    run: Run,
    tmp_path: Path,
) -> None:
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube" / "config")
    done = run(*script, *KEEP, kubeconfig=kubeconfig, HOME=str(tmp_path))
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "kept").exists()


def test_who_may_not_act_is_told_what_an_administrator_has_to_run(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "kubeconfig")
    for you, subject in (
        (
            ANNA,
            "oidc-anna-example.com-acts-as-deployer-prod --namespace=iac --role=act-as-deployer-prod --user='oidc:anna",
        ),
        ('it\'s ["a"]', "it-s-acts-as-deployer-prod --namespace=iac --role=act-as-deployer-prod --user='it'\\''s'"),
        ('system:serviceaccount:ci:runner ["a"]', "--serviceaccount=ci:runner"),
    ):
        done = run("as-deployer", "prod", *KEEP, MAY_ACT="no", YOU=you)
        assert done.returncode == 1
        assert "may not act as deployer-prod" in done.stderr
        assert subject in done.stderr
        assert not (tmp_path / "kept").exists()


def test_an_api_server_that_does_not_answer_is_no_yes(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "kubeconfig")
    done = run("as-deployer", "staging", *KEEP, MAY_ACT="", MAY_ACT_ERROR="connection refused")
    assert done.returncode == 1
    assert "connection refused" in done.stderr
    assert not (tmp_path / "kept").exists()


def test_a_deployer_without_rights_is_told_from_a_person_without(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "kubeconfig")
    for stack, home in (("staging", "data-staging"), ("infra", "iac")):
        done = run("as-deployer", stack, *KEEP, MAY_WRITE="no")
        assert done.returncode == 1
        assert f"deployer-{stack} may not write in {home} yet" in done.stderr
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("script", [("as-deployer", "staging"), ("as-administrator",)])
def test_nothing_in_the_environment_leads_past_the_kubeconfig(
    script: tuple[str, ...],
    run: Run,
    tmp_path: Path,
) -> None:
    write(tmp_path / "kubeconfig")
    variables = dict.fromkeys(("KUBE_TOKEN", "KUBE_HOST", "KUBE_CTX", "KUBE_CONFIG_PATHS", "KUBE_CLIENT_KEY_DATA"), "x")
    done = run(*script, "sh", "-c", SHOW, **variables)
    first, second, third, context, backend_context, count = done.stdout.strip().split("|")
    assert first == second == third
    assert (context, backend_context, count) == ("", "", "1")


@pytest.mark.parametrize("script", [("as-deployer", "staging"), ("as-administrator",)])
def test_the_commands_own_status_is_returned_and_nothing_is_left_behind(
    script: tuple[str, ...],
    run: Run,
    tmp_path: Path,
) -> None:
    write(tmp_path / "kubeconfig")
    before = sorted(tmp_path.iterdir())
    assert run(*script, "sh", "-c", "exit 7").returncode == 7
    assert run(*script, "sh", "-c", "kill -TERM $$").returncode == 143
    assert sorted(tmp_path.iterdir()) == before


def test_an_administrator_stays_who_they_are(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "kubeconfig")
    done = run("as-administrator", "sh", "-c", SHOW, kubeconfig="kubeconfig", TF_VAR_kube_context="one")
    path = str(tmp_path / "kubeconfig")
    assert done.stdout.strip() == f"{path}|{path}|{path}|one|one|2"


@pytest.mark.parametrize("you", [ANNA, 'masters ["system:masters-not"]', 'system:masters ["system:authenticated"]'])
def test_who_is_no_administrator_is_told_how_to_act_as_the_deployer(
    you: str,
    run: Run,
    tmp_path: Path,
) -> None:
    write(tmp_path / "kubeconfig")
    done = run("as-administrator", *KEEP, YOU=you)
    assert done.returncode == 1
    assert f"You are {you.split(maxsplit=1)[0]} on this cluster" in done.stderr
    assert "AS=deployer-infra" in done.stderr
    assert not (tmp_path / "kept").exists()


def dry_run(*arguments: str) -> str:
    """What make would run for a target, after the synthesis."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    command = [str(shutil.which("make")), "--dry-run", "--no-print-directory", "TERRAFORM=terraform", *arguments]
    return subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=environment | {"AS": "x", "ENV": "x"}, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("target", ["plan", "apply"])
@pytest.mark.parametrize(
    ("arguments", "actor"),
    [
        ((), "scripts/as-deployer staging"),
        (("ENV=prod",), "scripts/as-deployer prod"),
        (("ENV=infra",), "scripts/as-administrator"),
        (("ENV=infra", "AS=deployer-infra"), "scripts/as-deployer infra"),
    ],
)
def test_make_never_calls_terraform_but_as_somebody(target: str, arguments: tuple[str, ...], actor: str) -> None:
    first, second = [line for line in dry_run(target, *arguments).splitlines() if " terraform " in line]
    assert first.startswith(f"{actor} terraform -chdir=")
    assert " init " in first
    stack = next((word.removeprefix("ENV=") for word in arguments if word.startswith("ENV=")), "staging")
    assert second.startswith(f"{actor} .venv/bin/python -m stacks.terraform {stack} terraform {target} -var-file=")


@pytest.mark.parametrize(
    "arguments", [("ENV=staging", "AS=deployer-infra"), ("ENV=infra", "AS=deployer-prod"), ("AS=me",)]
)
def test_a_stack_is_applied_as_nobody_elses_deployer(arguments: tuple[str, ...]) -> None:
    command = [str(shutil.which("make")), "init", "--old-file=synth", "TERRAFORM=false", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode != 0
    assert "is applied as deployer-" in done.stderr
