"""versions.toml, typed: every chart, image, tool and provider version that Strata uses."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parent.parent


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Chart(_Section):
    """A published Helm chart: an https:// index or an oci:// path, and the exact version."""

    repository: str
    version: str


class Terraform(_Section):
    """Which Terraform or OpenTofu may plan the stacks."""

    required: str


class Tools(_Section):
    """What is installed on machines, and what makes clusters for a rehearsal, each by its exact version."""

    k3s: str
    k3d: str
    kwokctl: str


class Versions(_Section):
    """All of versions.toml."""

    terraform: Terraform
    tools: Tools
    providers: dict[str, str]
    charts: dict[str, Chart]
    images: dict[str, str]


VERSIONS = Versions.model_validate(tomllib.loads((ROOT / "versions.toml").read_text(encoding="utf-8")))
