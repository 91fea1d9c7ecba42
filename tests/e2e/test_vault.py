"""Vault's real programs, with what the cluster holds after an apply of infra: nobody unseals it.

`vault` and `bank-vaults` run as processes of this machine (tests/e2e/vault_pods.py), as their pods' ServiceAccounts.
The tests run in their order.
"""

import base64
import gzip
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from constructs.versions import VERSIONS
from tests.e2e.cluster import EMPTY, Workspace, kubectl, objects, unlock
from tests.e2e.vault_pods import KEYS, NAMESPACE, Pods, keys, put_keys, wait_for, without
from tests.support import ROOT, on_the_path

pytestmark = pytest.mark.e2e

SECRET = {"data": {"password": "found-in-no-log"}}


@pytest.fixture(scope="module")
def vault(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Vault's pods beside a cluster in which infra is applied; they are started by the first test."""
    assert workspace
    for name in ("vault", "bank-vaults", "unshare"):
        on_the_path(name)
    pods = Pods(tmp_path_factory.mktemp("vault"))
    yield pods
    pods.stop()


def seconds(words: str, value: float) -> None:
    """Say what was measured; `pytest -rP` shows it."""
    print(f"{words}: {value:.1f} s")  # noqa: T201


def test_the_programs_are_of_the_versions_that_the_cluster_runs() -> None:
    wanted = VERSIONS.images["vault"].rpartition(":")[2]
    ran = subprocess.run([on_the_path("vault"), "version"], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.split()[1].startswith(f"v{wanted.rpartition('.')[0]}.")


def test_vault_is_initialised_and_unsealed_with_nobody_present(vault: Pods) -> None:
    assert keys() == {}
    start = time.monotonic()
    vault.start()
    wait_for(vault.is_unsealed, "unsealed after its first start")
    seconds("first start, initialised and unsealed", time.monotonic() - start)
    assert {"vault-unseal-0", "vault-root"} <= set(keys())


def test_a_configuration_is_in_vault_when_its_pod_is_ready(vault: Pods) -> None:
    for _ in range(2):
        done = vault.configure()
        assert done.returncode == 0, done.stdout + done.stderr
    code, answer = vault.call("sys/mounts", token=vault.administrator())
    assert code == 200
    assert {"prod/", "staging/", "test/"} <= set(answer["data"])


def test_a_configuration_that_vault_refuses_fails(vault: Pods) -> None:
    refused = vault.configure(vault.configuration().replace('["list", "read"]', '["no-such-right"]', 1))
    assert refused.returncode == 1
    assert "no-such-right" in refused.stdout + refused.stderr


def test_a_pod_of_staging_reads_stagings_secret_and_is_refused_prods(vault: Pods) -> None:
    administrator = vault.administrator()
    for name in ("prod", "staging"):
        assert vault.call(f"{name}/data/shop/mail", token=administrator, data=SECRET)[0] == 200
    code, token = vault.log_in("staging", "default", "data-staging")
    assert code == 200
    code, answer = vault.call("staging/data/shop/mail", token=token)
    assert (code, answer["data"]["data"]) == (200, SECRET["data"])
    assert vault.call("prod/data/shop/mail", token=token)[0] == 403
    assert vault.call("staging/data/shop/mail", token=token, data=SECRET)[0] == 403
    assert vault.call("sys/mounts", token=token)[0] == 403
    assert vault.call("sys/storage/raft/snapshot", token=token)[0] == 403


def test_a_role_is_refused_to_everybody_elses_account(vault: Pods) -> None:
    assert vault.log_in("prod", "default", "data-staging")[0] == 403
    assert vault.log_in("staging", "default", "kubernetes-dashboard")[0] == 403
    assert vault.log_in("administrator", "default", NAMESPACE)[0] == 403
    assert vault.log_in("administrator", "vault-administrator", NAMESPACE)[0] == 200
    assert vault.log_in("snapshots", "vault-administrator", NAMESPACE)[0] == 403


def test_requests_are_in_the_log_and_secrets_are_not(vault: Pods) -> None:
    log = vault.log.read_text(encoding="utf-8", errors="replace")
    assert '"path":"staging/data/shop/mail"' in log
    assert SECRET["data"]["password"] not in log


def test_a_killed_vault_is_back_unsealed_with_nobody_present(vault: Pods) -> None:
    for attempt in range(3):
        vault.kill_server(0)
        assert not vault.is_unsealed()
        seconds(f"killed, back and unsealed, {attempt + 1}", wait_for(vault.is_unsealed, "unsealed after a crash"))
    code, token = vault.log_in("staging", "default", "data-staging")
    assert code == 200
    assert vault.call("staging/data/shop/mail", token=token)[0] == 200


def test_an_environment_that_leaves_loses_its_rights_at_once_and_keeps_its_secrets(vault: Pods) -> None:
    _, token = vault.log_in("staging", "default", "data-staging")
    assert vault.configure(without(vault.configuration(), "staging")).returncode == 0
    assert vault.call("staging/data/shop/mail", token=token)[0] == 403
    _, later = vault.log_in("staging", "default", "data-staging")
    assert vault.call("staging/data/shop/mail", token=later)[0] == 403
    administrator = vault.administrator()
    assert vault.call("sys/policies/acl/staging", token=administrator)[0] == 404
    assert vault.call("staging/data/shop/mail", token=administrator)[0] == 200
    _, prods = vault.log_in("prod", "default", "data-prod")
    assert vault.call("prod/data/shop/mail", token=prods)[0] == 200
    assert vault.configure().returncode == 0
    assert vault.call("staging/data/shop/mail", token=token)[0] == 200


@pytest.fixture(scope="module")
def snapshot(vault: Pods, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot in which the secrets are, taken as the CronJob takes it; they are overwritten after it."""
    place = tmp_path_factory.mktemp("snapshots")
    saved = vault.snapshot(place)
    assert saved.returncode == 0, saved.stdout + saved.stderr
    (path,) = place.glob("vault-*.snap")
    lost = {"data": {"password": "lost"}}
    assert vault.call("prod/data/shop/mail", token=vault.administrator(), data=lost)[0] == 200
    return path


def restore(vault: Pods, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["env", f"VAULT_TOKEN={vault.administrator()}", "vault", "operator", "raft", "snapshot", "restore"]
    return vault.run("vault-snapshots", [*command, *arguments])


def prods_secret(vault: Pods) -> object:
    code, token = vault.log_in("prod", "default", "data-prod")
    answer = vault.call("prod/data/shop/mail", token=token)[1] if code == 200 else {}
    return answer.get("data", {}).get("data")


def test_a_snapshot_is_restored_into_the_vault_that_it_was_taken_from(vault: Pods, snapshot: Path) -> None:
    assert prods_secret(vault) == {"password": "lost"}
    restored = restore(vault, str(snapshot))
    assert restored.returncode == 0, restored.stderr
    seconds("restored and serving", wait_for(lambda: prods_secret(vault) == SECRET["data"], "the secret is back"))


def test_an_emptied_vault_is_not_initialised_anew_while_there_are_keys(vault: Pods) -> None:
    before = keys()
    vault.stop()
    shutil.rmtree(vault.data[0])
    said = len(vault.log.read_bytes())
    vault.start()
    wait_for(lambda: b"already exists" in vault.log.read_bytes()[said:], "bank-vaults says why it does not")
    assert vault.call("sys/init")[1] == {"initialized": False}
    assert keys() == before


def test_a_snapshot_is_restored_into_a_new_vault_with_the_keys_of_its_time(vault: Pods, snapshot: Path) -> None:
    old = keys()
    put_keys(None)
    wait_for(vault.is_unsealed, "a new Vault")
    assert keys()["vault-unseal-0"] != old["vault-unseal-0"]
    assert vault.configure().returncode == 0
    restored = restore(vault, "-force", str(snapshot))
    assert restored.returncode == 0, restored.stderr
    wait_for(lambda: not vault.is_unsealed(), "sealed with the key of the snapshot")
    put_keys(old)
    seconds("unsealed with the old key", wait_for(vault.is_unsealed, "unsealed with the old key"))
    wait_for(lambda: prods_secret(vault) == SECRET["data"], "the secret is back")
    assert vault.configure().returncode == 0


def test_the_example_of_the_docs_runs_in_an_environment(vault: Pods) -> None:
    assert vault
    page = (ROOT / "docs" / "how-to" / "use-a-secret.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"--namespace=data-staging --filename=- <<'END'\n(.*?)\nEND\n", page, re.DOTALL)
    made = kubectl("apply", "--namespace=data-staging", "--filename=-", text=example)
    assert made.returncode == 0, made.stderr
    assert "Warning" not in made.stderr
    wait_for(lambda: kubectl("get", "pods", "--namespace=data-staging", "--selector=app=shop").stdout, "its pod")
    gone = kubectl("delete", "deployment", "shop", "--namespace=data-staging")
    assert gone.returncode == 0, gone.stderr


@pytest.mark.parametrize(
    ("account", "verbs"), [("vault", {"get", "update"}), ("vault-configure", {"get"}), ("vault-snapshots", set())]
)
def test_an_account_of_vaults_may_do_with_the_keys_what_it_must(vault: Pods, account: str, verbs: set[str]) -> None:
    assert vault
    user = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
    for verb in ("get", "update", "list", "watch", "create", "patch", "delete"):
        for secret in (f"secret/{KEYS}", "secret/atlantis-web", "secrets"):
            asked = kubectl("auth", "can-i", verb, secret, f"--namespace={NAMESPACE}", user)
            wanted = verb in verbs and secret == f"secret/{KEYS}"
            assert (asked.stdout.strip() == "yes") == wanted, f"{verb} {secret}"


def voters(vault: Pods) -> set[str]:
    answer = vault.call("sys/storage/raft/configuration", token=vault.administrator())[1]
    return {item["node_id"] for item in answer["data"]["config"]["servers"] if item["voter"]}


def test_three_servers_grow_from_one_and_fit_on_two_nodes(vault: Pods, workspace: Workspace) -> None:
    vault.stop()
    workspace.apply("infra", "-var=vault={replicas=3}")
    assert len(objects("nodes")) < 3
    vault.start()
    assert vault.replicas == 3
    taken = wait_for(lambda: all(vault.is_unsealed(ordinal) for ordinal in range(3)), "all three unsealed", 180)
    seconds("two servers joined and unsealed", taken)
    seconds("and all three may vote", wait_for(lambda: len(voters(vault)) == 3, "all three may vote"))
    assert voters(vault) == {"vault-0", "vault-1", "vault-2"}


def test_one_of_three_is_lost_with_the_lead_and_the_others_serve(vault: Pods) -> None:
    wait_for(vault.leader, "a leader")
    before = vault.leader()
    (ordinal,) = [ordinal for ordinal in range(3) if vault.address(ordinal) == before]
    vault.kill_server(ordinal, node_is_lost=True)
    seconds("the leader lost, another leads", wait_for(lambda: vault.leader() not in (None, before), "another leader"))
    (other, _) = [index for index in range(3) if index != ordinal]
    # It says who leads before it leads others' questions there: until then it answers 307.
    wait_for(lambda: vault.log_in("administrator", "vault-administrator", NAMESPACE, other)[0] == 200, "the other")
    assert vault.call("prod/data/shop/mail", token=vault.administrator(other), ordinal=other)[0] == 200
    vault.lost.clear()
    wait_for(lambda: vault.is_unsealed(ordinal), "the lost one is back")


def test_three_servers_are_back_after_a_total_stop(vault: Pods) -> None:
    vault.kill()
    taken = wait_for(lambda: all(vault.is_unsealed(ordinal) for ordinal in range(3)), "all three unsealed", 180)
    seconds("total stop, all unsealed", taken)
    seconds("and a leader after", wait_for(vault.leader, "a leader"))
    wait_for(lambda: prods_secret(vault) == SECRET["data"], "the secret is read")


def test_the_keys_are_not_deleted_by_accident(vault: Pods) -> None:
    assert vault
    refused = kubectl("delete", "secret", KEYS, f"--namespace={NAMESPACE}")
    assert refused.returncode == 1
    assert f"kubectl annotate secrets {KEYS} --namespace={NAMESPACE} strata/delete={KEYS}" in refused.stderr
    made = kubectl("create", "secret", "generic", "another", f"--namespace={NAMESPACE}")
    assert made.returncode == 0, made.stderr
    assert kubectl("delete", "secret", "another", f"--namespace={NAMESPACE}").returncode == 0


def test_a_destroy_meets_the_lock_and_the_keys_and_volumes_outlive_it(vault: Pods, workspace: Workspace) -> None:
    vault.stop()
    before = keys()
    everything = "-target=helm_release.vault_keys"
    refused = workspace.destroy("infra", everything)
    assert refused.returncode == 1
    assert "deletion-lock" in refused.stderr
    for kind, name in (
        ("configmap", "deletion-lock-stack"),
        ("configmap", "deletion-lock-vault"),
        ("persistentvolumeclaim", "vault-snapshots"),
    ):
        unlock(kind, name, NAMESPACE)
    gone = workspace.destroy("infra", everything)
    assert gone.returncode == 0, gone.stderr
    assert kubectl("get", "statefulset", "vault", f"--namespace={NAMESPACE}").returncode == 1
    claims = {item["metadata"]["name"] for item in objects("persistentvolumeclaims", f"--namespace={NAMESPACE}")}
    assert {f"data-vault-{ordinal}" for ordinal in range(3)} <= claims
    assert keys() == before
    workspace.apply("infra")
    assert keys() == before
    assert workspace.plan("infra") == EMPTY


def test_no_key_is_in_a_state_or_in_a_release(workspace: Workspace) -> None:
    secrets = [base64.b64decode(value) for key, value in keys().items() if key != "vault-test"]
    written = [path.read_bytes() for path in (workspace.root / ".state").iterdir()]
    written += [
        gzip.decompress(base64.b64decode(base64.b64decode(item["data"]["release"])))
        for item in objects("secrets", f"--namespace={NAMESPACE}")
        if item["type"] == "helm.sh/release.v1"
    ]
    assert any(b'"name":"vault-keys"' in text for text in written)
    for secret in secrets:
        assert len(secret) > 20
        assert not any(secret in text for text in written)
