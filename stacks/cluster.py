"""The cluster of KUBECONFIG, asked by kubectl: in the context of TF_VAR_kube_context, if that is given."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class ClusterError(Exception):
    """The API server gave no answer, or refused; the message is kubectl's."""


class WaitError(ClusterError):
    """What was waited for did not come in time."""


def _kubectl() -> list[str]:
    context = os.environ.get("TF_VAR_kube_context")  # noqa: SIM112 (Terraform's name)
    return ["kubectl", *([f"--context={context}"] if context else [])]


def kubectl(*arguments: str, text: str | None = None, seconds: int = 20) -> str:
    """Return what kubectl prints, waiting for at most so many seconds. Raises `ClusterError`."""
    command = [*_kubectl(), f"--request-timeout={seconds // 2}s", *arguments]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=seconds)  # noqa: S603
    except FileNotFoundError as error:
        message = "kubectl is not on the PATH"
        raise ClusterError(message) from error
    except subprocess.TimeoutExpired as error:
        message = f"kubectl got no answer within {seconds} seconds"
        raise ClusterError(message) from error
    if done.returncode != 0:
        raise ClusterError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


@contextmanager
def forwarded(target: str, namespace: str, port: int) -> Iterator[int]:
    """Lead a free port of this machine to a port of `service/<name>` or `pod/<name>`, and yield it.

    Raises `ClusterError`.
    """
    command = [*_kubectl(), "port-forward", f"--namespace={namespace}", "--address=127.0.0.1", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            # Where it cannot, it ends, and so does the line.
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"127\.0\.0\.1:([0-9]+)", line)
            if found is None:
                process.terminate()
                raise ClusterError(process.communicate()[1].strip() or f"kubectl does not lead to {target}")
            yield int(found[1])
        finally:
            process.terminate()


def objects(kind: str, namespace: str, *arguments: str) -> Sequence[dict[str, Any]]:
    """Return the objects of a kind in a namespace that are not on their way out. Raises `ClusterError`."""
    found = json.loads(kubectl("get", kind, f"--namespace={namespace}", "--output=json", *arguments))
    return [item for item in found["items"] if not item["metadata"].get("deletionTimestamp")]


def wait_for(look: Callable[[], str], seconds: int, words: str) -> str:
    """Look every two seconds until there is something, and return it. Raises `WaitError` and `ClusterError`."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            message = f"waited {seconds} seconds for {words}, in vain"
            raise WaitError(message)
        time.sleep(2)
    return found
