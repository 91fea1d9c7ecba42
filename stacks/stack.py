"""What every stack has: its variables, their guards, its providers and its backend."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, TypeVar

from cdktf import TerraformElement, TerraformStack, TerraformVariable, TerraformVariableValidationConfig
from cdktf_cdktf_provider_helm.provider import HelmProvider, HelmProviderKubernetes
from cdktf_cdktf_provider_kubernetes.provider import KubernetesProvider
from pydantic import Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from constructs import Construct, Node
from constructs.backups import BackupSettings
from constructs.reference import escape, literal, view
from constructs.route import Addresses
from constructs.settings import Domain, Form, Name, Prefix, Settings
from constructs.variable import Rule, default_value, rules, terraform_type
from constructs.versions import VERSIONS
from stacks.backend import Backend

Mirror = Annotated[
    str,
    Form(
        "((oci:/)?/[A-Za-z0-9._:/-]+)?",
        'the absolute path of a folder such as /srv/charts, an address that begins with oci://, or ""',
    ),
]


class StackSettings(Settings):
    """What every tfvars file has."""

    environment: Name
    """The stack's name, the same as the file's."""
    env_prefix: Prefix = Field(max_length=30)
    """What the stack's host names begin with: `x-staging` gives `x-staging-signoz.<base_domain>`; may be empty.
    A change needs `make synth`, which compares it with the other environments'."""
    base_domain: Domain = Field(max_length=150)
    """The domain that all host names end with."""
    components: tuple[str, ...]
    """Which systems the stack has. A change needs `make synth`: it decides what is in the stack."""
    backups: BackupSettings = BackupSettings()
    """Where the stack's own stores are saved: in infra Vault and the platform database, else L3 and L4."""
    chart_mirror: Mirror = ""
    """Where all published charts are, instead of their own repositories: a folder of .tgz files, or oci://..."""

    @field_validator("components")
    @classmethod
    def _are_unique(cls, components: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(components)) != len(components):
            message = "give each component once"
            raise ValueError(message)
        return components


# A variable and the system that it configures have the same name, so the variables have a scope of their own.
_VARIABLES = "variables"
COMMAND_LINE_VARIABLES = ("enable_infra", "kubeconfig", "kube_context")

_KUBECONFIG, _CONTEXT = "${var.kubeconfig}", "${var.kube_context}"
_CLUSTER = {"config_path": _KUBECONFIG, "config_context": _CONTEXT}
# The block `provider` of every stack, as it is synthesized.
PROVIDERS = {"helm": [{"kubernetes": _CLUSTER}], "kubernetes": [_CLUSTER]}

Model = TypeVar("Model", bound=StackSettings)


def terraform_block(name: str, namespace: str, backend: Backend) -> dict[str, Any]:
    """Return the block `terraform` of the stack `name`, whose state may lie in `namespace`."""
    return {
        "backend": backend.block(name, namespace),
        "required_providers": {
            provider: {"source": f"hashicorp/{provider}", "version": version}
            for provider, version in VERSIONS.providers.items()
        },
        "required_version": VERSIONS.terraform.required,
    }


class Stack(TerraformStack, Generic[Model]):
    """A stack that plans only with its own tfvars file, and only with the right `enable_infra`.

    `file` is what the tfvars file holds at synth: it decides the structure, and nothing else. `variables` is the same
    model with a reference in the place of every value. `pins` are rules that tie a variable to what was synthesized.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        file: Model,
        is_infra: bool,
        namespace: str,
        backend: Backend,
        pins: Sequence[Rule] = (),
    ) -> None:
        super().__init__(scope, file.environment)
        self.file = file
        self.variables = view(type(file), "var")
        self.addresses = Addresses(self.variables.env_prefix, self.variables.base_domain)
        self._declarations = Construct(self, _VARIABLES)
        self._declare_command_line(is_infra=is_infra)
        for name, field in type(file).model_fields.items():
            self._declare(name, field, [rule for rule in (*self._own_pins(), *pins) if rule.key == name])
        block = terraform_block(file.environment, namespace, backend)
        for key, value in block.items():
            self.add_override(f"terraform.{key}", value)
        if "local" not in block["backend"]:
            # cdktf adds a local backend with this machine's path beside any that is not its own.
            self.add_override("terraform.backend.local", None)
        KubernetesProvider(self, "kubernetes", config_path=_KUBECONFIG, config_context=_CONTEXT)
        HelmProvider(self, "helm", kubernetes=HelmProviderKubernetes(config_path=_KUBECONFIG, config_context=_CONTEXT))

    def _declare_command_line(self, *, is_infra: bool) -> None:
        name = self.file.environment
        remedy = (
            "this is the stack infra: give -var=enable_infra=true, and only where L1 and L2 are to change"
            if is_infra
            else f"the stack {name} never touches L1 and L2: leave enable_infra out"
        )
        TerraformVariable(
            self._declarations,
            "enable_infra",
            type="bool",
            default=False,
            nullable=False,
            description="Whether L1 and L2 may be planned. Only on the command line, never in a tfvars file.",
            validation=[_validation(f"${{var.enable_infra == {literal(is_infra)}}}", f"enable_infra: {remedy}.")],
        )
        TerraformVariable(
            self._declarations,
            "kubeconfig",
            type="string",
            nullable=False,
            description="Path of the kubeconfig to use. Only on the command line, never in a tfvars file.",
            validation=[
                _validation('${var.kubeconfig != ""}', "kubeconfig: give -var=kubeconfig=<path>; it has no default.")
            ],
        )
        TerraformVariable(
            self._declarations,
            "kube_context",
            type="string",
            default="",
            nullable=False,
            description="Context of the kubeconfig; empty: its current one. Only on the command line.",
        )

    def _own_pins(self) -> Iterator[Rule]:
        name = self.file.environment
        yield Rule(
            "environment",
            f"var.environment == {literal(name)}",
            f"this is the stack {name}: plan it with -var-file=envs/{name}.tfvars",
        )
        # Prefixes are compared with each other at synth: a plan that skipped it could answer for another environment.
        yield Rule(
            "env_prefix",
            f"var.env_prefix == {literal(self.file.env_prefix)}",
            f"the stack was synthesized with {literal(self.file.env_prefix)}: run make synth and commit what it writes",
        )
        components = ",".join(sorted(self.file.components))
        yield Rule(
            "components",
            f'join(",", sort(var.components)) == {literal(components)}',
            f"the stack was synthesized with {components or 'none'}: run make synth and commit what it writes",
        )

    def _declare(self, name: str, field: FieldInfo, pins: Sequence[Rule]) -> None:
        default: Any = default_value(field)
        validations = [
            _validation(f"${{{rule.condition}}}", f"{rule.key}: {rule.words}.") for rule in (*rules(field, name), *pins)
        ]
        TerraformVariable(
            self._declarations,
            name,
            type=terraform_type(field.annotation),
            nullable=False,
            description=escape(" ".join((field.description or "").split())),
            validation=validations or None,
            **({} if default is PydanticUndefined else {"default": default}),
        )

    def _allocate_logical_id(self, element: Node | TerraformElement) -> str:
        """Name an element after its path, without a hash: `redis_auth`, `tenancy_environment_staging_data-quota`."""
        node = element.node if isinstance(element, TerraformElement) else element
        parts = [part for part in node.path.split("/")[1:] if part not in ("this", _VARIABLES)]
        return "_".join(parts)


def _validation(condition: str, error_message: str) -> TerraformVariableValidationConfig:
    return TerraformVariableValidationConfig(condition=condition, error_message=escape(error_message))
