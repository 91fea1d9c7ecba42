"""Pods: waited for until they are ready, and where they are really run, asked whether they do what they are for."""

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from constructs.environment import Environment
from stacks.cluster import ClusterError, WaitError, forwarded, kubectl, objects
from stacks.environment import EnvironmentSettings
from stacks.signoz import SigNozError, session

_WORKLOADS = "daemonsets,deployments,statefulsets"
_PAUSE = 15
# How many of the cluster's warnings are printed: the newest.
_MOST = 40


def wait_until_ready(seconds: int) -> int:
    """Wait until no workload lacks a pod and all pods are ready; return how many. Raises `WaitError`, `ClusterError`.

    A pod that a quota or Pod Security refuses is lacking: it never comes to be.
    """
    end = time.monotonic() + seconds
    while True:
        pods, workloads = (_everywhere(kinds) for kinds in ("pods", _WORKLOADS))
        waiting = [f"{_place(item)} has {_ready(item)} of {_wanted(item)} pods" for item in workloads if _lacks(item)]
        waiting += [f"{_place(pod)} is not ready" for pod in pods if not _is_ready(pod)]
        if pods and not waiting:
            return len(pods)
        if time.monotonic() > end:
            message = f"waited {seconds} seconds, and still {'; '.join(waiting) or 'there is no pod'}"
            raise WaitError(message)
        more = f"; and {len(waiting) - 2} more" if len(waiting) > 2 else ""  # noqa: PLR2004 (what fits a line)
        sys.stdout.write(f"  waiting: {'; '.join(waiting[:2])}{more}\n")
        sys.stdout.flush()
        time.sleep(_PAUSE)


def _everywhere(kinds: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(kubectl("get", kinds, "--all-namespaces", "--output=json"))["items"]
    return items


def _place(item: Mapping[str, Any]) -> str:
    return f"{item['kind']} {item['metadata']['namespace']}/{item['metadata']['name']}"


def _wanted(workload: Mapping[str, Any]) -> int:
    if workload["kind"] == "DaemonSet":
        return int(workload["status"].get("desiredNumberScheduled", 0))
    return int(workload["spec"].get("replicas", 1))


def _ready(workload: Mapping[str, Any]) -> int:
    return int(workload["status"].get("numberReady" if workload["kind"] == "DaemonSet" else "readyReplicas", 0))


def _lacks(workload: Mapping[str, Any]) -> bool:
    return _ready(workload) < _wanted(workload)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod is ready or has done its work; one of a Job that failed is tried again by the next."""
    status = pod["status"]
    if status["phase"] in ("Failed", "Succeeded"):
        return status["phase"] == "Succeeded" or _is_of_a_job(pod)
    conditions = {item["type"]: item["status"] for item in status.get("conditions", [])}
    return conditions.get("Ready") == "True"


def _is_of_a_job(pod: Mapping[str, Any]) -> bool:
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))


def smoke(settings: EnvironmentSettings) -> Iterator[tuple[str, str | None]]:
    """Yield a sentence for each thing that is asked of an environment's systems, and what is wrong with the answer."""
    checks: Mapping[str, tuple[str, Callable[[EnvironmentSettings], None]]] = {
        "redis": ("Redis answers PING", _redis),
        "postgres": ("Postgres answers SELECT 1", _postgres),
        "signoz": ("SigNoz is healthy, and its administrator signs in", _signoz),
    }
    for component, (words, check) in checks.items():
        if component in settings.components:
            yield words, _fault(check, settings)
    yield "its certificates are issued", _fault(_certificates, settings)


def _fault(check: Callable[[EnvironmentSettings], None], settings: EnvironmentSettings) -> str | None:
    try:
        check(settings)
    except (ClusterError, SigNozError, OSError, http.client.HTTPException) as error:
        return str(error)
    return None


def _redis(settings: EnvironmentSettings) -> None:
    _answers("PONG", "redis-0", _data(settings), "redis", "redis-cli", "ping")


def _postgres(settings: EnvironmentSettings) -> None:
    question = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command=SELECT 1")
    _answers("1", "service/postgres", _data(settings), "postgres", *question)


def _answers(wanted: str, pod: str, namespace: str, container: str, *command: str) -> None:
    answer = kubectl("exec", pod, f"--namespace={namespace}", f"--container={container}", "--", *command).strip()
    if answer != wanted:
        message = f"it answers: {answer or 'nothing'}"
        raise ClusterError(message)


def _signoz(settings: EnvironmentSettings) -> None:
    with forwarded("service/signoz", _monitoring(settings), 8080) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/api/v1/health")
        status = connection.getresponse().status
        connection.close()
    if status != http.client.OK:
        message = f"/api/v1/health answers with {status}"
        raise ClusterError(message)
    with session(settings):
        pass


def _certificates(settings: EnvironmentSettings) -> None:
    place = f"--namespace={_monitoring(settings)}"
    found = objects("ingresses", _monitoring(settings))
    if found:
        kubectl("wait", "certificates", "--all", place, "--for=condition=Ready", "--timeout=120s", seconds=300)


def _data(settings: EnvironmentSettings) -> str:
    return Environment(settings.environment, settings.env_prefix).data_namespace


def _monitoring(settings: EnvironmentSettings) -> str:
    return Environment(settings.environment, settings.env_prefix).monitoring_namespace


def situation() -> Iterator[str]:
    """Yield the pods that are not ready, and the last warnings: what a person looks at first."""
    try:
        if waiting := [pod for pod in _everywhere("pods") if not _is_ready(pod)]:
            yield "Pods that are not ready:"
            yield from (f"  {_place(pod)}: {pod['status']['phase']}" for pod in waiting)
        order = ("--field-selector=type=Warning", "--sort-by=.lastTimestamp", "--no-headers")
        if warnings := kubectl("get", "events", "--all-namespaces", *order).splitlines():
            yield "The last warnings of the cluster:"
            yield from (f"  {line}" for line in warnings[-_MOST:])
    except ClusterError as error:
        yield f"The cluster does not say more: {error}"
