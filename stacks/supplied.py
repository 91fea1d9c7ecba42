"""What people supply: Secrets with tokens of others, which no file may hold. `make secrets` asks for them."""

import base64
import getpass
import json
import secrets
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constructs.backups import BUCKET_KEYS
from constructs.environment import Environment
from constructs.oidc import CLIENT_SECRET_KEY
from stacks.cluster import ClusterError, kubectl
from stacks.project import INFRA, ProjectError, load

_ROOT = Path(__file__).resolve().parent.parent
# The keys of the Secrets by which cert-manager edits a zone.
_ZONE_KEYS = {
    "akamai": ("client-token", "client-secret", "access-token"),
    "aws": ("access-key-id", "secret-access-key"),
    "azure": ("client-secret",),
    "cloudflare": ("api-token",),
    "google": ("key.json",),
    "rfc2136": ("tsig-secret",),
}
# The components that are saved to the bucket of `backups`, and where an environment's lie.
_STORES = ("database", "vault")
_DATA_STORES = ("postgres", "redis")
_MONITORING_STORES = ("posthog", "signoz")
# The keys by which Kubero reads a Git server: a token, and where it is, if that is not said by its name.
_GIT_KEYS = {
    "github": ("GITHUB_PERSONAL_ACCESS_TOKEN",),
    "gitea": ("GITEA_PERSONAL_ACCESS_TOKEN", "GITEA_BASEURL"),
    "gitlab": ("GITLAB_PERSONAL_ACCESS_TOKEN", "GITLAB_BASEURL"),
    "gogs": ("GOGS_PERSONAL_ACCESS_TOKEN", "GOGS_BASEURL"),
    "bitbucket": ("BITBUCKET_USERNAME", "BITBUCKET_APP_PASSWORD"),
}
# The keys of Atlantis' Secret for each kind of server: the token, and the webhook's secret.
SERVER_KEYS = {
    "github": ("github_token", "github_secret"),
    "github-app": ("key.pem", "github_secret"),
    "gitlab": ("gitlab_token", "gitlab_secret"),
    "gitea": ("gitea_token", "gitea_secret"),
}


@dataclass(frozen=True)
class Supplied:
    """A Secret that must be there before a stack is applied. Keys in `drawn` are random: nobody has them yet."""

    namespace: str
    name: str
    keys: tuple[str, ...]
    purpose: str
    drawn: tuple[str, ...] = ()

    def lacks(self, found: Collection[str]) -> list[str]:
        """Return the keys that are not among those that were found."""
        return [key for key in self.keys if key not in found]


def supplied(settings: Mapping[str, Any]) -> list[Supplied]:
    """Return the Secrets that a tfvars file names, each once."""
    found: dict[tuple[str, str], Supplied] = {}
    for item in _of_infra(settings) if settings["environment"] == INFRA else _of_an_environment(settings):
        known = found.get((item.namespace, item.name))
        if known is not None:
            keys = tuple(dict.fromkeys((*known.keys, *item.keys)))
            item = Supplied(item.namespace, item.name, keys, f"{known.purpose}; {item.purpose}")  # noqa: PLW2901
        found[item.namespace, item.name] = item
    return list(found.values())


def _of_infra(infra: Mapping[str, Any]) -> Iterator[Supplied]:
    yield from _zone(infra)
    yield from _records(infra)
    yield from _server(infra)
    yield from _bucket(infra, "iac", _STORES)
    yield from _client(infra)
    yield from _repositories(infra)


def _of_an_environment(settings: Mapping[str, Any]) -> Iterator[Supplied]:
    environment = Environment(settings["environment"], settings["env_prefix"])
    yield from _bucket(settings, environment.data_namespace, _DATA_STORES)
    yield from _bucket(settings, environment.monitoring_namespace, _MONITORING_STORES)
    yield from _channel(settings, environment.monitoring_namespace)
    yield from _objects(settings, environment.monitoring_namespace)


def _zone(infra: Mapping[str, Any]) -> Iterator[Supplied]:
    settings = infra["certificates"]
    if "certificates" not in infra["components"]:
        return
    purpose = "cert-manager proves with it that the domain is yours"
    if settings["challenge"] == "dns01":
        provider = settings["dns01"]["provider"]
        yield Supplied("kube-system", settings["dns01"][provider]["secret"], _ZONE_KEYS[provider], purpose)


def _records(infra: Mapping[str, Any]) -> Iterator[Supplied]:
    if "dns" not in infra["components"]:
        return
    settings, purpose = infra["dns"], "external-dns writes the records of your zone with it"
    if settings["provider"] == "cloudflare":
        yield Supplied("kube-system", settings["cloudflare_token_secret"], ("api-token",), purpose)
    for credential in settings["credentials"]:
        yield Supplied("kube-system", credential["secret"], (credential["key"],), purpose)


def _server(infra: Mapping[str, Any]) -> Iterator[Supplied]:
    if "atlantis" not in infra["components"] or infra["atlantis"]["credentials_revision"] > 0:
        return
    settings = infra["atlantis"]
    keys = SERVER_KEYS[settings["vcs"]]
    purpose = f"Atlantis signs in to {settings['repository'].split('/')[0]} with it"
    yield Supplied("iac", settings["credentials_secret"], keys, purpose, drawn=keys[1:])


def stores_of(components: Sequence[str]) -> list[str]:
    """Return which of a stack's components are saved to the bucket of `backups`."""
    return [name for name in components if name in (*_STORES, *_DATA_STORES, *_MONITORING_STORES)]


def _bucket(settings: Mapping[str, Any], namespace: str, stores: Sequence[str]) -> Iterator[Supplied]:
    backups = settings["backups"]
    saved = [name for name in settings["components"] if name in stores]
    if backups["bucket"] and saved:
        purpose = f"backups of {' and '.join(saved)} are written to the bucket {backups['bucket']} with it"
        yield Supplied(namespace, backups["secret"], BUCKET_KEYS, purpose)


def _channel(settings: Mapping[str, Any], namespace: str) -> Iterator[Supplied]:
    alerts = settings["signoz"]["alerts"]
    if "signoz" in settings["components"] and alerts["channel"] != "none":
        yield Supplied(namespace, alerts["secret"], ("url",), f"SigNoz sends alerts to {alerts['channel']} by it")


def _objects(settings: Mapping[str, Any], namespace: str) -> Iterator[Supplied]:
    objects = settings["posthog"]["objects"]
    if "posthog" in settings["components"] and objects["bucket"]:
        purpose = f"PostHog keeps recordings and exports in the bucket {objects['bucket']} with it"
        yield Supplied(namespace, objects["secret"], BUCKET_KEYS, purpose)


def _client(infra: Mapping[str, Any]) -> Iterator[Supplied]:
    settings = infra["oidc"]
    if "dashboard" in infra["components"] and settings["issuer"] and settings["client_secret"]:
        purpose = f"the dashboard has people signed in by {settings['issuer']} with it"
        yield Supplied("kubernetes-dashboard", settings["client_secret"], (CLIENT_SECRET_KEY,), purpose)


def _repositories(infra: Mapping[str, Any]) -> Iterator[Supplied]:
    settings = infra["kubero"]
    if "kubero" in infra["components"] and settings["git_provider"] != "none":
        purpose = f"Kubero connects repositories of {settings['git_provider']} with it"
        yield Supplied("kubero", settings["git_secret"], _GIT_KEYS[settings["git_provider"]], purpose)


def keys_of(secret: Supplied) -> tuple[str, ...] | None:
    """Return the keys that the cluster's Secret has, never its values; None: it is not there.

    Raises `ClusterError` if the API server does not answer.
    """
    template = "{{ range $key, $_ := .data }}{{ $key }} {{ end }}"
    place = [f"--namespace={secret.namespace}", "--ignore-not-found"]
    found = kubectl("get", "secret", secret.name, *place, f"--output=go-template={template}")
    return tuple(found.split()) if found else None


def values(secret: Supplied, ask: Callable[[str], str]) -> dict[str, bytes] | None:
    """Return what a person answers for each key; None: they gave an empty answer."""
    found: dict[str, bytes] = {}
    for key in secret.keys:
        if key in secret.drawn:
            found[key] = secrets.token_hex(32).encode()
            continue
        is_file = key.endswith((".json", ".pem"))
        answer = ask(f"{secret.namespace}/{secret.name}, {key}{' (path of the file)' if is_file else ''}: ").strip()
        if not answer:
            return None
        found[key] = Path(answer).expanduser().read_bytes() if is_file else answer.encode()
    return found


def manifest(secret: Supplied, content: Mapping[str, bytes]) -> str:
    """Return a Secret with a value for each key, as kubectl takes it."""
    metadata = {"name": secret.name, "namespace": secret.namespace}
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def ask_for(wanted: Sequence[Supplied], ask: Callable[[str], str]) -> Iterator[str]:
    """Make each Secret that is not there of what a person answers, and yield a line for each that is still missing.

    What has the same name and keys in two namespaces is asked for once.
    """
    answered: dict[tuple[str, tuple[str, ...]], dict[str, bytes]] = {}
    for secret in wanted:
        place = f"{secret.namespace}/{secret.name}"
        found = keys_of(secret)
        if found is not None:
            if missing := secret.lacks(found):
                yield f"{place} is there without {', '.join(missing)}: delete it, and run this again"
            else:
                sys.stdout.write(f"{place} is there\n")
            continue
        sys.stdout.write(f"{place} is missing: {secret.purpose}. What you enter is not shown; nothing leaves it out.\n")
        content = answered.get((secret.name, secret.keys)) or values(secret, ask)
        if content is None:
            yield f"{place} is still missing"
            continue
        answered[secret.name, secret.keys] = content
        # Through a pipe: an argument would be seen by every user of the machine, a file by whoever finds it.
        kubectl("create", "--filename=-", text=manifest(secret, content))
        sys.stdout.write(f"{place} was made\n")


def _typed(words: str) -> str:
    """Return what a person types, unseen; or the next line of what was piped in. Nothing is an empty answer."""
    sys.stdout.write("" if sys.stdin.isatty() else f"{words}\n")
    return getpass.getpass(words) if sys.stdin.isatty() else sys.stdin.readline()


def main(stack: str) -> int:
    """Ask for every Secret of a stack that is missing in the cluster; return the process's exit status."""
    try:
        project = load(_ROOT)
        settings = {INFRA: project.infra, **project.environments}[stack]
        wanted = supplied(settings.model_dump())
        missing = list(ask_for(wanted, _typed))
    except ProjectError as error:
        missing = list(error.problems)
    except (ClusterError, OSError, EOFError) as error:
        missing = [str(error) or "nothing was typed"]
    sys.stderr.writelines(f"{line}\n" for line in missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
