"""A provider of OpenID Connect, and an API server that is told of it as K3s would be: who signs in, and what they may.

The provider is a small one of the test's own; the API server is real and of this test alone. `KUBERNETES_BIN` is the
folder with kube-apiserver and kube-controller-manager, `etcd` and `openssl` are on the PATH. No KUBECONFIG is used.
"""

import base64
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stacks.project import Project
from tests.e2e.cluster import Workspace, kubectl
from tests.support import Evaluate, Stack, free_port, need, on_the_path, resources, tfvars_of

pytestmark = pytest.mark.e2e
CLIENT = "strata"
# What infra makes for people, with all that it stands on.
APPLIED = (
    "kubernetes_cluster_role_v1.viewer_more",
    "kubernetes_cluster_role_binding_v1.viewer_binding",
    "kubernetes_cluster_role_binding_v1.viewer_groups",
    "kubernetes_cluster_role_binding_v1.tenancy_deployer-infra_cluster-admin",
    "kubernetes_role_binding_v1.tenancy_deployer-infra_people",
    "kubernetes_role_binding_v1.tenancy_environment_staging_deployer_people",
)
READS = (
    "list pods",
    "get pods/log",
    "list configmaps",
    "list events",
    "list namespaces",
    "list resourcequotas",
    "list ingresses.networking.k8s.io",
    "list networkpolicies.networking.k8s.io",
    "watch deployments.apps",
    "list nodes",
    "list nodes.metrics.k8s.io",
    "list pods.metrics.k8s.io",
    "list persistentvolumes",
    "list storageclasses.storage.k8s.io",
    "list customresourcedefinitions.apiextensions.k8s.io",
    "list priorityclasses.scheduling.k8s.io",
    "list validatingadmissionpolicies.admissionregistration.k8s.io",
    "list clusterroles.rbac.authorization.k8s.io",
    "list clusters.postgresql.cnpg.io",
    "list objectstores.barmancloud.cnpg.io",
    "list certificates.cert-manager.io",
    "list clusterissuers.cert-manager.io",
)
REFUSED = (
    "get secrets",
    "list secrets",
    "watch secrets",
    "create pods",
    "delete pods",
    "create pods/exec",
    "get pods/exec",
    "get pods/attach",
    "create pods/portforward",
    "get pods/proxy",
    "get services/proxy",
    "get nodes/proxy",
    "update pods/ephemeralcontainers",
    "create pods/eviction",
    "patch deployments.apps",
    "update configmaps",
    "patch nodes",
    "delete namespaces",
    "create serviceaccounts/token",
    "impersonate serviceaccounts",
    "impersonate users",
    "impersonate groups",
    "bind clusterroles.rbac.authorization.k8s.io",
    "escalate clusterroles.rbac.authorization.k8s.io",
    "create clusterrolebindings.rbac.authorization.k8s.io",
    "approve signers.certificates.k8s.io",
)


def run(*command: str, text: str | None = None) -> bytes:
    given = text.encode() if text is not None else None
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout  # noqa: S603


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Authority:
    """A folder of keys, and of certificates that one authority signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"]
        run(*key, "-keyout", str(folder / "ca.key"), "-out", str(self.certificate))

    def issue(self, name: str, subject: str, extension: str) -> tuple[Path, Path]:
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(extension, encoding="utf-8")
        key_options = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key)]
        run("openssl", "req", *key_options, "-out", str(request), "-subj", subject)
        signed_by = ["-CA", str(self.certificate), "-CAkey", str(self.folder / "ca.key"), "-CAcreateserial"]
        output = ["-days", "2", "-out", str(certificate), "-extfile", str(extensions)]
        run("openssl", "x509", "-req", "-in", str(request), *signed_by, *output)
        return key, certificate


class Provider:
    """A provider that signs whatever claims it is told to."""

    def __init__(self, authority: Authority) -> None:
        self._key = authority.folder / "provider-signs.key"
        run("openssl", "genrsa", "-out", str(self._key), "2048")
        key, certificate = authority.issue("provider", "/CN=provider", "subjectAltName=IP:127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document = provider.documents().get(self.path)
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.issuer = f"https://127.0.0.1:{self.server.server_port}/realms/team"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def documents(self) -> dict[str, dict[str, Any]]:
        modulus = run("openssl", "rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "e": "AQAB"}
        return {
            "/realms/team/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/keys",
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/realms/team/keys": {"keys": [{**key, "n": encoded(bytes.fromhex(modulus))}]},
        }

    def token(self, *groups: str, key: Path | None = None, **changes: object) -> str:
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "1",
            "email": "ada@example.com",
            "email_verified": True,
            "groups": list(groups),
            "iat": int(time.time()) - 60,
            "exp": int(time.time()) + 600,
            **changes,
        }
        header = {"alg": "RS256", "kid": "one", "typ": "JWT"}
        content = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        return f"{content}.{encoded(run('openssl', 'dgst', '-sha256', '-sign', str(key or self._key), text=content))}"


class Cluster:
    """An API server with the one controller that fills aggregated ClusterRoles."""

    def __init__(self, authority: Authority, binaries: Mapping[str, str], arguments: Sequence[str]) -> None:
        self._binaries, self._arguments, self._processes = binaries, arguments, list[subprocess.Popen[bytes]]()
        self.authority, self.folder = authority, authority.folder
        self.port = free_port()
        key, certificate = authority.issue("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth")
        self.kubeconfig = self._kubeconfig("admin", {"client-certificate": str(certificate), "client-key": str(key)})

    def begin(self) -> None:
        """Start all of it, and wait until it answers."""
        folder, authority, binaries = self.folder, self.authority, self._binaries
        store, peer, port = free_port(), free_port(), self.port
        account_key = folder / "accounts.key"
        run("openssl", "genrsa", "-out", str(account_key), "2048")
        names = "subjectAltName=IP:127.0.0.1,IP:10.96.0.1"
        server_key, server_certificate = authority.issue("server", "/CN=kube-apiserver", names)
        self._start(
            "etcd",
            [binaries["etcd"], f"--data-dir={folder / 'etcd'}", f"--listen-client-urls=http://127.0.0.1:{store}"],
            f"--advertise-client-urls=http://127.0.0.1:{store}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        )
        self._start(
            "kube-apiserver",
            [binaries["kube-apiserver"], f"--etcd-servers=http://127.0.0.1:{store}", f"--secure-port={port}"],
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--tls-cert-file={server_certificate}",
            f"--tls-private-key-file={server_key}",
            f"--client-ca-file={authority.certificate}",
            "--authorization-mode=Node,RBAC",
            f"--service-account-key-file={account_key}",
            f"--service-account-signing-key-file={account_key}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--feature-gates=WatchList=false",
            *(f"--{argument}" for argument in self._arguments),
        )
        self.wait(lambda: self.kubectl("get", "--raw=/readyz").returncode == 0, "readyz")
        self._start(
            "kube-controller-manager",
            [binaries["kube-controller-manager"], f"--kubeconfig={self.kubeconfig}", "--leader-elect=false"],
            "--controllers=clusterrole-aggregation-controller",
            "--secure-port=0",
        )

    def _start(self, name: str, command: list[str], *arguments: str) -> None:
        environment = {**os.environ, "SSL_CERT_FILE": str(self.authority.certificate)}
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen([*command, *arguments], stdout=log, stderr=log, env=environment)  # noqa: S603
            )

    def _kubeconfig(self, name: str, user: Mapping[str, str]) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.authority.certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": name}}],
        }
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def kubectl(self, *arguments: str, token: str = "", text: str | None = None) -> subprocess.CompletedProcess[str]:
        kubeconfig = self._kubeconfig("person", {"token": token}) if token else self.kubeconfig
        return kubectl(*arguments, text=text, kubeconfig=str(kubeconfig))

    def allowed(self, token: str, questions: Sequence[str]) -> set[str]:
        """Return those questions, `list deployments.apps` or `get pods/log`, to which the answer is yes everywhere."""
        items = []
        for question in questions:
            verb, _, what = question.partition(" ")
            name, _, group = what.partition(".")
            kind, _, subresource = name.partition("/")
            asked = {"verb": verb, "group": group, "resource": kind, "subresource": subresource}
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
            items.append({**review, "spec": {"resourceAttributes": asked}})
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        template = '--output=jsonpath={.status.allowed}{"\\n"}'
        answers = self.kubectl("create", "--filename=-", template, token=token, text=text).stdout.split()
        return {question for question, answer in zip(questions, answers, strict=True) if answer == "true"}

    def wait(self, is_so: Callable[[], bool], words: str) -> None:
        deadline = time.monotonic() + 60
        while not is_so():
            log = (self.folder / "kube-apiserver.log").read_text(encoding="utf-8", errors="replace")
            assert time.monotonic() < deadline, f"{words}: {log[-1500:]}"
            time.sleep(0.3)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    on_the_path("openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def provider(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority)
    yield provider
    provider.server.shutdown()
    provider.server.server_close()


@pytest.fixture(scope="module")
def cluster(
    authority: Authority,
    provider: Provider,
    stacks: dict[str, Stack],
    project: Project,
    evaluate: Evaluate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """The API server, with what infra makes for people."""
    place = os.environ.get("KUBERNETES_BIN")
    found = {name: shutil.which(name, path=place) for name in ("kube-apiserver", "kube-controller-manager")}
    need(all(found.values()), "KUBERNETES_BIN, a folder with kube-apiserver and kube-controller-manager")
    binaries = {"etcd": on_the_path("etcd"), **{name: str(path) for name, path in found.items()}}
    groups = {"viewers": ["everybody"], "administrators": ["platform"]}
    oidc = {"issuer": provider.issuer, "client_id": CLIENT, **groups}
    told = resources(stacks["infra"])["terraform_data.k3s_nodes"]["triggers_replace"]["STRATA_API_SERVER_ARGUMENTS"]
    tfvars = tfvars_of(project, "infra")
    arguments = evaluate(stacks["infra"], {"all": told}, tfvars=tfvars, enable_infra=True, oidc=oidc)["all"]
    cluster = Cluster(authority, binaries, arguments.splitlines())
    try:
        cluster.begin()
        variables = {"oidc": oidc, "tenants": {"staging": {"deployers": ["developers"]}}}
        Workspace(tmp_path_factory.mktemp("workspace"), str(cluster.kubeconfig)).apply(
            "infra",
            *(f"-target={address}" for address in APPLIED),
            *(f"-var={name}={json.dumps(value)}" for name, value in variables.items()),
        )
        yield cluster
    finally:
        cluster.stop()


def test_who_a_person_is_is_what_the_token_says_with_the_prefix(cluster: Cluster, provider: Provider) -> None:
    token = provider.token("everybody", "system:masters")
    cluster.wait(lambda: cluster.kubectl("get", "pods", token=token).returncode == 0, "the provider's keys")
    asked = cluster.kubectl("auth", "whoami", "--output=json", token=token)
    user = json.loads(asked.stdout)["status"]["userInfo"]
    assert user["username"] == "oidc:ada@example.com"
    assert user["groups"] == ["oidc:everybody", "oidc:system:masters", "system:authenticated"]


@pytest.mark.parametrize("who", ["a person of the viewers' group", "the account viewer"])
def test_a_viewer_reads_and_does_nothing_else(who: str, cluster: Cluster, provider: Provider) -> None:
    if who == "the account viewer":
        drawn = cluster.kubectl("create", "token", "viewer", "--namespace=kubernetes-dashboard", "--duration=8h")
        assert drawn.returncode == 0, drawn.stderr
        token = drawn.stdout.strip()
    else:
        token = provider.token("everybody")
    cluster.wait(lambda: cluster.kubectl("get", "nodes", token=token).returncode == 0, "the aggregated role")
    assert cluster.kubectl("get", "pods", "--all-namespaces", token=token).returncode == 0
    refused = cluster.kubectl("get", "secrets", "--namespace=iac", token=token)
    assert "secrets is forbidden" in refused.stderr
    assert cluster.allowed(token, READS) == set(READS)
    assert cluster.allowed(token, REFUSED) == set()


def test_a_viewer_has_no_verb_but_reading_anywhere(cluster: Cluster, provider: Provider) -> None:
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "iac"}}
    text = json.dumps(review)
    asked = cluster.kubectl("create", "--filename=-", "--output=json", token=provider.token("everybody"), text=text)
    rules = json.loads(asked.stdout)["status"]["resourceRules"]
    assert len(rules) > 20
    for rule in rules:
        if set(rule["apiGroups"]) & {"authorization.k8s.io", "authentication.k8s.io"}:
            # Everybody may ask who they are, and what they may do.
            assert all(kind.startswith("selfsubject") for kind in rule["resources"])
            continue
        assert set(rule["verbs"]) <= {"get", "list", "watch"}, rule
        assert not {"secrets", "*"} & set(rule["resources"]), rule


def test_a_person_without_a_group_that_is_bound_may_look_at_nothing(cluster: Cluster, provider: Provider) -> None:
    for groups in ((), ("system:masters",), ("Everybody",), ("oidc:everybody",)):
        answer = cluster.kubectl("get", "pods", token=provider.token(*groups))
        assert 'User "oidc:ada@example.com" cannot list resource "pods"' in answer.stderr, groups


def test_a_token_that_is_not_for_this_cluster_is_none(cluster: Cluster, provider: Provider) -> None:
    other = cluster.folder / "other-signs.key"
    run("openssl", "genrsa", "-out", str(other), "2048")
    for token in (
        provider.token("everybody", aud="another-client"),
        provider.token("everybody", iss="https://127.0.0.1:1"),
        provider.token("everybody", exp=int(time.time()) - 60),
        provider.token("everybody", email_verified=False),
        provider.token("everybody", key=other),
    ):
        answer = cluster.kubectl("get", "pods", token=token)
        assert "must be logged in" in answer.stderr or "Unauthorized" in answer.stderr, answer.stderr


def test_an_administrator_acts_as_a_deployer_and_is_nobody_by_themselves(cluster: Cluster, provider: Provider) -> None:
    token = provider.token("platform")
    as_infra = "--as=system:serviceaccount:iac:deployer-infra"
    assert cluster.kubectl("get", "secrets", "--namespace=iac", token=token).returncode == 1
    assert cluster.kubectl("get", "secrets", "--namespace=iac", as_infra, token=token).returncode == 0
    for other in (
        "--as=system:serviceaccount:iac:deployer-staging",
        "--as=admin",
        f"{as_infra} --as-group=system:masters",
    ):
        answer = cluster.kubectl("get", "secrets", "--namespace=iac", *other.split(), token=token)
        assert "cannot impersonate" in answer.stderr, other


def test_developers_act_as_their_environments_deployer_alone(cluster: Cluster, provider: Provider) -> None:
    token = provider.token("developers")
    question = ("auth", "can-i", "impersonate", "--namespace=iac")
    for name, answer in (("staging", "yes"), ("prod", "no"), ("infra", "no")):
        asked = cluster.kubectl(*question, f"serviceaccounts/deployer-{name}", token=token)
        assert asked.stdout.strip() == answer, name
