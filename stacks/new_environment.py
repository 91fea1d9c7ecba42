"""A new environment: its file, as small as the smallest that is there, and its synthesis. `make new-env` calls it."""

import re
import sys
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from constructs.footprint import total
from constructs.settings import Name
from stacks import footprints
from stacks.environment import EnvironmentSettings
from stacks.problems import problem_lines
from stacks.project import INFRA, Project, ProjectError, load, name_problems
from stacks.quotas import quota_of
from stacks.synthesis import synthesize

_ROOT = Path(__file__).resolve().parent.parent
_ROOMS = ("data", "monitoring")


def create(root: Path, name: str) -> str:
    """Write an environment's file, synthesize it, and return what to do next.

    Raises `ProjectError`, and has then written nothing.
    """
    _check(root, name)
    project = load(root)
    model = smallest(project)
    path = root / "envs" / f"{name}.tfvars"
    source = (root / "envs" / f"{model}.tfvars").read_text(encoding="utf-8")
    path.write_text(_renamed(source, name), encoding="utf-8", newline="\n")
    try:
        synthesize(load(root))
    except BaseException:
        path.unlink()
        raise
    return _next(project, name, model)


def _check(root: Path, name: str) -> None:
    if not name:
        message = "Give NAME=<environment>, such as NAME=demo: it has no default"
        raise ProjectError([message])
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        lines = problem_lines(error, EnvironmentSettings)
        raise ProjectError([f"NAME={name}: {line}" for line in lines]) from error
    if (root / "envs" / f"{name}.tfvars").exists():
        message = f"envs/{name}.tfvars is there already, and was left as it is: give another NAME, or change the file"
        raise ProjectError([message])
    if problems := list(name_problems(name)):
        raise ProjectError([f"NAME={name}: {problem}" for problem in problems])


def smallest(project: Project) -> str:
    """Return the environment whose systems ask for the least memory, of those that were not restored from another."""

    def size(name: str) -> tuple[int, bool]:
        rooms = footprints.of_environment(project.environments[name]).values()
        amounts = (total(item.at_most() for item in asked) for systems in rooms for asked in systems.values())
        # Of equals, one whose quotas fit it tells more.
        return sum(amount.memory for amount in amounts), name not in project.infra.quotas

    whole = [name for name, file in project.environments.items() if file.postgres_recovery.source == 0]
    if not whole:
        message = "There is no environment to take the sizes of: write the file, docs/how-to/add-an-environment.md"
        raise ProjectError([message])
    return min(whole, key=size)


def _renamed(text: str, name: str) -> str:
    """Return an environment's file for another name; the words above its first setting are its own."""
    settings = re.sub(r"\A(?:\s*#.*\n|\s*\n)*", "", text)
    settings = re.sub(r"(?m)^(environment\s*=\s*).*$", rf'\g<1>"{name}"', settings)
    settings = re.sub(r"(?m)^(env_prefix\s*=\s*).*$", rf'\g<1>"x-{name}"', settings)
    heading = f"# L3 and L4 of {name}, by `atlantis apply -p {name}`.\n"
    return f"{heading}# Every key and its default: docs/reference/settings.md\n\n{settings}"


def _next(project: Project, name: str, model: str) -> str:
    """Return what a person does next: look, say what it is granted, and have it applied."""
    granted = [f"  {name} = {{", *(f"    {room} = {_quota(project, name, room)}" for room in _ROOMS), "  }"]
    own = [f"  {name} = {{", *(f"    {room} = {_quota(project, model, room)}" for room in _ROOMS), "  }"]
    lines = [
        f"envs/{name}.tfvars is written, with the sizes of {model}, and synthesized: git status",
        "",
        f"1. Look through envs/{name}.tfvars. What it asks for: make budget ENV={name}. What changes: make diff",
        "2. It has the priority 1000, and is protected. Its quotas are the defaults, as if envs/infra.tfvars had:",
        *(f"     {line}" for line in granted),
    ]
    if own != granted:
        lines += [f"   What {model} is granted, to put there instead:", *(f"     {line}" for line in own)]
    lines += [
        f"   And to lose it without a question, in tenants: {name} = {{ protected = false }}. Then make synth.",
        f"3. Commit, and open a pull request: atlantis plan -p {INFRA}, atlantis apply -p {INFRA}, then -p {name}.",
        f"   Or from here: make apply ENV={INFRA} makes its namespaces and its deployer, then make apply ENV={name}",
        "",
        "How to go on: docs/how-to/add-an-environment.md",
    ]
    return "\n".join(lines) + "\n"


def _quota(project: Project, environment: str, room: str) -> str:
    quota = quota_of(project.infra, environment, room)
    return f'{{ memory = "{quota.memory}", storage = "{quota.storage}" }}'


def main(name: str) -> int:
    """Make an environment's files; return the process's exit status."""
    try:
        sys.stdout.write(create(_ROOT, name))
    except ProjectError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
