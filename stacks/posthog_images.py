"""PostHog's images: a set that belongs together, asked of its repository and of the registries, for versions.toml.

PostHog has no releases. Each of its images is built from a commit, when that commit changes what is in it, and is
called `sha-<7 digits of the commit>`, the newest `master` as well. A set that belongs together is the image of the
application at one commit, and each other image at the newest commit before it that has one. Which commits those are,
and their order, the repository says; a registry says which of them have an image, and an image by its label from which
commit it was built.
"""

import argparse
import datetime as dt
import heapq
import itertools
import os
import re
import sys
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from stacks.registry import INDEXES, MANIFESTS, Answer, RegistryError, ask, refused
from stacks.registry import Registry as OciRegistry

_FILE = Path(__file__).resolve().parent.parent / "versions.toml"
_REPOSITORY = "PostHog/posthog"
_BRANCH = "master"
# How far back an image is looked for. An application's image is built several times a day, the others at least monthly.
_MOST_COMMITS = 500
_A_PAGE = 100
_PLATFORM = "linux/amd64"
_REVISION = "org.opencontainers.image.revision"
# What PostHog's own Compose files run beside it, and what it is called in versions.toml.
_COMPOSE_FILES = ("docker-compose.base.yml", "docker-compose.hobby.yml")
_STORES = ("clickhouse-server", "redpanda", "seaweedfs", "valkey")
# Between these two lines versions.toml is this program's.
BEGIN, END = "# --- PostHog's images, by `make posthog-images` ---\n", "# --- the end of PostHog's images ---\n"


class ImagesError(RegistryError):
    """No set was found; the message says why and what to do."""


@dataclass(frozen=True)
class Image:
    """An image of the set: its key in versions.toml, where it is, and the folders whose changes build it."""

    key: str
    registry: str
    name: str
    folders: tuple[str, ...] = ()


_APPLICATION = Image("posthog", "docker.io", "posthog/posthog")
_RUST = ("capture", "feature-flags", "hypercache-server", "personhog-replica", "personhog-router", "property-defs-rs")
IMAGES = (
    _APPLICATION,
    Image("posthog-node", "docker.io", "posthog/posthog-node"),
    *(Image(f"posthog-{name}", "ghcr.io", f"posthog/posthog/{name}", ("rust", "proto")) for name in _RUST),
)


@dataclass(frozen=True)
class Commit:
    """A commit, and when it was made."""

    sha: str
    date: str

    @property
    def tag(self) -> str:
        """What images of this commit are called."""
        return f"sha-{self.sha[:7]}"


@dataclass(frozen=True)
class Found:
    """An image of the set, by its digest, and the commit that it was built from."""

    image: Image
    commit: Commit
    digest: str
    is_labelled: bool

    @property
    def reference(self) -> str:
        """What Kubernetes is told."""
        return f"{self.image.registry}/{self.image.name}@{self.digest}"


@dataclass
class Repository:
    """PostHog's repository, by GitHub's API. `token` (optional) lets it be asked more than 60 times an hour."""

    token: str = ""
    api: str = "https://api.github.com"

    def history(self, start: str, *, until: str = "", folders: Sequence[str] = ()) -> Iterator[Commit]:
        """Yield the commits that lead to `start`, newest first; with `folders`, those that change one of them."""
        ways = [self._history(start, until, folder) for folder in folders or ("",)]
        seen = set()
        for commit in heapq.merge(*ways, key=lambda commit: commit.date, reverse=True):
            if commit.sha not in seen:
                seen.add(commit.sha)
                yield commit

    def before(self, commit: Commit, sha: str) -> Commit | None:
        """Return the commit that has this sha where it leads to `commit` or is it; None where it does not."""
        # The second page leaves out what was changed in between.
        answer = self._get(f"compare/{sha}...{commit.sha}?per_page=1&page=2", is_there=False)
        content = answer.json() if answer.status == HTTPStatus.OK else {}
        if content.get("status") not in ("ahead", "identical"):
            return None
        return Commit(sha, content["base_commit"]["commit"]["committer"]["date"])

    def file(self, path: str, commit: Commit) -> str:
        """Return a file as it was at a commit; nothing where it was not there."""
        place = f"contents/{path}?ref={commit.sha}"
        answer = self._get(place, accept="application/vnd.github.raw+json", is_there=False)
        return answer.body.decode(errors="replace") if answer.status == HTTPStatus.OK else ""

    def _history(self, start: str, until: str, folder: str) -> Iterator[Commit]:
        for page in itertools.count(1):
            given = {"sha": start, "until": until, "path": folder, "per_page": _A_PAGE, "page": page}
            query = urllib.parse.urlencode({key: value for key, value in given.items() if value})
            items = self._get(f"commits?{query}").json()
            yield from (Commit(item["sha"], item["commit"]["committer"]["date"]) for item in items)
            if len(items) < _A_PAGE:
                return

    def _get(self, path: str, *, accept: str = "application/vnd.github+json", is_there: bool = True) -> Answer:
        address = f"{self.api}/repos/{_REPOSITORY}/{path}"
        answer = ask(address, {"Accept": accept, "User-Agent": "strata"}, token=self.token)
        if answer.headers.get("X-RateLimit-Remaining") == "0" and answer.status != HTTPStatus.OK:
            until = dt.datetime.fromtimestamp(int(answer.headers.get("X-RateLimit-Reset", "0")), dt.UTC)
            message = (
                f"GitHub answers 60 questions an hour to who does not sign in: run this again after {until:%H:%M} UTC, "
                "or give a token that may do nothing as GITHUB_TOKEN"
            )
            raise ImagesError(message)
        if answer.status == HTTPStatus.OK or (answer.status == HTTPStatus.NOT_FOUND and not is_there):
            return answer
        raise refused(address, answer)


@dataclass
class Registry(OciRegistry):
    """A registry whose images say by a label from which commit they were built."""

    def label(self, name: str, digest: str) -> str:
        """Return the commit that an image says it was built from, on linux/amd64; nothing where it says none."""
        manifest = self._json(name, f"manifests/{digest}", (*INDEXES, *MANIFESTS))
        if "manifests" in manifest:
            platforms = {_platform(item): item["digest"] for item in manifest["manifests"]}
            if _PLATFORM not in platforms:
                message = f"{name}@{digest} has nothing for {_PLATFORM}: give another --day"
                raise ImagesError(message)
            manifest = self._json(name, f"manifests/{platforms[_PLATFORM]}", MANIFESTS)
        configuration = self._json(name, f"blobs/{manifest['config']['digest']}", ("*/*",))
        labels = (configuration.get("config") or {}).get("Labels") or {}
        return str(labels.get(_REVISION, ""))

    def _json(self, name: str, path: str, accept: Sequence[str]) -> dict[str, Any]:
        answer = self.get(name, path, accept)
        if answer is None:
            message = f"{self.api} lists {name}, but has no {path} of it: give another --day"
            raise ImagesError(message)
        content: dict[str, Any] = answer.json()
        return content


def _platform(item: Mapping[str, Any]) -> str:
    platform = item.get("platform") or {}
    return f"{platform.get('os')}/{platform.get('architecture')}"


@dataclass
class Sources:
    """Whom the program asks."""

    repository: Repository
    registries: Mapping[str, Registry]


def sources() -> Sources:
    """Return the public ones."""
    registries = {"docker.io": Registry("https://registry-1.docker.io"), "ghcr.io": Registry("https://ghcr.io")}
    return Sources(Repository(os.environ.get("GITHUB_TOKEN", "")), registries)


def consistent_set(sources: Sources, day: str) -> list[Found]:
    """Return the set as of the end of a day (UTC), or of now where that is empty. Raises `ImagesError`."""
    until = f"{day}T23:59:59Z" if day else ""
    first = _newest(sources, _APPLICATION, sources.repository.history(_BRANCH, until=until))
    found = [first]
    for image in IMAGES[1:]:
        history = sources.repository.history(first.commit.sha, folders=image.folders)
        newest = None if day else _of_the_branch(sources, image, first.commit)
        found.append(newest or _newest(sources, image, history))
    return found


def _of_the_branch(sources: Sources, image: Image, first: Commit) -> Found | None:
    """Return the newest image that there is; None where it has no label, or is newer than the application's commit."""
    registry = sources.registries[image.registry]
    digest = registry.digest(image.name, _BRANCH)
    label = registry.label(image.name, digest) if digest is not None else ""
    commit = sources.repository.before(first, label) if label else None
    return Found(image, commit, digest, is_labelled=True) if commit is not None and digest is not None else None


def _newest(sources: Sources, image: Image, history: Iterator[Commit]) -> Found:
    """Return an image of the first commit that has one."""
    registry = sources.registries[image.registry]
    asked = [Commit("", "")]
    for commit in itertools.islice(history, _MOST_COMMITS):
        asked.append(commit)
        digest = registry.digest(image.name, commit.tag)
        if digest is None:
            continue
        label = registry.label(image.name, digest)
        # Seven digits may be another commit's, too.
        if label in ("", commit.sha):
            return Found(image, commit, digest, is_labelled=bool(label))
    where = f"{image.registry}/{image.name}"
    if len(asked) == 1:
        message = f"{where}: there is no commit up to that day: give a --day since PostHog builds it"
    else:
        message = (
            f"{where}: none of {len(asked) - 1} commits has an image, from {asked[1].tag} back to {asked[-1].tag} "
            f"({asked[-1].date[:10]}): give another --day, and look whether PostHog still builds it under this name"
        )
    raise ImagesError(message)


def block(found: Sequence[Found]) -> str:
    """Return the set in the form of versions.toml."""
    first = found[0].commit
    lines = [f"# PostHog {first.sha} of {first.date[:10]}, and what was newest before it.\n"]
    for item in sorted(found, key=lambda item: item.image.key):
        lines.append(f"# {item.commit.tag}, {item.commit.date[:10]}\n")
        lines.append(f'{item.image.key} = "{item.reference}"\n')
    return "".join(lines)


def replaced(text: str, new: str) -> str:
    """Return versions.toml with another set; all else is as it was. Raises `ImagesError`."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        message = f"versions.toml has no lines {BEGIN.strip()!r} and {END.strip()!r}: restore them from git"
        raise ImagesError(message)
    return before + begin + new + end + after


def difference(old: Mapping[str, str], found: Sequence[Found]) -> Iterator[str]:
    """Yield a line for each image: what it was, what it is, and of which commit."""
    for item in found:
        was = old.get(item.image.key, "")
        about = f"{item.commit.tag} of {item.commit.date[:16].replace('T', ' ')}"
        about += "" if item.is_labelled else ", by its tag alone: it has no label"
        if was == item.reference:
            yield f"{item.image.key:<26} {_short(was)}  as it was   {about}"
        else:
            yield f"{item.image.key:<26} {_short(was)}  {_short(item.digest)}  {about}"


def _short(reference: str) -> str:
    return reference.rpartition(":")[2][:12].ljust(12, "-")


def stores(old: Mapping[str, str], compose: str) -> Iterator[str]:
    """Yield what PostHog's Compose files run another version of than versions.toml."""
    images = set(re.findall(r"^\s*image:\s*['\"]?(?:\$\{\w+:-)?([\w./-]+:[\w.-]+)", compose, re.MULTILINE))
    for name in _STORES:
        theirs = {image.rpartition(":")[2] for image in images if image.rpartition(":")[0].rpartition("/")[2] == name}
        ours = {
            key: image.partition("@")[0].rpartition(":")[2]
            for key, image in old.items()
            if image.partition("@")[0].rpartition(":")[0].rpartition("/")[2] == name
        }
        for key, version in ours.items():
            if theirs and version not in theirs:
                yield f"PostHog's Compose files run {name} {' or '.join(sorted(theirs))} there; {key} is {version}"


def main(arguments: Sequence[str], asked: Sources, path: Path = _FILE) -> int:
    """Find a set, print what it changes, and write it; return the process's exit status."""
    parser = argparse.ArgumentParser(prog="make posthog-images", description="Find PostHog's next set of images.")
    parser.add_argument("--day", default="", help="the set as of the end of this day, UTC: 2026-07-01; else of now")
    parser.add_argument("--dry-run", action="store_true", help="print it, and write nothing")
    given = parser.parse_args(arguments)
    try:
        if given.day:
            dt.date.fromisoformat(given.day)
    except ValueError:
        parser.error(f"--day={given.day}: give a day as 2026-07-01")
    try:
        # Its line ends as they are.
        text = path.read_bytes().decode()
        old = tomllib.loads(text)["images"]
        found = consistent_set(asked, given.day)
        new = replaced(text, block(found))
        first = found[0].commit
        compose = "\n".join(asked.repository.file(name, first) for name in _COMPOSE_FILES)
    except RegistryError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    lines = [*difference(old, found), *stores(old, compose)]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if given.dry_run:
        sys.stdout.write("Nothing was written: --dry-run.\n")
    elif new == text:
        sys.stdout.write("versions.toml has this set already.\n")
    else:
        path.write_bytes(new.encode())
        sys.stdout.write("versions.toml has it now. How to go on: docs/how-to/upgrade.md#posthog\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sources()))
