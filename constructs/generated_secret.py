"""A generated secret: drawn by Terraform on its way into the cluster, and kept nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdktf import ITerraformDependable, TerraformStack
from cdktf_cdktf_provider_kubernetes.secret_v1 import SecretV1, SecretV1Metadata

from constructs import Construct
from constructs.reference import EACH_KEY, Reference, number, text

# On every generated secret, and on the pods that read one only when they start: a new revision restarts them.
REVISION_ANNOTATION = "strata/credentials-revision"


@dataclass(frozen=True)
class Password:
    """A password to draw: letters and digits, with `symbols` also each of the four kinds of character."""

    length: int = 32
    symbols: bool = False

    def arguments(self) -> dict[str, object]:
        """Return the arguments of Terraform's `random_password`."""
        if not self.symbols:
            return {"length": self.length, "special": False}
        kinds = {f"min_{kind}": 1 for kind in ("lower", "upper", "numeric", "special")}
        return {"length": self.length, "special": True, "override_special": "!#*+-_=", **kinds}


class GeneratedSecret(Construct):
    """A Secret whose passwords are ephemeral values written once for each `revision`: no state ever holds them.

    Terraform draws new values in every run and writes them only when the revision changes, so to rotate is to bump
    the revision. Readers take the Secret by its `name`.

    The Secret says which revision it is, in the same request that writes it: `CredentialCopy` asks for that.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        namespace: str,
        passwords: Mapping[str, Password],
        revision: float,
        plain: Mapping[str, str] | None = None,
        type_: str = "Opaque",
        labels: Mapping[str, str] | None = None,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, id_)
        stack = TerraformStack.of(self)
        data = dict(plain or {})
        self._ephemeral = {
            key: f"ephemeral.random_password.{name.replace(str(EACH_KEY), 'each')}_{key}" for key in passwords
        }
        for key, password in passwords.items():
            stack.add_override(self._ephemeral[key], password.arguments())
            data[key] = f"${{{self._ephemeral[key]}.result}}"
        self.name = name
        self.namespace = namespace
        self.revision = revision
        self.resource = SecretV1(
            self,
            "this",
            metadata=SecretV1Metadata(
                name=name,
                namespace=namespace,
                labels=labels,
                annotations={REVISION_ANNOTATION: text(revision)},
            ),
            type=type_,
            data_wo=data,
            data_wo_revision=number(revision),
            depends_on=list(depends_on) or None,
        )

    def for_each(self, entries: Reference) -> None:
        """Make it one Secret for every entry of a map, each with passwords of its own.

        Its name, revision and plain values may name `each.key` and `each.value`.
        """
        for key, ephemeral in self._ephemeral.items():
            TerraformStack.of(self).add_override(f"{ephemeral}.for_each", str(entries))
            self.resource.add_override(f"data_wo.{key}", f"${{{ephemeral}[{EACH_KEY.expression}].result}}")
        self.resource.add_override("for_each", str(entries))
