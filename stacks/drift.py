"""Drift: what in the cluster is no longer as a stack's last apply left it.

Terraform finds what became of the objects that it made itself. Of what a chart made it knows nothing: an object that
somebody edited or deleted plans as "No changes". So every release is compared with what Helm keeps of it, object by
object: the API server says, without doing it, what each would be if the chart's own text were applied to it now.
"""

import base64
import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constructs.deletion_lock import DELETE_ANNOTATION
from stacks.cluster import ClusterError, kubectl
from stacks.comparison import differences

_ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 120
_MANAGER = "strata-drift"
_DRY_RUN = ("--server-side", "--dry-run=server", "--force-conflicts", f"--field-manager={_MANAGER}")
# As whom people write: with kubectl, and with a browser. A restart is an annotation, and no drift; a lock is opened so.
_PEOPLE, _RESTART, _OPENED = ("kubectl", "Mozilla"), "kubectl-rollout", f"metadata.annotations.{DELETE_ANNOTATION}"
# What the API server counts, and what it puts in itself.
_BOOKKEEPING = ("generation", "managedFields", "resourceVersion")
_COUNTED = {"metadata.generation", "metadata.resource_version"}
# A certificate authority is put into webhooks by who has made it, wherever a chart leaves a place for it.
_PUT_IN = "caBundle"
_SECRETS = ("Secret", "kubernetes_secret_v1")
_HIDDEN = ("binary_data", "data", "data_wo", "stringData")
_INDEX = re.compile(r"\[[^]]*]")
CLEAN, FAILED, DRIFTED = 0, 1, 2

Object = dict[str, Any]


class DriftError(Exception):
    """What cannot be compared; the message says why and what to do."""


@dataclass(frozen=True)
class Drift:
    """An object that is gone, or has other values: a line for each, the stack's first."""

    name: str
    is_gone: bool = False
    lines: Sequence[str] = ()

    def text(self) -> str:
        """Return what to show of it."""
        sign, words = ("-", "    deleted") if self.is_gone else ("~", "")
        lines = [f"      {line}\n" for text in self.lines for line in text.splitlines()]
        return f"  {sign} {self.name}{words}\n{''.join(lines)}"


# --- Terraform's ---


def plan(folder: Path, terraform: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return a plan as JSON: no value of an ephemeral or write-only argument is in one. Raises `DriftError`."""
    with tempfile.TemporaryDirectory() as scratch:
        file = str(Path(scratch, "plan"))
        for command in (["plan", "-input=false", f"-out={file}", *arguments], ["show", "-json", file]):
            line = [terraform, command[0], "-no-color", *command[1:]]
            done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode != 0:
                raise DriftError(done.stderr.strip())
        content: dict[str, Any] = json.loads(done.stdout)
    if not content.get("prior_state", {}).get("values"):
        message = "its state is empty: it was never applied, or the state is elsewhere (docs/how-to/state.md)"
        raise DriftError(message)
    return content


def of_terraform(plan: Mapping[str, Any]) -> Iterator[Drift]:
    """Yield the resources that somebody changed, and that an apply would bring back."""
    wanted = _pending(plan)
    for change in plan.get("resource_drift", ()):
        address, found = change["address"], change["change"]
        if address not in wanted:
            continue
        if found["actions"] == ["delete"]:
            yield Drift(address, is_gone=True)
            continue
        back = wanted[address]["change"]
        undone = {_attribute(item.path) for item in differences(_set(back["before"]), _set(back["after"]))}
        lines = [
            _line(change["type"], item.path, str(item))
            for item in differences(_set(found["before"]), _set(found["after"]))
            if _attribute(item.path) in undone - _COUNTED
        ]
        if lines:
            yield Drift(address, lines=lines)


def _attribute(path: str) -> str:
    """Return which attribute of a resource a path is in: a block and what stands in it."""
    return ".".join(_INDEX.sub("", path).split(".")[:2])


def _set(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """Return a value without what is not set in it: providers write that as null, and as an empty list or map."""
    if isinstance(value, dict):
        kept = {key: _set(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, {}, [])}
    return [_set(item) for item in value] if isinstance(value, list) else value


def waiting(plan: Mapping[str, Any], drifted: Sequence[Drift]) -> list[str]:
    """Return the addresses that an apply would change although nobody touched them."""
    names = {drift.name for drift in drifted}
    return [address for address in _pending(plan) if address not in names]


def _pending(plan: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    changes = plan.get("resource_changes", ())
    return {item["address"]: item for item in changes if item["change"]["actions"] not in (["no-op"], ["read"])}


def _line(kind: str, path: str, line: str) -> str:
    """Return what to show of a value that is different; of a Secret, only where it is."""
    is_hidden = kind in _SECRETS and path.partition(".")[0].partition("[")[0] in _HIDDEN
    return f"{path}: (secret)" if is_hidden else line


# --- Helm's ---


@dataclass(frozen=True)
class Release:
    """A release of the stack's state."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def releases(plan: Mapping[str, Any]) -> list[Release]:
    """Return the releases that are in the state, and in the cluster."""
    module = plan["prior_state"]["values"]["root_module"]
    values = [item["values"] for item in module.get("resources", ()) if item["type"] == "helm_release"]
    return [Release(item["name"], item["namespace"]) for item in values]


def manifest(release: Release) -> str:
    """Return what a release was made of, from the Secret that Helm keeps it in. Raises `DriftError`, `ClusterError`."""
    selector = f"--selector=owner=helm,name={release.name},status=deployed"
    found = kubectl("get", "secrets", f"--namespace={release.namespace}", selector, "--output=json", seconds=_SECONDS)
    items = json.loads(found)["items"]
    if not items:
        message = f"the release {release} has no revision that is deployed: make recover, or make apply"
        raise DriftError(message)
    newest = max(items, key=lambda item: int(item["metadata"]["labels"]["version"]))
    record = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(newest["data"]["release"]))))
    text: str = record.get("manifest", "")
    return text


def of_helm(release: Release) -> list[Drift]:
    """Return the objects of a release that are gone, or not as its chart says. Raises `DriftError`, `ClusterError`."""
    text = manifest(release)
    if not text.strip():
        return []
    place = f"--namespace={release.namespace}"
    words = ("--output=json", "--show-managed-fields", "--filename=-")
    live = _objects(kubectl("get", place, "--ignore-not-found", *words, text=text, seconds=_SECONDS))
    wanted = _objects(kubectl("apply", place, *_DRY_RUN, *words, text=text, seconds=_SECONDS))
    return [drift for key, item in wanted.items() if (drift := _compared(key, item, live.get(key))) is not None]


def _compared(name: str, wanted: Object, live: Object | None) -> Drift | None:
    if live is None:
        return Drift(name, is_gone=True)
    lines = [
        _line(wanted["kind"], item.path, str(item))
        for item in differences(_content(wanted), _content(live))
        if not item.path.endswith(_PUT_IN)
    ]
    lines += [f"{path}: set by hand, beside what the chart says" for path in _added(wanted, live)]
    return Drift(name, lines=lines) if lines else None


def _objects(text: str) -> dict[str, Object]:
    """Return the objects that kubectl prints, by their kinds and names."""
    found: Object = json.loads(text) if text.strip() else {"kind": "List", "items": []}
    items: Sequence[Object] = found["items"] if found["kind"] == "List" else [found]
    return {f"{item['kind']} {_place(item['metadata'])}": item for item in items}


def _place(metadata: Mapping[str, Any]) -> str:
    name: str = metadata["name"]
    return f"{metadata['namespace']}/{name}" if "namespace" in metadata else name


def _content(item: Object) -> Object:
    metadata = {key: value for key, value in item["metadata"].items() if key not in _BOOKKEEPING}
    return {**item, "metadata": metadata}


def _added(wanted: Object, live: Object) -> Sequence[str]:
    """Return the paths that a person has set, and the chart does not: applied again, it would leave them."""
    ours = {path for manager, fields in _owners(wanted) if manager == _MANAGER for path in _paths(fields)}
    theirs = {
        path
        for manager, fields in _owners(live)
        if manager.startswith(_PEOPLE) and manager != _RESTART
        for path in _paths(fields)
    }
    return sorted(theirs - ours - {_OPENED})


def _owners(item: Object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield who has set which fields, as the API server keeps it; a status is nobody's wish."""
    for entry in item["metadata"].get("managedFields", ()):
        if entry.get("subresource", "") != "status":
            yield entry.get("manager", ""), entry.get("fieldsV1", {})


def _paths(fields: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of a set of fields: `f:` is a key, `k:` an item of a list by its own keys, `v:` a value."""
    for key, inner in fields.items():
        sign, _, name = key.partition(":")
        if sign == "f":
            here = f"{path}.{name}" if path else name
        elif sign in ("k", "v"):
            keys = json.loads(name)
            here = f"{path}[{','.join(map(str, keys.values())) if isinstance(keys, dict) else keys}]"
        else:
            continue
        if set(inner) <= {"."}:
            yield here
        else:
            yield from _paths(inner, here)


# --- all of it ---


def report(stack: str, terraform: str, arguments: Sequence[str], root: Path = _ROOT) -> int:
    """Print what drifted in a stack; return the process's exit status. Raises `DriftError` and `ClusterError`."""
    _tell(f"planning {stack}")
    found = plan(root / "terraform" / "stacks" / stack, terraform, arguments)
    drifted = list(of_terraform(found))
    _section("Terraform's own objects", drifted)
    refused = []
    for release in releases(found):
        _tell(f"comparing the release {release}")
        try:
            objects = of_helm(release)
        except (ClusterError, DriftError) as error:
            refused.append(f"{release}: {error}")
            continue
        if objects:
            _section(f"the release {release}", objects)
        drifted += objects
    if pending := waiting(found, drifted):
        shown = f"{', '.join(pending[:5])}{', ...' if pending[5:] else ''}"
        sys.stdout.write(
            f"No drift, but waiting for an apply: {len(pending)} resources ({shown}): make plan ENV={stack}\n"
        )
    if refused:
        raise DriftError("\n".join(refused))
    if drifted:
        sys.stdout.write(f"{stack}: {len(drifted)} objects drifted. How they come back: docs/how-to/day-two.md#drift\n")
        return DRIFTED
    sys.stdout.write(f"{stack}: no drift\n")
    return CLEAN


def _section(title: str, drifted: Sequence[Drift]) -> None:
    words = f"{len(drifted)} drifted (applied -> found)" if drifted else "as they were applied"
    sys.stdout.write(f"{title}: {words}\n{''.join(drift.text() for drift in drifted)}")


def _tell(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def main(stack: str, terraform: str, *arguments: str) -> int:
    """Look for drift in one stack; return the process's exit status: 0 there is none, 2 there is, 1 nobody knows."""
    try:
        return report(stack, terraform, arguments)
    except (ClusterError, DriftError) as error:
        sys.stderr.write(f"{error}\n")
        return FAILED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
