"""PostHog's route: which service answers for which path, however Traefik reads a prefix."""

import copy
import json

import pytest

from constructs.l4_insight.posthog.routes import CLOSED, PATHS, PORTS
from stacks.project import Project
from stacks.synthesis import synthesize
from tests.routes import ANSWERS, LETTERS_ONLY, REWRITTEN, answering, rules
from tests.support import ROOT, Stack

BOTH = pytest.mark.parametrize("by_elements", [False, True], ids=["by letters", "by elements"])


@pytest.fixture(scope="module")
def ingress(larger: Project) -> Stack:
    """The Ingress of staging's PostHog."""
    synthesize(larger)
    path = larger.root / "terraform" / "stacks" / "staging" / "cdk.tf.json"
    named = json.loads(path.read_text(encoding="utf-8"))["resource"]["kubernetes_ingress_v1"]
    [found] = [item for item in named.values() if item["metadata"]["name"] == "posthog"]
    return dict(found)


@BOTH
@pytest.mark.parametrize("path", [path for path in ANSWERS if not any(piece in path for piece in REWRITTEN)])
def test_a_path_is_answered_by_its_service_alone(ingress: Stack, path: str, by_elements: bool) -> None:  # noqa: FBT001
    wanted = "web" if by_elements and path in LETTERS_ONLY else ANSWERS[path]
    assert answering(ingress, path, by_elements=by_elements) == {wanted}


@BOTH
def test_a_rest_with_a_path_would_take_the_short_ones(ingress: Stack, by_elements: bool) -> None:  # noqa: FBT001
    careless = copy.deepcopy(ingress)
    [rule] = careless["spec"]["rule"]
    [rest] = [item for item in rule["http"]["path"] if "path" not in item]
    rest |= {"path": "/", "path_type": "Prefix"}
    for path in ("/s", "/e", "/flags?v=2"):
        taken = answering(careless, path, by_elements=by_elements)
        assert ("web" in taken) is not by_elements


def test_every_path_is_asked_for_with_what_is_beside_it() -> None:
    bare = {path.partition("?")[0]: service for path, service in ANSWERS.items()}
    beside = [path for path, service in bare.items() if service == "web"]
    for item in PATHS:
        own = [service for path, service in bare.items() if f"{path}/".startswith(f"{item.path}/")]
        assert item.service in own, item.path
        if item.path.count("/") == 1:
            assert any(path.startswith(item.path) for path in beside), item.path


def test_every_service_is_led_to_on_its_port_and_no_path_twice(ingress: Stack) -> None:
    [rule] = ingress["spec"]["rule"]
    items = rule["http"]["path"]
    backends = {(item["backend"]["service"]["name"], item["backend"]["service"]["port"]["number"]) for item in items}
    assert backends == {(f"posthog-{name}", port) for name, port in PORTS.items()}
    paths = [item.get("path") for item in items]
    assert len(paths) == len(set(paths))
    assert None in paths


def test_the_store_of_objects_and_what_is_not_deployed_are_led_to_by_no_path(ingress: Stack) -> None:
    assert not [rule.text for rule in rules(ingress, by_elements=False) if "/posthog" in rule.text]
    assert answering(ingress, "/posthog/exports/1", by_elements=False) == {"web"}


def test_the_page_names_every_path_and_who_answers() -> None:
    page = (ROOT / "docs" / "reference" / "systems" / "posthog.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `/")]
    for item in PATHS:
        assert [row for row in rows if f"`{item.path}`" in row and item.service in row], item.path
    for path in CLOSED:
        assert [row for row in rows if f"`{path}`" in row and "404" in row], path
