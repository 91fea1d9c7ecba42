"""The deletion lock: an object that a destroy meets before anything else, and that the API server keeps."""

from collections.abc import Mapping, Sequence

from cdktf import TerraformResource
from cdktf_cdktf_provider_kubernetes.config_map_v1 import ConfigMapV1, ConfigMapV1Metadata

from constructs import Construct

# A namespace with the label asks for the lock, for its volumes, databases and Secrets with the same label; the
# annotation opens it for the object whose own name it has.
PROTECTED_LABEL = "strata/protected"
DELETE_ANNOTATION = "strata/delete"
LOCK_NAME = "deletion-lock"


class DeletionLock(Construct):
    """A ConfigMap that depends on every resource within `holds`, so Terraform deletes it before any of them.

    In a protected namespace the API server refuses that (charts/tenancy) until it is annotated with its own name: a
    refused destroy has then changed nothing. `beside` is what another system has made for this one, and takes away with
    it. `also` names what else has to be annotated, as `kind/name`, and stands in the refusal.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        namespace: str,
        holds: Construct,
        also: Sequence[str] = (),
        beside: Sequence[TerraformResource] = (),
        labels: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, id_)
        also_commands = " && ".join(
            f"kubectl annotate {kind} {item} --namespace={namespace} {DELETE_ANNOTATION}={item}"
            for kind, item in (reference.split("/") for reference in also)
        )
        self.resource = ConfigMapV1(
            self,
            "this",
            metadata=ConfigMapV1Metadata(name=f"{LOCK_NAME}-{name}", namespace=namespace, labels=labels),
            data={"also": also_commands},
            depends_on=[
                *(child for child in holds.node.find_all() if isinstance(child, TerraformResource)),
                *beside,
            ],
        )
