"""Terraform, run for one stack as `make plan` and `make apply` do; where it fails, what that means and what to do.

Terraform and Helm name a symptom: "context deadline exceeded", "already exists". Why a pod was not made, or who holds a
lock, the cluster knows: its warnings are printed while Terraform waits, and once more when it has failed.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from stacks.cluster import ClusterError, kubectl

_ROOT = Path(__file__).resolve().parent.parent
# Colours, and the frame around each of Terraform's errors.
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|[│╷╵]")
# How often the cluster is asked for warnings while Terraform waits, in seconds.
_PAUSE = 15
# How many of the cluster's warnings are printed in the end: the newest.
_MOST = 15


@dataclass(frozen=True)
class Fault:
    """A kind of failure: the words, in any case, by which it is known, and what to tell a person of it.

    `advice` may name `{stack}`, `{act}` (who acts on the cluster), `{folder}` and the pattern's own groups.
    """

    pattern: str
    advice: str


# What Terraform says when it fails; of each error the first that fits.
FAULTS = (
    Fault(
        r"errored\.tfstate",
        "What was made last could not be written to the state: it is in {folder}/errored.tfstate. Keep that file, and "
        "apply nothing before it is where it belongs. When the cluster answers:\n"
        "  {act} terraform -chdir={folder} state push errored.tfstate\n"
        "  make apply ENV={stack}",
    ),
    Fault(
        r"acquiring the state lock.*resource temporarily unavailable",
        "Somebody is at work on this stack in this checkout: wait until they are done. Nothing was changed. This lock "
        "ends with its process, it is never left behind.",
    ),
    Fault(
        r"acquiring the state lock.*\bid: +(?P<id>[0-9a-z-]+)",
        "The state is locked by who is named above, and nothing was changed. If they are applying, wait until they are "
        "done. Only if that apply was killed, and you know it, give the lock back and recover:\n"
        "  {act} terraform -chdir={folder} force-unlock {id}\n"
        "  make recover ENV={stack}",
    ),
    Fault(
        r"cannot impersonate resource",
        "You may not act as deployer-{stack} any more. What was made until then is in the state. Somebody who "
        "administers the cluster lets you again (make plan ENV={stack} says how); then: make apply ENV={stack}",
    ),
    Fault(
        r"unauthorized|must be logged in|asked for the client to provide credentials|getting credentials: exec",
        "The API server does not take the credentials of KUBECONFIG (any more): a token has ended, or was withdrawn. "
        "Sign in again, or get a new kubeconfig; then: make apply ENV={stack}",
    ),
    Fault(
        r"certificate has expired or is not yet valid",
        "A certificate is not valid at the time of this machine: compare its clock with the server's (date -u). If "
        "they agree, K3s renews its own when it starts again (systemctl restart k3s). Then: make apply ENV={stack}",
    ),
    Fault(
        r'failed calling webhook "(?P<webhook>[^"]+)"',
        "The API server asks the webhook {webhook} about such an object, and had no answer: its pods are not there, "
        "not ready, or not reachable. Look at them (kubectl get pods --all-namespaces; cert-manager's are in "
        "kube-system, CloudNativePG's in iac). When they are ready: make apply ENV={stack}",
    ),
    Fault(
        r"namespace (?P<namespace>[a-z0-9-]+) because it is being terminated",
        "Somebody has deleted the namespace {namespace}, and as long as something keeps it nothing can be made in it. "
        "What keeps it is in its conditions:\n"
        "  kubectl get namespace {namespace} --output=jsonpath='{{.status.conditions}}'\n"
        "When it is gone, infra makes it again: make apply ENV=infra; then: make apply ENV={stack}",
    ),
    Fault(
        r'namespaces "(?P<namespace>[a-z0-9-]+)" not found',
        "The namespace {namespace} is not there. infra makes it: make apply ENV=infra; then: make apply ENV={stack}",
    ),
    Fault(
        r"(locat|load)ing chart|unable to (locate|load) chart|download(ing)? chart",
        "The chart could not be had from where it is named above; its release is as it was. Away: try again later, or "
        "from a mirror (chart_mirror). Not found, or cut off in the middle: fetch it into the mirror again "
        "(docs/how-to/air-gapped.md). Then: make apply ENV={stack}",
    ),
    Fault(
        r"already exists|cannot re-use a name that is still in use|another operation \(install/upgrade/rollback\)",
        "An earlier apply was killed and has left this behind, or another is at work right now. Be sure that nobody "
        "else is applying this stack, then: make recover ENV={stack}",
    ),
    Fault(
        r"exceeded quota",
        "The namespace's quota is used up, its numbers are above. make budget ENV={stack} says what the stack needs; "
        "kubectl describe quota --all-namespaces, what is used. Make room, or raise quotas in envs/infra.tfvars and "
        "make apply ENV=infra. Then: make apply ENV={stack}",
    ),
    Fault(
        r"connection refused|connection reset|connection lost|network is unreachable|no route to host|no such host"
        r"|i/o timeout|tls handshake timeout|etcdserver|cluster unreachable|unexpected eof|\beof\b|apiserver not ready"
        r"|unable to handle the request|server is currently unable",
        "The API server did not answer. Wait until it does (kubectl get --raw=/readyz says ok), then apply again: what "
        "was made is in the state. If that says that a release is in use or in progress: make recover ENV={stack}",
    ),
    Fault(
        r"context deadline exceeded|timed out waiting|would exceed context deadline",
        "A release was not ready in its time, and was undone. Why it was not ready is in the cluster's warnings below; "
        "mend that, then: make apply ENV={stack}",
    ),
)
# What the cluster's warnings say of pods that will not come by themselves.
WARNINGS = (
    Fault(
        r"exceeded quota",
        "The quota of {namespace} is used up: its numbers are above. What uses it: kubectl get pods "
        "--namespace={namespace}; what the stack needs: make budget ENV={stack}. Make room there, or raise quotas in "
        "envs/infra.tfvars and make apply ENV=infra: the pods then come by themselves within minutes.",
    ),
    Fault(
        r"insufficient (?P<what>cpu|memory|pods|ephemeral-storage)",
        "No node has enough {what} left for the pods above: ask for less in envs/{stack}.tfvars, or add a node "
        "(make budget says how large).",
    ),
    Fault(
        r"violates podsecurity",
        "The namespace {namespace} refuses such pods, whoever makes them: see docs/reference/systems/tenancy.md.",
    ),
    Fault(
        r"validatingadmissionpolicy",
        "A policy of the platform refuses these pods, and says why: see docs/reference/systems/tenancy.md.",
    ),
    Fault(
        r"errimagepull|imagepullbackoff|failed to pull image",
        "A node cannot fetch the image: see which above, and whether its registry is reached from the node "
        "(docs/how-to/air-gapped.md).",
    ),
    Fault(
        r'secret "(?P<secret>[^"]+)" not found',
        "The Secret {secret} is missing in {namespace}: make secrets ENV={stack} asks for those that people supply.",
    ),
)


@dataclass(frozen=True)
class Warned:
    """A warning of the cluster, with how often it was given until now."""

    namespace: str
    thing: str
    reason: str
    message: str
    count: int

    def line(self) -> str:
        """Return it as one line."""
        return f"{self.namespace}: {self.thing}: {self.reason}: {self.message}"


@dataclass
class Watch:
    """The cluster's warnings since an apply began, in the namespaces of its stack.

    They are told apart by the events themselves: the cluster's clock may be another.
    """

    stack: str
    namespaces: Sequence[str]
    _before: Mapping[str, Warned] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Take what is there already for old."""
        self._before = self._all()

    def warnings(self) -> list[Warned]:
        """Return the new ones, oldest first. Raises `ClusterError`."""
        found = self._all()
        return [item for uid, item in found.items() if self._before.get(uid) != item]

    def untold(self) -> Iterator[str]:
        """Yield each new one once that does not pass by itself, with what to do. Raises `ClusterError`."""
        for item in self.warnings():
            advice = self.advice(item)
            # A controller that tries again may name another pod and other numbers.
            key = f"{item.namespace} {item.thing} {advice}"
            if advice and key not in self._told:
                self._told.add(key)
                yield f"{item.line()}\n  {advice}"

    def advice(self, item: Warned) -> str:
        """Return what to do about a warning; nothing where it may pass by itself."""
        return _advice(WARNINGS, item.line(), stack=self.stack, namespace=item.namespace)

    def _all(self) -> dict[str, Warned]:
        items: list[dict[str, Any]] = []
        for namespace in self.namespaces:
            place = (f"--namespace={namespace}", "--field-selector=type=Warning", "--output=json")
            items += json.loads(kubectl("get", "events", *place))["items"]
        items.sort(key=lambda item: item.get("lastTimestamp") or item.get("eventTime") or "")
        return {item["metadata"]["uid"]: _warned(item) for item in items}


def _warned(event: Mapping[str, Any]) -> Warned:
    about = event["involvedObject"]
    series = event.get("series") or {}
    return Warned(
        event["metadata"]["namespace"],
        f"{about.get('kind', '')} {about.get('name', '')}".strip(),
        event.get("reason") or "",
        " ".join((event.get("message") or "").split()),
        series.get("count") or event.get("count") or 1,
    )


def advices(words: str, stack: str) -> list[str]:
    """Return what to do about what Terraform said, each once, in its order."""
    errors = re.split(r"(?:^|\n)\s*Error: ", _DECORATION.sub("", words))[1:]
    act = "scripts/as-administrator" if stack == "infra" else f"scripts/as-deployer {stack}"
    folder = f"terraform/stacks/{stack}"
    found = [_advice(FAULTS, error, stack=stack, act=act, folder=folder) for error in errors]
    return list(dict.fromkeys(advice for advice in found if advice))


def _advice(faults: Sequence[Fault], words: str, **names: str) -> str:
    """Return what to do about the first fault that fits some words; nothing where none does."""
    # Terraform breaks lines anywhere.
    text = " ".join(words.split())
    for fault in faults:
        if match := re.search(fault.pattern, text, re.IGNORECASE):
            return fault.advice.format(**{**names, **{key: value or "" for key, value in match.groupdict().items()}})
    return ""


def namespaces(folder: Path) -> list[str]:
    """Return the namespaces that the JSON of a stack names."""
    stack = json.loads((folder / "cdk.tf.json").read_text(encoding="utf-8"))
    return sorted(set(_namespaces(stack["resource"])))


def _namespaces(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        name = value.get("namespace")
        if isinstance(name, str) and "${" not in name:
            yield name
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _namespaces(item)


def run(folder: Path, terraform: str, arguments: Sequence[str]) -> int:
    """Run a command of Terraform in the folder of a stack, explain it if it fails, and return its exit status."""
    watch = Watch(folder.name, namespaces(folder))
    with suppress(ClusterError):
        watch.begin()
    ended = threading.Event()
    watching = threading.Thread(target=_tell, args=(watch, ended), daemon=True)
    with _patience(), subprocess.Popen([terraform, *arguments], cwd=folder, stderr=subprocess.PIPE) as process:  # noqa: S603
        watching.start()
        said = _echo(process.stderr) if process.stderr else ""
    ended.set()
    watching.join()
    if process.returncode != 0:
        _explain(said, watch)
    return process.returncode


@contextmanager
def _patience() -> Iterator[None]:
    """Outlive a signal to the whole group, such as Ctrl-C: Terraform has it too, and ends by itself after it.

    It is not passed on: at a second one Terraform would end without writing its state.
    """
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _echo(stream: IO[bytes]) -> str:
    """Pass on what a program says, as it says it, and return it."""
    said = b""
    while part := os.read(stream.fileno(), 4096):
        sys.stderr.buffer.write(part)
        sys.stderr.buffer.flush()
        said += part
    return said.decode(errors="replace")


def _tell(watch: Watch, ended: threading.Event) -> None:
    while not ended.wait(_PAUSE):
        with suppress(ClusterError):
            for words in watch.untold():
                sys.stderr.write(f"\nThe cluster says: {words}\n\n")


def _explain(said: str, watch: Watch) -> None:
    if found := advices(said, watch.stack):
        sys.stderr.write("\nWhat this means, and what to do:\n\n" + "\n\n".join(found) + "\n")
    try:
        warnings = watch.warnings()[-_MOST:]
    except ClusterError as error:
        sys.stderr.write(f"\nThe cluster was not asked for its warnings: {error}\n")
        return
    if warnings:
        sys.stderr.write(f"\nThe cluster's warnings meanwhile, in {', '.join(watch.namespaces)}:\n\n")
        sys.stderr.writelines(f"  {line}\n" for line in dict.fromkeys(item.line() for item in warnings))
        sys.stderr.writelines(f"\n{advice}\n" for advice in dict.fromkeys(map(watch.advice, warnings)) if advice)


def main(stack: str, terraform: str, *arguments: str) -> int:
    """Run a command of Terraform for one stack; return its exit status."""
    folder = Path("terraform", "stacks", stack)
    sys.stdout.write(f"{shlex.join([terraform, f'-chdir={folder}', *arguments])}\n")
    sys.stdout.flush()
    return run(_ROOT / folder, terraform, arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
