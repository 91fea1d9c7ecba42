"""The policies on plans: what each refuses, and that the stacks' own objects pass; one call for each stack."""

import copy
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks import guard
from stacks.project import Project
from tests.support import Stack, on_the_path

DIGEST = f"sha256:{'0' * 64}"
REDIS = "docker.io/library/redis"
Change = dict[str, Any]


def made(address: str, after: object, *actions: str, unknown: object = None, before: object = None) -> Change:
    if after is None and set(actions) & {"create", "update", "no-op"}:
        # What stays, or is made again, is as it was.
        after = before
    kind, name, index = re.fullmatch(r'(\w+)\.([\w-]+)(?:\["(\w+)"\])?', address).groups()  # type: ignore[union-attr]
    change = {"actions": list(actions or ("create",)), "before": before, "after": after, "after_unknown": unknown or {}}
    return {"address": address, "type": kind, "name": name, "change": change, **({"index": index} if index else {})}


def release(values: object, **more: object) -> Change:
    text = values if isinstance(values, str) else yaml.safe_dump(values)
    unknown = more.pop("unknown", None)
    return made("helm_release.x", {"chart": "x", "values": [text], **more}, unknown=unknown)


def pod(**spec: object) -> Change:
    return made("kubernetes_deployment_v1.x", {"spec": [{"template": [{"spec": [spec]}]}]})


def container(**more: object) -> Change:
    return pod(container=[{"image": f"{REDIS}:8.10.1", **more}])


def service(**spec: object) -> Change:
    return made("kubernetes_service_v1.x", {"spec": [spec]})


def ingress(host: object, **spec: object) -> Change:
    return made("kubernetes_ingress_v1.x", {"spec": [{"rule": [{"host": host}], **spec}]})


def lock(name: str, *actions: str, opened: bool = False, system: str = "redis") -> Change:
    annotations = {"strata/delete": name} if opened else {}
    before = {"metadata": [{"name": name, "namespace": "data-staging", "annotations": annotations}]}
    return made(f"kubernetes_config_map_v1.{system}_lock", None, *(actions or ("no-op",)), before=before)


def gone(address: str, *actions: str, **before: object) -> Change:
    metadata = {"name": "x", "namespace": "data-staging", **before}
    content = {"chart": "redis", "values": [], "namespace": "data-staging", "metadata": [metadata], **before}
    return made(address, None, *(actions or ("delete",)), before=content)


REDIS_LOCK = lock("deletion-lock-redis")
OPEN_LOCK = lock("deletion-lock-redis", "update", opened=True)
OPEN_STACK = made(
    "kubernetes_config_map_v1.lock",
    None,
    "update",
    before={
        "metadata": [
            {
                "name": "deletion-lock-stack",
                "namespace": "data-staging",
                "annotations": {"strata/delete": "deletion-lock-stack"},
            }
        ]
    },
)
HINT = "kubectl annotate configmap deletion-lock-redis --namespace=data-staging strata/delete=deletion-lock-redis"
PVC, NAMESPACE = "kubernetes_persistent_volume_claim_v1.x", "kubernetes_namespace_v1.x"
PROTECTED = {"labels": {"strata/protected": "true"}}

# Each is a plan, and what its refusal says.
REFUSED: Mapping[str, tuple[list[Change], str]] = {
    # deletes
    "release": ([REDIS_LOCK, gone("helm_release.redis_release")], HINT),
    "release replaced": ([REDIS_LOCK, gone("helm_release.redis_release", "delete", "create")], HINT),
    "release replaced, made first": ([REDIS_LOCK, gone("helm_release.redis_release", "create", "delete")], HINT),
    "release forgotten": ([REDIS_LOCK, gone("helm_release.redis_release", "forget")], HINT),
    "stateful set": ([REDIS_LOCK, gone("kubernetes_stateful_set_v1.redis_server")], HINT),
    "with its lock": ([lock("deletion-lock-redis", "delete"), gone("helm_release.redis_release")], HINT),
    "lock alone": ([lock("deletion-lock-redis", "delete")], HINT),
    "behind another's open lock": (
        [
            REDIS_LOCK,
            lock("deletion-lock-signoz", "update", opened=True, system="signoz"),
            gone("helm_release.redis_release"),
        ],
        HINT,
    ),
    "annotated with another name": (
        [gone(PVC, name="a", annotations={"strata/delete": "b"})],
        "persistentvolumeclaim a --namespace=data-staging strata/delete=a",
    ),
    "namespace": ([gone(NAMESPACE, **PROTECTED)], "kubectl annotate namespace x strata/delete=x"),
    "secret with keys": ([gone("kubernetes_secret_v1.x", **PROTECTED)], "kubectl annotate secret x "),
    # pods
    "privileged": ([container(security_context=[{"privileged": True}])], "security_context.0.privileged: a privileged"),
    "escalation": ([container(security_context=[{"allow_privilege_escalation": True}])], "may not gain more rights"),
    "root": (
        [container(security_context=[{"run_as_user": "0"}])],
        "run_as_user: a container runs as a user of its own",
    ),
    "capability": ([container(security_context=[{"capabilities": [{"add": ["SYS_ADMIN"]}]}])], "no capability beyond"),
    "init container": (
        [pod(init_container=[{"security_context": [{"privileged": True}]}])],
        "init_container.0.security",
    ),
    "host network": ([pod(host_network=True)], "its own network"),
    "host pid": ([pod(host_pid=True)], "its own processes"),
    "host ipc": ([pod(host_ipc=True)], "its own memory"),
    "host path": ([pod(volume=[{"host_path": [{"path": "/"}]}])], "not the node's files"),
    "host port": ([container(port=[{"host_port": 80}])], "not at the node's port"),
    "job": (
        [made("kubernetes_job_v1.x", {"spec": [{"template": [{"spec": [{"host_network": True}]}]}]})],
        "its own network",
    ),
    "privileged value": (
        [release({"a": [{"securityContext": {"privileged": True}}]})],
        "a.0.securityContext.privileged",
    ),
    "privileged in words": ([release({"securityContext": {"privileged": "true"}})], "securityContext.privileged"),
    "escalation value": ([release({"allowPrivilegeEscalation": True})], "may not gain more rights"),
    "root value": ([release({"podSecurityContext": {"runAsUser": 0}})], "give another than 0"),
    "capability value": ([release({"capabilities": {"add": ["NET_ADMIN"]}})], "no capability beyond"),
    "host path value": ([release({"extraVolumes": [{"hostPath": {"path": "/"}}]})], "extraVolumes.0.hostPath"),
    "host network value": ([release({"hostNetwork": True})], "its own network"),
    "host network in an anchor": ([release("a: &x {hostNetwork: true}\nb: *x\n")], "b.hostNetwork"),
    "host port value": ([release({"ports": {"x": {"hostPort": 8080}}})], "not at the node's port"),
    "manifest in a string": ([release({"extra": ["apiVersion: v1\nkind: Pod\n"]})], "a manifest in a string"),
    "manifest in JSON in a string": ([release({"extra": '{"kind": "Pod"}'})], "a manifest in a string"),
    "values in a second file": (
        [made("helm_release.x", {"chart": "x", "values": ["a: 1\n", "hostNetwork: true\n"]})],
        "its own network",
    ),
    "values that are no object": ([release("- a\n")], "values that are no YAML object"),
    "values that are no YAML": ([release("a: [")], "values that are no YAML object"),
    "set": ([release({}, set=[{"name": "hostNetwork", "value": "true"}])], "set: give it by values"),
    "postrender": ([release({}, postrender={"binary_path": "x"})], "postrender: give it by values"),
    "by an update": (
        [made("kubernetes_deployment_v1.x", {"spec": [{"host_network": True}]}, "update")],
        "its own network",
    ),
    # ways in
    "load balancer": ([service(type="LoadBalancer")], "found LoadBalancer; give ClusterIP"),
    "node port": ([service(type="NodePort")], "found NodePort"),
    "external name": ([service(type="ExternalName")], "found ExternalName"),
    "external addresses": ([service(type="ClusterIP", external_ips=["192.0.2.1"])], "traffic to other addresses"),
    "load balancer value": ([release({"service": {"type": "LoadBalancer"}})], "service.type: found LoadBalancer"),
    "load balancer by another key": ([release({"serviceType": "LoadBalancer"})], "serviceType: found LoadBalancer"),
    "node port value": ([release({"service": {"nodePort": 30000}})], "service.nodePort"),
    "external addresses value": ([release({"service": {"externalIPs": ["192.0.2.1"]}})], "service.externalIPs"),
    "chart's ingress": ([release({"server": {"ingress": {"enabled": True}}})], "server.ingress.enabled"),
    "host of prod": ([ingress("signoz.example.com")], "give one of the form x-staging-<service>.example.com"),
    "host of another domain": (
        [ingress("x-staging-signoz.example.org")],
        "found the host x-staging-signoz.example.org",
    ),
    "any host": ([ingress("*.example.com")], "found the host *.example.com"),
    "no host": ([ingress(None)], "found the host"),
    "host of tls": ([ingress("x-staging-a.example.com", tls=[{"hosts": ["vault.example.com"]}])], "vault.example.com"),
    "default backend": ([ingress("x-staging-a.example.com", default_backend=[{"service": []}])], "for every host"),
    # images
    "latest": ([container(image=f"{REDIS}:latest")], "redis:latest; give an exact version"),
    "no tag": ([container(image=REDIS)], "give an exact version"),
    "a port is no tag": ([container(image="registry.example.com:5000/redis")], "give an exact version"),
    "half a version": ([container(image=f"{REDIS}:8")], "redis:8; give an exact version"),
    "half a digest": ([container(image=f"{REDIS}@sha256:00")], "give an exact version"),
    "foreign": ([container(image="evil.example.com/redis:8.10.1")], "give one of versions.toml"),
    "latest value": ([release({"image": f"{REDIS}:latest"})], "image: found docker.io/library/redis:latest"),
    "latest by another key": ([release({"kubectlImage": f"{REDIS}:latest"})], "kubectlImage"),
    "no tag value": (
        [release({"image": {"repository": REDIS}})],
        "image: found docker.io/library/redis; give an exact",
    ),
    "latest in parts": ([release({"image": {"repository": REDIS, "tag": "latest"}})], "redis:latest"),
    "latest alone": ([release({"image": {"tag": "latest"}})], "image: found latest"),
    "latest by imageTag": ([release({"imageTag": "latest"})], "imageTag: found latest"),
    "foreign value": (
        [release({"image": {"repository": "evil/redis", "tag": "8.10.1"}})],
        "found the image evil/redis",
    ),
    "foreign registry": (
        [release({"image": {"registry": "evil.example.com", "repository": "library/redis", "tag": "8.10.1"}})],
        "found the image evil.example.com/library/redis:8.10.1",
    ),
    "foreign registry alone": ([release({"global": {"imageRegistry": "evil.example.com"}})], "found the registry evil"),
    "latest of several": ([release({"pods": [{"image": f"{REDIS}:8.10.1"}, {"image": "a:latest"}]})], "pods.1.image"),
    # what is not known yet
    "unknown values": ([release("a: 1", unknown={"values": [True]})], "values.0: unknown before an apply"),
    "unknown chart": ([release("a: 1", unknown={"chart": True})], "chart: unknown before an apply"),
    "unknown image": (
        [made("kubernetes_deployment_v1.x", {}, unknown={"spec": [{"template": [{"container": [{"image": True}]}]}]})],
        "image: unknown before an apply",
    ),
    "unknown containers": (
        [made("kubernetes_deployment_v1.x", {}, unknown={"spec": [{"template": [{"container": True}]}]})],
        "container: unknown before an apply",
    ),
    "unknown service": (
        [made("kubernetes_service_v1.x", {}, unknown={"spec": [{"type": True}]})],
        "type: unknown before",
    ),
    "unknown host": ([made("kubernetes_ingress_v1.x", {}, unknown={"spec": [{"rule": True}]})], "rule: unknown before"),
}

PASSES: Mapping[str, list[Change]] = {
    "nothing": [],
    "release behind its open lock": [OPEN_LOCK, gone("helm_release.redis_release")],
    "everything behind the stack's open lock": [
        OPEN_STACK,
        REDIS_LOCK,
        gone("helm_release.redis_release"),
        gone("kubernetes_stateful_set_v1.redis_server"),
    ],
    "open lock": [lock("deletion-lock-redis", "delete", opened=True)],
    "annotated claim": [gone(PVC, annotations={"strata/delete": "x"})],
    "a release without data": [REDIS_LOCK, gone("helm_release.redis_snapshots", chart="./../../../charts/snapshots")],
    "a release without a lock": [gone("helm_release.other")],
    "namespace that is not protected": [gone(NAMESPACE, labels={"strata/protected": "false"})],
    "generated secret": [gone("kubernetes_secret_v1.redis_auth")],
    "a digest": [container(image=f"{REDIS}@{DIGEST}")],
    "tag and digest": [container(image=f"{REDIS}:8.10.1@{DIGEST}")],
    "closed pods": [
        container(
            security_context=[
                {
                    "privileged": False,
                    "allow_privilege_escalation": False,
                    "capabilities": [{"drop": ["ALL"], "add": []}],
                }
            ]
        ),
        pod(host_network=False, volume=[{"host_path": [], "empty_dir": [{}]}]),
        release({"hostNetwork": False, "securityContext": {"runAsUser": 100}, "ports": {"x": {"hostPort": 0}}}),
    ],
    "chart's own image": [
        release({"image": {"pullPolicy": "IfNotPresent"}, "other": {"image": {"tag": "", "repository": ""}}})
    ],
    "image in parts": [release({"image": {"registry": "docker.io", "repository": "library/redis", "tag": "8.10.1"}})],
    "records in text": [release({"registry": "txt", "ingress": {"enabled": False}, "service": {"type": "ClusterIP"}})],
    "a host of its own": [ingress("x-staging-signoz.example.com", tls=[{"hosts": ["x-staging-signoz.example.com"]}])],
    "unknown values of a chart of Secrets": [
        release("a: 1", chart="./../../../charts/credential-copy", unknown={"values": [True]})
    ],
    "what the API server fills in": [
        made(
            "kubernetes_service_v1.x",
            {"spec": [{"type": "ClusterIP"}]},
            unknown={"spec": [{"port": [{"node_port": True}]}]},
        )
    ],
    "deleted, whatever it was": [gone("kubernetes_deployment_v1.x", spec=[{"host_network": True}])],
}


class Policies:
    """Conftest with the guard's files, and what it says of many plans at once."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def judge(self, stack: str, plans: Mapping[str, list[Change]]) -> dict[str, list[str]]:
        """Return what each plan is refused for, by its name."""
        folder = self.place / "plans"
        folder.mkdir(exist_ok=True)
        for number, changes in enumerate(plans.values()):
            plan = {"variables": {"base_domain": {"value": "example.com"}}, "resource_changes": changes}
            (folder / f"{stack}-{number}.json").write_text(json.dumps(plan), encoding="utf-8")
        files = [str(folder / f"{stack}-{number}.json") for number in range(len(plans))]
        command = [
            *(
                on_the_path("conftest"),
                "test",
                "--strict",
                "--show-builtin-errors",
                "--namespace=plan",
                "--output=json",
            ),
            *(f"--policy={self.place / name}.rego" for name in ("plan", "objects")),
            *(f"--data={self.place / name}.json" for name in ("rules", f"rules-{stack}")),
        ]
        ran = subprocess.run([*command, "--parser=json", *files], capture_output=True, text=True, check=False)  # noqa: S603
        assert ran.stdout, ran.stderr
        found = {
            item["filename"]: [each["msg"] for each in item.get("failures", [])] for item in json.loads(ran.stdout)
        }
        return {name: found[file] for name, file in zip(plans, files, strict=True)}


@pytest.fixture(scope="module")
def policies(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Policies:
    place = tmp_path_factory.mktemp("place")
    for name, content in guard.files(project).items():
        (place / name).write_text(content, encoding="utf-8")
    return Policies(place)


@pytest.fixture(scope="module")
def judged(policies: Policies) -> dict[str, list[str]]:
    return policies.judge("staging", {**{name: plan for name, (plan, _) in REFUSED.items()}, **PASSES})


@pytest.mark.parametrize("name", REFUSED)
def test_a_plan_is_refused_and_told_what_to_do(name: str, judged: dict[str, list[str]]) -> None:
    assert any(REFUSED[name][1] in message for message in judged[name]), judged[name]


@pytest.mark.parametrize("name", PASSES)
def test_a_plan_passes(name: str, judged: dict[str, list[str]]) -> None:
    assert judged[name] == []


def test_an_environment_that_is_not_protected_may_lose_what_it_holds(policies: Policies) -> None:
    path = policies.place / "rules-staging.json"
    rules = json.loads(path.read_text(encoding="utf-8"))
    rules["stack_rules"]["protected"] = False
    (policies.place / "rules-unprotected.json").write_text(json.dumps(rules), encoding="utf-8")
    plan = [REDIS_LOCK, gone("helm_release.redis_release"), gone(PVC)]
    assert policies.judge("unprotected", {"x": plan}) == {"x": []}


def test_no_stack_takes_anothers_host(policies: Policies) -> None:
    plans = {host: [ingress(f"{host}.example.com")] for host in ("signoz", "vault", "x-staging-signoz")}
    prod, infra = policies.judge("prod", plans), policies.judge("infra", plans)
    assert [host for host in plans if not prod[host]] == ["signoz"]
    assert [host for host in plans if not infra[host]] == ["vault"]


def test_the_stacks_own_objects_pass(
    policies: Policies, stacks: dict[str, Stack], releases: list[tuple[str, str, dict[str, Any]]]
) -> None:
    # Made from a laptop, and refused here for that.
    supplied = json.loads((policies.place / "rules.json").read_text(encoding="utf-8"))["rules"]["supplied"]
    for name, stack in stacks.items():
        plan = [release(values, chart=chart) for of, chart, values in releases if of == name]
        assert plan
        for kind, resources in stack["resource"].items():
            # Their hosts are expressions.
            if kind not in ("helm_release", "kubernetes_ingress_v1", "terraform_data"):
                plan += [
                    made(f"{kind}.{key}", copy.deepcopy(resource))
                    for key, resource in resources.items()
                    if f"{kind}.{key}" not in supplied
                ]
        assert policies.judge(name, {"x": plan}) == {"x": []}, name
