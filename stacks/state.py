"""The state of a stack, moved from the backend that it was last used with to the one that it is synthesized with.

`make state` calls it for every stack, as who may act on it. It copies and never deletes: the old state stays where it
was. A state is overwritten by a later one of the same history only, which Terraform itself holds once more at the push.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
Block = dict[str, Any]
# What would lead Terraform to another folder, another workspace or other arguments.
_MEDDLING = ("TF_CLI_ARGS", "TF_DATA_DIR", "TF_WORKSPACE")


class StateError(Exception):
    """A state that cannot be moved; the message says why and what to do."""


@dataclass(frozen=True)
class State:
    """A state as Terraform writes it: its history is named by `lineage`, and `serial` is its place in it."""

    lineage: str
    serial: int
    content: Mapping[str, object]

    def is_kept_in(self, other: "State | None") -> bool:
        """Tell whether another state is this one, at the same place of its history or counted on by a push."""
        if other is None or other.serial < self.serial:
            return False
        return {**other.content, "serial": 0} == {**self.content, "serial": 0}


class Backend:
    """A place of a state, reached through a folder that holds nothing else: so no provider is needed."""

    def __init__(self, block: Block, *, terraform: str, folder: Path) -> None:
        self.type = next(iter(block))
        self._terraform = terraform
        self._folder = folder
        folder.mkdir()
        configuration = {"terraform": {"backend": block}}
        (folder / "main.tf.json").write_text(json.dumps(configuration), encoding="utf-8")
        run(terraform, folder, "init", "-input=false", "-no-color")

    def pull(self) -> State | None:
        """Return the state that lies there, if there is one."""
        text = run(self._terraform, self._folder, "state", "pull")
        if not text.strip():
            return None
        content = json.loads(text)
        return State(content["lineage"], content["serial"], content)

    def push(self, state: State) -> None:
        """Write a state there; Terraform refuses to overwrite a later one, or one of another history."""
        run(self._terraform, self._folder, "state", "push", "-", text=json.dumps(state.content))


def run(terraform: str, folder: Path, *arguments: str, text: str | None = None) -> str:
    """Return what a command of Terraform prints in a folder. Raises `StateError` with what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_MEDDLING)}
    command = [terraform, *arguments]
    done = subprocess.run(  # noqa: S603 (Terraform, as the Makefile found it)
        command, cwd=folder, env=environment, input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StateError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def last_used(root: Path, stack: str) -> Block:
    """Return the backend that Terraform last used for a stack here; without a record, the local one of a first look."""
    folder = root / "terraform" / "stacks" / stack
    record = folder / ".terraform" / "terraform.tfstate"
    if record.is_file():
        backend = json.loads(record.read_text(encoding="utf-8")).get("backend")
        if backend is not None:
            config = _given(backend["config"])
            if "path" in config:
                config["path"] = str((folder / config["path"]).resolve())
            return {backend["type"]: config}
    return {"local": {"path": str(root / ".state" / f"{stack}.tfstate")}}


def synthesized(root: Path, stack: str) -> Block:
    """Return the backend of a stack's JSON."""
    folder = root / "terraform" / "stacks" / stack
    block: Block = json.loads((folder / "cdk.tf.json").read_text(encoding="utf-8"))["terraform"]["backend"]
    if "local" in block:
        block["local"]["path"] = str((folder / block["local"]["path"]).resolve())
    return block


def _given(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given of a backend's configuration, as Terraform records it: null is what was not."""
    given = {key: _given(value) if isinstance(value, dict) else value for key, value in config.items()}
    return {key: value for key, value in given.items() if value is not None}


def move(root: Path, stack: str, terraform: str) -> str:
    """Move a stack's state to the backend of its JSON, and return a sentence on what was done. Raises `StateError`."""
    folder = root / "terraform" / "stacks" / stack
    with tempfile.TemporaryDirectory() as scratch:
        old = Backend(last_used(root, stack), terraform=terraform, folder=Path(scratch, "old"))
        new = Backend(synthesized(root, stack), terraform=terraform, folder=Path(scratch, "new"))
        mine, theirs = old.pull(), new.pull()
        words = _decide(stack, old.type, new.type, mine, theirs)
        if mine is not None and not mine.is_kept_in(theirs):
            new.push(mine)
            if not mine.is_kept_in(new.pull()):
                message = f"{stack}: the state that was written to {new.type} is not what was read from {old.type}"
                raise StateError(message)
    run(terraform, folder, "init", "-input=false", "-no-color", "-reconfigure")
    return words


def _decide(stack: str, old: str, new: str, mine: State | None, theirs: State | None) -> str:
    """Return what is to be said of a move, or refuse it."""
    if mine is None:
        return f"{stack}: there is no state to move" if theirs is None else f"{stack}: the state is in {new} already"
    if theirs is None:
        return f"{stack}: moved to {new}, serial {mine.serial}; the old one stays in {old}"
    if mine.is_kept_in(theirs):
        return f"{stack}: the state is in {new} already"
    if theirs.lineage != mine.lineage:
        message = (
            f"{stack}: {new} holds the state of another installation; nothing was changed: remove it, if it is stale"
        )
        raise StateError(message)
    if theirs.serial >= mine.serial:
        message = (
            f"{stack}: {new} holds a newer state (serial {theirs.serial}, {old} has {mine.serial}); nothing was "
            f"changed. To go on with the newer one: make init ENV={stack} RECONFIGURE=yes"
        )
        raise StateError(message)
    return f"{stack}: moved to {new}, serial {mine.serial} over {theirs.serial}; the old one stays in {old}"


def main(stack: str, terraform: str) -> int:
    """Move the state of one stack; return the process's exit status."""
    try:
        sys.stdout.write(f"{move(_ROOT, stack, terraform)}\n")
    except StateError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
