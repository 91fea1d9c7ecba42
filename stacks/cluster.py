"""The cluster of KUBECONFIG, asked by kubectl: in the context of TF_VAR_kube_context, if that is given."""

import os
import subprocess


class ClusterError(Exception):
    """The API server gave no answer, or refused; the message is kubectl's."""


def kubectl(*arguments: str, text: str | None = None) -> str:
    """Return what kubectl prints, waiting for at most 20 seconds. Raises `ClusterError`."""
    context = os.environ.get("TF_VAR_kube_context")
    chosen = [f"--context={context}"] if context else []
    command = ["kubectl", *chosen, "--request-timeout=10s", *arguments]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    except FileNotFoundError as error:
        message = "kubectl is not on the PATH"
        raise ClusterError(message) from error
    except subprocess.TimeoutExpired as error:
        message = "kubectl got no answer within 20 seconds"
        raise ClusterError(message) from error
    if done.returncode != 0:
        raise ClusterError(done.stderr.strip() or done.stdout.strip())
    return done.stdout
