"""The bill of materials names what is pinned, all of it, the same each time."""

import json
import re
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from constructs.versions import VERSIONS
from stacks import sbom
from tests.support import ROOT


@pytest.fixture(scope="module")
def text() -> str:
    return sbom.render()


@pytest.fixture(scope="module")
def components(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["components"]
    return found


def test_it_is_valid_by_cyclonedx_own_schema(text: str) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"type": "container"', '"type": "cask"', 1)) is not None


def test_the_same_files_give_the_same_bytes(text: str) -> None:
    assert sbom.render() == text


def test_every_version_of_versions_toml_is_in_it(components: list[dict[str, Any]]) -> None:
    versions = [item["version"].removeprefix("v") for item in components]
    pinned = [chart.version for chart in VERSIONS.charts.values()]
    pinned += [image.rpartition(":")[2] for image in VERSIONS.images.values() if "@" not in image]
    pinned += [image.partition("@")[2] for image in VERSIONS.images.values() if "@" in image]
    pinned += [*VERSIONS.providers.values(), *(version for _, version in VERSIONS.tools)]
    missing = [version for version in pinned if version.removeprefix("v") not in versions]
    assert not missing
    kinds = [item["purl"].partition("/")[0] for item in components]
    assert kinds.count("pkg:docker") == len(VERSIONS.images)
    assert kinds.count("pkg:helm") == len(VERSIONS.charts)


@pytest.mark.parametrize(
    ("file", "scopes"), [("requirements.txt", {"required"}), ("requirements-dev.txt", {"required", "excluded"})]
)
def test_every_python_package_is_in_it_with_its_hashes(
    file: str, scopes: set[str], components: list[dict[str, Any]]
) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    locked = {line.split()[0] for line in lines if re.match(r"[a-z]", line)}
    found = {f"{item['name']}=={item['version']}": item for item in components if item["purl"].startswith("pkg:pypi/")}
    assert locked <= set(found)
    assert {found[name]["scope"] for name in locked} == scopes
    hashes = [entry["content"] for name in locked for entry in found[name]["externalReferences"][0]["hashes"]]
    assert sorted(hashes) == sorted(
        line.strip(" \\").removeprefix("--hash=sha256:") for line in lines if "--hash" in line
    )


@pytest.mark.parametrize(
    ("image", "purl"),
    [
        ("docker.io/library/redis:8.10.1", "pkg:docker/library/redis@8.10.1"),
        ("registry.k8s.io/kubectl:v1.36.4", "pkg:docker/kubectl@v1.36.4?repository_url=registry.k8s.io"),
        ("ghcr.io/a/b/c@sha256:0f", "pkg:docker/a/b/c@sha256:0f?repository_url=ghcr.io"),
        ("localhost:5000/a/b:1", "pkg:docker/a/b@1?repository_url=localhost:5000"),
    ],
)
def test_an_image_is_named_by_its_digest_or_its_tag(image: str, purl: str) -> None:
    assert str(sbom.image_purl(image)) == purl
