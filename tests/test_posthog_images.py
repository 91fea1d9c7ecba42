"""The search for PostHog's next set of images, against servers that answer as GitHub and registries are documented to.

The shapes are those of GitHub's REST API (commits, contents, rate limits), of the OCI distribution and image
specifications, and of the token servers of Docker Hub and ghcr.io. The real ones were never asked.
"""

import hashlib
import json
import tomllib
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stacks.posthog_images import (
    BEGIN,
    END,
    IMAGES,
    Registry,
    Repository,
    Sources,
    consistent_set,
    main,
)
from tests.support import ROOT, free_port

NAMES = {image.key: image.name for image in IMAGES}
RUST = [image.key for image in IMAGES if image.registry == "ghcr.io"]


def sha(number: int) -> str:
    """The commit of a number; the higher, the newer."""
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


def digest_of(content: str) -> str:
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def date(number: int) -> str:
    """Four commits a day, from the first of June 2026."""
    day, hour = divmod(number, 4)
    return f"2026-{6 + day // 30:02}-{1 + day % 30:02}T{hour * 6:02}:00:00Z"


@dataclass
class World:
    """A repository with `commits`, of which some change `folders`, and registries with images of some commits."""

    commits: int = 40
    folders: dict[str, list[int]] = field(default_factory=dict)
    images: dict[str, list[int]] = field(default_factory=dict)
    labels: dict[tuple[str, int], str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    platform: str = "amd64"
    nameless: set[str] = field(default_factory=set)
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def history(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        start = query["sha"]
        newest = self.commits if start == "master" else [sha(n) for n in range(self.commits + 1)].index(start)
        numbers = [n for n in range(newest, 0, -1) if not query.get("until") or date(n) <= query["until"]]
        if "path" in query:
            numbers = [n for n in numbers if n in self.folders.get(query["path"], [])]
        size, page = int(query["per_page"]), int(query["page"])
        shown = numbers[size * (page - 1) : size * page]
        return [{"sha": sha(n), "commit": {"committer": {"date": date(n)}}} for n in shown]

    def comparison(self, base: str, head: str) -> tuple[int, bytes]:
        """What GitHub says of two commits, as far as it is asked."""
        numbers = {sha(n): n for n in range(1, self.commits + 1)}
        if base not in numbers:
            return 404, b'{"message": "Not Found"}'
        gap = numbers[head] - numbers[base]
        status = "identical" if gap == 0 else "ahead" if gap > 0 else "behind"
        base_commit = {"sha": base, "commit": {"committer": {"date": date(numbers[base])}}}
        return 200, json.dumps({"status": status, "base_commit": base_commit, "commits": []}).encode()

    def objects(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Everything that registries have: media type and text, by the image's name and a tag or a digest."""
        found = {}
        for key, numbers in self.images.items():
            for number in numbers:
                label = self.labels.get((key, number), sha(number))
                labels = {"org.opencontainers.image.revision": label} if label else None
                config = json.dumps({"created": date(number), "config": {"Labels": labels}, "of": key})
                manifest = json.dumps({"schemaVersion": 2, "config": {"digest": digest_of(config)}})
                platforms = {self.platform: digest_of(manifest), "unknown": digest_of("attestation")}
                index = json.dumps(
                    {
                        "schemaVersion": 2,
                        "manifests": [
                            {"digest": digest, "platform": {"os": "linux", "architecture": name}}
                            for name, digest in platforms.items()
                        ],
                    }
                )
                kind = "application/vnd.oci.image"
                by_commit = [] if key in self.nameless else [f"sha-{sha(number)[:7]}"]
                by_branch = ["master"] if number == max(numbers) else []
                for reference in (*by_commit, *by_branch, digest_of(index)):
                    found[NAMES[key], reference] = (f"{kind}.index.v1+json", index)
                found[NAMES[key], digest_of(manifest)] = (f"{kind}.manifest.v1+json", manifest)
                found[NAMES[key], digest_of(config)] = ("application/octet-stream", config)
        return found

    def reference(self, key: str, number: int) -> str:
        """What the set is to have of an image."""
        alone = replace(self, images={key: [number]}, nameless=set())
        ((_, text),) = [item for (_, tag), item in alone.objects().items() if tag == "master"]
        registry = "ghcr.io" if key in RUST else "docker.io"
        return f"{registry}/{NAMES[key]}@{digest_of(text)}"


class Handler(BaseHTTPRequestHandler):
    """GitHub, a registry with its token server, and where the registry's blobs are: by the path."""

    server: "Server"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        world = self.server.world
        world.asked.append(f"{self.command} {self.path}")
        for piece, (status, headers) in world.answers.items():
            if piece in self.path:
                return self._say(status, b"{}", headers)
        parts = address.path.split("/")
        if address.path == "/repos/PostHog/posthog/commits":
            return self._say(200, json.dumps(world.history(query)).encode())
        if address.path.startswith("/repos/PostHog/posthog/compare/"):
            return self._say(*world.comparison(*parts[-1].split("...")))
        if address.path.startswith("/repos/PostHog/posthog/contents/"):
            content = world.files.get(parts[-1])
            return self._say(404 if content is None else 200, (content or "").encode())
        if address.path == "/token":
            name = query["scope"].removeprefix("repository:").removesuffix(":pull")
            return self._say(200, json.dumps({"token": f"for-{name}"}).encode())
        if address.path.startswith("/elsewhere/"):
            if "Authorization" in self.headers:
                return self._say(400, b"only one way to say who you are")
            return self._say(200, self.server.blobs[parts[-1]])
        return self._registry("/".join(parts[2:-2]), parts[-2], parts[-1])

    def _registry(self, name: str, kind: str, reference: str) -> None:
        host = f"http://127.0.0.1:{self.server.server_port}"
        if self.headers.get("Authorization") != f"Bearer for-{name}":
            challenge = f'Bearer realm="{host}/token",service="registry.example.com",scope="repository:{name}:pull"'
            return self._say(401, b"{}", {"WWW-Authenticate": challenge})
        found = self.server.world.objects().get((name, reference))
        if found is None:
            return self._say(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        media_type, text = found
        if kind == "blobs":
            self.server.blobs[reference] = text.encode()
            return self._say(307, b"", {"Location": f"{host}/elsewhere/{reference}"})
        return self._say(200, text.encode(), {"Docker-Content-Digest": digest_of(text), "Content-Type": media_type})

    def _say(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """All servers that are asked."""

    def __init__(self, world: World) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.world = world
        self.blobs: dict[str, bytes] = {}


@pytest.fixture
def world() -> World:
    """The application at every commit but the newest, the others now and then, some of them after it."""
    images = {key: [3, 39, 40] for key in RUST} | {"posthog": list(range(1, 40)), "posthog-node": [12, 30, 40]}
    images["posthog-capture"] = [3, 22]
    return World(folders={"rust": [3, 22, 39, 40], "proto": [10]}, images=images)


@pytest.fixture
def asked(world: World) -> Iterator[Sources]:
    """The servers of that world."""
    server = Server(world)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield Sources(Repository("", address), {"docker.io": Registry(address), "ghcr.io": Registry(address)})
    server.shutdown()
    server.server_close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of versions.toml, with line ends that are not this program's."""
    path = tmp_path / "versions.toml"
    path.write_bytes((ROOT / "versions.toml").read_bytes().replace(b"[tools]\n", b"[tools]\r\n"))
    return path


def found(asked: Sources, day: str = "") -> dict[str, str]:
    return {item.image.key: item.reference for item in consistent_set(asked, day)}


def test_a_set_is_the_newest_application_and_what_was_newest_before_it(world: World, asked: Sources) -> None:
    newest = {"posthog": 39, "posthog-node": 30, "posthog-capture": 22} | dict.fromkeys(RUST[1:], 39)
    assert found(asked) == {key: world.reference(key, number) for key, number in newest.items()}


def test_an_image_that_only_its_branch_names_is_found_where_it_is_not_newer(world: World, asked: Sources) -> None:
    world.nameless = {"posthog-capture", "posthog-node"}
    world.images["posthog-node"] = [12, 30]
    assert found(asked)["posthog-capture"] == world.reference("posthog-capture", 22)
    assert found(asked)["posthog-node"] == world.reference("posthog-node", 30)


def test_what_its_branch_names_is_not_taken_without_a_label_or_where_it_is_a_branch_of_somebodys(
    world: World, asked: Sources
) -> None:
    world.labels["posthog-capture", 22] = ""
    world.labels["posthog-property-defs-rs", 40] = "f" * 40
    set_of = found(asked)
    assert set_of["posthog-capture"] == world.reference("posthog-capture", 22)
    assert set_of["posthog-property-defs-rs"] == world.reference("posthog-property-defs-rs", 39)
    assert [line for line in world.asked if line.startswith(f"HEAD /v2/{NAMES['posthog-capture']}/manifests/sha-")]


def test_a_set_as_of_a_day_has_nothing_newer(world: World, asked: Sources) -> None:
    of_the_fourth = {"posthog": 15, "posthog-node": 12} | dict.fromkeys(RUST, 3)
    assert date(15).startswith("2026-06-04")
    assert found(asked, "2026-06-04") == {key: world.reference(key, number) for key, number in of_the_fourth.items()}


def test_an_image_that_another_commit_with_the_same_seven_digits_built_is_passed_over(
    world: World, asked: Sources
) -> None:
    world.labels["posthog-node", 30] = sha(30)[:7] + "0" * 33
    assert found(asked)["posthog-node"] == world.reference("posthog-node", 12)


def test_an_image_without_a_label_is_taken_and_said_to_have_none(
    world: World, asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.labels["posthog-node", 30] = ""
    assert main(["--dry-run"], asked, file) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "no label" in line]
    assert [line.split()[0] for line in said] == ["posthog-node"]


def test_an_image_is_found_on_a_later_page_of_the_history(world: World, asked: Sources) -> None:
    world.commits = 250
    world.images |= {"posthog": [249], "posthog-node": [40, 250]}
    assert found(asked)["posthog-node"] == world.reference("posthog-node", 40)
    assert any("page=3" in line for line in world.asked)


def test_tags_are_asked_for_by_a_way_that_counts_as_no_pull(world: World, asked: Sources) -> None:
    found(asked)
    by_tag = [line.split()[0] for line in world.asked if "/manifests/sha-" in line or line.endswith("/master")]
    assert set(by_tag) == {"HEAD"}


def test_only_the_set_is_written_and_a_second_run_changes_nothing(
    asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    assert main([], asked, file) == 0
    after = file.read_bytes()
    begin, end = BEGIN.encode(), END.encode()
    assert after != before
    assert (after.partition(begin)[0], after.partition(end)[2]) == (
        before.partition(begin)[0],
        before.partition(end)[2],
    )
    assert b"[tools]\r\n" in after
    old, new = (tomllib.loads(text.decode().replace("\r\n", "\n")) for text in (before, after))
    assert {key: value for key, value in new["images"].items() if key not in NAMES} == {
        key: value for key, value in old["images"].items() if key not in NAMES
    }
    assert {key: new["images"][key] for key in NAMES} == found(asked)
    capsys.readouterr()
    assert main([], asked, file) == 0
    said = capsys.readouterr().out
    assert "versions.toml has this set already." in said
    assert said.count("as it was") == len(IMAGES)
    assert file.read_bytes() == after


def test_what_is_only_looked_at_is_not_written(asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    assert main(["--dry-run", "--day=2026-06-04"], asked, file) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[: len(IMAGES)]] == [image.key for image in IMAGES]
    assert "Nothing was written" in said
    assert file.read_bytes() == before


def test_stores_that_posthog_runs_at_another_version_are_named(
    world: World, asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(file.read_bytes() + b'posthog-kafka = "docker.io/redpandadata/redpanda:v25.1.9"\n')
    world.files["docker-compose.base.yml"] = (
        "    clickhouse:\n        image: ${CLICKHOUSE_SERVER_IMAGE:-clickhouse/clickhouse-server:99.9.9.9}\n"
        "    kafka:\n        image: docker.redpanda.com/redpandadata/redpanda:v25.1.9\n"
    )
    assert main(["--dry-run"], asked, file) == 0
    said = capsys.readouterr().out
    assert "run clickhouse-server 99.9.9.9 there; clickhouse is 25.12.5" in said
    assert "redpanda" not in said


@pytest.mark.parametrize(
    ("piece", "status", "headers", "words"),
    [
        ("/commits", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1785585600"}, "after 12:00 UTC, or"),
        ("/commits", 500, {}, "says 500 to"),
        ("/manifests/", 429, {"Retry-After": "90"}, "run this again in 90 seconds; nothing was changed"),
        ("/manifests/", 429, {}, "run this again in some hours; nothing was changed"),
        ("/token", 403, {}, "is it public still, or has it another name?"),
        ("/elsewhere/", 503, {}, "run this again later; nothing was changed"),
    ],
)
def test_who_does_not_answer_is_named_with_what_to_do(
    world: World,
    asked: Sources,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    piece: str,
    status: int,
    headers: dict[str, str],
    words: str,
) -> None:
    before = file.read_bytes()
    world.answers[piece] = (status, headers)
    assert main([], asked, file) == 1
    assert words in capsys.readouterr().err
    assert file.read_bytes() == before


def test_an_image_that_is_built_no_more_is_named(
    world: World, asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.images["posthog-capture"] = [40]
    assert main([], asked, file) == 1
    said = capsys.readouterr().err
    assert said.startswith("ghcr.io/posthog/posthog/capture: none of 4 commits has an image, from sha-")
    assert "give another --day" in said


def test_a_day_before_the_repository_is_refused(asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--day=2019-01-01"], asked, file) == 1
    assert "there is no commit up to that day" in capsys.readouterr().err


def test_an_image_for_other_machines_alone_is_refused(
    world: World, asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.platform = "arm64"
    assert main([], asked, file) == 1
    assert "has nothing for linux/amd64" in capsys.readouterr().err


def test_without_a_network_it_says_where_to_run_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    registries = {"docker.io": Registry(nowhere), "ghcr.io": Registry(nowhere)}
    assert main([], Sources(Repository("", nowhere), registries), file) == 1
    assert "cannot be reached (" in capsys.readouterr().err


def test_a_day_that_is_none_is_refused_before_anybody_is_asked(
    world: World, asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--day=July"], asked, file)
    assert "--day=July: give a day as 2026-07-01" in capsys.readouterr().err
    assert world.asked == []


def test_a_file_without_its_place_is_refused(asked: Sources, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(file.read_bytes().replace(END.encode(), b""))
    assert main([], asked, file) == 1
    assert "restore them from git" in capsys.readouterr().err


def test_the_shipped_set_is_whole_and_by_digest_alone() -> None:
    text = (ROOT / "versions.toml").read_text(encoding="utf-8")
    images = tomllib.loads(text)["images"]
    own = tomllib.loads(text.partition(BEGIN)[2].partition(END)[0])
    assert list(own) == sorted(image.key for image in IMAGES)
    for image in IMAGES:
        assert images[image.key].partition("@")[0] == f"{image.registry}/{image.name}"
