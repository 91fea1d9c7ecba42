"""Atlantis: it plans and applies pull requests, as one deployer for each stack and with no rights of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import yaml
from cdktf import ITerraformDependable, TerraformVariable
from cdktf_cdktf_provider_kubernetes.config_map_v1 import ConfigMapV1, ConfigMapV1Metadata
from cdktf_cdktf_provider_kubernetes.secret_v1 import SecretV1, SecretV1Metadata
from pydantic import Field

from constructs import Construct
from constructs.deletion_lock import DeletionLock
from constructs.footprint import Footprint, footprint
from constructs.generated_secret import REVISION_ANNOTATION, GeneratedSecret, Password
from constructs.metrics import PodTarget
from constructs.network_flow import ANYWHERE, API_SERVER, TRAEFIK, Flow, NetworkFlow
from constructs.reference import Reference, escape, expression, number, text
from constructs.release import Release
from constructs.route import SOLVER, Addresses, Route
from constructs.settings import Cpu, Form, Name, Size, Sized
from constructs.versions import VERSIONS

GUARD_PLACE = "/etc/strata/atlantis"
# The Secret that Terraform writes only when somebody hands it the token.
CREDENTIALS = "kubernetes_secret_v1.atlantis_credentials"
_PORT = 4141
# Below /api, Atlantis asks nobody for the web page's password. What it answers there stays inside the cluster.
_METRICS = "/api/metrics"
_PAGES = ("/apply", "/events", "/github-app", "/jobs", "/lock", "/locks", "/static", "/status")
_DATA = "/atlantis-data"

Repository = Annotated[
    str,
    Form("[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._-]+){2,5}", "a repository such as github.com/example/platform"),
]
Branch = Annotated[str, Form("[A-Za-z0-9][A-Za-z0-9_/-]*", "a branch such as main, without dots")]
Account = Annotated[str, Form("[A-Za-z0-9][A-Za-z0-9._-]*", "the name of an account")]
BaseUrl = Annotated[
    str, Form("(https://[A-Za-z0-9.-]+(:[0-9]{1,5})?)?", 'an address such as https://git.example.com, or ""')
]
AppId = Annotated[str, Form("[0-9]*", 'a number in quotes such as "123456", or ""')]
AppSlug = Annotated[str, Form("[a-z0-9-]*", 'a name of lower-case letters, digits and dashes, or ""')]


class AtlantisSettings(Sized):
    """Where Atlantis finds its one repository, and how large it is."""

    cpu: Cpu = "100m"
    memory: Size = "1Gi"
    storage: Size = "5Gi"
    """The volume for checkouts and plans."""
    vcs: Literal["github", "github-app", "gitlab", "gitea"] = "github"
    """What the repository lies on."""
    repository: Repository = "github.com/example/platform"
    """The one repository that it answers to: host, owner and name."""
    branch: Branch = "main"
    """The branch that pull requests are merged into; those into another branch are ignored."""
    user: Account = "atlantis"
    """The account whose token it has; not for a GitHub App."""
    base_url: BaseUrl = ""
    """The address of your own server; empty for github.com, gitlab.com and gitea.com."""
    port: int = Field(default=443, ge=1, le=65535)
    """The port of the server, which the network must let through beside 443."""
    app_id: AppId = ""
    """The id of a GitHub App."""
    app_slug: AppSlug = ""
    """The slug of a GitHub App."""
    credentials_secret: Name = "atlantis-vcs"  # noqa: S105 (a Secret's name)
    """The Secret in `iac` with token and webhook secret; its keys: docs/reference/systems/atlantis.md."""
    credentials_revision: int = Field(default=0, ge=0)
    """0: that Secret is there already. From 1 on Terraform writes it, anew for each number, from
    TF_VAR_atlantis_token and TF_VAR_atlantis_webhook_secret."""
    web_revision: int = Field(default=1, ge=1)
    """Add 1 for another password of the web page."""


@dataclass(frozen=True)
class Guard:
    """What decides about pull requests: its files by name, and the workflows whose only step it is."""

    files: Mapping[str, str]
    workflows: Sequence[str]


def server_configuration(repository: str, branch: str, workflows: Sequence[str], place: str = GUARD_PLACE) -> str:
    """Return the server's repos.yaml: one repository, and workflows whose only step is the guard that lies at `place`.

    `default` is redefined, and is what a folder gets that atlantis.yaml does not name.
    """

    def stages(arguments: Mapping[str, str]) -> dict[str, object]:
        return {stage: {"steps": [{"run": f"sh {place}/guard {words}"}]} for stage, words in arguments.items()}

    refused = dict.fromkeys(("plan", "apply", "import", "state_rm", "policy_check"), "refuse")
    unused = dict.fromkeys(("import", "state_rm", "policy_check"), "refuse")
    return yaml.safe_dump(
        {
            "repos": [
                {
                    "id": repository,
                    "branch": f"/^{branch}$/",
                    "workflow": "default",
                    "allowed_overrides": ["workflow"],
                    "allowed_workflows": list(workflows),
                    "allow_custom_workflows": False,
                    "apply_requirements": ["undiverged"],
                    "autodiscover": {"mode": "disabled"},
                    "repo_locks": {"mode": "on_apply"},
                }
            ],
            "workflows": {
                "default": stages(refused),
                **{name: stages({"plan": f"plan {name}", "apply": f"apply {name}", **unused}) for name in workflows},
            },
            "metrics": {"prometheus": {"endpoint": _METRICS}},
        },
        sort_keys=False,
        width=120,
    )


def footprints(settings: AtlantisSettings) -> tuple[Footprint, ...]:
    """Return what Atlantis asks for."""
    return footprint("atlantis", settings.resources(), volumes=[settings.storage]), SOLVER


class Atlantis(Construct):
    """Atlantis at `atlantis.<base_domain>`, with the guard at `GUARD_PLACE`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        addresses: Addresses,
        guard: Guard,
        priority_class: str,
        settings: AtlantisSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        pods = {"app": "atlantis"}
        self.targets = (PodTarget(job="atlantis", port=_PORT, pods=pods, namespace=namespace, path=_METRICS),)
        self._write_credentials(namespace, settings, depends_on)
        web = GeneratedSecret(
            self,
            "web",
            name="atlantis-web",
            namespace=namespace,
            plain={"username": "atlantis"},
            passwords={"password": Password()},
            revision=settings.web_revision,
            depends_on=depends_on,
        )
        files = ConfigMapV1(
            self,
            "guard",
            metadata=ConfigMapV1Metadata(name="atlantis-guard", namespace=namespace),
            data={name: escape(content) for name, content in guard.files.items()},
            depends_on=list(depends_on),
        )
        NetworkFlow(
            self,
            "flow",
            name="atlantis",
            namespace=namespace,
            pods=pods,
            callers=[Flow(TRAEFIK, ports=(_PORT,)), *(target.caller() for target in self.targets)],
            calls=[API_SERVER, Flow(ANYWHERE, ports=(443, settings.port))],
            depends_on=depends_on,
        )
        image, _, tag = VERSIONS.images["atlantis"].rpartition(":")
        release = Release(
            self,
            "release",
            chart="atlantis",
            name="atlantis",
            namespace=namespace,
            values={
                "fullnameOverride": "atlantis",
                "image": {"repository": image, "tag": tag, "pullPolicy": "IfNotPresent"},
                "atlantisUrl": expression('join("", ["https://", {}])', addresses.host("atlantis")),
                "orgAllowlist": settings.repository,
                "repoConfig": server_configuration(text(settings.repository), text(settings.branch), guard.workflows),
                **_hosts(settings),
                "vcsSecretName": settings.credentials_secret,
                "basicAuthSecretName": web.name,
                "hidePrevPlanComments": True,
                "environment": {
                    "ATLANTIS_ALLOW_COMMANDS": "plan,apply,unlock",
                    "ATLANTIS_AUTODISCOVER_MODE": "disabled",
                    "ATLANTIS_CHECKOUT_STRATEGY": "merge",
                    "ATLANTIS_TF_DOWNLOAD": "false",
                },
                "service": {"type": "ClusterIP", "targetPort": _PORT},
                "ingress": {"enabled": False},
                "serviceAccount": {"create": True, "name": "atlantis"},
                "volumeClaim": {"enabled": True, "dataStorage": settings.storage},
                "atlantisDataDirectory": _DATA,
                "extraVolumes": [{"name": "guard", "configMap": {"name": "atlantis-guard"}}],
                "extraVolumeMounts": [{"name": "guard", "mountPath": GUARD_PLACE, "readOnly": True}],
                "podTemplate": {"annotations": {REVISION_ANNOTATION: _revisions(settings)}},
                "statefulSet": {
                    # It applies its own release: a rolling update would end it in the middle.
                    "updateStrategy": {"type": "OnDelete"},
                    "priorityClassName": priority_class,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 100,
                        "fsGroup": 1000,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                },
                "containerSecurityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # Told to stop, it waits for what it is applying.
                "terminationGracePeriodSeconds": 900,
                "resources": settings.resources(),
            },
            depends_on=[files, web.resource, *depends_on],
        )
        Route(
            self,
            "route",
            namespace=namespace,
            service="atlantis",
            backend="atlantis",
            port=80,
            addresses=addresses,
            paths={"/": "Exact", **dict.fromkeys(_PAGES, "Prefix")},
            depends_on=[release.resource],
        )
        # Helm's uninstall would stop at the volume, and leave a release that is neither there nor gone.
        DeletionLock(
            self,
            "lock",
            name="atlantis",
            namespace=namespace,
            holds=self,
            also=["persistentvolumeclaims/atlantis-data"],
        )

    def _write_credentials(
        self, namespace: str, settings: AtlantisSettings, depends_on: Sequence[ITerraformDependable]
    ) -> None:
        for name, words in (("token", "The token, or a GitHub App's key"), ("webhook_secret", "The webhook's secret")):
            variable = TerraformVariable(
                self,
                name,
                type="string",
                default="",
                nullable=False,
                description=f"{words}, given as TF_VAR_atlantis_{name} when credentials_revision is bumped.",
            )
            variable.add_override("ephemeral", True)  # noqa: FBT003 (cdktf's own interface)
        # The chart knows an App's key and its webhook's secret by these names.
        token = expression('{0} == "github-app" ? "key.pem" : join("_", [{0}, "token"])', settings.vcs)
        webhook = expression('join("_", [{0} == "github-app" ? "github" : {0}, "secret"])', settings.vcs)
        secret = SecretV1(
            self,
            "credentials",
            metadata=SecretV1Metadata(name=text(settings.credentials_secret), namespace=namespace),
            data_wo={str(token): "${var.atlantis_token}", str(webhook): "${var.atlantis_webhook_secret}"},
            data_wo_revision=number(settings.credentials_revision),
            depends_on=list(depends_on),
        )
        # People hold the token: without a revision there is nothing to write, and the Secret is theirs.
        secret.add_override("count", str(expression("{} > 0 ? 1 : 0", settings.credentials_revision)))


def _hosts(settings: AtlantisSettings) -> dict[str, object]:
    """Return the chart's values for each kind of server: filled for the chosen one, empty for the others."""
    host = expression('trimprefix({}, "https://")', settings.base_url)
    kinds: dict[str, tuple[str, dict[str, object]]] = {
        "github": ("github", {"user": settings.user, "hostname": host}),
        "githubApp": ("github-app", {"id": settings.app_id, "slug": settings.app_slug}),
        "gitlab": ("gitlab", {"user": settings.user, "hostname": host}),
        "gitea": ("gitea", {"user": settings.user, "baseUrl": settings.base_url}),
    }
    return {key: _only_for(settings.vcs, kind, values) for key, (kind, values) in kinds.items()}


def _only_for(vcs: str, kind: str, values: Mapping[str, object]) -> Reference:
    # A conditional would want both of its objects to have the same attributes.
    fields = ", ".join(f"{key} = {{}}" for key in values)
    template = f'{{{{ for key, value in {{{{ {fields} }}}} : key => value if value != "" && {{}} == {{}} }}}}'
    return expression(template, *values.values(), vcs, kind)


def _revisions(settings: AtlantisSettings) -> Reference:
    return expression('join("-", [{}, {}])', settings.credentials_revision, settings.web_revision)
