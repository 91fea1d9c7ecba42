"""What a stack makes, pods and what bounds them, as Terraform evaluates its resources and Helm renders its charts."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from constructs.network_flow import NAMESPACE_NAME
from tests.support import Evaluate, Render, Stack, merged, resources, values_of

Values = dict[str, Any]
# Kinds of objects that make pods, and the native resources that Terraform makes of them.
KINDS = {
    "CronJob": "kubernetes_cron_job_v1",
    "DaemonSet": "kubernetes_daemon_set_v1",
    "Deployment": "kubernetes_deployment_v1",
    "Job": "kubernetes_job_v1",
    "StatefulSet": "kubernetes_stateful_set_v1",
}
CLAIM = "PersistentVolumeClaim"
NATIVE = {
    **KINDS,
    CLAIM: "kubernetes_persistent_volume_claim_v1",
    "Namespace": "kubernetes_namespace_v1",
    "NetworkPolicy": "kubernetes_network_policy_v1",
}
# Of CloudNativePG: its operator makes the pods.
OPERATED = ("Cluster", "Pooler")
BACKUP_PLUGIN = "barman-cloud.cloudnative-pg.io"


@dataclass(frozen=True)
class Pods:
    """The pods that one object makes, and how many of them there are always, and beside these now and then."""

    name: str
    kind: str
    namespace: str
    labels: dict[str, str]
    spec: Values
    """In Kubernetes' own form."""
    pods: int
    at_times: int

    def containers(self) -> list[Values]:
        return [*self.spec["containers"], *self.spec.get("initContainers", [])]


@dataclass(frozen=True)
class Made:
    """What one release, or the stack's own resources, makes; `source` is the chart, or `resources`."""

    source: str
    pods: tuple[Pods, ...]
    claims: tuple[tuple[str, str], ...]
    """The namespace and size of every volume."""
    policies: tuple[Values, ...]
    """Every NetworkPolicy, in Kubernetes' own form, with its namespace."""
    namespaces: Mapping[str, Mapping[str, str]]
    """The labels of every namespace."""


def releases_of(stack: Stack, tfvars: Path, evaluate: Evaluate) -> list[tuple[str, str, Values]]:
    """Return of every release the chart, the namespace, and the values that Terraform gives it."""
    named = stack["resource"].get("helm_release", {})
    folder = "${path.module}/../../../"
    expressions = {f"{key}.values": values_of(release) for key, release in named.items()}
    expressions |= {f"{key}.chart": release["chart"].replace(folder, "") for key, release in named.items()}
    found = _evaluated(stack, expressions, tfvars, evaluate)
    return [
        (found[f"{key}.chart"].removeprefix("charts/"), release["namespace"], merged(map(yaml.safe_load, files)))
        for key, release in named.items()
        for files in found[f"{key}.values"]
    ]


def made_by(stack: Stack, tfvars: Path, evaluate: Evaluate, render: Render) -> tuple[list[Made], list[str]]:
    """Return what a stack makes with these values, and the charts whose templates are not at hand."""
    found, missing = [], []
    for chart, namespace, values in releases_of(stack, tfvars, evaluate):
        try:
            found.append(_made(chart, namespace, list(render(chart, values, namespace).values())))
        except pytest.skip.Exception:
            missing.append(chart)
    return [*found, resources_of(stack, tfvars, evaluate)], missing


def resources_of(stack: Stack, tfvars: Path, evaluate: Evaluate) -> Made:
    """Return what the stack's own resources make, without its charts."""
    return _made("resources", "", list(_native(stack, tfvars, evaluate)))


def _native(stack: Stack, tfvars: Path, evaluate: Evaluate) -> Iterator[Values]:
    """Yield the stack's own resources of the kinds that matter here, in Kubernetes' own form."""
    kind_of = {native: kind for kind, native in NATIVE.items()}
    found = {address: item for address, item in resources(stack).items() if address.split(".")[0] in kind_of}
    expressions = {address: item.get("for_each", item.get("count")) for address, item in found.items()}
    counted = {address: expression for address, expression in expressions.items() if expression is not None}
    how_often = _evaluated(stack, counted, tfvars, evaluate) if counted else {}
    contents: dict[str, Values] = {}
    for address, item in found.items():
        times = how_often.get(address, 1)
        text = json.dumps({key: item[key] for key in ("metadata", "spec") if key in item})
        for key in times if isinstance(times, dict) else map(str, range(int(times))):
            contents[f"{address}[{key}]"] = json.loads(text.replace("${each.key}", key))
    for name, content in _evaluated(stack, contents, tfvars, evaluate).items():
        yield {"kind": kind_of[name.split(".")[0]], **_kubernetes_form(content)}


def _evaluated(stack: Stack, expressions: Mapping[str, Any], tfvars: Path, evaluate: Evaluate) -> Values:
    """Return what Terraform makes of each expression; a name of its own would not take every character."""
    is_infra = "kubernetes_namespace_v1" in stack["resource"]
    numbered = {f"output{index}": expression for index, expression in enumerate(expressions.values())}
    found = evaluate(stack, numbered, tfvars=tfvars, enable_infra=is_infra)
    return {name: found[f"output{index}"] for index, name in enumerate(expressions)}


def _made(source: str, namespace: str, objects: list[Values]) -> Made:
    pods = [item for found in objects for item in pods_of_object(found, namespace, objects)]
    policies = [
        {**item, "metadata": {"namespace": namespace, **item["metadata"]}}
        for item in objects
        if item["kind"] == "NetworkPolicy"
    ]
    namespaces = {
        item["metadata"]["name"]: {**item["metadata"].get("labels", {}), NAMESPACE_NAME: item["metadata"]["name"]}
        for item in objects
        if item["kind"] == "Namespace"
    }
    return Made(source, tuple(pods), tuple(_claims(objects, namespace)), tuple(policies), namespaces)


def pods_of_object(item: Values, namespace: str, beside: Iterable[Values] = ()) -> Iterator[Pods]:
    """Yield the pods of an object; `beside` are what the same release has."""
    hooks = (item["metadata"].get("annotations") or {}).get("helm.sh/hook", "")
    is_test = bool({"test", "test-success"} & set(hooks.split(",")))
    if is_test or item["kind"] not in (*KINDS, *OPERATED):
        return
    name, spec = item["metadata"]["name"], item["spec"]
    place = item["metadata"].get("namespace", namespace)
    if item["kind"] in OPERATED:
        labels, inner = _operated(item, beside)
        is_hibernated = (item["metadata"].get("annotations") or {}).get("cnpg.io/hibernation") == "on"
        pods = 0 if is_hibernated else spec["instances"]
        at_times = _surge({}, pods) if item["kind"] == "Pooler" else 0
    else:
        template = (spec["jobTemplate"]["spec"] if item["kind"] == "CronJob" else spec)["template"]
        labels, inner = template["metadata"].get("labels", {}), template["spec"]
        pods = 0 if item["kind"] in ("CronJob", "Job") else int(spec.get("replicas") or 1)
        at_times = _surge(spec.get("strategy") or {}, pods) if item["kind"] == "Deployment" else 0 if pods else 1
    yield Pods(name, item["kind"], place, labels, inner, pods, at_times)


def _surge(strategy: Values, replicas: int) -> int:
    if strategy.get("type") == "Recreate":
        return 0
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")
    return math.ceil(replicas * int(surge[:-1]) / 100) if isinstance(surge, str) else surge


def _operated(item: Values, beside: Iterable[Values]) -> tuple[dict[str, str], Values]:
    """Return labels and specification of the pods that CloudNativePG 1.30 makes of a Cluster or a Pooler."""
    name, spec = item["metadata"]["name"], item["spec"]
    if item["kind"] == "Pooler":
        inner = spec.get("template", {}).get("spec", {})
        containers = inner.get("containers") or [{"name": "pgbouncer"}]
        bootstrap = {"name": "bootstrap-controller", "resources": containers[0].get("resources", {})}
        labels = {"cnpg.io/cluster": spec["cluster"]["name"], "cnpg.io/podRole": "pooler", "cnpg.io/poolerName": name}
        return labels, {**inner, "containers": containers, "initContainers": [bootstrap]}
    resources = spec.get("resources", {})
    initial = [{"name": "bootstrap-controller", "resources": resources}]
    for plugin in (plugin for plugin in spec.get("plugins", []) if plugin["name"] == BACKUP_PLUGIN):
        place = ("ObjectStore", plugin["parameters"]["barmanObjectName"])
        (store,) = [other for other in beside if (other["kind"], other["metadata"]["name"]) == place]
        sidecar = store["spec"].get("instanceSidecarConfiguration", {}).get("resources", {})
        initial.append({"name": "plugin-barman-cloud", "resources": sidecar, "restartPolicy": "Always"})
    labels = {"cnpg.io/cluster": name, "cnpg.io/podRole": "instance"}
    return labels, {
        "containers": [{"name": "postgres", "resources": resources}],
        "initContainers": initial,
        "priorityClassName": spec.get("priorityClassName"),
    }


def _claims(objects: list[Values], namespace: str) -> Iterator[tuple[str, str]]:
    for item in objects:
        spec, place = item.get("spec", {}), item["metadata"].get("namespace", namespace)
        if item["kind"] == CLAIM:
            yield place, spec["resources"]["requests"]["storage"]
        if item["kind"] == "Cluster":
            for volume in ("storage", "walStorage"):
                yield from [(place, spec[volume]["size"])] * spec["instances"] if volume in spec else []
        for claim in spec.get("volumeClaimTemplates") or []:
            yield from [(place, claim["spec"]["resources"]["requests"]["storage"])] * int(spec.get("replicas") or 1)


# Where Terraform's words are not Kubernetes' in another spelling.
_WORDS = {
    "container": "containers",
    "init_container": "initContainers",
    "volume_claim_template": "volumeClaimTemplates",
}
# What is a name in both, and no word.
_FREE = {"labels", "match_labels", "requests", "limits", "annotations"}


def _kubernetes_form(value: object) -> Any:  # noqa: ANN401 (any part of an object)
    """Return an evaluated resource of Terraform's in Kubernetes' words."""
    match value:
        case Mapping():
            return {
                _WORDS.get(key, _camel(key)): item if key in _FREE else _kubernetes_form(item)
                for key, item in value.items()
            }
        case list():
            return [_kubernetes_form(item) for item in value]
        case _:
            return value


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)
