"""Footprint: what a system's pods ask of the cluster, as a quota counts it.

Each system has a function `footprints` beside its construct, which returns one for every kind of pod that it makes.
tests/test_footprints.py holds them to what Terraform and Helm make of the same settings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from constructs.settings import mebibytes_of

# A container's `resources`, in Kubernetes' own form.
Resources = Mapping[str, Mapping[str, str]]

# What stands in, in an environment, for what a container leaves out: tenancy makes its LimitRange of it.
DEFAULT_RESOURCES: Resources = {"requests": {"cpu": "25m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


@dataclass(frozen=True)
class Amount:
    """How much of everything that a quota counts; of CPU there is no limit, it would only throttle."""

    pods: int = 0
    cpu: int = 0
    """Requested, in thousandths of a core."""
    memory: int = 0
    """Requested, in MiB."""
    memory_limit: int = 0
    """At most, in MiB."""
    storage: int = 0
    """Of all volumes, in MiB."""

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Footprint:
    """Pods of one kind, called after the object that makes them: how many there are, and what each asks for."""

    name: str
    cpu: int
    """Each pod's request, in thousandths of a core."""
    memory: int
    """Each pod's request, in MiB."""
    memory_limit: int
    """What each pod has at most, in MiB."""
    pods: int = 1
    """How many there always are."""
    at_times: int = 0
    """How many there are beside them now and then: a Job's, a schedule's, or the new ones of a rolling update."""
    storage: int = 0
    """All their volumes, in MiB; these stay, whether a pod runs or not."""

    def always(self) -> Amount:
        """Return what they ask for all the time."""
        return self._amount(self.pods)

    def at_most(self) -> Amount:
        """Return what they ask for in the worst moment."""
        return self._amount(self.pods + self.at_times)

    def _amount(self, pods: int) -> Amount:
        return Amount(pods, pods * self.cpu, pods * self.memory, pods * self.memory_limit, self.storage)


def footprint(
    name: str,
    *containers: Resources,
    init: Sequence[Resources] = (),
    pods: int = 1,
    at_times: int = 0,
    volumes: Sequence[str] = (),
) -> Footprint:
    """Return the footprint of pods with these containers; `volumes` are the sizes of all volumes of all pods.

    As Kubernetes counts: `init` run one after the other and before the rest, so the pod asks for the largest of them or
    for the sum of `containers`. A sidecar that is an init container which always restarts is one of `containers`.
    """
    together = [sum(amounts) for amounts in zip(*(_container(item) for item in containers), strict=True)]
    cpu, memory, memory_limit = (max(amounts) for amounts in zip(together, *map(_container, init), strict=True))
    storage = sum(mebibytes_of(size) for size in volumes)
    return Footprint(name, cpu, memory, memory_limit, pods=pods, at_times=at_times, storage=storage)


def surge(replicas: int) -> int:
    """Return how many new pods a rolling update of a Deployment starts before it stops old ones: a quarter, at least 1.

    It is Kubernetes' own default (`maxSurge`). A StatefulSet starts none, nor does the strategy `Recreate`.
    """
    return -(-replicas // 4)


def total(amounts: Iterable[Amount]) -> Amount:
    """Return the sum."""
    return sum(amounts, start=Amount())


def millicores_of(cpu: str) -> int:
    """Return CPU cores, `2` or `500m`, in thousandths."""
    return int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000


def _container(resources: Resources) -> tuple[int, int, int]:
    """Return a container's CPU, memory, and limit of memory."""
    stated = resources.get("limits", {})
    # Who states a limit only requests as much.
    requests = {**DEFAULT_RESOURCES["requests"], **stated, **resources.get("requests", {})}
    limits = {**DEFAULT_RESOURCES["limits"], **stated}
    return millicores_of(requests["cpu"]), mebibytes_of(requests["memory"]), mebibytes_of(limits["memory"])
