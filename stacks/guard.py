"""The guard's files: what Atlantis' server keeps beside its workflows, where no pull request reaches."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from constructs.deletion_lock import DELETE_ANNOTATION, LOCK_NAME, PROTECTED_LABEL
from constructs.environment import Environment
from constructs.l1_bootstrap.atlantis import CREDENTIALS
from constructs.l2_platform.deployer import deployer_name
from constructs.l2_platform.tenancy import ENVIRONMENT_HOSTS, PLATFORM_HOSTS, TenantSettings
from constructs.release import LOCAL_CHARTS, local_chart, published_chart
from constructs.versions import ROOT, VERSIONS
from stacks.atlantis import workflow
from stacks.project import INFRA, Project
from stacks.stack import COMMAND_LINE_VARIABLES, PROVIDERS, terraform_block

PROVIDERS_LOCK = Path(__file__).with_name("providers.lock.hcl")
_SOURCES = ROOT / "constructs" / "l1_bootstrap" / "guard"
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_NODES = "k3s"

_META = ("//", "count", "depends_on", "for_each", "lifecycle", "timeouts")
_OBJECT = (*_META, "metadata", "spec")
# All that an environment may create, and all of it namespaced. What a chart renders is held by the API server.
NAMESPACED: Mapping[str, tuple[str, ...]] = {
    "helm_release": (
        *_META,
        "atomic",
        "chart",
        "cleanup_on_fail",
        "create_namespace",
        "max_history",
        "name",
        "namespace",
        "repository",
        "skip_crds",
        "timeout",
        "values",
        "version",
        "wait",
    ),
    "kubernetes_config_map_v1": (*_META, "data", "immutable", "metadata"),
    "kubernetes_deployment_v1": (*_OBJECT, "wait_for_rollout"),
    "kubernetes_ingress_v1": _OBJECT,
    "kubernetes_job_v1": (*_OBJECT, "wait_for_completion"),
    "kubernetes_network_policy_v1": _OBJECT,
    "kubernetes_pod_disruption_budget_v1": _OBJECT,
    "kubernetes_secret_v1": (*_META, "data_wo", "data_wo_revision", "metadata", "type"),
    "kubernetes_service_v1": (*_OBJECT, "wait_for_load_balancer"),
    "kubernetes_stateful_set_v1": (*_OBJECT, "wait_for_rollout"),
}
# What infra may create beyond that.
SHARED: Mapping[str, tuple[str, ...]] = {
    "kubernetes_cluster_role_binding_v1": (*_META, "metadata", "role_ref", "subject"),
    "kubernetes_cluster_role_v1": (*_META, "aggregation_rule", "metadata", "rule"),
    "kubernetes_limit_range_v1": _OBJECT,
    "kubernetes_namespace_v1": (*_META, "metadata"),
    "kubernetes_persistent_volume_claim_v1": (*_OBJECT, "wait_until_bound"),
    "kubernetes_priority_class_v1": (*_META, "description", "metadata", "value"),
    "kubernetes_resource_quota_v1": _OBJECT,
    "kubernetes_role_binding_v1": (*_META, "metadata", "role_ref", "subject"),
    "kubernetes_role_v1": (*_META, "metadata", "rule"),
    "kubernetes_service_account_v1": (*_META, "automount_service_account_token", "metadata"),
    "terraform_data": (*_META, "connection", "input", "provisioner", "triggers_replace"),
}
# Functions of their arguments alone: none reads a file, the environment or the time, none evaluates text.
FUNCTIONS = (
    "abs",
    "alltrue",
    "anytrue",
    "base64encode",
    "can",
    "ceil",
    "coalesce",
    "coalescelist",
    "compact",
    "concat",
    "contains",
    "distinct",
    "element",
    "endswith",
    "flatten",
    "floor",
    "format",
    "formatlist",
    "indent",
    "index",
    "join",
    "jsonencode",
    "keys",
    "length",
    "lookup",
    "lower",
    "max",
    "merge",
    "min",
    "one",
    "range",
    "regex",
    "regexall",
    "replace",
    "reverse",
    "setintersection",
    "setsubtract",
    "setunion",
    "sha256",
    "slice",
    "sort",
    "split",
    "startswith",
    "substr",
    "sum",
    "tobool",
    "tolist",
    "tomap",
    "tonumber",
    "toset",
    "tostring",
    "trim",
    "trimprefix",
    "trimspace",
    "trimsuffix",
    "try",
    "upper",
    "values",
    "yamlencode",
    "zipmap",
)
_RULES: Mapping[str, object] = {
    "sections": ["//", "ephemeral", "locals", "moved", "provider", "resource", "terraform", "variable"],
    "variable_arguments": [
        "//",
        "default",
        "description",
        "ephemeral",
        "nullable",
        "sensitive",
        "type",
        "validation",
    ],
    "password_arguments": [
        "for_each",
        "length",
        "min_lower",
        "min_numeric",
        "min_special",
        "min_upper",
        "override_special",
        "special",
    ],
    "functions": FUNCTIONS,
    "providers": PROVIDERS,
    "command_line_variables": COMMAND_LINE_VARIABLES,
    "nodes": _NODES,
    "supplied": {
        CREDENTIALS: "make apply ENV=infra with TF_VAR_atlantis_token and TF_VAR_atlantis_webhook_secret",
    },
    "holds_data": [
        "helm_release",
        "kubernetes_namespace_v1",
        "kubernetes_persistent_volume_claim_v1",
        "kubernetes_secret_v1",
        "kubernetes_stateful_set_v1",
    ],
    "lock": LOCK_NAME,
    "delete_annotation": DELETE_ANNOTATION,
    "protected_label": PROTECTED_LABEL,
}
# What of a local chart outlives its pods; deleting or replacing such a release is deleting that.
_DATA_KINDS = frozenset({"CustomResourceDefinition", "PersistentVolumeClaim", "Secret", "StatefulSet"})


def files(project: Project) -> dict[str, str]:
    """Return the content of each file of the guard's folder, by name.

    They hold for the project's stacks as they are now: a pull request that changes more than they allow is applied
    with infra first, or from a laptop.
    """
    stacks = (INFRA, *sorted(project.environments))
    promotion = project.cdktf.context.promotion
    return {
        **{path.name: path.read_text(encoding="utf-8") for path in sorted(_SOURCES.iterdir())},
        "terraform.lock.hcl": PROVIDERS_LOCK.read_text(encoding="utf-8"),
        "stacks": "".join(f"{name} {workflow(name, promotion)}\n" for name in stacks),
        "rules.json": _json({"rules": {**_RULES, **_project_rules(project)}}),
        **{f"rules-{name}.json": _json({"stack_rules": _stack_rules(project, name)}) for name in stacks},
        **{f"kubeconfig-{name}": _kubeconfig(name) for name in stacks},
    }


def _project_rules(project: Project) -> dict[str, Any]:
    charts = [published_chart(name, "<version>") for name in VERSIONS.charts]
    settings = (project.infra, *project.environments.values())
    return {
        "charts": [{"repository": chart.repository, "chart": chart.chart} for chart in charts],
        "local_charts": [local_chart(path.name).chart for path in sorted(LOCAL_CHARTS.iterdir())],
        "mirrors": sorted({file.chart_mirror for file in settings}),
        "charts_of_secrets": list(_planned_charts(lambda kinds: kinds == {"Secret"})),
        "charts_without_data": list(_planned_charts(lambda kinds: not kinds & _DATA_KINDS)),
    }


def _planned_charts(chosen: Callable[[set[str]], bool]) -> Iterator[str]:
    """Yield the local charts whose templates hold such kinds, as a plan names them."""
    for path in sorted(LOCAL_CHARTS.iterdir()):
        texts = (file.read_text(encoding="utf-8") for file in path.rglob("*") if file.parent.name == "templates")
        if chosen({kind for text in texts for kind in re.findall(r"^kind: (\w+)", text, re.MULTILINE)}):
            yield local_chart(path.name).chart.replace("${path.module}", ".")


def _stack_rules(project: Project, name: str) -> dict[str, Any]:
    is_infra = name == INFRA
    namespace = "iac" if is_infra else Environment(name, project.environments[name].env_prefix).data_namespace
    return {
        "terraform": terraform_block(name, namespace, project.cdktf.context.backend),
        "types": {**NAMESPACED, **SHARED} if is_infra else NAMESPACED,
        "protected": is_infra or project.infra.tenants.get(name, TenantSettings()).protected,
        # Infra is planned after a review, and brings the images that an environment may then have.
        "images": None if is_infra else sorted({re.split(r"[:@]", image)[0] for image in VERSIONS.images.values()}),
        **_host_rules(project, name),
    }


def _host_rules(project: Project, name: str) -> dict[str, Any]:
    """Return what the stack's host names begin with, and what they must not."""
    prefixes = {key: file.env_prefix for key, file in project.environments.items() if file.env_prefix}
    if own := prefixes.get(name):
        return {"host_prefix": f"{own}-", "host_form": f"one of the form {own}-<service>.", "foreign_hosts": []}
    taken = ENVIRONMENT_HOSTS if name == INFRA else PLATFORM_HOSTS
    foreign = [*(f"{prefix}-" for prefix in sorted(prefixes.values())), *(f"{host}." for host in taken)]
    form = f"one that does not begin with {', '.join(foreign)} and ends with ."
    return {"host_prefix": "", "host_form": form, "foreign_hosts": foreign}


def _kubeconfig(stack: str) -> str:
    """Return a kubeconfig without a secret: the pod's own token, which may impersonate the stack's deployer."""
    cluster = {"server": "https://kubernetes.default.svc", "certificate-authority": f"{_SERVICE_ACCOUNT}/ca.crt"}
    deployer = f"system:serviceaccount:iac:{deployer_name(stack)}"
    return _json(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": "deployer", "user": {"tokenFile": f"{_SERVICE_ACCOUNT}/token", "as": deployer}}],
            "contexts": [{"name": "deployer", "context": {"cluster": "cluster", "user": "deployer"}}],
            "current-context": "deployer",
        }
    )


def _json(value: object) -> str:
    return f"{json.dumps(value, indent=1, sort_keys=True)}\n"
