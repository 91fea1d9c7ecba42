"""Jobs that are made of a CronJob now: with its image, its Secrets and its limits, so nothing of it is said twice."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stacks.cluster import ClusterError, WaitError, kubectl, wait_for


class JobError(Exception):
    """A Job that failed, or did not end; the message holds its last words."""


def start(cronjob: str, namespace: str, variables: Mapping[str, str] | None = None) -> str:
    """Make a Job of a CronJob, with `variables` in place of its own of the same name; return the Job's name.

    Raises `ClusterError`.
    """
    name = f"{cronjob}-{datetime.now(UTC):%Y%m%d%H%M%S}"
    source = f"--from=cronjob/{cronjob}"
    text = kubectl("create", "job", name, source, f"--namespace={namespace}", "--dry-run=client", "--output=json")
    job: dict[str, Any] = json.loads(text)
    pod = job["spec"]["template"]["spec"]
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        for variable in container.get("env", ()):
            if variable["name"] in (variables or {}):
                variable["value"] = (variables or {})[variable["name"]]
    kubectl("create", "--filename=-", text=json.dumps(job))
    return name


def finish(job: str, namespace: str, seconds: int = 3600) -> None:
    """Wait until a Job has ended well.

    Raises `JobError` with its last words if it failed, or if it takes longer than `seconds`; and `ClusterError`.
    """
    place = f"--namespace={namespace}"

    def ended() -> str:
        # A Job that failed for good is first marked as its target, so that its pods are gone when it says Failed.
        template = '{range .status.conditions[?(@.status=="True")]}{.type} {end}'
        kinds = kubectl("get", "job", job, place, f"--output=jsonpath={template}").split()
        return next((kind for kind in ("Complete", "Failed") if kind in kinds), "")

    try:
        kind = wait_for(ended, seconds, f"Job {namespace}/{job} to end")
    except WaitError as error:
        message = f"{error}\n{_words(job, place)}"
        raise JobError(message) from error
    if kind == "Failed":
        message = f"Job {namespace}/{job} failed:\n{_words(job, place)}"
        raise JobError(message)


def _words(job: str, place: str) -> str:
    """Return the last words of a Job's containers, and what the API server says of it."""
    selector = f"--field-selector=involvedObject.name={job}"
    try:
        logs = kubectl("logs", f"job/{job}", place, "--all-containers", "--prefix", "--tail=20", "--ignore-errors")
        events = kubectl("get", "events", place, selector, "--output=custom-columns=:message")
    except ClusterError as error:
        return f"what it said cannot be read: {error}"
    return f"{logs}{events}".strip()
