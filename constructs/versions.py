"""versions.toml, typed: every chart, image and provider version that Strata uses."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Chart(BaseModel):
    """A published Helm chart: an https:// index or an oci:// path, and the exact version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    version: str


class Terraform(BaseModel):
    """Which Terraform or OpenTofu may plan the stacks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required: str


class Versions(BaseModel):
    """All of versions.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    terraform: Terraform
    providers: dict[str, str]
    charts: dict[str, Chart]
    images: dict[str, str]


VERSIONS = Versions.model_validate(tomllib.loads((ROOT / "versions.toml").read_text(encoding="utf-8")))
