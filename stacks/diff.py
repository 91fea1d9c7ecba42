"""The difference that a change makes: what Terraform is told of every resource, before it and after it.

`make diff` compares the stacks of a git revision with those of the checkout, as `make plan` could if there were a
cluster in exactly the state of that revision. No cluster, provider, chart or credential is needed: Terraform evaluates
every argument of every resource with the tfvars file of the same side, within resources that only keep them.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from constructs.deletion_lock import LOCK_NAME, PROTECTED_LABEL
from stacks.comparison import ABSENT, differences

_ROOT = Path(__file__).resolve().parent.parent
_STACKS = "terraform/stacks"
_JSON = "cdk.tf.json"
# What Terraform itself reads of a resource, and the provider does not.
_META = ("//", "connection", "depends_on", "lifecycle", "provider", "provisioner")
_REPEATED = ("count", "for_each")
# What a Secret holds is generated or supplied on the way in: there is nothing to compare, and nothing to show.
_SECRET = "kubernetes_secret_v1"  # noqa: S105 (a type of resource)
_HIDDEN = ("binary_data", "data", "data_wo", "string_data")
_REFERENCE = re.compile(r"(?<![\w.\"-])(?:ephemeral\.)?(\w+)\.([\w-]+)(?:\.\w+|\[[^\]]*\])*")
# How a release tells that the files of a local chart are others.
_DIGEST = "chartDigest"

Arguments = Mapping[str, Any]


class DiffError(Exception):
    """What cannot be compared; the message says why and what to do."""


@dataclass(frozen=True)
class Side:
    """A stack as it is on one side: its JSON and its tfvars file, as text."""

    words: str
    configuration: str
    tfvars: str


@dataclass(frozen=True)
class Change:
    """What becomes of one resource; `lines` has a line for every attribute of one that is not new and not gone."""

    sign: str
    address: str
    lines: Sequence[str] = ()
    warning: str = ""


@dataclass(frozen=True)
class StackChange:
    """What becomes of one stack; `is_whole` is whether the stack itself is new, or gone."""

    stack: str
    changes: Sequence[Change] = ()
    is_whole: bool = False
    signs: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        signs = {sign: sum(change.sign == sign for change in self.changes) for sign in _SIGNS}
        object.__setattr__(self, "signs", {sign: number for sign, number in signs.items() if number})

    @property
    def summary(self) -> str:
        """The number of each kind of change, in words."""
        if not self.changes:
            return f"{self.stack}: no changes"
        numbers = ", ".join(f"{number} to {_SIGNS[sign]}" for sign, number in self.signs.items())
        return f"{self.stack}: {numbers}"

    def lines(self) -> Iterator[str]:
        """Yield what to show of every change."""
        for change in self.changes:
            yield f"{change.sign} {change.address}{f'    {change.warning}' if change.warning else ''}"
            yield from (f"    {line}" for text in change.lines for line in text.splitlines())


_SIGNS = {"+": "add", "~": "change", "±": "replace", "-": "remove"}


# --- two sides ---


def git(root: Path, *arguments: str) -> str:
    """Return what git prints. Raises `DiffError`."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (git, of the PATH)
    except FileNotFoundError as error:
        message = "git is not on the PATH: install it"
        raise DiffError(message) from error
    if done.returncode != 0:
        raise DiffError(done.stderr.strip())
    return done.stdout


def committed(root: Path, base: str) -> dict[str, Side]:
    """Return the stacks of a git revision. Raises `DiffError`."""
    try:
        commit = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}").strip()
    except DiffError as error:
        message = f"BASE={base} is no revision of this repository: give a branch, a tag or a commit, or git fetch it"
        raise DiffError(message) from error
    paths = git(root, "ls-tree", "-r", "--name-only", commit, "--", _STACKS, "envs").splitlines()
    texts = {path: git(root, "show", f"{commit}:{path}") for path in paths if path.endswith((_JSON, ".tfvars"))}
    return _sides(texts, base)


def working(root: Path) -> dict[str, Side]:
    """Return the stacks as they are in the checkout."""
    paths = [*root.glob(f"{_STACKS}/*/{_JSON}"), *root.glob("envs/*.tfvars")]
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    return _sides(texts, "the checkout")


def _sides(texts: Mapping[str, str], words: str) -> dict[str, Side]:
    stacks = {path.split("/")[-2]: text for path, text in texts.items() if path.endswith(_JSON)}
    return {name: Side(words, text, texts.get(f"envs/{name}.tfvars", "")) for name, text in stacks.items()}


# --- what Terraform is told ---


def evaluate(side: Side, stack: str, terraform: str) -> dict[str, Arguments]:
    """Return the arguments of every resource by address, as Terraform evaluates them. Raises `DiffError`."""
    content = json.loads(side.configuration)
    resources = {f"{kind}.{name}": body for kind, named in content["resource"].items() for name, body in named.items()}
    labels = {address.replace(".", "-"): address for address in resources}
    kept = {label: _kept(address, resources[address]) for label, address in labels.items()}
    configuration = {
        "variable": content["variable"],
        "locals": _without_references(content.get("locals", {}), resources),
        "resource": {"terraform_data": {label: _without_references(body, resources) for label, body in kept.items()}},
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "main.tf.json").write_text(json.dumps(configuration, indent=1), encoding="utf-8")
        (folder / "stack.tfvars").write_text(side.tfvars, encoding="utf-8")
        variables = [
            "-var-file=stack.tfvars",
            "-var=kubeconfig=unused",
            f"-var=enable_infra={json.dumps(stack == 'infra')}",
        ]
        words = f"{stack} of {side.words}"
        _run(terraform, folder, "init", "-input=false", "-backend=false", words=words)
        _run(terraform, folder, "plan", "-input=false", "-out=plan", *variables, words=words)
        plan = json.loads(_run(terraform, folder, "show", "-json", "plan", words=words))
    return {
        f"{labels[resource['name']]}{_index(resource)}": resource["values"]["input"]
        for resource in plan["planned_values"]["root_module"].get("resources", ())
    }


def _run(terraform: str, folder: Path, command: str, *arguments: str, words: str) -> str:
    """Return what Terraform prints; it has nothing of the caller's, for what it evaluates is in the folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    environment |= {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
    line = [terraform, command, "-no-color", *arguments]
    try:
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        message = f"{terraform} is not on the PATH: install Terraform or OpenTofu 1.11 or newer"
        raise DiffError(message) from error
    if done.returncode != 0:
        message = f"{words} cannot be evaluated:\n{done.stderr.strip()}"
        raise DiffError(message)
    return done.stdout


def _kept(address: str, body: Arguments) -> dict[str, Any]:
    """Return a resource that only keeps the arguments of another."""
    given = {key: value for key, value in body.items() if key not in (*_META, *_REPEATED)}
    if address.startswith(f"{_SECRET}."):
        given = {key: "(secret)" if key in _HIDDEN else value for key, value in given.items()}
    return {"input": given, **{key: body[key] for key in _REPEATED if key in body}}


def _without_references(value: Any, resources: Mapping[str, object]) -> Any:  # noqa: ANN401 (JSON)
    """Put a reference's own words in its place: what it refers to is known after an apply only."""
    if isinstance(value, dict):
        return {key: _without_references(item, resources) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_references(item, resources) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value

    def words(found: re.Match[str]) -> str:
        return json.dumps(found[0]) if f"{found[1]}.{found[2]}" in resources else found[0]

    return _REFERENCE.sub(words, value)


def _index(resource: Mapping[str, Any]) -> str:
    return f"[{json.dumps(resource['index'])}]" if "index" in resource else ""


# --- what is different ---


def compare(stack: str, old: Side | None, new: Side | None, terraform: str) -> StackChange:
    """Return what becomes of a stack. Raises `DiffError`."""
    if old is not None and new is not None and (old.configuration, old.tfvars) == (new.configuration, new.tfvars):
        return StackChange(stack)
    before = {} if old is None else evaluate(old, stack, terraform)
    after = {} if new is None else evaluate(new, stack, terraform)
    ignored = {} if new is None else _ignored(new)
    moved = {} if new is None else _moved(new)
    names = {_renamed(address, moved): address for address in before}
    changes = []
    for address in sorted({*names, *after}):
        is_old, is_new = address in names, address in after
        was = names.get(address, "")
        note = f"was {was}" if is_new and was not in ("", address) else ""
        if not is_old:
            changes.append(Change("+", address))
        elif not is_new:
            changes.append(Change("-", address, warning=_loss(address, before[was])))
        elif lines := list(_attributes(before[was], after[address], ignored.get(address.partition("[")[0], ()))):
            is_replaced = _identity(before[was]) != _identity(after[address])
            warning = _loss(address, before[was]) if is_replaced else note
            changes.append(Change("±" if is_replaced else "~", address, lines, warning))
        elif note:
            changes.append(Change("~", address, warning=note))
    return StackChange(stack, changes, is_whole=old is None or new is None)


def _ignored(side: Side) -> dict[str, Sequence[str]]:
    """Return what Terraform leaves as it is, by address."""
    resources: Mapping[str, Mapping[str, Any]] = json.loads(side.configuration)["resource"]
    return {
        f"{kind}.{name}": [path.replace("[0]", "") for path in body.get("lifecycle", {}).get("ignore_changes", ())]
        for kind, named in resources.items()
        for name, body in named.items()
    }


def _moved(side: Side) -> dict[str, str]:
    return {block["from"]: block["to"] for block in json.loads(side.configuration).get("moved", ())}


def _renamed(address: str, moved: Mapping[str, str]) -> str:
    if address in moved:
        return moved[address]
    name, bracket, index = address.partition("[")
    # A move to one of several is of what was no list before.
    return address if moved.get(name, "").endswith("]") else f"{moved.get(name, name)}{bracket}{index}"


def _identity(arguments: Arguments) -> tuple[object, ...]:
    """Return what an object is called: with another name it is another object."""
    metadata = arguments.get("metadata") or arguments
    return metadata.get("namespace"), metadata.get("name")


def _loss(address: str, arguments: Arguments) -> str:
    """Return what is lost with a resource, if it is more than a definition; nothing else."""
    kind = address.partition(".")[0]
    metadata = arguments.get("metadata") or {}
    name = str(metadata.get("name", ""))
    if name.startswith(f"{LOCK_NAME}-"):
        return "HOLDS DATA: it guards a system that does; refused until it is opened: docs/how-to/delete-for-good.md"
    if kind == "kubernetes_namespace_v1":
        return "HOLDS DATA: all that is in the namespace"
    if kind == "kubernetes_persistent_volume_claim_v1":
        return "HOLDS DATA: the volume"
    if kind == "kubernetes_stateful_set_v1" and arguments.get("spec", {}).get("volume_claim_template"):
        return "HOLDS DATA: its volumes stay, until their claims are deleted"
    if kind == _SECRET:
        is_protected = PROTECTED_LABEL in (metadata.get("labels") or {})
        return f"HOLDS A SECRET{', by which data is encrypted' if is_protected else ': the next one is another'}"
    return ""


def _attributes(old: Arguments, new: Arguments, ignored: Sequence[str]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if key == "values":
            was, will_be = _merged(old.get(key)), _merged(new.get(key))
            if was.pop(_DIGEST, None) != will_be.pop(_DIGEST, None):
                yield f"chart: its files in charts/{new['chart'].rpartition('/')[2]} are others"
            yield from (f"values: {item}" for item in differences(was, will_be))
            continue
        for item in differences(old.get(key, ABSENT), new.get(key, ABSENT), key):
            is_ignored = any(item.path.startswith(path) for path in ignored)
            yield f"{item}  (Terraform leaves it as it is)" if is_ignored else str(item)


def _merged(files: Sequence[str] | None) -> dict[str, Any]:
    """Return the values of a release, decoded, as Helm merges files of them."""
    found: dict[str, Any] = {}
    for text in files or ():
        _merge(found, yaml.safe_load(text) or {})
    return found


def _merge(found: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            _merge(found[key], value)
        else:
            found[key] = value


# --- the report ---


def plain(changes: Sequence[StackChange], base: str) -> Iterator[str]:
    """Yield the report for a terminal."""
    yield f"From {base} to the checkout, for a cluster that has {base} applied:"
    for stack in changes:
        yield ""
        yield stack.summary
        if stack.is_whole:
            yield f"  the whole stack, of {len(stack.changes)} resources"
        yield from (f"  {line}" for line in stack.lines() if not stack.is_whole or "HOLDS" in line)


def markdown(changes: Sequence[StackChange], base: str) -> Iterator[str]:
    """Yield the report for a pull request: a table, then the changes of each stack, folded."""
    yield f"### What changes from `{base}`, for a cluster that has it applied"
    yield ""
    yield f"| stack | {' | '.join(_SIGNS.values())} |"
    yield f"|---|{'---:|' * len(_SIGNS)}"
    for stack in changes:
        yield f"| {stack.stack} | {' | '.join(str(stack.signs.get(sign, 0)) for sign in _SIGNS)} |"
    warnings = [
        f"> - {stack.stack}: `{change.address}` {change.warning}"
        for stack in changes
        for change in stack.changes
        if change.warning.startswith("HOLDS")
    ]
    if warnings:
        yield from ("", "> [!WARNING]", "> This is deleted, and holds what no apply brings back:", *warnings)
    for stack in changes:
        if stack.changes:
            yield from ("", f"<details><summary>{stack.summary}</summary>", "", "```diff")
            # GitHub colours what begins with these.
            yield from (re.sub("^[~±]", "!", line).replace("```", "'''") for line in stack.lines())
            yield from ("```", "", "</details>")


def _chosen(stacks: Collection[str], stack: str) -> Sequence[str]:
    names = sorted(stacks, key=lambda name: (name != "infra", name))
    if stack and stack not in names:
        message = f"There is no stack {stack}: give ENV one of {', '.join(names)}"
        raise DiffError(message)
    return [stack] if stack else names


def main(arguments: Sequence[str], root: Path = _ROOT) -> int:
    """Print what is different; return the process's exit status, 0 with and without differences."""
    parser = argparse.ArgumentParser(prog="make diff")
    parser.add_argument("terraform")
    parser.add_argument("--stack", default="", help="infra, or an environment; all if it is not given")
    parser.add_argument("--base", default="HEAD", help="the git revision to compare with")
    parser.add_argument("--markdown", action="store_true", help="print it for a pull request")
    given = parser.parse_args(arguments)
    try:
        old, new = committed(root, given.base), working(root)
        changes = []
        for name in _chosen({*old, *new}, given.stack):
            sys.stderr.write(f"comparing {name} of {given.base} with the checkout\n")
            changes.append(compare(name, old.get(name), new.get(name), given.terraform))
    except DiffError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    lines = (markdown if given.markdown else plain)(changes, given.base)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
