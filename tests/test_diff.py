"""The difference that a change makes, evaluated by Terraform without a cluster, a provider or a chart."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stacks.diff import Side, committed, evaluate, main
from tests.support import ROOT, Stack, on_the_path

LOCK = "deletion-lock-redis"
# Names that no output may have: what is in a Secret.
HIDDEN = "what-nobody-may-read"


def stack(**resources: Any) -> Stack:  # noqa: ANN401 (JSON)
    """A stack as it is synthesized, with a variable, a local and some resources."""
    return {
        "variable": {
            "kubeconfig": {"type": "string"},
            "enable_infra": {"type": "bool", "default": False},
            "size": {"type": "string", "default": "256Mi"},
            "names": {"type": "set(string)", "default": []},
        },
        "locals": {"redis_values": {"resources": {"limits": {"memory": "${var.size}"}}, "chartDigest": "1"}},
        "resource": resources,
    }


def release(**more: Any) -> Stack:  # noqa: ANN401 (JSON)
    values = ["${yamlencode(local.redis_values)}"]
    chart = "${path.module}/../../../charts/redis"
    arguments = {"name": "redis", "namespace": "data-demo", "chart": chart, "version": "1.0.0", "values": values}
    return {"helm_release": {"redis_release": {**arguments, **more}}}


def named(name: str, **more: Any) -> Stack:  # noqa: ANN401 (JSON)
    return {"metadata": {"name": name, "namespace": "data-demo"}, **more}


class Checkout:
    """A repository with one stack, which `changed` has the next version of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._git("init", "--quiet")

    def write(self, stack: Stack, tfvars: str = "") -> None:
        for path, text in {"terraform/stacks/demo/cdk.tf.json": json.dumps(stack), "envs/demo.tfvars": tfvars}.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text, encoding="utf-8")

    def commit(self, stack: Stack, tfvars: str = "") -> None:
        self.write(stack, tfvars)
        self._git("add", "--all")
        self._git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=a")

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self.root), *arguments], check=True)  # noqa: S603, S607


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def diff(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command: its exit status, and what it printed."""
    terraform = on_the_path("terraform")

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main([terraform, *arguments], checkout.root)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


Diff = Callable[..., tuple[int, str, str]]


def test_a_change_of_a_tfvars_file_is_told_in_the_values_of_a_chart(checkout: Checkout, diff: Diff) -> None:
    checkout.commit(stack(**release()), 'size = "256Mi"')
    checkout.write(stack(**release()), 'size = "1Gi"')
    status, out, err = diff()
    assert status == 0
    assert (
        "demo: 1 to change\n  ~ helm_release.redis_release\n      values: resources.limits.memory: 256Mi -> 1Gi" in out
    )
    assert err == "comparing demo of HEAD with the checkout\n"


def test_nothing_is_told_of_what_is_the_same(checkout: Checkout, diff: Diff) -> None:
    checkout.commit(stack(**release()))
    assert diff("--stack=demo")[1].endswith("\ndemo: no changes\n")
    # Evaluated, not compared as text.
    checkout.write(stack(**release()), 'size = "256Mi" # as it was')
    assert diff()[1].endswith("\ndemo: no changes\n")


def test_what_is_new_gone_and_named_otherwise_is_told(checkout: Checkout, diff: Diff) -> None:
    flow = {"spec": {"container": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}}
    policy = {"one": named("one"), "two": named("two"), "three": named("three", **flow)}
    checkout.commit(stack(kubernetes_network_policy_v1=policy, **release()))
    flow = {"spec": {"container": [{"name": "b", "image": "b:2"}, {"name": "a", "image": "a:1"}]}}
    policy = {"two": named("second"), "three": named("three", **flow), "four": named("four")}
    moved = stack(kubernetes_network_policy_v1=policy, **release(version="1.1.0"))
    checkout.write(moved)
    _, out, _ = diff()
    assert "demo: 1 to add, 2 to change, 1 to replace, 1 to remove" in out
    assert "  + kubernetes_network_policy_v1.four\n" in out
    assert "  - kubernetes_network_policy_v1.one\n" in out
    assert "  ± kubernetes_network_policy_v1.two\n      metadata.name: two -> second\n" in out
    assert "  ~ kubernetes_network_policy_v1.three\n      spec.container[b].image: b:1 -> b:2\n" in out
    assert "  ~ helm_release.redis_release\n      version: 1.0.0 -> 1.1.0\n" in out


def test_what_moved_is_neither_new_nor_gone(checkout: Checkout, diff: Diff) -> None:
    each = named("${each.key}", for_each="${var.names}")
    checkout.commit(stack(kubernetes_service_v1={"old": each}), 'names = ["a", "b"]')
    content = stack(kubernetes_service_v1={"new": each})
    moved = [{"from": "kubernetes_service_v1.old", "to": "kubernetes_service_v1.new"}]
    checkout.write({**content, "moved": moved}, 'names = ["a"]')
    _, out, _ = diff()
    assert '  ~ kubernetes_service_v1.new["a"]    was kubernetes_service_v1.old["a"]\n' in out
    assert '  - kubernetes_service_v1.new["b"]' in out
    # A move to one of several is of what was alone, and over by now.
    checkout.commit(stack(kubernetes_service_v1={"new": each}), 'names = ["a"]')
    moved = [{"from": "kubernetes_service_v1.new", "to": 'kubernetes_service_v1.new["a"]'}]
    checkout.write({**content, "moved": moved}, 'names = ["a"]')
    assert diff()[1].endswith("demo: no changes\n")


def test_a_deletion_of_what_holds_data_is_warned_of(checkout: Checkout, diff: Diff) -> None:
    claimed = {"spec": {"volume_claim_template": [{"metadata": {"name": "data"}}]}}
    checkout.commit(
        stack(
            kubernetes_config_map_v1={"redis_lock": named(LOCK), "configuration": named("redis")},
            kubernetes_namespace_v1={"data": named("data-demo")},
            kubernetes_persistent_volume_claim_v1={"snapshots": named("snapshots")},
            kubernetes_secret_v1={"auth": named("redis-auth")},
            kubernetes_stateful_set_v1={"store": named("store", **claimed), "cache": named("cache")},
            **release(),
        )
    )
    checkout.write(stack(**release()))
    _, out, _ = diff()
    warned = [line.split()[1] for line in out.splitlines() if "HOLDS" in line]
    assert warned == [
        "kubernetes_config_map_v1.redis_lock",
        "kubernetes_namespace_v1.data",
        "kubernetes_persistent_volume_claim_v1.snapshots",
        "kubernetes_secret_v1.auth",
        "kubernetes_stateful_set_v1.store",
    ]
    assert "opened: docs/how-to/delete-for-good.md" in out
    _, out, _ = diff("--markdown")
    assert out.count("\n> - demo: `kubernetes_") == 5


def test_what_is_in_a_secret_is_never_shown(checkout: Checkout, diff: Diff) -> None:
    secret = {"auth": named("auth", data_wo={"password": f"${{var.size}}-{HIDDEN}"}, data_wo_revision=1)}
    checkout.commit(stack(kubernetes_secret_v1=secret))
    secret = {"auth": named("auth", data_wo={"password": f"${{ephemeral.a.b.result}}{HIDDEN}"}, data_wo_revision=2)}
    checkout.write(stack(kubernetes_secret_v1=secret))
    _, out, _ = diff()
    assert "data_wo_revision: 1 -> 2" in out
    assert HIDDEN not in out


def test_what_only_an_apply_finds_out_stands_as_its_own_words(checkout: Checkout, diff: Diff) -> None:
    secret = {"auth": named("auth")}
    uid = "${yamlencode({ uid = kubernetes_secret_v1.auth.metadata[0].uid, size = var.size })}"
    content = stack(kubernetes_secret_v1=secret, **release(values=[uid]))
    checkout.commit(content)
    checkout.write(content, 'size = "1Gi"')
    assert "values: size: 256Mi -> 1Gi" in diff()[1]
    checkout.write(stack(kubernetes_secret_v1=secret, **release(values=[uid.replace(".uid", ".name")])))
    assert (
        "values: uid: kubernetes_secret_v1.auth.metadata[0].uid -> kubernetes_secret_v1.auth.metadata[0].name"
        in diff()[1]
    )


def test_other_files_of_a_local_chart_are_told_as_such(checkout: Checkout, diff: Diff) -> None:
    checkout.commit(stack(**release()))
    content = stack(**release())
    content["locals"]["redis_values"]["chartDigest"] = "2"
    checkout.write(content)
    assert "      chart: its files in charts/redis are others\n" in diff()[1]


def test_lines_of_a_file_and_what_terraform_ignores_are_told(checkout: Checkout, diff: Diff) -> None:
    def content(size: str, line: str) -> Stack:
        claims = {"spec": {"volume_claim_template": [{"spec": {"size": size}}]}}
        ignored = {"ignore_changes": ["spec[0].volume_claim_template"]}
        store = named("store", lifecycle=ignored, **claims)
        files = named("files", data={"a.yaml": f"one: 1\n{line}\n"})
        return stack(kubernetes_stateful_set_v1={"store": store}, kubernetes_config_map_v1={"files": files})

    checkout.commit(content("1Gi", "two: 2"))
    checkout.write(content("2Gi", "two: 3"))
    _, out, _ = diff()
    assert "      spec.volume_claim_template[0].spec.size: 1Gi -> 2Gi  (Terraform leaves it as it is)\n" in out
    assert "      data.a.yaml:\n        @@ -1,2 +1,2 @@\n         one: 1\n        -two: 2\n        +two: 3\n" in out


def test_a_new_stack_is_told_by_its_size_and_one_that_is_gone_by_what_it_held(checkout: Checkout, diff: Diff) -> None:
    checkout.commit(stack(**release()))
    other = checkout.root / "terraform" / "stacks" / "other"
    (checkout.root / "terraform" / "stacks" / "demo").rename(other)
    _, out, _ = diff()
    assert "demo: 1 to remove\n  the whole stack, of 1 resources\n" in out
    assert "other: 1 to add\n  the whole stack, of 1 resources\n" in out


def test_the_report_for_a_pull_request_is_a_table_and_folded_changes(checkout: Checkout, diff: Diff) -> None:
    checkout.commit(stack(**release()))
    checkout.write(stack(**release(version="1.1.0")))
    status, out, _ = diff("--markdown", "--base=HEAD")
    assert status == 0
    assert out.startswith("### What changes from `HEAD`")
    assert "| stack | add | change | replace | remove |\n|---|---:|---:|---:|---:|\n| demo | 0 | 1 | 0 | 0 |\n" in out
    assert "```diff\n! helm_release.redis_release\n    version: 1.0.0 -> 1.1.0\n```" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--base=nowhere"], "BASE=nowhere is no revision of this repository: give a branch, a tag or a commit"),
        (["--base=--help"], "BASE=--help is no revision of this repository"),
        (["--stack=nowhere"], "There is no stack nowhere: give ENV one of demo"),
    ],
)
def test_what_is_not_there_is_refused(checkout: Checkout, diff: Diff, arguments: list[str], words: str) -> None:
    checkout.commit(stack(**release()))
    status, out, err = diff(*arguments)
    assert (status, out) == (1, "")
    assert words in err


def test_a_side_that_terraform_refuses_is_named_with_its_reason(checkout: Checkout, diff: Diff) -> None:
    checkout.commit(stack(**release()))
    checkout.write(stack(**release(version="${var.nowhere}")))
    status, _, err = diff()
    assert status == 1
    assert "demo of the checkout cannot be evaluated:" in err
    assert "Reference to undeclared input variable" in err


@pytest.mark.parametrize("name", ["infra", "test"])
def test_every_resource_of_a_real_stack_is_evaluated(name: str, stacks: dict[str, Stack]) -> None:
    tfvars = (ROOT / "envs" / f"{name}.tfvars").read_text(encoding="utf-8")
    found = evaluate(Side("the checkout", json.dumps(stacks[name]), tfvars), name, on_the_path("terraform"))
    declared = {
        f"{kind}.{key}"
        for kind, resources in stacks[name]["resource"].items()
        for key, resource in resources.items()
        if "for_each" not in resource and "count" not in resource
    }
    assert declared <= set(found)
    lock = "kubernetes_config_map_v1.lock"
    assert found[lock]["metadata"]["name"] == "deletion-lock-stack"


def test_the_repository_itself_has_stacks_to_compare_with() -> None:
    assert {"infra", "staging", "prod"} <= set(committed(ROOT, "HEAD"))
