"""Postgres' generations on a real API server: what a restore makes, keeps and refuses to delete.

The tests run in their order, from the first apply to the deletion of the first generation.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from constructs.l3_data.postgres import PostgresRecoverySettings
from stacks.restore.postgres import block
from tests.e2e.cluster import EMPTY, Workspace, kubectl, objects, unlock
from tests.support import ROOT

pytestmark = pytest.mark.e2e

PLACE = "--namespace=data-staging"
SETTINGS = """\
environment = "staging"
env_prefix  = "x-staging"
base_domain = "example.com"
components  = ["postgres"]
backups     = { bucket = "strata-backups", endpoint = "https://s3.example.com:9000" }
postgres    = { wal_storage = "2Gi", databases = { shop = {} }, pooler = { instances = 2 } }
"""
UNTIL = "2026-11-23T04:00:00Z"
RESTORED = block(PostgresRecoverySettings(generation=2, source=1, until=UNTIL, keep=(1,)))


def write(workspace: Workspace, *lines: str) -> None:
    (workspace.root / "envs" / "staging.tfvars").write_text("".join([SETTINGS, *lines]), encoding="utf-8")


def clusters() -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in objects("clusters.postgresql.cnpg.io", PLACE)}


def selector(service: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(kubectl("get", "service", service, PLACE, "--output=json").stdout)["spec"][
        "selector"
    ]
    return found


def save(name: str, ended: str) -> None:
    """Do as CloudNativePG does when a backup of the first generation is complete."""
    spec = {"cluster": {"name": "postgres"}, "method": "plugin"}
    backup = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": {"name": name}, "spec": spec}
    assert kubectl("create", "--filename=-", PLACE, text=json.dumps(backup)).returncode == 0
    patch("backups.postgresql.cnpg.io", name, {"phase": "completed", "stoppedAt": ended})


def patch(kind: str, name: str, status: dict[str, Any]) -> bool:
    words = ["--subresource=status", "--type=merge", f"--patch={json.dumps({'status': status})}"]
    return kubectl("patch", kind, name, PLACE, *words).returncode == 0


@contextmanager
def ready(cluster: str) -> Iterator[None]:
    """Do as CloudNativePG does when a cluster is there: say that it is ready, a while later."""
    stop = threading.Event()
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "ClusterIsReady",
        "message": "",
        "lastTransitionTime": UNTIL,
    }

    def operate() -> None:
        while not stop.wait(3) and not patch("clusters.postgresql.cnpg.io", cluster, {"conditions": [condition]}):
            pass

    thread = threading.Thread(target=operate)
    thread.start()
    yield
    stop.set()
    thread.join()


def restore(workspace: Workspace, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run what `make restore SYSTEM=postgres` runs, and type the environment's name."""
    file = f"-var-file={workspace.root / 'envs' / 'staging.tfvars'}"
    mirror = [f"-var=chart_mirror={os.environ['CHART_MIRROR']}"] if "CHART_MIRROR" in os.environ else []
    command = [str(ROOT / "scripts" / "as-deployer"), "staging", sys.executable, "-m", "stacks.restore", "staging"]
    return subprocess.run(  # noqa: S603
        [*command, "postgres", shutil.which("terraform") or "tofu", "-auto-approve", file, *mirror],
        cwd=workspace.root,
        input="staging\n",
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def staging(workspace: Workspace) -> Workspace:
    """The environment, with Postgres alone."""
    write(workspace)
    workspace.synthesize()
    workspace.apply("staging")
    return workspace


def test_postgres_is_taken_with_all_it_may_have_and_a_second_plan_is_empty(staging: Workspace) -> None:
    assert staging.plan("staging") == EMPTY
    (cluster,) = clusters().values()
    assert cluster["spec"]["walStorage"] == {"resizeInUseVolumes": True, "size": "2Gi"}
    assert "postgres.data-staging.svc" in cluster["spec"]["certificates"]["serverAltDNSNames"]
    roles = {role["name"]: role["passwordSecret"]["name"] for role in cluster["spec"]["managed"]["roles"]}
    assert roles == {"app": "postgres-app", "shop": "postgres-shop"}
    secrets = {
        item["metadata"]["name"]: item["data"] for item in objects("secrets", PLACE, "--selector=cnpg.io/reload")
    }
    assert set(secrets) == {"postgres-app", "postgres-shop"}
    assert secrets["postgres-app"]["password"] != secrets["postgres-shop"]["password"]
    (pooler,) = objects("poolers.postgresql.cnpg.io", PLACE)
    assert (pooler["spec"]["instances"], pooler["spec"]["pgbouncer"]["poolMode"]) == (2, "transaction")
    (store,) = objects("objectstores.barmancloud.cnpg.io", PLACE)
    assert store["spec"]["configuration"]["destinationPath"] == "s3://strata-backups/staging/postgres"
    assert len(objects("scheduledbackups.postgresql.cnpg.io", PLACE)) == 1


def test_no_password_is_in_the_state(staging: Workspace) -> None:
    state = (staging.root / ".state" / "staging.tfstate").read_text(encoding="utf-8")
    for name in ("postgres-app", "postgres-shop"):
        template = "jsonpath={.data.password}"
        password = kubectl("get", "secret", name, PLACE, f"--output={template}").stdout
        assert password
        assert password not in state


def test_a_state_from_before_there_were_generations_is_taken_as_the_first(staging: Workspace) -> None:
    path = staging.root / ".state" / "staging.tfstate"
    state = json.loads(path.read_text(encoding="utf-8"))
    instances = [
        instance
        for resource in state["resources"]
        for instance in resource["instances"]
        if instance.get("index_key") == "postgres"
    ]
    assert len(instances) == 3
    for instance in instances:
        del instance["index_key"]
    path.write_text(json.dumps({**state, "serial": state["serial"] + 1}), encoding="utf-8")
    planned = staging.terraform("staging", "plan")
    assert "Plan: 0 to add, 0 to change, 0 to destroy." in planned.stdout, planned.stdout
    staging.apply("staging")
    assert staging.plan("staging") == EMPTY


def test_a_restore_makes_a_new_generation_and_keeps_the_first_without_pods(staging: Workspace) -> None:
    before = clusters()["postgres"]["metadata"]["uid"]
    save("postgres-scheduled-1", "2026-11-22T03:00:05Z")
    words = restore(staging, TO="2026-11-21T03:00:00Z")
    assert (words.returncode, "give TO=2026-11-22T03:00:06Z or later" in words.stderr) == (1, True)
    assert set(clusters()) == {"postgres"}
    told = restore(staging, TO=UNTIL, DRY_RUN="1")
    assert "from postgres-scheduled-1 of postgres" in told.stdout
    assert set(clusters()) == {"postgres"}
    with ready("postgres-2"):
        done = restore(staging, TO=UNTIL)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert (staging.root / "envs" / "staging.tfvars").read_text(encoding="utf-8") == f"{SETTINGS}\n{RESTORED}"
    assert staging.plan("staging") == EMPTY
    found = clusters()
    assert found["postgres"]["metadata"]["uid"] == before
    hibernation = {name: item["metadata"]["annotations"]["cnpg.io/hibernation"] for name, item in found.items()}
    assert hibernation == {"postgres": "on", "postgres-2": "off"}
    spec = found["postgres-2"]["spec"]
    assert spec["bootstrap"]["recovery"] == {
        "database": "recovery",
        "owner": "recovery",
        "recoveryTarget": {"targetTime": UNTIL},
        "source": "pluginRecoveryCluster",
    }
    (external,) = spec["externalClusters"]
    assert external["plugin"]["parameters"] == {"barmanObjectName": "postgres-2-recovery", "serverName": "postgres"}
    (archive,) = spec["plugins"]
    assert archive["parameters"] == {"barmanObjectName": "postgres-2-backups"}
    assert spec["managed"]["roles"] == found["postgres"]["spec"]["managed"]["roles"]
    assert selector("postgres")["cnpg.io/cluster"] == selector("postgres-metrics")["cnpg.io/cluster"] == "postgres-2"
    (pooler,) = objects("poolers.postgresql.cnpg.io", PLACE)
    assert pooler["spec"]["cluster"]["name"] == selector("postgres-pooler")["cnpg.io/cluster"] == "postgres-2"
    (schedule,) = objects("scheduledbackups.postgresql.cnpg.io", PLACE)
    assert schedule["spec"]["cluster"]["name"] == "postgres-2"


def test_the_way_back_is_the_same_switch(staging: Workspace) -> None:
    write(staging, "postgres_recovery = { generation = 1, keep = [2] }\n")
    staging.apply("staging")
    hibernation = {name: item["metadata"]["annotations"]["cnpg.io/hibernation"] for name, item in clusters().items()}
    assert hibernation == {"postgres": "off", "postgres-2": "on"}
    assert selector("postgres")["cnpg.io/cluster"] == "postgres"
    write(staging, RESTORED)
    staging.apply("staging")
    assert staging.plan("staging") == EMPTY


def test_a_generation_that_is_no_longer_kept_is_deleted_when_its_locks_are_opened(staging: Workspace) -> None:
    write(staging, RESTORED.replace("[1]", "[]"))
    refused = staging.terraform("staging", "apply", "-auto-approve")
    assert refused.returncode == 1
    assert "deletion-lock-postgres is protected" in " ".join(refused.stderr.replace("│", " ").split())
    assert set(clusters()) == {"postgres", "postgres-2"}
    unlock("configmap", "deletion-lock-postgres", "data-staging")
    unlock("clusters.postgresql.cnpg.io", "postgres", "data-staging")
    staging.apply("staging")
    assert set(clusters()) == {"postgres-2"}
    assert staging.plan("staging") == EMPTY
