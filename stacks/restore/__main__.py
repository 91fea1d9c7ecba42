"""`make restore`: show the steps, ask for the environment's name, and take them."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stacks.cluster import ClusterError
from stacks.jobs import JobError
from stacks.project import ProjectError, environment_of, load
from stacks.restore import postgres, posthog, redis, signoz
from stacks.restore.step import Request, RestoreError, Step

_ROOT = Path(__file__).resolve().parent.parent.parent
_INFRA_WORDS = "infra's stores come back as docs/reference/systems/vault.md and docs/reference/systems/database.md say"
_SYSTEMS: Mapping[str, Callable[[Request], Sequence[Step]]] = {
    "posthog": posthog.steps,
    "postgres": postgres.steps,
    "redis": redis.steps,
    "signoz": signoz.steps,
}


def restore(request: Request, system: str, *, is_dry: bool, ask: Callable[[str], str]) -> None:
    """Show the steps for one system of the environment, ask, and take them. Raises `RestoreError`."""
    name = request.settings.environment
    if system not in _SYSTEMS or system not in request.settings.components:
        known = [item for item in request.settings.components if item in _SYSTEMS]
        message = f"SYSTEM={system}: give one that {name} has: {', '.join(known)}"
        raise RestoreError(message)
    steps = _SYSTEMS[system](request)
    sys.stdout.write(f"{system} of {name}, as it was {f'at {request.to}' if request.to else 'in its newest backup'}:\n")
    sys.stdout.writelines(f"  {number}. {step.words}\n" for number, step in enumerate(steps, 1))
    if is_dry:
        sys.stdout.write("Nothing was changed: DRY_RUN.\n")
        return
    if ask(f"What {system} of {name} holds now is no longer used. Type the environment's name to go on: ") != name:
        message = "Nothing was changed."
        raise RestoreError(message)
    for number, step in enumerate(steps, 1):
        sys.stdout.write(f"{number}. {step.words}\n")
        sys.stdout.flush()
        try:
            step.run()
        except (ClusterError, JobError, RestoreError) as error:
            left = "\n".join(f"  {later}. {item.words}" for later, item in enumerate(steps[number - 1 :], number))
            message = f"{error}\nStep {number} failed. What is left to do, after you mended the cause:\n{left}"
            raise RestoreError(message) from error


def main(name: str, system: str, terraform: str, *arguments: str) -> int:
    """Restore one system of one environment; return the process's exit status.

    The environment variables TO and DRY_RUN are what the words of the same name are to `make`.
    """
    try:
        settings = environment_of(load(_ROOT), name, _INFRA_WORDS)
        request = Request(_ROOT, settings, os.environ.get("TO", ""), terraform, arguments)
        restore(request, system, is_dry=bool(os.environ.get("DRY_RUN")), ask=input)
    except EOFError:
        sys.stderr.write("Nothing was typed. Nothing was changed.\n")
        return 1
    except (ClusterError, ProjectError, RestoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
