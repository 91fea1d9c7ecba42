"""What every chart will really get: the values as Terraform evaluates them, against the chart's own schema and keys.

Charts are read from the folders `$CHARTS_DIR/<chart>/` (values.yaml, and values.schema.json where there is one), or
else asked of `helm`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import Draft7Validator, validator_for

from stacks.project import Project
from tests.support import CHARTS, ROOT, Evaluate, Stack, merged, tfvars_of

# Maps whose keys are not the chart's to know, though it gives some by default.
FREE = {"env", "podAnnotations", "resources", "securityContext"}
# The parts of a collector's configuration, which are called as one likes.
FREE |= {"exporters", "pipelines", "processors", "receivers"}

Values = dict[str, Any]


def test_every_chart_of_versions_toml_is_in_use_and_at_hand(
    charts: Path, releases: list[tuple[str, str, Values]]
) -> None:
    assert {chart for _, chart, _ in releases} == {*CHARTS, *(path.name for path in (ROOT / "charts").iterdir())}
    for name, chart in CHARTS.items():
        metadata = yaml.safe_load((charts / name / "Chart.yaml").read_text(encoding="utf-8"))
        assert (metadata["name"], metadata["version"]) == (name, chart["version"])


def test_values_are_valid_by_the_charts_schema(charts: Path, releases: list[tuple[str, str, Values]]) -> None:
    for stack, chart, values in releases:
        folder = _folder(charts, chart)
        schema_file = folder / "values.schema.json"
        if schema_file.is_file():
            schema = json.loads(schema_file.read_text(encoding="utf-8"))
            # Vault's names its draft by an address that is none of the drafts'.
            errors = validator_for(schema, default=Draft7Validator)(schema).iter_errors(
                merged([_defaults(folder), values])
            )
            assert not [f"{stack}/{chart}: {error.json_path}: {error.message}" for error in errors]


def test_values_name_no_key_that_the_chart_does_not_know(charts: Path, releases: list[tuple[str, str, Values]]) -> None:
    for stack, chart, values in releases:
        folder = _folder(charts, chart)
        unknown = set(_unknown(values, _defaults(folder))) - _described(folder)
        assert not unknown, f"{stack}/{chart}: {unknown}"


def test_what_k3s_traefik_is_told_is_valid_by_its_charts_schema(
    charts: Path, releases: list[tuple[str, str, Values]]
) -> None:
    schema_file = charts / "traefik" / "values.schema.json"
    if not schema_file.is_file() and os.environ.get("CI") != "true":
        pytest.skip("needs the chart traefik in CHARTS_DIR: K3s brings it, so it is none of versions.toml")
    schema = json.loads(schema_file.read_text(encoding="utf-8"))
    (told,) = [values["traefik"] for _, chart, values in releases if chart == "traefik-config"]
    assert validator_for(schema)(schema).is_valid(told)
    redirections = told["ports"]["web"].pop("http")
    told["ports"]["web"] |= redirections
    assert not validator_for(schema)(schema).is_valid(told), "the place of older charts"


def test_an_unknown_key_and_a_broken_value_would_be_seen(charts: Path) -> None:
    defaults = _defaults(charts / "redis")
    assert list(_unknown({"auth": {"exstingSecret": "x"}}, defaults)) == ["auth.exstingSecret"]
    schema = json.loads((charts / "redis" / "values.schema.json").read_text(encoding="utf-8"))
    assert not validator_for(schema)(schema).is_valid(merged([defaults, {"replicaCount": "three"}]))


def test_values_keep_their_types_and_follow_the_tfvars(
    releases: list[tuple[str, str, Values]], project: Project
) -> None:
    for stack, chart, values in releases:
        if chart == "cluster":
            settings = project.infra.database if stack == "infra" else project.environments[stack].postgres
            assert values["cluster"]["instances"] == settings.instances
            assert values["cluster"]["enablePDB"] is (settings.instances > 1)
            assert values["cluster"]["storage"] == {"size": settings.storage}
        if chart == "redis":
            assert values["podAnnotations"] == {"strata/credentials-revision": "1"}
            assert values["replicaCount"] == project.environments[stack].redis.replicas == 1
            assert "appendonly yes\n" in values["extraConfig"]


@pytest.mark.parametrize("mirror", ["", "oci://registry.example.com/charts", "/srv/charts"])
def test_a_mirror_takes_the_place_of_every_repository(
    mirror: str, stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> None:
    for name, stack in stacks.items():
        releases = [release for release in stack["resource"]["helm_release"].values() if "repository" in release]
        expressions = {
            f"{key}{index}": f"${{jsonencode({release[key][2:-1]})}}"
            for index, release in enumerate(releases)
            for key in ("chart", "repository")
        }
        tfvars = tfvars_of(project, name)
        found = evaluate(stack, expressions, tfvars=tfvars, enable_infra=name == "infra", chart_mirror=mirror)
        for index, release in enumerate(releases):
            chart, repository = json.loads(found[f"chart{index}"]), json.loads(found[f"repository{index}"])
            if mirror.startswith("/"):
                assert repository is None
                (chart,) = [key for key in CHARTS if chart == f"{mirror}/{key}-{release['version']}.tgz"]
            else:
                assert repository == (mirror or CHARTS[chart]["repository"])
            assert release["version"] == CHARTS[chart]["version"]


def _folder(charts: Path, chart: str) -> Path:
    return ROOT / "charts" / chart if (ROOT / "charts" / chart).is_dir() else charts / chart


def _defaults(folder: Path) -> Values:
    defaults: Values = yaml.safe_load((folder / "values.yaml").read_text(encoding="utf-8"))
    return defaults


def _described(folder: Path) -> set[str]:
    """Keys that a chart knows, though its values.yaml shows some of them in a comment only."""
    schema_file = folder / "values.schema.json"
    schema = json.loads(schema_file.read_text(encoding="utf-8")) if schema_file.is_file() else {}
    return set(schema.get("properties", {}))


def _unknown(values: Values, defaults: Values, path: str = "") -> Iterator[str]:
    for key, value in values.items():
        place = f"{path}.{key}".lstrip(".")
        if key not in defaults:
            yield place
        elif key not in FREE and isinstance(value, dict) and isinstance(defaults[key], dict) and defaults[key]:
            yield from _unknown(value, defaults[key], place)
