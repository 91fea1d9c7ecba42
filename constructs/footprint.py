"""Footprint: what a system's pods ask of the cluster, as a quota counts it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Footprint:
    """Pods of one kind: how many there are at once, and what each asks for, all its containers together."""

    name: str
    pods: int
    cpu: int
    """Requested, in thousandths of a core."""
    memory: int
    """Requested, in MiB."""
    memory_limit: int
    """At most, in MiB."""
    storage: int = 0
    """Of each pod's volumes, in MiB."""
