"""The state backend: one line of cdktf.json's context decides where every stack keeps its state."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Backend(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LocalBackend(_Backend):
    """A file in `.state/` of the checkout: for a first look; Atlantis refuses it."""

    type: Literal["local"]

    def block(self, stack: str, namespace: str) -> dict[str, object]:  # noqa: ARG002 (the same call for every backend)
        """Return Terraform's backend block; the path is relative to the stack's folder."""
        return {"local": {"path": f"../../../.state/{stack}.tfstate"}}


class KubernetesBackend(_Backend):
    """A Secret in a namespace of the stack's own, reached by KUBE_CONFIG_PATH."""

    type: Literal["kubernetes"]

    def block(self, stack: str, namespace: str) -> dict[str, object]:
        """Return Terraform's backend block."""
        return {"kubernetes": {"secret_suffix": stack, "namespace": namespace}}


class S3Backend(_Backend):
    """An object in a bucket, locked by a file beside it; credentials come from AWS_... variables."""

    type: Literal["s3"]
    bucket: str = Field(min_length=3)
    region: str = Field(min_length=1)
    prefix: str = "strata"
    endpoint: str | None = None

    def block(self, stack: str, namespace: str) -> dict[str, object]:  # noqa: ARG002 (the same call for every backend)
        """Return Terraform's backend block; with an endpoint, one that S3's imitations understand."""
        block: dict[str, object] = {
            "bucket": self.bucket,
            "region": self.region,
            "key": f"{self.prefix}/{stack}.tfstate",
            "encrypt": True,
            "use_lockfile": True,
        }
        if self.endpoint is not None:
            block |= {
                "endpoints": {"s3": self.endpoint},
                "skip_credentials_validation": True,
                "skip_region_validation": True,
                "skip_requesting_account_id": True,
                "use_path_style": True,
            }
        return {"s3": block}


Backend = Annotated[LocalBackend | KubernetesBackend | S3Backend, Field(discriminator="type")]
