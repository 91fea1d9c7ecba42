"""Registries of images and charts, asked over HTTP as nobody in particular."""

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Any

_TIMEOUT = 30
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_A_PAGE = 1000


class RegistryError(Exception):
    """A server gave no answer, or none that helps; the message says why and what to do."""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 (what the server says)
        """Return the body as what it is. Raises `RegistryError`."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            message = "an answer that is no JSON came back: is a proxy in between? Try it from another network"
            raise RegistryError(message) from error


def ask(address: str, headers: Mapping[str, str], *, method: str = "GET", token: str = "") -> Answer:
    """Return what a server says to a request. Raises `RegistryError` where it says nothing."""
    request = urllib.request.Request(address, method=method, headers=dict(headers))  # noqa: S310 (ours, all https)
    if token:
        # A registry leads to where its blobs are, and whoever is there is not to have the token.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    host = urllib.parse.urlsplit(address).netloc
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        message = f"{host} cannot be reached ({reason}): run this where the internet is"
        raise RegistryError(message) from error


def refused(address: str, answer: Answer) -> RegistryError:
    """Return what to say of an answer that is none."""
    host = urllib.parse.urlsplit(address).netloc
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = answer.headers.get("Retry-After", "")
        when = f"in {wait} seconds" if wait.isdigit() else "in some hours"
        return RegistryError(f"{host} was asked too much from here: run this again {when}; nothing was changed")
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return RegistryError(f"{host} says {answer.status} to {address}: is it public still, or has it another name?")
    return RegistryError(f"{host} says {answer.status} to {address}: run this again later; nothing was changed")


@dataclass
class Registry:
    """A registry, by the API of the OCI distribution specification, as nobody in particular."""

    api: str
    _tokens: dict[str, str] = field(default_factory=dict)

    def digest(self, name: str, tag: str) -> str | None:
        """Return the digest of what is called by a tag; None where nothing is. It does not count as a pull."""
        answer = self.get(name, f"manifests/{tag}", (*INDEXES, *MANIFESTS), method="HEAD")
        return answer.headers["Docker-Content-Digest"] if answer is not None else None

    def tags(self, name: str) -> list[str]:
        """Return all tags of an image or a chart. Raises `RegistryError`."""
        found: list[str] = []
        path = f"tags/list?n={_A_PAGE}"
        while path:
            answer = self.get(name, path, ("application/json",))
            if answer is None:
                message = f"{self.api} has no {name}: is it public still, or has it another name?"
                raise RegistryError(message)
            found += answer.json().get("tags") or []
            following = re.search(r'<([^>]*)>; *rel="?next', answer.headers.get("Link", ""))
            query = urllib.parse.urlsplit(following[1]).query if following else ""
            path = f"tags/list?{query}" if query else ""
        return found

    def get(self, name: str, path: str, accept: Sequence[str], *, method: str = "GET") -> Answer | None:
        """Return what a registry says, None where it has nothing; asks for a token when it is told to."""
        address = f"{self.api}/v2/{name}/{path}"
        headers = {"Accept": ", ".join(accept)}
        answer = ask(address, headers, method=method, token=self._tokens.get(name, ""))
        if answer.status == HTTPStatus.UNAUTHORIZED and name not in self._tokens:
            self._tokens[name] = self._token(answer.headers.get("WWW-Authenticate", ""))
            answer = ask(address, headers, method=method, token=self._tokens[name])
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise refused(address, answer)
        return answer

    def _token(self, challenge: str) -> str:
        """Return a token for nobody in particular, from where a registry says that there are some."""
        given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = urllib.parse.urlencode({key: given[key] for key in ("service", "scope") if key in given})
        address = f"{given.get('realm', '')}?{query}"
        answer = ask(address, {})
        if answer.status != HTTPStatus.OK:
            raise refused(address, answer)
        content = answer.json()
        return str(content.get("token") or content.get("access_token") or "")
