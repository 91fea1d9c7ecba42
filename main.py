"""Composition root: one stack for every envs/*.tfvars, synthesized into terraform/."""

import sys
from pathlib import Path

from stacks.project import ProjectError, load
from stacks.synthesis import synthesize


def main() -> int:
    """Synthesize the project that this file lies in; return the process's exit status."""
    try:
        synthesize(load(Path(__file__).resolve().parent))
    except ProjectError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
