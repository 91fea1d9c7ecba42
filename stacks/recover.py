"""Recovery: what an apply that was killed has left is taken into the state, and the apply is done again.

Terraform that is killed has no time to write down what it just made, and Helm none to say how a release ended. Both
then refuse to go on: "already exists", "cannot re-use a name that is still in use", "another operation is in progress".
`make recover` finds out what was left, says it, and applies with it taken into the state.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stacks.cluster import ClusterError, kubectl
from stacks.terraform import advices, run

_ROOT = Path(__file__).resolve().parent.parent
# Terraform reads it beside the stack's own JSON, for as long as the recovery takes.
_IMPORTS = "recover.tf.json"
_PENDING = ("pending-install", "pending-rollback", "pending-upgrade")
# A generated secret that is older was not left by the apply that was just killed: its readers have it.
_RECENT = timedelta(hours=1)


class RecoveryError(Exception):
    """What cannot be recovered; the message says why and what to do."""


@dataclass(frozen=True)
class Planned:
    """A resource of the stack: what it is in the cluster, and whether Terraform would make it."""

    address: str
    kind: str
    name: str
    namespace: str
    is_new: bool

    @property
    def id(self) -> str:
        """Return what Terraform's providers call it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def place(self) -> tuple[str, ...]:
        """Return kubectl's words for where it is."""
        return (f"--namespace={self.namespace}",) if self.namespace else ()


@dataclass(frozen=True)
class Remains:
    """What was left behind: what is to be imported, and what kubectl is to delete first, each with the reason."""

    imports: Sequence[Planned]
    deletions: Mapping[tuple[str, ...], str]


def planned(plan: Mapping[str, Any]) -> list[Planned]:
    """Return the resources of a plan that lie in the cluster, from what `terraform show -json` prints."""
    return [item for change in plan.get("resource_changes", []) for item in _planned(change)]


def _planned(change: Mapping[str, Any]) -> Iterator[Planned]:
    provider, _, rest = change["type"].partition("_")
    after = change["change"].get("after") or {}
    is_new = change["change"]["actions"] == ["create"]
    if provider == "helm":
        yield Planned(change["address"], "release", after["name"], after["namespace"], is_new)
    elif provider == "kubernetes" and after:
        metadata = after["metadata"][0]
        kind = rest.removesuffix("_v1").replace("_", "")
        yield Planned(change["address"], kind, metadata["name"], metadata.get("namespace") or "", is_new)


def remains(resources: Sequence[Planned], now: datetime) -> Remains:
    """Ask the cluster which of the resources an apply has left behind. Raises `ClusterError` and `RecoveryError`."""
    imports: list[Planned] = []
    deletions: dict[tuple[str, ...], str] = {}
    for item in resources:
        if item.kind == "release":
            revisions = _revisions(item)
            broken = [name for name, status in revisions.items() if status in _PENDING]
            if item.is_new and "deployed" not in revisions.values():
                # Helm takes over the objects of a release that it is about to make: they carry its name.
                broken = list(revisions)
            for name in broken:
                deletions["secret", name, *item.place] = f"release {item.id} is {revisions[name]}"
            if item.is_new and len(broken) < len(revisions):
                imports.append(item)
        elif item.is_new and (made := _made(item)) is not None:
            if item.kind != "secret":
                imports.append(item)
                continue
            # Terraform would read an imported Secret into its state.
            if now - made > _RECENT:
                message = (
                    f"Secret {item.id} is there since {made:%Y-%m-%d %H:%M} UTC, longer than any apply, but not in the "
                    f"state. Nothing was changed. Bring the state back (docs/how-to/state.md); or delete the Secret, "
                    "and the next apply draws another: what read it must then be restarted"
                )
                raise RecoveryError(message)
            deletions["secret", item.name, *item.place] = f"Secret {item.id} is drawn again"
    return Remains(imports, deletions)


def _revisions(release: Planned) -> dict[str, str]:
    """Return Helm's Secrets of a release with the status of each revision."""
    found = kubectl("get", "secrets", *release.place, f"--selector=owner=helm,name={release.name}", "--output=json")
    items = json.loads(found)["items"]
    return {item["metadata"]["name"]: item["metadata"]["labels"]["status"] for item in items}


def _made(item: Planned) -> datetime | None:
    """Return since when an object is in the cluster; None: it is not there."""
    template = "jsonpath={.metadata.creationTimestamp}"
    found = kubectl("get", item.kind, item.name, *item.place, "--ignore-not-found", f"--output={template}")
    return datetime.fromisoformat(found) if found else None


def recover(folder: Path, terraform: str, arguments: Sequence[str]) -> int:
    """Take what was left behind into the state of the stack in `folder`, and apply it; return Terraform's exit status.

    Raises `ClusterError` and `RecoveryError`.
    """
    imports = folder / _IMPORTS
    imports.unlink(missing_ok=True)
    found = remains(planned(_plan(folder, terraform, [word for word in arguments if word.startswith("-var")])), _now())
    for item in found.imports:
        sys.stdout.write(f"left behind, to be taken into the state: {item.kind} {item.id}\n")
    for words, reason in found.deletions.items():
        sys.stdout.write(f"left behind, to be deleted: {words[0]} {words[1]} ({reason})\n")
    if found.deletions and "-auto-approve" not in arguments:
        _ask("Nobody else may be applying this stack now. Delete the above? Only 'yes' will be accepted: ")
    for words in found.deletions:
        kubectl("delete", *words)
    blocks = [{"to": item.address, "id": item.id} for item in found.imports]
    try:
        if blocks:
            imports.write_text(json.dumps({"import": blocks}, indent=2), encoding="utf-8")
        return run(folder, terraform, ["apply", "-input=true", *arguments])
    finally:
        imports.unlink(missing_ok=True)


def _plan(folder: Path, terraform: str, variables: Sequence[str]) -> dict[str, Any]:
    """Return a plan as JSON. No value of an ephemeral or write-only argument is in one."""
    with tempfile.TemporaryDirectory() as scratch:
        file = str(Path(scratch, "plan"))
        for command in (["plan", "-input=false", f"-out={file}", *variables], ["show", "-json", file]):
            done = subprocess.run([terraform, *command], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode != 0:
                words = [done.stderr.strip(), *advices(done.stderr, folder.name)]
                raise RecoveryError("\n\n".join(words))
        content: dict[str, Any] = json.loads(done.stdout)
        return content


def _ask(question: str) -> None:
    if input(question) != "yes":
        message = "Nothing was changed."
        raise RecoveryError(message)


def _now() -> datetime:
    return datetime.now(UTC)


def main(stack: str, terraform: str, *arguments: str) -> int:
    """Recover one stack; return the process's exit status."""
    try:
        return recover(_ROOT / "terraform" / "stacks" / stack, terraform, arguments)
    except (ClusterError, RecoveryError, EOFError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
