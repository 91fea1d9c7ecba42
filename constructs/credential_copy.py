"""A credential in a second namespace: pods read only Secrets of their own."""

from collections.abc import Sequence

from constructs import Construct
from constructs.generated_secret import GeneratedSecret
from constructs.reference import Reference, expression
from constructs.release import Release


class CredentialCopy(Construct):
    """A Secret `name` with the same `keys` as `source`.

    Helm reads the one and writes the other, so that no plan and no state has what is in them. It does so again when the
    source has a new revision, or was made anew.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        source: GeneratedSecret,
        name: str,
        namespace: str,
        keys: Sequence[str] = ("username", "password"),
    ) -> None:
        super().__init__(scope, id_)
        self.name = name
        self.resource = Release(
            self,
            "release",
            chart="credential-copy",
            name=name,
            namespace=namespace,
            values={
                "keys": list(keys),
                "source": {
                    "namespace": source.namespace,
                    "name": source.name,
                    "uid": Reference(
                        f"{source.resource.terraform_resource_type}.{source.resource.friendly_unique_id}.metadata[0].uid"
                    ),
                    "revision": expression("tostring({})", source.revision),
                },
            },
            depends_on=[source.resource],
        ).resource
