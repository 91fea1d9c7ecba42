"""The bill of materials: every package, chart, image, provider and program of a pinned version, in CycloneDX' form.

`make sbom` writes it from the files that pin them, so the same files give the same bytes: it has no time, and a serial
number that is drawn from what it lists. What a chart brings by itself, its images, is not in it.
"""

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from constructs.versions import ROOT, VERSIONS
from stacks.guard import PROVIDERS_LOCK

OUTPUT = "sbom.cdx.json"
_REQUIREMENT = re.compile(r"^([\w.-]+)==(\S+)((?:.*\\\n    --hash=sha256:[0-9a-f]{64})+)", re.MULTILINE)
_HASH = re.compile(r"\b(?:sha256|zh):([0-9a-f]{64})\b")
_PROVIDER = re.compile(r'^provider "(?P<source>[^"]+)" \{\n(?P<body>.*?)^\}', re.MULTILINE | re.DOTALL)
# The program's module, from Renovate's comment, and its version.
_PROGRAM = re.compile(r"^# renovate: datasource=go depName=(\S+)\n\w+=(\S+)$", re.MULTILINE)
_SOURCES = {"k3d": "k3d-io/k3d", "k3s": "k3s-io/k3s", "kwokctl": "kubernetes-sigs/kwok"}
_DOCKER_HUB = "docker.io"


def components(root: Path = ROOT) -> Iterator[Component]:
    """Yield what the platform is made of, and, out of its scope, what only checks it."""
    yield from _packages(root)
    for name, chart in VERSIONS.charts.items():
        purl = PackageURL("helm", None, name, chart.version, {"repository_url": chart.repository})
        yield _component(ComponentType.APPLICATION, purl)
    for image in VERSIONS.images.values():
        yield _component(ComponentType.CONTAINER, image_purl(image))
    yield from _providers()
    for name, version in VERSIONS.tools:
        owner, _, repository = _SOURCES[name].partition("/")
        is_deployed = name == "k3s"
        scope = ComponentScope.REQUIRED if is_deployed else ComponentScope.EXCLUDED
        yield _component(ComponentType.APPLICATION, PackageURL("github", owner, repository, version), scope=scope)
    for module, version in _PROGRAM.findall((root / ".ci" / "tools").read_text(encoding="utf-8")):
        namespace, _, name = module.rpartition("/")
        purl = PackageURL("golang", namespace, name, version)
        yield _component(ComponentType.APPLICATION, purl, scope=ComponentScope.EXCLUDED)


def image_purl(image: str) -> PackageURL:
    """Return the package URL of an image: its version is its digest, or else its tag."""
    path, _, digest = image.partition("@")
    tag = ""
    if not digest:
        path, _, tag = path.rpartition(":")
    registry, *namespace, name = path.split("/")
    qualifiers = {} if registry == _DOCKER_HUB else {"repository_url": registry}
    return PackageURL("docker", "/".join(namespace), name, digest or tag, qualifiers)


def _packages(root: Path) -> Iterator[Component]:
    """Yield the Python packages; in both files are those that a synthesis runs."""
    runtime = set()
    for file in ("requirements.txt", "requirements-dev.txt"):
        for name, version, hashes in _REQUIREMENT.findall((root / file).read_text(encoding="utf-8")):
            if name in runtime:
                continue
            is_runtime = file == "requirements.txt"
            if is_runtime:
                runtime.add(name)
            yield _component(
                ComponentType.LIBRARY,
                PackageURL("pypi", None, name, version),
                scope=ComponentScope.REQUIRED if is_runtime else ComponentScope.EXCLUDED,
                source=f"https://pypi.org/project/{name}/{version}/",
                hashes=_HASH.findall(hashes),
            )


def _providers() -> Iterator[Component]:
    hashes = {
        match["source"].rpartition("/")[2]: (match["source"], _HASH.findall(match["body"]))
        for match in _PROVIDER.finditer(PROVIDERS_LOCK.read_text(encoding="utf-8"))
    }
    for name, version in VERSIONS.providers.items():
        source, sums = hashes[name]
        registry, owner, _ = source.split("/")
        yield _component(
            ComponentType.APPLICATION,
            PackageURL("github", owner, f"terraform-provider-{name}", f"v{version}"),
            source=f"https://{registry}/providers/{owner}/{name}/{version}",
            hashes=sums,
        )


def _component(
    kind: ComponentType,
    purl: PackageURL,
    *,
    scope: ComponentScope = ComponentScope.REQUIRED,
    source: str = "",
    hashes: Iterable[str] = (),
) -> Component:
    """Return a component; hashes are of the files that the source has of it, for any platform."""
    found = [HashType(alg=HashAlgorithm.SHA_256, content=item) for item in hashes]
    references = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(source), hashes=found)]
    return Component(
        type=kind,
        group=purl.namespace,
        name=purl.name,
        version=purl.version,
        purl=purl,
        bom_ref=str(purl),
        scope=scope,
        external_references=references if source else None,
    )


def render(root: Path = ROOT) -> str:
    """Return the bill of materials as CycloneDX 1.6 JSON."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = list(components(root))
    strata = Component(
        type=ComponentType.APPLICATION, name=project["name"], version=project["version"], bom_ref=project["name"]
    )
    listed = "\n".join(sorted(str(item.purl) for item in found))
    bom = Bom(components=found, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, listed))
    bom.metadata.component = strata
    bom.register_dependency(strata, [item for item in found if item.scope is ComponentScope.REQUIRED])
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"]
    return f"{json.dumps(content, indent=2)}\n"


def main() -> int:
    """Write the bill of materials; return the process's exit status."""
    (ROOT / OUTPUT).write_text(render(), encoding="utf-8", newline="\n")
    sys.stdout.write(f"{OUTPUT}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
