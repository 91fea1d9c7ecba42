"""Kubero on a cluster: what its accounts may do and what they may not, and what becomes of its settings."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stacks.rehearsal.tenancy import RBAC, account, pod
from tests.e2e.cluster import EMPTY, Workspace, kubectl, objects, unlock
from tests.e2e.escapes import (
    FORBIDDEN,
    NAMESPACES,
    TRAEFIK,
    Escape,
    certificate,
    ingress,
    privileged,
    probes,
    service,
    thing,
    tls,
)

pytestmark = pytest.mark.e2e

SERVER, OPERATOR = account("kubero", "kubero"), account("kubero-operator", "kubero")
SHOP, STAGE = "shop-production", "shop-staging"
APPLICATION = account("default", SHOP)
GROUP = "application.kubero.dev"
KIND = f"{GROUP}/v1alpha1"
ELSEWHERE = [name for name in NAMESPACES if name != "kubero"]
DECLARED = '{ shop-production = { domains = ["shop.example.org"] }, shop-staging = { memory = "1Gi" } }'
HOSTS = "host names of shop-production are shop-production.example.com, shop.example.org and what ends with a dot"
BOUND = "may write in"

# Every request in server/src of Kubero v3.1.1, beside those for Secrets and namespaces, which it can do without.
OF_THE_SERVER = [
    *(("kubero", verb, "kuberoes") for verb in ("get", "patch")),
    *(("kubero", verb, "kuberopipelines") for verb in ("create", "delete", "get", "list", "update")),
    *(("kubero", verb, "events") for verb in ("create", "list")),
    *((SHOP, verb, "kuberoapps") for verb in ("create", "delete", "get", "list", "patch", "update")),
    *((SHOP, verb, "pods") for verb in ("get", "list")),
    (SHOP, "get", "pods/log"),
    (SHOP, "list", "events"),
    *((SHOP, verb, "jobs.batch") for verb in ("create", "delete", "get", "list")),
    (SHOP, "list", "pods.metrics.k8s.io"),
    *(
        ("", "list", resource)
        for resource in (
            "kuberoapps",
            "customresourcedefinitions.apiextensions.k8s.io",
            "ingresses.networking.k8s.io",
            "ingressclasses.networking.k8s.io",
            "storageclasses.storage.k8s.io",
        )
    ),
]
# What a helm-operator does for the kinds that it is told to watch, and what the charts in its image render.
OF_THE_OPERATOR = [
    *(
        (namespace, verb, kind)
        for namespace in ("kubero", SHOP)
        for kind in ("kuberopipelines", "kuberoapps", "kuberoaddonpostgres", "kuberoaddonredis", "kuberoaddonmysqls")
        for verb in ("get", "list", "watch")
    ),
    *(("kubero", verb, "kuberopipelines") for verb in ("patch", "update")),
    ("kubero", "patch", "kuberopipelines/status"),
    *(("kubero", verb, "leases.coordination.k8s.io") for verb in ("create", "get", "update")),
    *((SHOP, verb, "kuberoapps") for verb in ("patch", "update")),
    (SHOP, "update", "kuberoapps/status"),
    *((place, verb, "secrets") for place in ("kubero", SHOP) for verb in ("create", "delete", "get", "list", "update")),
    *(
        (SHOP, verb, resource)
        for verb in ("create", "delete", "get", "patch")
        for resource in (
            "configmaps",
            "cronjobs.batch",
            "deployments.apps",
            "horizontalpodautoscalers.autoscaling",
            "ingresses.networking.k8s.io",
            "kuberoaddonpostgres",
            "persistentvolumeclaims",
            "serviceaccounts",
            "services",
            "statefulsets.apps",
        )
    ),
]


def declare(workspace: Workspace, namespaces: str) -> None:
    tfvars = workspace.root / "envs" / "infra.tfvars"
    head, _, rest = tfvars.read_text(encoding="utf-8").partition("  namespaces = ")
    tfvars.write_text(f"{head}  namespaces = {namespaces}\n{rest.partition(chr(10))[2]}", encoding="utf-8")


@pytest.fixture(scope="module")
def kubero(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace whose infra has declared the namespaces of a pipeline."""
    declare(workspace, DECLARED)
    workspace.apply("infra")
    time.sleep(2)
    yield workspace
    for namespace in (SHOP, STAGE):
        kubectl(
            "annotate",
            "configmap",
            "deletion-lock-pipeline",
            f"--namespace={namespace}",
            "strata/delete=deletion-lock-pipeline",
        )
        kubectl("annotate", "namespace", namespace, f"strata/delete={namespace}")
    declare(workspace, "{}")
    workspace.apply("infra")


def pipeline(name: str = "shop", *phases: str) -> dict[str, Any]:
    spec = {
        "name": name,
        "deploymentstrategy": "docker",
        "phases": [{"name": item, "enabled": True} for item in phases],
    }
    return thing(KIND, "KuberoPipeline", {**spec, "git": {"keys": {}}}, name=name)


def may(who: str, namespace: str, verb: str, resource: str) -> bool:
    """Ask the API server whether an account may do this; no namespace means all of them."""
    kind, _, subresource = resource.partition("/")
    name, _, group = kind.partition(".")
    asked = {
        "namespace": namespace,
        "verb": verb,
        "group": GROUP if name.startswith("kubero") else group,
        "resource": name,
        "subresource": subresource,
        "name": "kubero" if name == "kuberoes" else "",
    }
    review = thing("authorization.k8s.io/v1", "SubjectAccessReview", {"user": who, "resourceAttributes": asked})
    del review["metadata"]
    done = kubectl("create", "--filename=-", "--output=json", text=json.dumps(review))
    assert done.returncode == 0, done.stderr
    return bool(json.loads(done.stdout)["status"]["allowed"])


def settings() -> dict[str, Any]:
    found = kubectl("get", f"kuberoes.{GROUP}", "kubero", "--namespace=kubero", "--output=json")
    assert found.returncode == 0, found.stderr
    kept: dict[str, Any] = json.loads(found.stdout)
    return kept


def test_a_second_plan_is_empty_and_everything_is_there(kubero: Workspace) -> None:
    assert kubero.plan("infra") == EMPTY
    (made,) = objects(f"kuberoes.{GROUP}", "--all-namespaces")
    assert (made["metadata"]["namespace"], made["metadata"]["name"]) == ("kubero", "kubero")
    found = {
        item["metadata"]["name"]: item["status"].get("readyReplicas") for item in objects("deployments", "-nkubero")
    }
    assert found == {"kubero": 1, "kubero-operator": 1}
    for namespace in (SHOP, STAGE):
        assert objects("resourcequotas", f"--namespace={namespace}")


def test_every_policy_type_checks(kubero: Workspace) -> None:
    assert kubero
    for policy in objects("validatingadmissionpolicies"):
        assert not policy["status"]["typeChecking"].get("expressionWarnings"), policy["metadata"]["name"]


@pytest.mark.parametrize(("who", "requests"), [(SERVER, OF_THE_SERVER), (OPERATOR, OF_THE_OPERATOR)])
def test_an_account_may_what_its_code_asks_for(
    who: str, requests: list[tuple[str, str, str]], kubero: Workspace
) -> None:
    assert kubero
    assert not [request for request in requests if not may(who, *request)]


def test_no_account_reads_a_secret_that_is_not_its_own(kubero: Workspace) -> None:
    assert kubero
    for who, places in (
        (SERVER, [*NAMESPACES, SHOP, STAGE]),
        (OPERATOR, ELSEWHERE),
        (APPLICATION, [*NAMESPACES, SHOP]),
    ):
        for namespace in places:
            for arguments in (("get", "secrets"), ("get", "secret", "any")):
                refused = kubectl(*arguments, f"--namespace={namespace}", f"--as={who}")
                assert "(Forbidden)" in refused.stderr, f"{who} {namespace}: {refused.stdout}"
        assert "(Forbidden)" in kubectl("get", "secrets", "--all-namespaces", f"--as={who}").stderr


def test_nobody_runs_commands_in_an_application_unless_the_console_is_switched_on(kubero: Workspace) -> None:
    assert kubero
    assert not [verb for verb in ("create", "get") if may(SERVER, SHOP, verb, "pods/exec")]


def test_what_a_pipeline_needs_is_let_through(kubero: Workspace) -> None:
    assert kubero
    own = f"api.{SHOP}.example.com"
    notes = {"cert-manager.io/cluster-issuer": "platform", "kubernetes.io/tls-acme": "true"}
    deployment = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"] | {"terminationGracePeriodSeconds": 1}},
    }
    for who, namespace, made in (
        (SERVER, "kubero", pipeline("shop", "production", "staging")),
        (SERVER, SHOP, thing(KIND, "KuberoApp", {"name": "web"}, name="web")),
        (OPERATOR, SHOP, thing("v1", "Secret", name="sh.helm.release.v1.web.v1", type="helm.sh/release.v1")),
        (OPERATOR, "kubero", thing("v1", "Secret", name="sh.helm.release.v1.shop.v1", type="helm.sh/release.v1")),
        (OPERATOR, SHOP, thing("apps/v1", "Deployment", deployment, name="web")),
        (OPERATOR, SHOP, service()),
        (OPERATOR, SHOP, ingress(own, tls=tls(own), notes=notes)),
        (OPERATOR, SHOP, ingress("www.shop.example.org", ingressClassName="traefik")),
        (OPERATOR, SHOP, thing(KIND, "KuberoAddonPostgres", {}, name="database")),
    ):
        assert Escape("", "", made, namespace=namespace, who=who).attempt() == "", made


def test_a_pipeline_whose_namespaces_are_not_declared_is_refused_with_what_to_do(kubero: Workspace) -> None:
    assert kubero
    for made, words in (
        (pipeline("shop", "production", "test"), "needs the namespaces shop-test: name them in envs/infra.tfvars"),
        (pipeline("data", "staging"), "needs the namespaces data-staging"),
        (pipeline("kube", "system"), "needs the namespaces kube-system"),
        (pipeline("shop", "production") | {"metadata": {"name": "other"}}, "spec.name must be its name"),
    ):
        assert words in Escape("", "", made, namespace="kubero", who=SERVER).attempt()


BINDING = thing(
    f"{RBAC}/v1",
    "RoleBinding",
    roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": "admin"},
    subjects=[{"kind": "ServiceAccount", "name": "kubero-operator", "namespace": "kubero"}],
)
HOST_PATH = {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}
ESCAPES = [
    Escape("make an environments namespace", FORBIDDEN, thing("v1", "Namespace", name="data-x"), namespace=""),
    Escape("make a namespace of its own", FORBIDDEN, thing("v1", "Namespace", name="shop-test"), namespace=""),
    Escape("bind itself in iac", FORBIDDEN, BINDING, namespace="iac"),
    Escape("bind itself at home", FORBIDDEN, BINDING, namespace="kubero"),
    Escape("bind itself in a pipeline", FORBIDDEN, BINDING, namespace=SHOP),
    Escape(
        "relabel a pipelines namespace",
        FORBIDDEN,
        arguments=("label", "namespace", SHOP, "pod-security.kubernetes.io/enforce=privileged", "--overwrite"),
        namespace="",
    ),
    Escape("delete a pipelines namespace", FORBIDDEN, arguments=("delete", "namespace", SHOP), namespace=""),
    Escape("raise a quota", FORBIDDEN, arguments=("delete", "resourcequotas", "--all"), namespace=SHOP),
    Escape("open the network", FORBIDDEN, thing("networking.k8s.io/v1", "NetworkPolicy", {}), namespace=SHOP),
    Escape("close the network", FORBIDDEN, arguments=("delete", "networkpolicies", "--all"), namespace=SHOP),
    Escape("make a pod at home", FORBIDDEN, pod("escape"), namespace="kubero"),
    Escape("an application of an environment", FORBIDDEN, thing(KIND, "KuberoApp", {}), namespace="data-prod"),
    Escape("a policy", FORBIDDEN, arguments=("delete", "validatingadmissionpolicies", "--all"), namespace=""),
    Escape("all applications", FORBIDDEN, arguments=("delete", "customresourcedefinitions", "--all"), namespace=""),
    Escape("a webhook", FORBIDDEN, arguments=("delete", "validatingwebhookconfigurations", "--all"), namespace=""),
]


@pytest.mark.parametrize("deed", ESCAPES, ids=lambda deed: deed.words.replace(" ", "-"))
def test_a_way_out_is_refused(deed: Escape, kubero: Workspace) -> None:
    assert kubero
    for who in (SERVER, OPERATOR, APPLICATION):
        refused = Escape(deed.words, deed.refusal, deed.made, deed.arguments, deed.namespace, who).attempt()
        assert "forbidden" in refused.lower(), f"{who}: {refused}"


# By whoever may do it at all: the administrator of these tests is told the same.
WITHIN = [
    ("mount the nodes disk", "violates PodSecurity", pod("escape", **HOST_PATH)),
    ("use the nodes network", "violates PodSecurity", pod("escape", hostNetwork=True)),
    ("be privileged", "violates PodSecurity", privileged(privileged=True, allowPrivilegeEscalation=True)),
    ("push the platform off a node", "is not for pipelines", pod("escape", priorityClassName="platform")),
    ("push prod off a node", "is not for pipelines", pod("escape", priorityClassName="environment-prod")),
    ("push the system off a node", "is not for pipelines", pod("escape", priorityClassName="system-node-critical")),
    ("answer for the platform", HOSTS, ingress("vault.example.com")),
    ("answer for prod", HOSTS, ingress("signoz.example.com")),
    ("answer for staging", HOSTS, ingress("x-staging-signoz.example.com")),
    ("answer for another pipeline", HOSTS, ingress("shop-staging.example.com")),
    ("answer for a look alike", HOSTS, ingress("notshop.example.org")),
    ("answer for a wildcard", HOSTS, ingress(f"*.{SHOP}.example.com")),
    ("answer for staging in its own domain", HOSTS, ingress("x-staging-signoz.shop.example.org")),
    ("answer for all hosts", "give every rule a host", ingress(None)),
    (
        "ask for the certificate of another",
        HOSTS,
        ingress(f"{SHOP}.example.com", tls=tls(f"{SHOP}.example.com", "vault.example.com")),
    ),
    (
        "take a middleware of the platforms",
        "a pipeline sets",
        ingress(f"{SHOP}.example.com", notes={f"{TRAEFIK}router.middlewares": "iac-auth@kubernetescrd"}),
    ),
    ("a certificate past the Ingress", "are cert-manager's own", certificate(dnsNames=["vault.example.com"])),
    (
        "a certificate for Traefiks store",
        "names that end in -tls are cert-manager's",
        thing("v1", "Secret", name="web-tls", type="kubernetes.io/tls", data={"tls.crt": "", "tls.key": ""}),
    ),
    ("a port of the node", "is NodePort: here give ClusterIP", service(type="NodePort")),
    ("an address of the node", "is LoadBalancer", service(type="LoadBalancer")),
    ("another's traffic", "externalIPs would take other traffic", service(externalIPs=["10.0.0.1"])),
    ("a name for Vaults Service", "is ExternalName", service(type="ExternalName", externalName="vault.iac.svc")),
]


@pytest.mark.parametrize(("words", "refusal", "made"), WITHIN, ids=[words.replace(" ", "-") for words, *_ in WITHIN])
def test_what_a_pipeline_makes_stays_within_its_bounds(
    words: str, refusal: str, made: dict[str, Any], kubero: Workspace
) -> None:
    assert kubero
    done = kubectl("create", "--filename=-", "--dry-run=server", f"--namespace={SHOP}", text=json.dumps(made))
    assert refusal in " ".join(done.stderr.split()), words


def test_prod_does_not_answer_for_a_pipeline(kubero: Workspace) -> None:
    assert kubero
    for host in (f"{SHOP}.example.com", "www.shop.example.org"):
        refused = Escape("", "", ingress(host), namespace="data-prod", who=account("deployer-prod")).attempt()
        assert "are no pipeline's" in " ".join(refused.split())


@pytest.fixture
def by_accident(kubero: Workspace) -> Iterator[None]:
    """Somebody gave away cluster-admin, to Kubero and to its applications."""
    assert kubero
    given = thing(
        f"{RBAC}/v1",
        "ClusterRoleBinding",
        roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        subjects=[
            {"kind": "Group", "apiGroup": RBAC, "name": f"system:serviceaccounts:{namespace}"}
            for namespace in ("kubero", SHOP)
        ],
    )
    made = kubectl("create", "--filename=-", text=json.dumps(given))
    assert made.returncode == 0, made.stderr
    time.sleep(1)
    yield
    kubectl("delete", "clusterrolebinding", "escape")


@pytest.mark.usefixtures("by_accident")
def test_the_second_lock_holds_where_rights_were_given_by_accident() -> None:
    secret = probes()[1] | {"metadata": {"name": "escape"}}
    for who, home in ((SERVER, ("kubero", SHOP, STAGE)), (OPERATOR, ("kubero", SHOP, STAGE)), (APPLICATION, (SHOP,))):
        for namespace in (*NAMESPACES, SHOP, STAGE):
            refused = Escape("", "", secret, namespace=namespace, who=who).attempt()
            assert (BOUND in refused) is (namespace not in home), f"{who} {namespace}: {refused}"
        for made in (thing("v1", "Namespace", name="data-x"), thing("v1", "Namespace", name="shop-test")):
            assert BOUND in Escape("", "", made, namespace="", who=who).attempt()
        for arguments in (
            ("label", "namespace", SHOP, "a=b"),
            ("delete", "configmaps", "--all", "--namespace=data-prod"),
            ("delete", "clusterroles", "environment-deployer"),
        ):
            assert BOUND in Escape("", "", arguments=arguments, namespace="", who=who).attempt()


def test_the_namespaces_keep_their_level_and_their_label_whoever_writes_them(kubero: Workspace) -> None:
    assert kubero
    for name, change, words in (
        (SHOP, "pod-security.kubernetes.io/enforce=privileged", "must enforce Pod Security baseline or restricted"),
        (SHOP, "pod-security.kubernetes.io/enforce-version=v1.20", "must enforce Pod Security baseline or restricted"),
        (SHOP, "strata/pipeline-", "must carry the label strata/pipeline"),
        ("kubero", "pod-security.kubernetes.io/enforce=baseline", "must enforce Pod Security restricted"),
    ):
        done = kubectl("label", "namespace", name, change, "--overwrite", "--dry-run=server")
        assert words in " ".join(done.stderr.split())


def test_what_the_settings_page_writes_survives_an_apply_that_changes_the_release(kubero: Workspace) -> None:
    before = settings()
    spec = before["spec"]
    spec["kubero"]["config"]["kubero"]["banner"] = {"show": True, "message": "written by hand"}
    spec["kubero"]["config"]["notifications"] = [{"name": "chat"}]
    del spec["registry"]["account"], spec["kubero"]["auditLogs"]["limit"]
    patch = json.dumps([{"op": "replace", "path": "/spec", "value": spec}])
    done = kubectl(
        "patch", f"kuberoes.{GROUP}", "kubero", "-nkubero", "--type=json", f"--patch={patch}", f"--as={SERVER}"
    )
    assert done.returncode == 0, done.stderr
    assert kubero.plan("infra") == EMPTY
    tfvars = kubero.root / "envs" / "infra.tfvars"
    text = tfvars.read_text(encoding="utf-8")
    tfvars.write_text(text.replace("kubero = {", 'kubero = {\n  memory = "640Mi"'), encoding="utf-8")
    kubero.apply("infra")
    (server,) = objects("pods", "-nkubero", "--selector=app.kubernetes.io/name=kubero")
    assert server["spec"]["containers"][0]["resources"]["limits"]["memory"] == "640Mi"
    assert settings()["spec"] == spec
    assert settings()["metadata"]["uid"] == before["metadata"]["uid"]
    assert kubero.plan("infra") == EMPTY


def test_a_release_that_fails_puts_nothing_of_the_settings_back(kubero: Workspace) -> None:
    before = settings()["spec"]
    tfvars = kubero.root / "envs" / "infra.tfvars"
    text = tfvars.read_text(encoding="utf-8")
    # More memory than the API server lets a namespace's container have: its pod is never made, so the upgrade fails.
    limits = {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}
    made = kubectl("create", "-nkubero", "--filename=-", text=json.dumps(thing("v1", "LimitRange", limits)))
    assert made.returncode == 0, made.stderr
    release = kubero.root / "terraform" / "stacks" / "infra" / "cdk.tf.json"
    synthesized = release.read_text(encoding="utf-8")
    changed = json.loads(synthesized)
    changed["resource"]["helm_release"]["kubero_release"]["timeout"] = 15
    release.write_text(json.dumps(changed), encoding="utf-8")
    tfvars.write_text(text.replace('memory = "640Mi"', 'memory = "2Gi"'), encoding="utf-8")
    failed = kubero.terraform("infra", "apply", "-auto-approve")
    assert failed.returncode == 1
    assert settings()["spec"] == before
    kubectl("delete", "limitrange", "escape", "-nkubero")
    release.write_text(synthesized, encoding="utf-8")
    tfvars.write_text(text, encoding="utf-8")
    kubero.apply("infra")
    assert settings()["spec"] == before
    assert kubero.plan("infra") == EMPTY


def test_a_namespace_that_leaves_is_refused_with_its_bounds_in_place_until_it_is_named(kubero: Workspace) -> None:
    declare(kubero, '{ shop-production = { domains = ["shop.example.org"] } }')
    refused = kubero.terraform("infra", "apply", "-auto-approve")
    assert refused.returncode == 1
    words = " ".join(refused.stderr.split())
    assert f"kubectl annotate configmaps deletion-lock-pipeline --namespace={STAGE}" in words
    for kind, name in (("networkpolicy", "default-deny"), ("resourcequota", "environment"), ("limitrange", "defaults")):
        assert kubectl("get", kind, name, f"--namespace={STAGE}").returncode == 0
    unlock("configmap", "deletion-lock-pipeline", STAGE)
    unlock("namespace", STAGE)
    kubero.apply("infra")
    assert kubectl("get", "namespace", STAGE).returncode != 0
    assert kubero.plan("infra") == EMPTY
    declare(kubero, DECLARED)
    kubero.apply("infra")
    assert kubero.plan("infra") == EMPTY


def test_kubero_leaves_and_comes_back_to_its_accounts_and_settings(kubero: Workspace) -> None:
    (claim,), kept = objects("persistentvolumeclaims", "-nkubero"), settings()
    tfvars = kubero.root / "envs" / "infra.tfvars"
    text = tfvars.read_text(encoding="utf-8")
    tfvars.write_text(text.replace('"kubero", ', ""), encoding="utf-8")
    kubero.synthesize()
    refused = kubero.terraform("infra", "apply", "-auto-approve")
    assert refused.returncode == 1
    assert "kubectl annotate configmaps deletion-lock-kubero --namespace=kubero" in " ".join(refused.stderr.split())
    assert len(objects("deployments", "-nkubero")) == 2
    unlock("configmap", "deletion-lock-kubero", "kubero")
    for namespace in (SHOP, STAGE):
        unlock("configmap", "deletion-lock-pipeline", namespace)
        unlock("namespace", namespace)
    kubero.apply("infra")
    assert not objects("deployments", "-nkubero")
    assert kubectl("get", "namespace", SHOP).returncode != 0
    tfvars.write_text(text, encoding="utf-8")
    kubero.synthesize()
    kubero.apply("infra")
    (again,) = objects("persistentvolumeclaims", "-nkubero")
    assert again["metadata"]["uid"] == claim["metadata"]["uid"]
    assert settings()["metadata"]["uid"] == kept["metadata"]["uid"]
    assert settings()["spec"] == kept["spec"]
    assert kubero.plan("infra") == EMPTY
