"""The documentation: links lead somewhere, and commands are made of what exists. tests/e2e/test_docs.py runs them."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hcl2 import parses_to_tree
from pydantic import ValidationError

from stacks import tfvars
from stacks.environment import EnvironmentSettings
from stacks.infra import InfraSettings
from stacks.stack import COMMAND_LINE_VARIABLES
from tests.pages import Block, Page, commands, page_of, pages
from tests.support import ROOT, merged, on_the_path

PAGES = pages()
SHELL = [block for page in PAGES for block in page.blocks("sh")]
SETTINGS = [block for page in PAGES for block in page.blocks("hcl")]
# What a page may ask a reader to have beside kubectl, make and Terraform: what a laptop, a node or a pod has.
PROGRAMS = {
    *("apt-get", "base64", "cat", "cd", "cp", "curl", "dig", "diff", "echo", "export", "find", "git", "grep", "helm"),
    *("jq", "k3s", "kubectl", "ls", "make", "mkdir", "openssl", "psql", "python3", "rclone", "read", "redis-cli"),
    *("redis-server", "rm", "scp", "sed", "shred", "sleep", "sort", "ssh", "ssh-keyscan", "systemctl", "tar", "tee"),
    *("terraform", "test", "tofu", "unset", "vault"),
}
# How commands read on a page, where shellcheck would have a program.
SHELLCHECK_EXCEPTIONS = {
    "SC1091": "a page does not have what it sources",
    "SC2016": "what stands in single quotes is for another program",
    "SC2029": "what ssh is given is meant to be expanded here",
    "SC2034": "variables are used in the next block",
    "SC2086": "names of namespaces have no spaces",
    "SC2154": "variables come from the block before",
    "SC2155": "one line is easier to type",
    "SC2164": "a reader sees that cd failed",
    "SC2174": "the parents' mode does not matter",
}
# Namespaces of examples: what a reader makes by following the page.
EXAMPLE_NAMESPACES = {"data-demo", "default", "monitoring-demo", "shop-production"}
SHIPPED_NAMESPACES = {"iac", "kube-system", "kubernetes-dashboard", "kubero"}
VERBS_WITH_OBJECTS = ("annotate", "delete", "describe", "exec", "get", "logs", "patch", "port-forward", "scale", "wait")
VERBS_OF_VERBS = ("auth", "config", "create", "krew", "rollout", "top")
# Objects that no stack and no chart of ours names, and who makes them. tests/e2e/test_docs.py looks for what is there.
MADE_BY_OTHERS = {
    "data-demo": "make apply ENV=infra, of the environment that the page has added",
    "data-vault-0": "the StatefulSet of the chart vault, of its claim's name and its own",
    "database-restored-1": "CloudNativePG, of the Cluster database-restored",
    "deletion-lock-postgres": "the stack, of each generation of Postgres",
    "delta": "K3s, of the node of the page's example",
    "helm-install-traefik": "K3s",
    "k8s-infra-otel-agent": "the chart k8s-infra",
    "k8s-infra-otel-deployment": "the chart k8s-infra",
    "monitoring-demo": "make apply ENV=infra, of the environment that the page has added",
    "now": "the command before it",
    "platform-ca": "cert-manager",
    "postgres-2-1": "CloudNativePG, of the second generation",
    "redis-master": "the chart redis, with three servers",
}


def reachable(start: Page) -> set[Path]:
    """Return every file to which links lead from a page, over other pages too."""
    found: set[Path] = set()
    waiting = [start.path]
    while waiting:
        path = waiting.pop()
        if path in found or path.suffix != ".md" or not path.exists():
            continue
        found.add(path)
        waiting += [
            (path.parent / link.partition("#")[0]).resolve() for link in page_of(path).links() if is_relative(link)
        ]
    return found


def is_relative(link: str) -> bool:
    return not re.match(r"[a-z]+:", link)


def test_every_link_and_every_anchor_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for link in filter(is_relative, page.links()):
            name, _, anchor = link.partition("#")
            target = (page.path.parent / name).resolve() if name else page.path
            if not target.is_relative_to(ROOT) or not target.exists():
                broken.append(f"{page.name}: {link}: there is no such file")
            elif anchor and anchor not in page_of(target).anchors:
                broken.append(f"{page.name}: {link}: it has no such heading, but {sorted(page_of(target).anchors)}")
    assert not broken, "\n".join(broken)


def test_every_page_is_reached_from_the_index() -> None:
    found = reachable(page_of(ROOT / "docs" / "README.md"))
    lost = [page.name for page in PAGES if page.path not in found and page.path != ROOT / "README.md"]
    assert not lost, f"link these from docs/README.md: {lost}"


def test_every_file_and_every_test_that_a_page_names_exists() -> None:
    folders = "charts|constructs|dashboards|docs|envs|scripts|stacks|terraform|tests"
    made_by_the_reader = {"envs/demo.tfvars", "terraform/stacks/demo"}
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    missing = []
    for page in PAGES:
        for code in page.code():
            name = code.rstrip("/")
            is_a_path = re.fullmatch(rf"({folders})/[\w./*-]+", name) and name not in made_by_the_reader
            if is_a_path and not any(ROOT.glob(name)):
                missing.append(f"{page.name}: `{code}`: there is no such file")
            if re.fullmatch(r"test_\w+", code) and f"def {code}(" not in tests:
                missing.append(f"{page.name}: `{code}`: there is no such test")
    assert not missing, "\n".join(missing)


def test_every_shell_block_is_sound(tmp_path: Path) -> None:
    named = {re.sub(r"\W", "-", block.place) + ".sh": block for block in SHELL}
    for name, block in named.items():
        assert not (left := re.findall(r"<[a-z][\w. ]*>", without_documents(block.filled))), (
            f"{block.place}: {left}: say in PLACEHOLDERS of tests/pages.py what a reader puts there"
        )
        (tmp_path / name).write_text(block.filled, encoding="utf-8")
    check = [str(Path(sys.executable).parent / "shellcheck"), "--shell=bash", "--format=json"]
    check.append(f"--exclude={','.join(SHELLCHECK_EXCEPTIONS)}")
    found = subprocess.run([*check, *named], cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    remarks = []
    for remark in json.loads(found.stdout):
        block = named[remark["file"]]
        line = block.line + remark["line"] - 1
        remarks.append(f"{block.page.name}:{line}: SC{remark['code']}: {remark['message']}")
    assert not remarks, "\n".join(remarks)


def without_documents(text: str) -> str:
    """Return a shell's text without what here-documents hold."""
    return re.sub(r"<<-?\s*(['\"]?)(\w+)\1.*?^\s*\2$", "", text, flags=re.DOTALL | re.MULTILINE)


def test_every_command_is_a_program_or_a_script_that_exists() -> None:
    unknown = []
    for place, _, words in given():
        name = words[0]
        if "/" in name and not (ROOT / name).exists():
            unknown.append(f"{place}: {name}: there is no such script")
        elif "/" not in name and name not in PROGRAMS:
            unknown.append(f"{place}: {name}: add it to PROGRAMS, if a reader has it")
        for word in words[1:]:
            folder = re.match(r"-chdir=(.+)|-var-file=\.\./\.\./\.\./(.+)", word)
            path = next(filter(None, folder.groups()), "") if folder else ""
            if path and "demo" not in path and "$" not in path and not (ROOT / path).exists():
                unknown.append(f"{place}: {word}: there is no such path")
    assert not unknown, "\n".join(unknown)


@cache
def given() -> list[tuple[str, Page, list[str]]]:
    """Return every command of every block and of the sentences between, with its place and its page.

    Whose command is run by a script, as a deployer, is there twice: as it is written, and without the script.
    """
    found = [(block.place, block.page, words) for block in SHELL for words in commands(block.filled)]
    found += [(place, page, unwrapped(words)) for place, page, words in found if unwrapped(words) != words]
    for page in PAGES:
        for code in page.code():
            if re.match(r"(make|kubectl|helm) [a-z]", code) and not re.search(r"<|\.\.\.", code):
                found += [(f"{page.name}: `{code}`", page, words) for words in commands(code)]
    return found


def unwrapped(words: list[str]) -> list[str]:
    skipped = {"scripts/as-deployer": 2, "scripts/as-administrator": 1}.get(words[0], 0)
    return words[skipped:]


@cache
def makefile() -> tuple[dict[str, set[str]], set[str]]:
    """Return the variables that each target of the Makefile uses, directly or by what it needs, and those of all."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    definitions: dict[str, set[str]] = defaultdict(set)
    for name, value in re.findall(r"^(?:export )?([A-Z_]+) *[?:]?=(.*)$", text, re.MULTILINE):
        definitions[name] |= references(value)
    used: dict[str, set[str]] = defaultdict(set)
    needed: dict[str, set[str]] = defaultdict(set)
    target = ""
    for line in text.splitlines():
        if rule := re.match(r"([a-z0-9-]+):(?!=)([^#]*)", line):
            target = rule[1]
            own = re.match(r" (?:export )?([A-Z_]+) *:?=(.*)", rule[2])
            used[target] |= {own[1], *references(own[2])} if own else set()
            needed[target] |= set() if own else set(rule[2].split())
        elif line.startswith("\t"):
            used[target] |= references(line)
            needed[target] |= set(re.findall(r"\$\(MAKE\).*? ([a-z][a-z-]+)", line))

    def closed(names: set[str]) -> set[str]:
        return names.union(*(closed(definitions[name] - {name}) for name in names if name in definitions))

    def of(name: str) -> set[str]:
        return closed(used[name]).union(*(of(other) for other in needed[name] if other in used))

    targets = list(used)
    return {name: of(name) for name in targets}, {"PYTHON", "SHELL"}


def references(text: str) -> set[str]:
    return set(re.findall(r"\b([A-Z][A-Z_]+)\b(?=\))", text))


def test_every_target_of_make_exists_and_knows_its_variables() -> None:
    targets, everywhere = makefile()
    assert "ENV" in targets["plan"], "the Makefile is not understood any more"
    unknown = []
    for place, _, words in given():
        if words[0] != "make":
            continue
        names = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        variables = {word.partition("=")[0] for word in words[1:] if "=" in word and not word.startswith("-")}
        unknown += [f"{place}: make {name}: there is no such target" for name in names if name not in targets]
        known = everywhere.union(*(targets.get(name, set()) for name in names))
        unknown += [f"{place}: make {' '.join(names)} knows no {name}" for name in sorted(variables - known)]
    assert not unknown, "\n".join(unknown)


def namespaces() -> set[str]:
    names = [path.stem for path in (ROOT / "envs").glob("*.tfvars") if path.stem != "infra"]
    return (
        SHIPPED_NAMESPACES
        | EXAMPLE_NAMESPACES
        | {f"{room}-{name}" for room in ("data", "monitoring") for name in names}
    )


def test_every_namespace_of_a_command_is_one_of_strata() -> None:
    wrong = []
    for place, _, words in given():
        if words[0] not in ("kubectl", "helm"):
            continue
        found = [word.partition("=")[2] for word in words if word.startswith("--namespace=")]
        wrong += [
            f"{place}: {name}: not among {sorted(namespaces())}"
            for name in found
            if name not in namespaces() | {"$NAMESPACE"}
        ]
        if "--namespace" in words or "-n" in words:
            wrong.append(f"{place}: write --namespace=<name>, as every page does")
    assert not wrong, "\n".join(wrong)


def named(words: list[str]) -> Iterator[str]:
    """Yield the names of objects in a command of kubectl: of `get kind a b`, `kind/a`, `logs a`."""
    verb, *rest = words[1:]
    plain = [word for word in rest[: rest.index("--") if "--" in rest else None] if not word.startswith("-")]
    yield from (word.partition("/")[2] for word in plain if re.fullmatch(r"[a-z.]+/[a-z0-9.-]*[a-z0-9]", word))
    without = [word for word in plain if "/" not in word and "=" not in word and not word.endswith("-")]
    if verb in ("exec", "logs"):
        yield from without[:1]
    elif verb in VERBS_WITH_OBJECTS and verb != "port-forward" and "/" not in "".join(plain[:1]):
        yield from without[1:]


@cache
def known_words() -> frozenset[str]:
    """Every word of the synthesized stacks and of the local charts: what is named there is made by us."""
    files = [*(ROOT / "terraform" / "stacks").glob("*/cdk.tf.json"), *(ROOT / "charts").rglob("*.yaml")]
    files += (ROOT / "charts").rglob("*.tpl")
    return frozenset(
        word for path in files for word in re.findall(r"[a-z0-9][a-z0-9.-]+", path.read_text(encoding="utf-8"))
    )


def test_every_object_of_a_command_is_made_by_a_stack_a_chart_or_somebody_who_is_named() -> None:
    known = known_words()
    unknown, others = [], set()
    for place, page, words in given():
        for name in named(words) if words[0] == "kubectl" else ():
            # A pod of a StatefulSet, and a volume of one.
            made = {name, re.sub(r"-\d+$", "", name)} & known
            is_readers = re.search(rf"(create [a-z]+|run|name:) {re.escape(name)}\b", page.text) is not None
            if not made and not is_readers and "$" not in name:
                others.add(name)
                unknown += [f"{place}: {name}"] if name not in MADE_BY_OTHERS else []
    assert not unknown, "name these in MADE_BY_OTHERS, with who makes them:\n" + "\n".join(unknown)
    unused = set(MADE_BY_OTHERS) - others
    assert not unused, f"no page names these any more, or a stack or a chart makes them by now: {unused}"


def test_every_option_of_kubectl_exists() -> None:
    kubectl = on_the_path("kubectl")
    used: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for place, _, words in given():
        if words[0] == "kubectl":
            ends = words.index("--") if "--" in words else None
            depth = 3 if words[1:3] == ["create", "secret"] else 2 if words[1] in VERBS_OF_VERBS else 1
            verb = tuple(word for word in words[1:] if not word.startswith("-"))[:depth]
            used[verb] |= {word.partition("=")[0]: place for word in words[:ends] if word.startswith("-")}
    running = {
        verb: subprocess.Popen([kubectl, *verb, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
        for verb in used
    }
    general = subprocess.run([kubectl, "options"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    wrong = []
    for verb, process in running.items():
        text = process.communicate()[0] + general
        known = set(re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)=", text, re.MULTILINE)) | {"--help"}
        wrong += [
            f"{place}: kubectl {' '.join(verb)} has no {option}"
            for option, place in used[verb].items()
            if option not in known
        ]
    assert not wrong, "\n".join(wrong)


def shipped(name: str) -> dict[str, Any]:
    return tfvars.read(ROOT / "envs" / f"{name}.tfvars")


@pytest.mark.parametrize("block", SETTINGS, ids=lambda block: block.place)
def test_every_block_of_settings_is_accepted_beside_the_shipped_ones(block: Block, tmp_path: Path) -> None:
    if block.text.startswith("provider_installation"):
        parses_to_tree(block.text)  # Terraform's own configuration
        return
    file = tmp_path / "page.tfvars"
    file.write_text(block.text, encoding="utf-8")
    values = {key: value for key, value in tfvars.read(file).items() if key not in COMMAND_LINE_VARIABLES}
    assert values, f"{block.place}: nothing of it is a setting"
    refusals: list[str] = []
    for model, name in ((InfraSettings, "infra"), (EnvironmentSettings, "staging")):
        try:
            model.model_validate(merged([shipped(name), {"backups": {"bucket": "strata-backups"}}, mutable(values)]))
        except ValidationError as error:
            refusals += [f"as {name}'s: {each['loc']}: {each['msg']}" for each in error.errors()]
        else:
            return
    pytest.fail("\n".join([block.place, *refusals]))


def mutable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: mutable(value) if isinstance(value, dict) else value for key, value in values.items()}
