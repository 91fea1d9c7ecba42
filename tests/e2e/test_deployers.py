"""Who may do what: every deployer, namespace and verb as a matrix, and every way out that we could think of."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stacks.rehearsal.tenancy import RBAC, account, listed
from tests.e2e.cluster import Workspace, kubectl
from tests.e2e.escapes import (
    AT_HOME,
    ESCAPES,
    HOME,
    IDENTITIES,
    NAMESPACES,
    PLATFORM,
    ROOMS,
    STAGING,
    Escape,
    binding,
    is_at_home,
    probes,
    thing,
)

pytestmark = pytest.mark.e2e

VERBS = ("create", "update", "delete", "read")


@pytest.fixture(scope="module")
def houses(workspace: Workspace) -> Iterator[Workspace]:
    """Every namespace with a probe of each kind in it, made by an administrator."""
    for namespace in NAMESPACES:
        made = kubectl("create", f"--namespace={namespace}", "--filename=-", text=listed(probes()))
        assert made.returncode == 0, made.stderr
    yield workspace
    for namespace in NAMESPACES:
        for item in probes():
            kubectl("annotate", item["kind"], "probe", f"--namespace={namespace}", "strata/delete=probe")
        kubectl("delete", f"--namespace={namespace}", "--wait=false", "--filename=-", text=listed(probes()))


def is_locked(namespace: str) -> bool:
    labels = json.loads(kubectl("get", "namespace", namespace, "--output=json").stdout)["metadata"]["labels"]
    return bool(labels.get("strata/protected") == "true")


def attempt(verb: str, identity: str, namespace: str) -> int:
    """Return for how many of the probes the API server lets an identity do it."""
    who = [f"--as={account(identity)}", f"--namespace={namespace}", "--filename=-", "--output=name"]
    if verb == "read":
        done = kubectl("get", *who, text=listed(probes()))
    elif verb == "create":
        items = [{**item, "metadata": {"name": "another"}} for item in probes()]
        done = kubectl("create", "--dry-run=server", *who, text=listed(items))
    elif verb == "update":
        change = '--patch={"metadata": {"labels": {"touched": "yes"}}}'
        done = kubectl("patch", "--dry-run=server", "--type=merge", change, *who, text=listed(probes()))
    else:
        done = kubectl("delete", "--dry-run=server", *who, text=listed(probes()))
    return len(done.stdout.split())


def test_each_deployer_writes_and_reads_at_home_and_nowhere_else(houses: Workspace) -> None:
    assert houses
    table: list[str] = []
    wrong: list[str] = []
    for identity in IDENTITIES:
        for namespace in NAMESPACES:
            found = {verb: attempt(verb, identity, namespace) for verb in VERBS}
            # The lock of protected namespaces refuses to delete a database that is not annotated.
            expected = len(probes()) if is_at_home(identity, namespace) else 0
            cells = "  ".join(f"{verb} {count}/{len(probes())}" for verb, count in found.items())
            table.append(f"{identity:<18} {namespace:<22} {cells}")
            for verb, count in found.items():
                locked = 1 if verb == "delete" and is_locked(namespace) and expected else 0
                if count != expected - locked:
                    wrong.append(f"{table[-1]}: {verb} should be {expected - locked}")
    print("\n" + "\n".join(table))  # noqa: T201 (the table is what is asked for)
    assert not wrong, "\n".join(wrong)


def test_the_api_server_answers_the_same_when_it_is_asked(houses: Workspace) -> None:
    assert houses
    asked = [
        (identity, namespace, verb, group, resource)
        for identity in IDENTITIES
        for namespace in NAMESPACES
        for verb in ("create", "update", "delete", "deletecollection", "get", "list")
        for group, resource in (
            ("", "pods"),
            ("", "secrets"),
            ("rbac.authorization.k8s.io", "roles"),
            ("rbac.authorization.k8s.io", "rolebindings"),
            ("postgresql.cnpg.io", "clusters"),
        )
    ]
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": account(identity),
                "groups": ["system:serviceaccounts", "system:serviceaccounts:iac", "system:authenticated"],
                "resourceAttributes": {"namespace": namespace, "verb": verb, "group": group, "resource": resource},
            },
        }
        for identity, namespace, verb, group, resource in asked
    ]
    answered = kubectl("create", "--filename=-", "--output=json", text=listed(reviews))
    assert answered.returncode == 0, answered.stderr
    decoder, allowed, rest = json.JSONDecoder(), [], answered.stdout.lstrip()
    while rest:
        review, end = decoder.raw_decode(rest)
        allowed.append(review["status"]["allowed"])
        rest = rest[end:].lstrip()
    wrong = [
        question for question, is_allowed in zip(asked, allowed, strict=True) if is_allowed != is_at_home(*question[:2])
    ]
    print(f"\n{len(asked)} questions, {sum(allowed)} answered with yes")  # noqa: T201
    assert not wrong


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: escape.words.replace(" ", "-"))
def test_a_way_out_is_refused_with_the_reason(escape: Escape, houses: Workspace) -> None:
    assert houses
    assert re.search(escape.refusal, " ".join(escape.attempt().split()))


def review(user: str, verb: str, resource: str, *, namespace: str = "", name: str = "", group: str = "") -> bool:
    """Return whether the API server would let a user do it."""
    attributes = {"verb": verb, "resource": resource, "namespace": namespace, "name": name, "group": group}
    resource, _, subresource = resource.partition("/")
    attributes |= {"resource": resource, "subresource": subresource}
    groups = ["system:authenticated"]
    if user.startswith("system:serviceaccount:"):
        groups += ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"]
    spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answered = kubectl("create", "--filename=-", "--output=json", text=json.dumps(asked))
    return bool(json.loads(answered.stdout)["status"]["allowed"])


def test_tokens_and_shells_are_had_at_home_only(houses: Workspace) -> None:
    assert houses
    for resource in ("serviceaccounts/token", "pods/exec", "pods/attach", "pods/portforward"):
        for namespace in NAMESPACES:
            assert review(STAGING, "create", resource, namespace=namespace) is (namespace in ROOMS["staging"])
    for namespace in NAMESPACES:
        assert not review(STAGING, "update", "pods/ephemeralcontainers", namespace=namespace)
    assert not review(STAGING, "get", "nodes/proxy")
    assert not review(STAGING, "get", "secrets", namespace="iac", name="atlantis-vcs")


@pytest.fixture
def signed_in(tmp_path: Path) -> Callable[[str], Callable[..., str]]:
    """Give a kubectl that is signed in by a token of an account of `iac`, and returns what it is refused with."""

    def sign_in(name: str) -> Callable[..., str]:
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json").stdout)
        config["users"][0]["user"] = {"token": kubectl("create", "token", name, "--namespace=iac").stdout}
        path = tmp_path / name
        path.write_text(json.dumps(config), encoding="utf-8")

        def run(*arguments: str) -> str:
            done = kubectl(*arguments, kubeconfig=str(path))
            return "" if done.returncode == 0 else done.stderr

        return run

    return sign_in


def test_a_deployer_acts_as_nobody_else(houses: Workspace, signed_in: Callable[[str], Callable[..., str]]) -> None:
    assert houses
    staging = signed_in("deployer-staging")
    assert staging("get", "pods", "--namespace=data-staging") == ""
    for arguments in (
        ("--as=system:serviceaccount:iac:deployer-infra",),
        ("--as=system:serviceaccount:iac:deployer-prod",),
        ("--as=system:serviceaccount:iac:atlantis",),
        ("--as=admin",),
        ("--as=anybody", "--as-group=system:masters"),
    ):
        assert "cannot impersonate" in staging("get", "pods", "--namespace=data-staging", *arguments)


def test_atlantis_has_no_rights_but_to_act_as_the_deployers(
    houses: Workspace, signed_in: Callable[[str], Callable[..., str]]
) -> None:
    assert houses
    atlantis = signed_in("atlantis")
    for namespace in NAMESPACES:
        assert "cannot list" in atlantis("get", "pods,secrets,configmaps", f"--namespace={namespace}")
    for identity in IDENTITIES:
        assert atlantis("auth", "whoami", f"--as={account(identity)}") == ""
    for someone in (account("default"), account("cloudnative-pg"), account("deployer-infra", "default"), "admin"):
        assert "cannot impersonate" in atlantis("get", "pods", f"--as={someone}")
    for group in ("system:masters", "system:serviceaccounts:kube-system"):
        refused = atlantis("get", "pods", f"--as={account('deployer-staging')}", f"--as-group={group}")
        assert "cannot impersonate" in refused
    assert not review(account("atlantis"), "create", "serviceaccounts/token", namespace="iac", name="deployer-infra")


def test_nobody_else_may_act_as_a_deployer(houses: Workspace) -> None:
    assert houses
    for identity in IDENTITIES:
        for user in ("anna", account("default", "data-staging"), account("default"), account("deployer-staging")):
            assert not review(user, "impersonate", "serviceaccounts", namespace="iac", name=identity)


@pytest.fixture
def by_accident(houses: Workspace) -> Iterator[None]:
    """Somebody gave away cluster-admin: to a deployer, to every account of an environment, and to one elsewhere."""
    assert houses
    given = binding("cluster-admin", scope="Cluster")
    given["subjects"] += [
        {"kind": "Group", "apiGroup": RBAC, "name": "system:serviceaccounts:data-staging"},
        {"kind": "ServiceAccount", "name": "default", "namespace": "default"},
    ]
    made = kubectl("create", "--filename=-", text=json.dumps(given))
    assert made.returncode == 0, made.stderr
    time.sleep(1)
    yield
    kubectl("delete", "clusterrolebinding", "escape")


@pytest.mark.usefixtures("by_accident")
def test_the_second_lock_holds_where_rights_were_given_by_accident() -> None:
    for who in (STAGING, account("default", "data-staging")):
        for namespace in NAMESPACES:
            refused = Escape(
                "", "", probes()[1] | {"metadata": {"name": "escape"}}, namespace=namespace, who=who
            ).attempt()
            assert (HOME in refused) is (namespace not in ROOMS["staging"]), f"{who} {namespace}: {refused}"
        for made in (
            binding("cluster-admin", scope="Cluster") | {"metadata": {"name": "more"}},
            thing("v1", "Namespace", name="data-stagingx"),
        ):
            assert HOME in Escape("", "", made, namespace="", who=who).attempt()
        for arguments in (
            ("label", "namespace", "data-staging", "a=b"),
            ("delete", "namespace", "kubernetes-dashboard"),
            ("delete", "secrets", "--all", "--namespace=data-prod"),
            ("delete", "networkpolicies", "--all", "--namespace=iac"),
        ):
            assert HOME in Escape("", "", arguments=arguments, namespace="", who=who).attempt()
        issuer = thing("cert-manager.io/v1", "Issuer", {"selfSigned": {}})
        assert "are cert-manager's own in an environment" in Escape("", "", issuer, who=who).attempt()
        quota = ("patch", "resourcequota", "environment", '--patch={"spec":{"hard":{"pods":"999"}}}')
        assert re.search(PLATFORM, " ".join(Escape("", "", arguments=quota, who=who).attempt().split()))


@pytest.mark.usefixtures("by_accident")
def test_a_container_added_to_a_running_pod_is_held_to_the_level_of_the_namespace() -> None:
    container = {"name": "debug", "image": "example.com/none", "securityContext": {"privileged": True}}
    patch = json.dumps({"spec": {"ephemeralContainers": [container]}})
    for namespace in ROOMS["staging"]:
        arguments = ("patch", "pod", "probe", "--subresource=ephemeralcontainers", f"--patch={patch}")
        assert "violates PodSecurity" in Escape("", "", arguments=arguments, namespace=namespace).attempt()


@pytest.mark.usefixtures("by_accident")
def test_an_environments_namespace_keeps_its_level_and_its_label_whoever_writes_it() -> None:
    outsider = account("default", "default")
    for change, words in (
        ("pod-security.kubernetes.io/enforce=privileged", "must enforce Pod Security baseline or restricted"),
        ("pod-security.kubernetes.io/enforce-", "must enforce Pod Security baseline or restricted"),
        ("pod-security.kubernetes.io/enforce-version=v1.20", "must enforce Pod Security baseline or restricted"),
        ("strata/environment-", "must carry the label strata/environment=staging"),
        ("strata/environment=prod", "must carry the label strata/environment=staging"),
    ):
        for who in (outsider, account("deployer-infra")):
            arguments = ("label", "namespace", "data-staging", change, "--overwrite")
            assert words in Escape("", "", arguments=arguments, namespace="", who=who).attempt()


@pytest.mark.parametrize("deed", AT_HOME, ids=lambda deed: deed.words.replace(" ", "-"))
def test_what_an_environment_needs_is_let_through(deed: Escape, houses: Workspace) -> None:
    assert houses
    assert deed.attempt() == ""
