"""PostHog's route in a real Traefik: as deployer-staging applied it, read in both of Traefik's ways.

`traefik` runs as a process of this machine. Behind its Services is no PostHog, but a small server for each that says
its name. Of staging's stack the Ingress alone is applied.
"""

import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from constructs.l4_insight.posthog.routes import PORTS
from tests.e2e.cluster import EMPTY, KUBECONFIG, Workspace, kubectl, objects
from tests.routes import ANSWERS, LETTERS_ONLY
from tests.support import free_port, on_the_path

pytestmark = pytest.mark.e2e

NAMESPACE = "monitoring-staging"
Ask = Callable[..., dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    """Says which server it is, and what it was asked."""

    def do_OPTIONS(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        sent = len(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        words = {
            "service": self.server.name,  # type: ignore[attr-defined]
            "method": self.command,
            "path": self.path,
            "headers": dict(self.headers),
            "sent": sent,
        }
        body = json.dumps(words).encode()
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Backend(ThreadingHTTPServer):
    """What stands for a service of PostHog's."""

    def __init__(self, name: str) -> None:
        super().__init__((address(), 0), Handler)
        self.name = name
        threading.Thread(target=self.serve_forever, daemon=True).start()


def address() -> str:
    """An address of this machine that an EndpointSlice may name: no loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))
        found: str = probe.getsockname()[0]
        return found


def service(name: str, backend: Backend) -> list[dict[str, Any]]:
    """A Service without a selector, and where it leads to."""
    about = {"name": f"posthog-{name}", "namespace": NAMESPACE}
    labels = {"kubernetes.io/service-name": about["name"]}
    host, port = backend.server_address[:2]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": {"ports": [{"port": PORTS[name]}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": about | {"labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": port}],
            "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        },
    ]


def keep_the_route(path: Path) -> None:
    """Take everything but PostHog's Ingress from a synthesized stack."""
    stack = json.loads(path.read_text(encoding="utf-8"))
    named = stack["resource"]["kubernetes_ingress_v1"]
    route = {key: item for key, item in named.items() if item["metadata"]["name"] == "posthog"}
    assert route, "staging has no PostHog: add it to its components"
    for item in route.values():
        item.pop("depends_on", None)
    stack["resource"] = {"kubernetes_ingress_v1": route}
    for block in ("ephemeral", "locals", "moved"):
        stack.pop(block, None)
    path.write_text(json.dumps(stack), encoding="utf-8")


@pytest.fixture(scope="module")
def host(workspace: Workspace) -> Iterator[str]:
    """The host of staging's PostHog, with its Ingress applied and a server behind each Service."""
    on_the_path("traefik")
    keep_the_route(workspace.root / "terraform" / "stacks" / "staging" / "cdk.tf.json")
    workspace.apply("staging")
    backends = {name: Backend(name) for name in PORTS}
    items = [item for name, backend in backends.items() for item in service(name, backend)]
    items.append(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": "traefik"},
            "spec": {"controller": "traefik.io/ingress-controller"},
        }
    )
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    made = kubectl("apply", "--filename=-", text=listed)
    assert made.returncode == 0, made.stderr
    [ingress] = objects("ingresses", f"--namespace={NAMESPACE}")
    yield ingress["spec"]["rules"][0]["host"]
    kubectl("delete", "--filename=-", text=listed)
    for backend in backends.values():
        backend.shutdown()
        backend.server_close()


@pytest.fixture(scope="module", params=[False, True], ids=["by letters", "by elements"])
def by_elements(request: pytest.FixtureRequest) -> bool:
    """How Traefik reads a prefix; K3s' reads it by letters."""
    return bool(request.param)


@pytest.fixture(scope="module")
def ask(host: str, by_elements: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:  # noqa: FBT001
    """Ask a running Traefik for a path of the host: what the server behind it was asked."""
    port = free_port()
    provider = "--providers.kubernetesingress"
    words = [
        on_the_path("traefik"),
        f"{provider}=true",
        f"{provider}.strictprefixmatching={json.dumps(by_elements)}",
        f"--entrypoints.websecure.address=127.0.0.1:{port}",
        "--entrypoints.websecure.http.tls=true",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    context = ssl._create_unverified_context()  # noqa: S323, SLF001 (Traefik's own certificate: there is no other yet)

    def get(path: str, method: str = "GET", body: bytes = b"", **headers: str) -> dict[str, Any]:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        connection.request(method, path, body=body, headers={"Host": host, **headers})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        found: dict[str, Any] = json.loads(text) if answer.status == 200 else {"service": answer.status}
        return found | {"allowed": answer.headers.get_all("Access-Control-Allow-Origin")}

    log = tmp_path_factory.mktemp("traefik") / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(  # noqa: S603
            words, env={**os.environ, "KUBECONFIG": KUBECONFIG}, stdout=said, stderr=subprocess.STDOUT
        )
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if get("/login")["service"] == "web":
                break
        except OSError:
            pass
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.5)
    else:
        pytest.fail(log.read_text(encoding="utf-8"))
    yield get
    process.terminate()
    process.wait()


def test_a_second_plan_of_the_route_is_empty(workspace: Workspace, host: str) -> None:
    assert host
    assert workspace.plan("staging") == EMPTY


def test_every_path_is_answered_by_its_service(ask: Ask, by_elements: bool) -> None:  # noqa: FBT001
    found = {path: ask(path)["service"] for path in ANSWERS}
    wanted = {path: "web" if by_elements and path in LETTERS_ONLY else name for path, name in ANSWERS.items()}
    assert found == wanted


def test_a_path_and_its_host_arrive_as_they_were_asked(ask: Ask, host: str) -> None:
    for path in ("/s/?ip=1&_=1", "/flags/?v=2", "/array/phc_token/config.js", "/api/projects/1/query/"):
        answer = ask(path)
        assert answer["path"] == path
        assert answer["headers"]["Host"] == host
        assert answer["headers"]["X-Forwarded-Proto"] == "https"


def test_a_caller_does_not_choose_the_address_that_is_told_of_it(ask: Ask) -> None:
    forged = {"X-Forwarded-For": "198.51.100.7", "X-Real-Ip": "198.51.100.7", "X-Forwarded-Host": "evil.example.com"}
    headers = ask("/login", **forged)["headers"]
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Real-Ip"] == "127.0.0.1"
    assert "evil" not in headers["X-Forwarded-Host"]


def test_the_largest_recording_that_capture_takes_arrives_whole(ask: Ask) -> None:
    size = 25 * 1024 * 1024
    answer = ask("/s/?compression=gzip-js", "POST", bytes(size))
    assert (answer["service"], answer["sent"]) == ("replay-capture", size)


def test_what_a_page_of_another_site_may_do_the_service_alone_says(ask: Ask) -> None:
    for path in ("/e/", "/s/", "/flags/?v=2", "/array/phc_token/config"):
        answer = ask(path, "OPTIONS", Origin="https://shop.example.com")
        assert answer["method"] == "OPTIONS"
        assert answer["allowed"] == ["https://shop.example.com"]
