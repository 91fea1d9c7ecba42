"""A teardown: the deliberate way to take an environment down, with a last backup, and its name typed by a person.

The deletion lock keeps everybody else from it: here each object that it guards is named, opened and deleted.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constructs.deletion_lock import DELETE_ANNOTATION, LOCK_NAME, PROTECTED_LABEL
from stacks.backup import back_up, namespaces_of
from stacks.cluster import ClusterError, kubectl, objects
from stacks.project import ProjectError, environment_of, load

_ROOT = Path(__file__).resolve().parent.parent
_CLUSTERS = "clusters.postgresql.cnpg.io"
_VOLUMES = "persistentvolumeclaims"


class TeardownError(Exception):
    """What is not taken down; the message says why and what to do."""


@dataclass(frozen=True)
class Guarded:
    """An object that the API server deletes only after an annotation with its own name."""

    kind: str
    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.kind.partition('.')[0]} {self.namespace}/{self.name}"

    @property
    def _place(self) -> tuple[str, str, str]:
        return self.kind, self.name, f"--namespace={self.namespace}"

    def unlock(self) -> None:
        """Name it. Raises `ClusterError`."""
        kubectl("annotate", *self._place, f"{DELETE_ANNOTATION}={self.name}", "--overwrite")

    def delete(self) -> None:
        """Name it and delete it. Raises `ClusterError`."""
        self.unlock()
        kubectl("delete", *self._place, "--ignore-not-found", "--wait=false")


@dataclass(frozen=True)
class Standing:
    """What stands of an environment: what guards its stack, and the volumes in its namespaces with their sizes."""

    guards: Sequence[Guarded]
    volumes: Sequence[tuple[Guarded, str]]


def standing(name: str) -> Standing:
    """Ask the cluster what stands of an environment. Raises `ClusterError`."""
    guards: list[Guarded] = []
    volumes: list[tuple[Guarded, str]] = []
    for namespace in namespaces_of(name):
        # What carries the platform's label is infra's, and stays.
        config_maps = _guarded("configmaps", namespace, "--selector=!strata/platform")
        guards += [guarded for guarded, _ in config_maps if guarded.name.startswith(f"{LOCK_NAME}-")]
        guards += [guarded for guarded, _ in _guarded(_CLUSTERS, namespace)]
        guards += [guarded for guarded, _ in _guarded("secrets", namespace, f"--selector={PROTECTED_LABEL}=true")]
        volumes += [
            (guarded, item["spec"]["resources"]["requests"]["storage"])
            for guarded, item in _guarded(_VOLUMES, namespace)
        ]
    return Standing(guards, volumes)


def _guarded(kind: str, namespace: str, *arguments: str) -> list[tuple[Guarded, dict[str, Any]]]:
    found = objects(kind, namespace, *arguments)
    return [(Guarded(kind, item["metadata"]["name"], namespace), item) for item in found]


@dataclass(frozen=True)
class Choices:
    """What a person chose: only to be told, to go without a last backup, to delete the volumes too."""

    is_dry: bool
    with_backup: bool
    with_volumes: bool


def tear_down(name: str, choices: Choices, destroy: Callable[[], int], ask: Callable[[str], str]) -> None:
    """Take an environment down: tell, ask, save, unlock, destroy. Raises `ClusterError` and `TeardownError`."""
    found = standing(name)
    volumes = [f"{volume} ({size})" for volume, size in found.volumes]
    fate = "deleted, with all that is on it" if choices.with_volumes else "kept, unless it is a database's"
    lines = [
        "saved once more by make backup" if choices.with_backup else "not saved: BACKUP=no",
        *(f"unlocked: {guard}" for guard in found.guards),
        f"destroyed by Terraform: the stack {name}",
        *(f"{fate}: {volume}" for volume in volumes),
    ]
    sys.stdout.write(f"The environment {name}:\n" + "".join(f"  {line}\n" for line in lines))
    if choices.is_dry:
        sys.stdout.write("Nothing was changed: DRY_RUN.\n")
        return
    if ask(f"Type the environment's name to take {name} down: ") != name:
        message = "Nothing was changed."
        raise TeardownError(message)
    if choices.with_backup:
        _save(name)
    for guard in found.guards:
        guard.unlock()
    if destroy() != 0:
        message = f"The stack {name} was not destroyed whole: Terraform's message is above. Run this again."
        raise TeardownError(message)
    if choices.with_volumes:
        for volume, _ in standing(name).volumes:
            volume.delete()
    _report(name)


def _save(name: str) -> None:
    saved, failed = back_up(name)
    sys.stdout.writelines(f"saved {store}\n" for store in saved)
    if failed or not saved:
        reasons = "; ".join(failed) or "no store of it is saved anywhere"
        message = f"There is no last backup of {name}: {reasons}. Nothing was deleted. To go on without: BACKUP=no"
        raise TeardownError(message)


def _report(name: str) -> None:
    left = [str(volume) for volume, _ in standing(name).volumes]
    if left:
        words = "are taken up again by make apply, or deleted by docs/how-to/delete-for-good.md"
        sys.stdout.write(f"{name} is down. Its volumes {words}: {', '.join(left)}\n")
    else:
        sys.stdout.write(f"{name} is down.\n")
    sys.stdout.write(f"To take its namespaces and its quota too: remove envs/{name}.tfvars, make synth, apply infra.\n")


def main(name: str, terraform: str, *arguments: str) -> int:
    """Take one environment down; return the process's exit status.

    The environment variables DRY_RUN, BACKUP and VOLUMES are what the words of the same name are to `make`.
    """
    choices = Choices(
        is_dry=bool(os.environ.get("DRY_RUN")),
        with_backup=os.environ.get("BACKUP") != "no",
        with_volumes=os.environ.get("VOLUMES") == "delete",
    )
    folder = _ROOT / "terraform" / "stacks" / name

    def destroy() -> int:
        for command in (["init", "-input=false"], ["destroy", "-auto-approve", *arguments]):
            done = subprocess.run([terraform, *command], cwd=folder, check=False)  # noqa: S603
            if done.returncode != 0:
                break
        return done.returncode

    try:
        environment_of(load(_ROOT), name, "how infra goes stands in docs/how-to/delete-for-good.md")
        tear_down(name, choices, destroy, input)
    except EOFError:
        sys.stderr.write("Nothing was typed. Nothing was changed.\n")
        return 1
    except (ClusterError, ProjectError, TeardownError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
