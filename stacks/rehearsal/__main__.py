"""`make rehearse`: all stacks, or infra and one, on a cluster that is made for it and thrown away after it."""

import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from constructs.footprint import Amount, total
from stacks import footprints
from stacks.cluster import ClusterError
from stacks.project import INFRA, Project, ProjectError, environment_of, load
from stacks.quotas import cpu_words, size_words
from stacks.rehearsal import pods
from stacks.rehearsal.cluster import Cluster, K3d, Kwok
from stacks.rehearsal.play import Rehearsal, RehearsalError

_ROOT = Path(__file__).resolve().parent.parent.parent
_CLUSTERS: Mapping[str, type[Cluster]] = {"": Kwok, "kwok": Kwok, "k3d": K3d}
_INFRA_WORDS = f"ENV={INFRA} rehearses it alone"


def chosen(project: Project, name: str, kind: type[Cluster]) -> list[str]:
    """Return the environments that are rehearsed: all, the one that is named, or the smallest where pods are run.

    Raises `ProjectError`.
    """
    if name == INFRA:
        return []
    if name:
        return [environment_of(project, name, _INFRA_WORDS).environment]
    if kind is K3d:
        return sorted(project.environments, key=lambda item: asked(project, [item]).memory)[:1]
    return list(project.environments)


def asked(project: Project, environments: list[str]) -> Amount:
    """Return what environments ask for at most."""
    rooms = [footprints.of_environment(project.environments[name]).values() for name in environments]
    return total(item.at_most() for room in rooms for systems in room for found in systems.values() for item in found)


def missing(cluster: Cluster, terraform: str) -> list[str]:
    """Return how to get each program that is not there."""
    found = [cluster.missing()]
    if shutil.which("kubectl") is None:
        found.append("kubectl is not on the PATH: install it, https://kubernetes.io/docs/tasks/tools")
    if shutil.which(terraform) is None:
        found.append(f"{terraform} is not on the PATH: install Terraform or OpenTofu, 1.11 or newer")
    return [words for words in found if words]


def _stop(signal_number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + signal_number)


def _room(project: Project, environments: list[str]) -> str:
    infra = total(item.at_most() for found in footprints.of_infra(project.infra).values() for item in found)
    sums = infra + asked(project, environments)
    mebibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
    return (
        f"they ask for {cpu_words(sums.cpu)} CPU and {size_words(sums.memory)} of memory at most, as make budget says; "
        f"this machine has {os.cpu_count()} CPUs and {mebibytes / 1024:.1f}Gi"
    )


def _leave(cluster: Cluster, *, is_kept: bool) -> None:
    """Delete the cluster and its folder, or say how to use and delete it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    command = shlex.join(cluster.deletion())
    if is_kept:
        sys.stdout.write(
            f"\nKept, with the copy of the repository and its states, in {cluster.folder}:\n"
            f"  export KUBECONFIG={cluster.kubeconfig}\n"
            f"  kubectl get pods --all-namespaces\n"
            f"To delete it: {command} && rm -r {cluster.folder}\n"
        )
        return
    try:
        cluster.delete()
    except ClusterError as error:
        sys.stderr.write(f"{error}\nThe cluster is still there. To delete it: {command} && rm -r {cluster.folder}\n")
        return
    shutil.rmtree(cluster.folder)
    sys.stdout.write("The cluster, the copy of the repository and its states are gone.\n")


def main(on: str, name: str, terraform: str) -> int:
    """Rehearse; return the process's exit status.

    The environment variable KEEP is what the word of the same name is to `make`.
    """
    if on not in _CLUSTERS:
        sys.stderr.write(f"ON={on}: give kwok, which is the default, or k3d\n")
        return 1
    kind = _CLUSTERS[on]
    try:
        project = load(_ROOT)
        environments = chosen(project, name, kind)
    except ProjectError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    cluster = kind(Path(tempfile.mkdtemp(prefix="strata-rehearsal-")))
    if words := missing(cluster, terraform):
        cluster.folder.rmdir()
        sys.stderr.write("\n".join([*words, ""]))
        return 1
    sys.stdout.write(f"Rehearsal of {', '.join([INFRA, *environments])}: {kind.words}.\n")
    if kind is K3d:
        sys.stdout.write(f"{_room(project, environments)}\n")
    signal.signal(signal.SIGTERM, _stop)
    cluster.enter()
    rehearsal = Rehearsal(project, environments, cluster, str(shutil.which(terraform)))
    try:
        workspace = cluster.folder / "checkout"
        workspace.mkdir()
        rehearsal.run(workspace)
    except (ClusterError, RehearsalError) as error:
        rehearsal.broken.append(str(error))
        if cluster.kubeconfig.is_file():
            sys.stderr.write("\n".join([*pods.situation(), ""]))
    except KeyboardInterrupt:
        rehearsal.broken.append("interrupted")
    finally:
        _leave(cluster, is_kept=bool(os.environ.get("KEEP")))
    sys.stderr.writelines(f"BROKEN: {words}\n" for words in rehearsal.broken)
    return 1 if rehearsal.broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
