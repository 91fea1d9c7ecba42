"""The doctor: what a bootstrap needs, looked at before it begins. `make doctor` prints a line for each finding.

It is part of the tool, beside the project's loader, because it reads the settings by that. It changes nothing, asks
nobody but the cluster and the name servers, and waits for none of them for long.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacks.cluster import ClusterError, kubectl

if TYPE_CHECKING:
    from stacks.project import Project

_ROOT = Path(__file__).resolve().parent.parent
_BINDINGS = ("cdktf", "cdktf_cdktf_provider_helm", "cdktf_cdktf_provider_kubernetes", "constructs")
_MIN_NODE = 22
_MIN_TERRAFORM = (1, 11)
_EXAMPLE = "example.com"
_GIT_INPUTS = (
    "cdktf.json",
    "versions.toml",
    "envs",
    "terraform",
    "atlantis.yaml",
    "docs/reference/settings.md",
    "charts",
)
_WAIT = 5.0


class Verdict(Enum):
    """What a finding means: nothing, something to mend now, something to do on the way, or that nobody could look."""

    OK = "ok"
    MEND = "mend"
    LATER = "later"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, and what was found and is to be done."""

    verdict: Verdict
    subject: str
    words: str

    def __str__(self) -> str:
        return f"{self.verdict.value:<11} {self.subject}: {self.words}"


def ok(subject: str, words: str) -> Finding:
    """Return that all is well."""
    return Finding(Verdict.OK, subject, words)


def mend(subject: str, words: str) -> Finding:
    """Return what must be mended before a bootstrap goes on."""
    return Finding(Verdict.MEND, subject, words)


def later(subject: str, words: str) -> Finding:
    """Return what is done on the way, or may stay as it is."""
    return Finding(Verdict.LATER, subject, words)


def not_checked(subject: str, words: str) -> Finding:
    """Return why nobody could look."""
    return Finding(Verdict.NOT_CHECKED, subject, words)


def said(*command: str) -> str | None:
    """Return what a command prints; None: it is not there, fails or does not come back within 20 seconds."""
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


# --- this machine ---


def tools(terraform: str) -> Iterator[Finding]:
    """Look at the programs that are called."""
    yield ok("python", ".".join(str(part) for part in sys.version_info[:3]))
    yield _node(said(os.environ.get("JSII_NODE", "node"), "--version"))
    yield _terraform(terraform, said(terraform, "version", "-json"))
    version = said("kubectl", "version", "--client", "--output=json")
    if version is None:
        yield mend("kubectl", "not found: install it, https://kubernetes.io/docs/tasks/tools")
    else:
        yield ok("kubectl", json.loads(version)["clientVersion"]["gitVersion"])


def _node(version: str | None) -> Finding:
    found = re.match(r"v(\d+)\.", version or "")
    if found is None:
        return mend("node", "does not run: make clean synth fetches it anew; unset JSII_NODE if it is set")
    if int(found[1]) < _MIN_NODE:
        return mend("node", f"{(version or '').strip()} is too old: unset JSII_NODE, or name a Node {_MIN_NODE} in it")
    return ok("node", (version or "").strip())


def _terraform(name: str, version: str | None) -> Finding:
    least = ".".join(str(part) for part in _MIN_TERRAFORM)
    if version is None:
        return mend("terraform", f"{name} does not run: install Terraform or OpenTofu, {least} or newer")
    text: str = json.loads(version)["terraform_version"]
    if tuple(int(part) for part in text.split(".")[:2]) < _MIN_TERRAFORM:
        return mend("terraform", f"{text} is too old: install {least} or newer, or give TERRAFORM=<path>")
    return ok("terraform", f"{Path(name).name} {text}")


def jsii_cache(root: Path, archives: Sequence[Path]) -> Finding:
    """Compare what jsii has unpacked with its archives: jsii itself never looks again."""
    for archive in archives:
        name, _, version = archive.name.removesuffix(".jsii.tgz").rpartition("@")
        with tarfile.open(archive) as packed:
            files = {item.name.partition("/")[2]: item.size for item in packed if item.isfile()}
        for marker in root.glob(f"**/{name}/{version}/*/package.json"):
            damaged = [path for path, size in files.items() if _size(marker.parent / path) != size]
            if damaged:
                return mend("jsii", f"{marker.parent} is damaged ({damaged[0]}): delete {root}, it is filled anew")
    return ok("jsii", f"{root} is as it was unpacked" if root.is_dir() else "nothing is unpacked yet")


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _jsii_root() -> Path:
    given = os.environ.get("JSII_RUNTIME_PACKAGE_CACHE_ROOT")
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "com.amazonaws.jsii" / "package-cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aws" / "jsii" / "package-cache"


def _archives() -> list[Path]:
    folders = [Path(place) for name in _BINDINGS if (spec := find_spec(name)) for place in _places(spec)]
    return sorted(archive for folder in folders for archive in folder.glob("_jsii/*.jsii.tgz"))


def _places(spec: Any) -> Sequence[str]:  # noqa: ANN401 (a module's specification)
    return spec.submodule_search_locations or ()


# --- the files ---


def files(project: "Project") -> Iterator[Finding]:
    """Look at what the settings leave open."""
    from stacks.supplied import stores_of  # noqa: PLC0415 (it loads the bindings, which may be what is damaged)

    infra = project.infra.model_dump()
    settings = {"infra": project.infra, **project.environments}
    strangers = [name for name, file in settings.items() if f".{file.base_domain}".endswith(f".{_EXAMPLE}")]
    if strangers:
        yield mend("base_domain", f"still {_EXAMPLE} in {_tfvars(strangers)}: set your domain, then make synth")
    else:
        yield ok("base_domain", ", ".join(sorted({file.base_domain for file in settings.values()})))
    has_atlantis = "atlantis" in infra["components"]
    if "certificates" in infra["components"] and not infra["certificates"]["email"]:
        words = "empty: nobody trusts the certificates"
        if has_atlantis:
            yield mend("certificates.email", f"{words}, a webhook's sender neither: set it in envs/infra.tfvars")
        else:
            yield later("certificates.email", f"{words}: set it in envs/infra.tfvars, if anybody is to")
    for name, file in settings.items():
        saved = stores_of(file.components)
        if saved and not file.backups.bucket:
            words = f"no bucket: {' and '.join(saved)} would be lost with the node's disk"
            yield later("backups.bucket", f"{words}; set it in envs/{name}.tfvars, then make secrets ENV={name}")
    backend = project.cdktf.context.backend.type
    if has_atlantis and backend == "local":
        yield later("state", "local, which Atlantis refuses: after the first apply choose a backend, then make state")
    else:
        yield ok("state", f"kept in {backend}")


def _tfvars(names: Sequence[str]) -> str:
    return ", ".join(f"envs/{name}.tfvars" for name in sorted(names))


def repository(infra: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at what Atlantis would not find: what is not committed, or not pushed."""
    changed = said("git", "status", "--porcelain", "--", *_GIT_INPUTS, ":!*.terraform.lock.hcl")
    if changed is None:
        yield not_checked("git", "this is no checkout of a git repository")
        return
    names = [line[3:] for line in changed.splitlines()]
    if names:
        yield later("git", f"not committed: {', '.join(names[:4])}{', ...' if names[4:] else ''}: commit and push")
    else:
        ahead = said("git", "rev-list", "--count", "@{upstream}..HEAD")
        words = "no branch is tracked: git push --set-upstream" if ahead is None else f"{ahead.strip()} commits to push"
        yield ok("git", "committed and pushed") if (ahead or "").strip() == "0" else later("git", words)
    if "atlantis" in infra["components"]:
        wanted = infra["atlantis"]["repository"]
        remotes = [line for line in (said("git", "remote", "--verbose") or "").splitlines() if "(fetch)" in line]
        _, _, path = wanted.partition("/")
        if any(path.lower() in remote.lower() for remote in remotes):
            yield ok("atlantis.repository", wanted)
        else:
            yield mend("atlantis.repository", f"{wanted} is no remote of this checkout: set yours in envs/infra.tfvars")


def ssh(infra: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at how nodes would be reached; whether they are is the first thing that `make nodes` finds out."""
    if not infra["k3s_servers"]:
        return
    if shutil.which("ssh") is None:
        yield mend("ssh", "not found: install OpenSSH's client")
        return
    given = infra["k3s"]["ssh_key"]
    if given:
        key = Path(given).expanduser()
        yield ok("ssh", f"by the key {key}") if key.is_file() else mend("ssh", f"k3s.ssh_key: there is no file {key}")
    elif said("ssh-add", "-l") is not None:
        yield ok("ssh", "by the keys of your agent")
    elif any((Path.home() / ".ssh").glob("id_*")):
        yield ok("ssh", "by the keys of ~/.ssh; one with a passphrase has to be in an agent: ssh-add")
    else:
        yield mend("ssh", "no agent with a key, and none in ~/.ssh: ssh-add <key>, or set k3s.ssh_key")


# --- the cluster ---


def kubeconfig(environment: Mapping[str, str], *, has_servers: bool) -> Finding:
    """Look at the file, not at what it leads to."""
    given = environment.get("KUBECONFIG", "")
    if not given:
        return mend("kubeconfig", "KUBECONFIG is not set: export KUBECONFIG=<path>, it has no default")
    missing = [path for path in given.split(":") if not Path(path).is_file()]
    if missing:
        if has_servers:
            return later("kubeconfig", f"{missing[0]} is not there yet: make nodes writes it")
        return mend(
            "kubeconfig", f"there is no {missing[0]}: give the cluster's; on a K3s server, /etc/rancher/k3s/k3s.yaml"
        )
    open_ones = [path for path in given.split(":") if Path(path).stat().st_mode & 0o077]
    if open_ones:
        return mend("kubeconfig", f"{open_ones[0]} can be read by others: chmod 600 {open_ones[0]}")
    return ok("kubeconfig", given)


def cluster(infra: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at the cluster: whether it is the one, what K3s brings, and what you may do there."""
    config = json.loads(kubectl("config", "view", "--minify", "--output=json"))
    server: str = config["clusters"][0]["cluster"]["server"]
    kubectl("get", "--raw=/readyz")
    yield _place(server, infra)
    nodes = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
    yield from _k3s(nodes)
    for kind, name, what in (
        ("ingressclass", "traefik", "Traefik"),
        ("storageclass", "local-path", "the storage class local-path"),
    ):
        if kubectl("get", kind, name, "--ignore-not-found", "--output=name"):
            yield ok(what, "is there")
        else:
            yield mend(what, f"is not there: start K3s without disabling it (kubectl get {kind})")
    yield _rights(json.loads(kubectl("auth", "whoami", "--output=json"))["status"]["userInfo"])


def _place(server: str, infra: Mapping[str, Any]) -> Finding:
    servers = infra["k3s_servers"]
    if not servers:
        return ok("cluster", f"{server}: see that it is the one you mean")
    hosts = {infra["k3s"]["api_address"], *(node[key] for node in servers for key in ("host", "external_address"))}
    host = server.partition("://")[2].rpartition(":")[0]
    if host in hosts:
        return ok("cluster", f"{server}, of k3s_servers")
    return mend("cluster", f"{server} is none of k3s_servers: give another KUBECONFIG, or empty the list")


def _k3s(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    versions = sorted({node["status"].get("nodeInfo", {}).get("kubeletVersion", "") for node in nodes})
    if not any("+k3s" in version for version in versions):
        yield later(
            "K3s", f"nodes run {', '.join(versions) or 'nothing'}: Strata is made for K3s, nobody tried another"
        )
        yield not_checked(
            "network policies", "whether anything enforces them, only K3s tells; without it all flows pass"
        )
        return
    yield ok("K3s", ", ".join(versions))
    arguments = " ".join(node["metadata"].get("annotations", {}).get("k3s.io/node-args", "") for node in nodes)
    if "disable-network-policy" in arguments:
        yield mend("network policies", "K3s runs with disable-network-policy: every flow passes; start it without")
    else:
        yield ok("network policies", "K3s enforces them")


def _rights(you: Mapping[str, Any]) -> Finding:
    name, groups = you.get("username", ""), you.get("groups", [])
    if "system:masters" in groups:
        return ok("rights", f"you are {name}, an administrator")
    try:
        kubectl("auth", "can-i", "impersonate", "serviceaccounts/deployer-infra", "--namespace=iac")
    except ClusterError:
        words = "use the administrator's kubeconfig, or be let act as its deployer (docs/tutorial/bootstrap.md)"
        return mend("rights", f"you are {name}, and may not apply infra: {words}")
    return ok("rights", f"you are {name}, and may act as deployer-infra: give AS=deployer-infra with ENV=infra")


def secrets(project: "Project") -> Iterator[Finding]:
    """Look for the Secrets that people supply: whether they are there with their keys, never at what is in them."""
    from stacks.supplied import keys_of, supplied  # noqa: PLC0415 (it loads the bindings, which may be what is damaged)

    for file in (project.infra, *project.environments.values()):
        command = f"make secrets ENV={file.environment}"
        for secret in supplied(file.model_dump()):
            subject = f"Secret {secret.namespace}/{secret.name}"
            found = keys_of(secret)
            if found is None:
                yield later(subject, f"not there: {secret.purpose}; {command} asks for it")
            elif missing := secret.lacks(found):
                yield mend(subject, f"has no {', '.join(missing)}: delete it, then {command}")
            else:
                yield ok(subject, "is there")
    if "atlantis" in project.infra.components and project.infra.atlantis.credentials_revision > 0:
        if os.environ.get("TF_VAR_atlantis_token"):  # noqa: SIM112 (Terraform's name)
            yield ok("TF_VAR_atlantis_token", "is set")
        else:
            yield later("TF_VAR_atlantis_token", "not set: an apply that bumps atlantis.credentials_revision needs it")


# --- the outside ---


def names(infra: Mapping[str, Any]) -> Finding | None:
    """Look whether the host name that webhooks are sent to leads anywhere."""
    if "atlantis" not in infra["components"]:
        return None
    host = f"atlantis.{infra['base_domain']}"
    found = resolve(host)
    if found is None:
        return not_checked(host, f"no name server answered within {_WAIT:.0f} seconds")
    if found:
        return ok(host, f"leads to {', '.join(found)}: see that it is your cluster")
    if "dns" in infra["components"]:
        return later(host, "does not resolve yet: external-dns makes its record once infra is applied")
    return later(host, "does not resolve: make a record that leads to your nodes")


def resolve(host: str) -> list[str] | None:
    """Return the addresses of a host name; None: nobody answered in time."""
    answers: list[list[str]] = []

    def ask() -> None:
        try:
            answers.append(sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, 443)}))
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN:
                answers.append([])

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_WAIT)
    return answers[0] if answers else None


def sign_in(infra: Mapping[str, Any]) -> Finding | None:
    """Look whether the provider by which people sign in answers, by the name that its tokens will bear."""
    issuer: str = infra["oidc"]["issuer"]
    if not issuer:
        return None
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        with urllib.request.urlopen(address, timeout=_WAIT) as answer:  # noqa: S310 (settings allow https only)
            found = json.load(answer)["issuer"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", None) or f"{type(error).__name__}: {error}"
        return mend("oidc.issuer", f"{address} is no discovery document ({reason}): see that nodes reach it")
    if found != issuer:
        return mend("oidc.issuer", f"{issuer} calls itself {found}: give that, to the letter; no token would be taken")
    return ok("oidc.issuer", issuer)


# --- all of it ---


def examine(terraform: str) -> Iterator[Finding]:
    """Yield every finding, the machine's first, so that a damaged one is told before it is used."""
    yield from tools(terraform)
    cache = jsii_cache(_jsii_root(), _archives())
    yield cache
    if cache.verdict is Verdict.MEND:
        yield not_checked("all else", "the settings are read with jsii")
        return
    from stacks.project import ProjectError, load  # noqa: PLC0415 (it starts jsii, which was looked at first)

    try:
        project = load(_ROOT)
    except ProjectError as error:
        yield from (mend("settings", problem) for problem in error.problems)
        yield not_checked("all else", "it depends on the settings")
        return
    infra = project.infra.model_dump()
    yield from files(project)
    yield from repository(infra)
    yield from ssh(infra)
    file = kubeconfig(os.environ, has_servers=bool(infra["k3s_servers"]))
    yield file
    if file.verdict is Verdict.OK:
        try:
            yield from cluster(infra)
            yield from secrets(project)
        except ClusterError as error:
            last = (str(error).splitlines() or [""])[-1]
            yield mend("cluster", f"did not answer: {last}; see that it runs and that KUBECONFIG leads to it")
    else:
        yield not_checked("cluster", "rights, Secrets, and what K3s brings: there is no kubeconfig to ask with")
    name = names(infra)
    if name is not None:
        yield name
    provider = sign_in(infra)
    if provider is not None:
        yield provider


def main(terraform: str) -> int:
    """Print every finding; return the process's exit status, 1 if something must be mended."""
    found = []
    for finding in examine(terraform):
        found.append(finding)
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
    faults = sum(finding.verdict is Verdict.MEND for finding in found)
    sys.stdout.write(f"\n{faults} to mend\n" if faults else "\nnothing to mend\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
