"""Synthesis: from a project's files to everything that is derived from them."""

import json
import shutil
from pathlib import Path

from cdktf import App

from constructs.environment import Environment
from constructs.l1_bootstrap.atlantis import Guard
from stacks import atlantis, documentation, drawing, guard, picture
from stacks.environment import EnvironmentStack
from stacks.infra import InfraStack
from stacks.project import Project, ProjectError, observers

_LOCK_FILE = ".terraform.lock.hcl"


def synthesize(project: Project) -> None:
    """Write terraform/, atlantis.yaml, and of docs/ settings and picture; remove the folders of stacks that are gone.

    Raises `ProjectError` before it writes anything if Terraform would read more in a stack's folder than its own JSON.
    """
    output = project.root / project.cdktf.output
    strangers = [path for path in (output / "stacks").glob("*/*") if _is_stranger(path)]
    if strangers:
        remedy = "Terraform would read it beside the stack; remove it"
        raise ProjectError([f"{path.relative_to(project.root).as_posix()}: {remedy}" for path in sorted(strangers)])
    backend = project.cdktf.context.backend
    app = App(outdir=str(output), context=project.cdktf.context.model_dump(mode="json", exclude_none=True))
    environments = [Environment(name, file.env_prefix) for name, file in project.environments.items()]
    server = Guard(guard.files(project), atlantis.WORKFLOWS)
    InfraStack(
        app,
        file=project.infra,
        environments=environments,
        observers=observers(project.environments),
        backend=backend,
        guard=server,
    )
    for settings in project.environments.values():
        EnvironmentStack(app, file=settings, backend=backend)
    app.synth()
    stacks = {project.infra.environment, *project.environments}
    for folder in sorted(path for path in (output / "stacks").iterdir() if path.is_dir()):
        if folder.name not in stacks:
            shutil.rmtree(folder)
        else:
            _keep_locked(folder / _LOCK_FILE)
    _write(project.root / "atlantis.yaml", atlantis.render(project))
    docs = project.root / "docs"
    _write(docs / "reference" / "settings.md", documentation.render())
    written = {name: json.loads((output / "stacks" / name / "cdk.tf.json").read_text("utf-8")) for name in stacks}
    drawn = picture.draw(project, written)
    _write(docs / "architecture-light.svg", drawing.svg(drawn, drawing.LIGHT))
    _write(docs / "architecture-dark.svg", drawing.svg(drawn, drawing.DARK))


def _is_stranger(path: Path) -> bool:
    return path.name != "cdk.tf.json" and path.name.endswith((".tf", ".tf.json", ".tfvars", ".tfvars.json"))


def _keep_locked(lock: Path) -> None:
    """Give a stack its lock file. One that Terraform has added its own checksums to stays, if nothing is missing."""
    wanted = guard.PROVIDERS_LOCK.read_text(encoding="utf-8")
    found = lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else []
    if not set(wanted.splitlines()) <= set(found):
        _write(lock, wanted)


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="\n")
