"""What was tried on the API server: what a deployer makes at home, and every way out that we could think of."""

import json
from dataclasses import dataclass

from stacks.rehearsal import tenancy
from stacks.rehearsal.tenancy import RBAC, Object, account, pod
from tests.e2e.cluster import kubectl
from tests.support import ROOT

ENVIRONMENTS = sorted(path.stem for path in (ROOT / "envs").glob("*.tfvars") if path.stem != "infra")
IDENTITIES = [*(f"deployer-{name}" for name in ENVIRONMENTS), "deployer-infra"]
ROOMS = {name: (f"data-{name}", f"monitoring-{name}") for name in ENVIRONMENTS}
SHARED = ("default", "iac", "kube-public", "kube-system", "kubernetes-dashboard", "kubero")
NAMESPACES = [*(room for rooms in ROOMS.values() for room in rooms), *SHARED]


def is_at_home(identity: str, namespace: str) -> bool:
    return identity == "deployer-infra" or namespace in ROOMS[identity.removeprefix("deployer-")]


def probes() -> list[Object]:
    """What a deployer makes at home: one of each kind that matters."""
    cluster = {"instances": 1, "storage": {"size": "1Gi"}}
    return [
        *tenancy.probes(),
        {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "probe"}, "spec": cluster},
    ]


STAGING = account("deployer-staging")
FORBIDDEN = r"is forbidden: User .* cannot|is not allowed|forbidden: User"
HOME = "may write in data-staging and monitoring-staging only"
PLATFORM = r"belongs to the platform: change it in the stack infra"
CERTIFICATES = f"are cert-manager's own in an environment|{FORBIDDEN}"
TRAEFIK = "traefik.ingress.kubernetes.io/"
OWN_HOST = "x-staging-a.example.com"
HOSTS_OF_STAGING = "host names of staging begin with x-staging- or x-staging."
HOSTS_OF_PROD = "host names of prod begin neither with another environment's prefix .* nor with a name of the platform"


def thing(api: str, kind: str, spec: Object | None = None, *, name: str = "escape", **rest: object) -> Object:
    fields = {"spec": spec} if spec is not None else {}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **fields, **rest}


def ingress(host: str | None, *, path: str = "/", notes: dict[str, str] | None = None, **spec: object) -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"http": {"paths": [{"path": path, "pathType": "ImplementationSpecific", "backend": backend}]}}
    rules = [{**rule, "host": host} if host is not None else rule]
    made = thing("networking.k8s.io/v1", "Ingress", {"rules": rules, **spec})
    made["metadata"]["annotations"] = notes or {}
    return made


def tls(*hosts: str, name: str = "web-tls") -> list[Object]:
    return [{"hosts": list(hosts), "secretName": name}]


def service(*, notes: dict[str, str] | None = None, **spec: object) -> Object:
    made = thing("v1", "Service", {"ports": [{"port": 80}], **spec})
    made["metadata"]["annotations"] = notes or {}
    return made


def certificate(**spec: object) -> Object:
    issuer = {"name": "platform", "kind": "ClusterIssuer"}
    return thing("cert-manager.io/v1", "Certificate", {"secretName": "web-tls", "issuerRef": issuer, **spec})


def binding(role: str, *, scope: str = "") -> Object:
    return thing(
        f"{RBAC}/v1",
        f"{scope}RoleBinding",
        roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        subjects=[{"kind": "ServiceAccount", "name": "deployer-staging", "namespace": "iac"}],
    )


def role(group: str, resource: str, *verbs: str) -> Object:
    return thing(f"{RBAC}/v1", "Role", rules=[{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}])


@dataclass(frozen=True)
class Escape:
    """Something that a deployer of staging tries in a namespace, and how the API server refuses it."""

    words: str
    refusal: str
    made: Object | None = None
    arguments: tuple[str, ...] = ()
    namespace: str = "data-staging"
    who: str = STAGING

    def attempt(self) -> str:
        """Return what the API server says; nothing is kept even where it should agree."""
        arguments = self.arguments or ("create", "--filename=-")
        place = [f"--namespace={self.namespace}"] if self.namespace else []
        text = json.dumps(self.made) if self.made is not None else None
        done = kubectl(*arguments, "--dry-run=server", f"--as={self.who}", *place, text=text)
        return "" if done.returncode == 0 else done.stderr


def privileged(**context: object) -> Object:
    made = pod("escape")
    made["spec"]["containers"][0]["securityContext"] |= context
    return made


ESCAPES = [
    Escape("bind itself in prod", FORBIDDEN, binding("environment-deployer"), namespace="data-prod"),
    Escape("bind itself in iac", FORBIDDEN, binding("admin"), namespace="iac"),
    Escape("bind itself in the cluster", FORBIDDEN, binding("cluster-admin", scope="Cluster"), namespace=""),
    Escape("bind itself to cluster-admin at home", "attempting to grant RBAC permissions", binding("cluster-admin")),
    Escape("grant itself quotas", "attempting to grant RBAC permissions", role("", "resourcequotas", "update")),
    Escape("grant itself escalate", "attempting to grant RBAC permissions", role(RBAC, "roles", "escalate")),
    Escape("grant itself bind", "attempting to grant RBAC permissions", role(RBAC, "clusterroles", "bind")),
    Escape(
        "add to the role of all deployers",
        FORBIDDEN,
        thing(
            f"{RBAC}/v1",
            "ClusterRole",
            rules=[],
            metadata={"name": "x", "labels": {"strata/aggregate-to-environment-deployer": "true"}},
        ),
        namespace="",
    ),
    Escape(
        "patch its ClusterRole",
        FORBIDDEN,
        arguments=("label", "clusterrole", "environment-deployer", "a=b"),
        namespace="",
    ),
    Escape(
        "make a token Secret in iac",
        FORBIDDEN,
        thing("v1", "Secret", type="kubernetes.io/service-account-token"),
        namespace="iac",
    ),
    Escape("make a namespace", FORBIDDEN, thing("v1", "Namespace", name="data-staging-2"), namespace=""),
    Escape("make a look-alike", FORBIDDEN, thing("v1", "Namespace", name="data-stagingx"), namespace=""),
    Escape("delete its namespace", FORBIDDEN, arguments=("delete", "namespace", "data-staging"), namespace=""),
    Escape(
        "relabel its namespace",
        FORBIDDEN,
        arguments=(
            "label",
            "namespace",
            "data-staging",
            "pod-security.kubernetes.io/enforce=privileged",
            "--overwrite",
        ),
        namespace="",
    ),
    Escape(
        "raise its quota",
        FORBIDDEN,
        arguments=("patch", "resourcequota", "environment", '--patch={"spec":{"hard":{"pods":"999"}}}'),
    ),
    Escape("delete its quota", FORBIDDEN, arguments=("delete", "resourcequota", "environment")),
    Escape("delete all quotas", FORBIDDEN, arguments=("delete", "resourcequotas", "--all")),
    Escape("delete its limit range", FORBIDDEN, arguments=("delete", "limitrange", "--all")),
    Escape("delete the default deny", PLATFORM, arguments=("delete", "networkpolicy", "default-deny")),
    Escape("delete all network policies", PLATFORM, arguments=("delete", "networkpolicies", "--all")),
    Escape(
        "empty the default deny",
        PLATFORM,
        arguments=("patch", "networkpolicy", "default-deny", "--type=merge", '--patch={"spec":{"egress":[{}]}}'),
    ),
    Escape(
        "take off the platform's label",
        PLATFORM,
        arguments=("label", "networkpolicy", "default-deny", "strata/platform-"),
    ),
    Escape(
        "put on the platform's label",
        PLATFORM,
        {**probes()[2], "metadata": {"name": "escape", "labels": {"strata/platform": "true"}}},
    ),
    Escape("delete its own binding", PLATFORM, arguments=("delete", "rolebinding", "environment-deployer")),
    Escape("delete all bindings", PLATFORM, arguments=("delete", "rolebindings", "--all")),
    Escape(
        "open the tenant's lock",
        PLATFORM,
        arguments=("annotate", "configmap", "deletion-lock-tenant", "strata/delete=deletion-lock-tenant"),
    ),
    Escape(
        "make a priority class",
        FORBIDDEN,
        thing("scheduling.k8s.io/v1", "PriorityClass", value=1000000000),
        namespace="",
    ),
    Escape(
        "a pod before the system's",
        "is not this environment's: give environment-staging or none",
        pod("escape", priorityClassName="system-node-critical"),
    ),
    Escape("a pod before the platform's", "is not this environment's", pod("escape", priorityClassName="platform")),
    Escape("a pod of prod's class", "is not this environment's", pod("escape", priorityClassName="environment-prod")),
    Escape(
        "a pod on the host's disk",
        "violates PodSecurity",
        pod("escape", volumes=[{"name": "host", "hostPath": {"path": "/"}}]),
    ),
    Escape(
        "a pod on the host's disk, L4",
        "violates PodSecurity",
        pod("escape", volumes=[{"name": "host", "hostPath": {"path": "/"}}]),
        namespace="monitoring-staging",
    ),
    Escape(
        "a pod on the host's network",
        "violates PodSecurity",
        pod("escape", hostNetwork=True),
        namespace="monitoring-staging",
    ),
    Escape(
        "a pod among the host's processes",
        "violates PodSecurity",
        pod("escape", hostPID=True),
        namespace="monitoring-staging",
    ),
    Escape(
        "a privileged pod",
        "violates PodSecurity|cannot set `allowPrivilegeEscalation`",
        privileged(privileged=True, allowPrivilegeEscalation=True),
        namespace="monitoring-staging",
    ),
    Escape("a pod as root in L3", "violates PodSecurity", privileged(runAsNonRoot=False, runAsUser=0)),
    Escape(
        "a pod with SYS_ADMIN",
        "violates PodSecurity",
        privileged(capabilities={"add": ["SYS_ADMIN"]}),
        namespace="monitoring-staging",
    ),
    Escape(
        "a pod with another's account",
        "serviceaccount .* not found|error looking up service account",
        pod("escape", serviceAccountName="deployer-infra"),
    ),
    Escape(
        "a volume of the cluster",
        FORBIDDEN,
        thing(
            "v1",
            "PersistentVolume",
            {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"}},
        ),
        namespace="",
    ),
    Escape("change a node", FORBIDDEN, arguments=("label", "node", "--all", "a=b"), namespace=""),
    Escape(
        "switch off a policy",
        FORBIDDEN,
        arguments=("delete", "validatingadmissionpolicybinding", "strata-boundary"),
        namespace="",
    ),
    Escape(
        "switch off all policies", FORBIDDEN, arguments=("delete", "validatingadmissionpolicies", "--all"), namespace=""
    ),
    Escape(
        "a webhook of its own",
        FORBIDDEN,
        thing("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", webhooks=[]),
        namespace="",
    ),
    Escape(
        "a kind of its own",
        FORBIDDEN,
        arguments=("delete", "customresourcedefinition", "clusters.postgresql.cnpg.io"),
        namespace="",
    ),
    Escape(
        "a certificate of the cluster",
        FORBIDDEN,
        thing(
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            {"request": "", "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]},
        ),
        namespace="",
    ),
    Escape(
        "ask for others",
        FORBIDDEN,
        thing(
            "authorization.k8s.io/v1",
            "SubjectAccessReview",
            {"user": "x", "resourceAttributes": {"verb": "get", "resource": "pods"}},
        ),
        namespace="",
    ),
    Escape(
        "hold a system's lease",
        FORBIDDEN,
        thing("coordination.k8s.io/v1", "Lease", {"holderIdentity": "x"}),
        namespace="kube-system",
    ),
    Escape(
        "a cluster-wide issuer",
        FORBIDDEN,
        thing("cert-manager.io/v1", "ClusterIssuer", {"selfSigned": {}}),
        namespace="",
    ),
    Escape("answer for prod", HOSTS_OF_STAGING, ingress("signoz.example.com")),
    Escape("answer for the platform", HOSTS_OF_STAGING, ingress("vault.example.com")),
    Escape("answer for a look-alike", HOSTS_OF_STAGING, ingress("x-stagingsignoz.example.com")),
    Escape("answer for all hosts", "give every rule a host", ingress(None)),
    Escape("answer for a wildcard", HOSTS_OF_STAGING, ingress("*.example.com")),
    Escape(
        "answer for what nobody answers for",
        "no defaultBackend",
        thing(
            "networking.k8s.io/v1", "Ingress", {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}
        ),
    ),
    Escape("ask for prod's certificate", HOSTS_OF_STAGING, ingress(OWN_HOST, tls=tls(OWN_HOST, "signoz.example.com"))),
    Escape(
        "serve a certificate for hosts unsaid",
        "name the hosts of every tls entry",
        ingress(OWN_HOST, tls=tls()),
    ),
    Escape(
        "prod answers for staging",
        HOSTS_OF_PROD,
        ingress("x-staging-signoz.example.com"),
        namespace="data-prod",
        who=account("deployer-prod"),
    ),
    Escape(
        "prod answers for the platform",
        HOSTS_OF_PROD,
        ingress("atlantis.example.com"),
        namespace="data-prod",
        who=account("deployer-prod"),
    ),
    Escape("a port of the node", "is NodePort: here give ClusterIP", service(type="NodePort")),
    Escape("an address of the node", "is LoadBalancer", service(type="LoadBalancer")),
    Escape("another's traffic", "externalIPs would take other traffic", service(externalIPs=["10.0.0.1"])),
    Escape(
        "a name for the platform's Service",
        "is ExternalName",
        service(type="ExternalName", externalName="vault.iac.svc"),
    ),
    Escape(
        "endpoints elsewhere",
        FORBIDDEN,
        thing("v1", "Endpoints", subsets=[{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]),
    ),
    Escape(
        "endpoint slices elsewhere",
        FORBIDDEN,
        thing("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[], ports=[]),
    ),
    Escape("an issuer of its own", CERTIFICATES, thing("cert-manager.io/v1", "Issuer", {"selfSigned": {}})),
    Escape(
        "a raw certificate request",
        CERTIFICATES,
        thing("cert-manager.io/v1", "CertificateRequest", {"request": "eA==", "issuerRef": {"name": "platform"}}),
    ),
    Escape("a certificate past the Ingress", CERTIFICATES, certificate(dnsNames=["signoz.example.com"])),
    Escape(
        "a certificate for Traefik's store",
        "names that end in -tls are cert-manager's",
        thing("v1", "Secret", name="web-tls", type="kubernetes.io/tls", data={"tls.crt": "", "tls.key": ""}),
    ),
    Escape(
        "a certificate of another name for Traefik's store",
        "give tls a secretName that ends in -tls",
        ingress(OWN_HOST, tls=tls(OWN_HOST, name="own")),
    ),
    Escape(
        "the host of cert-manager's challenge",
        HOSTS_OF_STAGING,
        ingress("signoz.example.com", path="/.well-known/acme-challenge/x"),
        who=account("cert-manager", "kube-system"),
    ),
    *(
        Escape(f"write a rule by the path {path}", "a path has letters", ingress(OWN_HOST, path=path))
        for path in ("/`) || Host(`signoz.example.com`) && PathPrefix(`/", "/a b", '/"', "/\\", "/{a:.*}", "/a\nb")
    ),
    *(
        Escape(f"say {key} to what reads it", "an environment sets", ingress(OWN_HOST, notes={key: value}))
        for key, value in (
            (f"{TRAEFIK}router.pathmatcher", "Path"),
            (f"{TRAEFIK}router.rulesyntax", "v2"),
            (f"{TRAEFIK}router.middlewares", "iac-auth@kubernetescrd"),
            (f"{TRAEFIK}router.tls.options", "iac-weak@kubernetescrd"),
            (f"{TRAEFIK}router.tls.domains.0.main", "signoz.example.com"),
            (f"{TRAEFIK}router.priority", "9999"),
            (f"{TRAEFIK}router.entrypoints", "traefik"),
            ("cert-manager.io/common-name", "signoz.example.com"),
            ("cert-manager.io/alt-names", "signoz.example.com"),
            ("cert-manager.io/ip-sans", "10.0.0.1"),
            ("cert-manager.io/issuer", "own"),
            ("cert-manager.io/cluster-issuer", "another"),
            ("acme.cert-manager.io/http01-edit-in-place", "true"),
            ("kubernetes.io/tls-acme", "true"),
            ("kubernetes.io/ingress.class", "nginx"),
            ("external-dns.alpha.kubernetes.io/hostname", "signoz.example.com"),
            ("external-dns.alpha.kubernetes.io/target", "203.0.113.1"),
            ("external-dns.alpha.kubernetes.io/cloudflare-custom-hostname", "signoz.example.com"),
        )
    ),
    Escape("another ingress class", "give the ingressClassName traefik", ingress(OWN_HOST, ingressClassName="nginx")),
    Escape(
        "a middleware by a Service",
        "this namespace sets",
        service(notes={f"{TRAEFIK}service.middlewares": "iac-auth@kubernetescrd"}),
    ),
    Escape(
        "a DNS record by a Service",
        "this namespace sets",
        service(notes={"external-dns.alpha.kubernetes.io/hostname": "signoz.example.com"}),
    ),
]

AT_HOME = [
    Escape(
        "answer for its own host",
        "",
        ingress(
            OWN_HOST,
            tls=tls(OWN_HOST),
            notes={f"{TRAEFIK}router.entrypoints": "websecure", "cert-manager.io/cluster-issuer": "platform"},
            ingressClassName="traefik",
        ),
    ),
    Escape("answer for its own domain", "", ingress("x-staging.example.com", path="/api/v1")),
    Escape(
        "prod answers for any other host",
        "",
        ingress("www.example.com", tls=tls("www.example.com")),
        namespace="data-prod",
        who=account("deployer-prod"),
    ),
    Escape("a Service", "", service()),
    Escape("a headless Service", "", service(clusterIP="None")),
    Escape("a pod of its own class", "", pod("escape", priorityClassName="environment-staging")),
    Escape("a pod of no class", "", pod("escape")),
    Escape("a network policy", "", thing("networking.k8s.io/v1", "NetworkPolicy", {"podSelector": {}})),
    Escape("give its own role at home", "", binding("environment-deployer")),
    Escape(
        "a lease at home, which locks a state", "", thing("coordination.k8s.io/v1", "Lease", {"holderIdentity": "x"})
    ),
    Escape("a database", "", probes()[5] | {"metadata": {"name": "escape"}}),
]
