"""The tenancy matrix: what each identity may do in each namespace, by real attempts of which nothing is kept."""

import json
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any

from constructs.environment import Environment
from stacks.cluster import kubectl

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
KINDS = frozenset({"ConfigMap", "Pod", "Role", "RoleBinding", "Secret"})
_INFRAS, _VIEWER, _ATLANTIS = "deployer-infra", "viewer", "atlantis"
# Where an account lies, if not in `iac`.
_PLACES = {_VIEWER: "kubernetes-dashboard"}
_MARK = "probe-"


class Right(Enum):
    """What an identity may do in a namespace."""

    WRITES = "writes"
    READS = "reads"
    REFUSED = "refused"


LEGEND = (
    f"writes: makes, changes and reads {', '.join(f'{kind}s' for kind in sorted(KINDS))}; "
    "reads: all but Secrets, and changes nothing; refused: none of it"
)


@dataclass(frozen=True)
class Cell:
    """On which kinds an attempt came off."""

    made: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()

    @property
    def right(self) -> Right | None:
        """What that amounts to; None: none of the three."""
        if self == Cell(KINDS, KINDS, KINDS):
            return Right.WRITES
        if self == Cell(read=KINDS - {"Secret"}):
            return Right.READS
        return Right.REFUSED if self == Cell() else None

    def __str__(self) -> str:
        if self.right is not None:
            return self.right.value
        return f"{len(self.made)}, {len(self.changed)}, {len(self.read)} of {len(KINDS)}"

    def details(self) -> str:
        """Return what came off, kind by kind."""
        deeds = (("makes", self.made), ("changes", self.changed), ("reads", self.read))
        return " and ".join(f"{deed} {', '.join(sorted(kinds))}" for deed, kinds in deeds if kinds) or "may do nothing"


# By identity and namespace.
Matrix = Mapping[str, Mapping[str, Cell]]


def account(name: str, namespace: str = "iac") -> str:
    """Return an account as the API server calls it."""
    return f"system:serviceaccount:{namespace}:{name}"


def pod(name: str = "probe", **spec: object) -> Object:
    """Return a pod that every Pod Security level and quota admits."""
    container = {
        "name": "main",
        "image": "example.com/none",
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"memory": "1Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


def probes(name: str = "probe", role: str = "probe") -> list[Object]:
    """Return one object of each kind that is tried; the binding is to a Role that is there."""
    return [
        pod(name),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "Role",
            "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        },
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        },
    ]


def listed(items: Sequence[Object]) -> str:
    """Return objects as one document."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def tried(identities: Sequence[str], namespaces: Sequence[str]) -> Matrix:
    """Return what each identity may do in each namespace. Raises `ClusterError`.

    Probes are made in every namespace, and left there: the cluster goes with them.
    """
    for identity in identities:
        # Nobody may do anything as an account that is not there.
        kubectl("get", "serviceaccount", identity, f"--namespace={_PLACES.get(identity, 'iac')}")
    there = listed([item for namespace in namespaces for item in _placed(namespace, f"{_MARK}{namespace}")])
    more = listed([item for namespace in namespaces for item in _placed(namespace, "another")])
    kubectl("create", "--filename=-", text=there, seconds=120)
    with ThreadPoolExecutor(max_workers=4) as pool:
        rows = pool.map(lambda identity: _row(identity, namespaces, there=there, more=more), identities)
        return dict(zip(identities, rows, strict=True))


def _placed(namespace: str, name: str) -> list[Object]:
    items = [item for item in probes(name, role=f"{_MARK}{namespace}") if item["kind"] != "Pod"]
    # Nobody schedules it, so on real nodes no image is pulled.
    items.append(pod(name, schedulerName="nobody"))
    return [item | {"metadata": {"name": name, "namespace": namespace}} for item in items]


def _row(identity: str, namespaces: Sequence[str], *, there: str, more: str) -> Mapping[str, Cell]:
    made = _came_off(identity, "create", text=more)
    changed = _came_off(identity, "label", "touched=yes", text=there)
    read = _read(identity, there)
    return {name: Cell(_kinds(made, name), _kinds(changed, name), _kinds(read, name)) for name in namespaces}


def _came_off(identity: str, verb: str, *arguments: str, text: str) -> set[tuple[str, str]]:
    """Return on which kinds in which namespaces a deed comes off."""
    template = '--output=jsonpath={.kind} {.metadata.namespace}{"\\n"}'
    done = _attempt(identity, verb, *arguments, "--dry-run=server", template, text=text)
    return {(kind, namespace) for kind, _, namespace in (line.partition(" ") for line in done.splitlines())}


def _read(identity: str, text: str) -> set[tuple[str, str]]:
    """Return which kinds in which namespaces may be read. This form of output alone prints some if not all are."""
    done = _attempt(identity, "get", "--no-headers", "--show-kind", text=text)
    words = (line.split()[0].partition("/") for line in done.splitlines() if line.strip())
    known = {kind.lower(): kind for kind in KINDS}
    return {(known[kind.partition(".")[0]], name.removeprefix(_MARK)) for kind, _, name in words}


def _attempt(identity: str, *arguments: str, text: str) -> str:
    """Return what kubectl prints for an identity; what is refused is not in it."""
    who = account(identity, _PLACES.get(identity, "iac"))
    command = ["kubectl", f"--as={who}", *arguments, "--filename=-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300).stdout  # noqa: S603


def _kinds(found: Collection[tuple[str, str]], namespace: str) -> frozenset[str]:
    return frozenset(kind for kind, place in found if place == namespace)


def identities_of(environments: Sequence[str], components: Sequence[str]) -> list[str]:
    """Return the identities that are tried: who deploys, who looks, and who only acts as others."""
    deployers = [_INFRAS, *(f"deployer-{name}" for name in environments)]
    return [*deployers, _VIEWER, *([_ATLANTIS] if "atlantis" in components else [])]


def expected(identity: str, namespace: str, environments: Sequence[str]) -> Right:
    """Return what an identity may do in a namespace as it is promised."""
    if identity == _INFRAS:
        return Right.WRITES
    if identity == _VIEWER:
        return Right.READS
    for name in environments:
        home = Environment(name, "")
        if identity == f"deployer-{name}" and namespace in (home.data_namespace, home.monitoring_namespace):
            return Right.WRITES
    return Right.REFUSED


def broken(matrix: Matrix, environments: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each cell that is not as it is promised."""
    for identity, cells in matrix.items():
        for namespace, cell in cells.items():
            promised = expected(identity, namespace, environments)
            if cell.right is not promised:
                yield f"{identity} in {namespace} should be: {promised.value}; it {cell.details()}"


def table(matrix: Matrix) -> Iterator[str]:
    """Yield the lines of the matrix: a namespace in each, an identity in each column."""
    namespaces = sorted({namespace for cells in matrix.values() for namespace in cells})
    first = max(len(namespace) for namespace in namespaces)
    widths = {
        identity: max(len(identity), *(len(str(cell)) for cell in cells.values())) for identity, cells in matrix.items()
    }
    yield "  ".join(["".ljust(first), *(identity.ljust(width) for identity, width in widths.items())]).rstrip()
    for namespace in namespaces:
        cells = [str(matrix[identity][namespace]).ljust(width) for identity, width in widths.items()]
        yield "  ".join([namespace.ljust(first), *cells]).rstrip()
