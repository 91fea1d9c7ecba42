"""Deployers: the account that each stack is applied as, what it may do, and who may act as it."""

from collections.abc import Mapping, Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes.cluster_role_binding_v1 import (
    ClusterRoleBindingV1,
    ClusterRoleBindingV1Metadata,
    ClusterRoleBindingV1RoleRef,
    ClusterRoleBindingV1Subject,
)
from cdktf_cdktf_provider_kubernetes.role_binding_v1 import (
    RoleBindingV1,
    RoleBindingV1Metadata,
    RoleBindingV1RoleRef,
    RoleBindingV1Subject,
)
from cdktf_cdktf_provider_kubernetes.role_v1 import RoleV1, RoleV1Metadata, RoleV1Rule
from cdktf_cdktf_provider_kubernetes.service_account_v1 import ServiceAccountV1, ServiceAccountV1Metadata

from constructs import Construct
from constructs.l2_platform.aggregated_role import RBAC, READ, aggregated_role
from constructs.reference import Reference

_DEPLOYER_ROLE = "environment-deployer"
_BUILT_IN = ("admin", "edit", "view")
# What an environment makes beyond what the built-in `admin` may: databases and their backups.
_DATABASES = {
    "postgresql.cnpg.io": (
        "backups",
        "clusters",
        "databases",
        "imagecatalogs",
        "poolers",
        "publications",
        "scheduledbackups",
        "subscriptions",
    ),
    "barmancloud.cnpg.io": ("objectstores",),
}
# What it may look at: cert-manager makes these for its Ingresses.
_CERTIFICATES = {
    "cert-manager.io": ("certificaterequests", "certificates", "issuers"),
    "acme.cert-manager.io": ("challenges", "orders"),
}
_WRITE = ("create", "delete", "deletecollection", "patch", "update")


def deployer_name(stack: str) -> str:
    """Return what the ServiceAccount is called that a stack is applied as."""
    return f"deployer-{stack}"


class DeployerRole(Construct):
    """The ClusterRole `environment-deployer`: the built-in `admin`, and the custom resources of L3 and L4.

    It is bound in an environment's own namespaces only. `admin` has no quota, no namespace and nothing cluster-scoped,
    and the API server lets nobody grant what they do not hold.
    """

    def __init__(self, scope: Construct, id_: str) -> None:
        super().__init__(scope, id_)
        aggregated_role(
            self,
            name=_DEPLOYER_ROLE,
            built_in=_BUILT_IN,
            own="custom-resources",
            rules=[(_DATABASES, (*READ, *_WRITE)), (_CERTIFICATES, READ)],
        )


class Deployer(Construct):
    """The ServiceAccount `deployer-<stack>`, and the Role `act-as-deployer-<stack>` whose holders may impersonate it.

    The account has no token: nobody signs in as it. `actors` are ServiceAccounts of the same namespace that may act as
    it, `people` is a reference to a set of groups whose members may; an administrator binds others to the Role. What it
    may do is added by `grant` and `grant_everything`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        stack: str,
        namespace: str,
        actors: Sequence[str],
        people: Reference,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        self.name = deployer_name(stack)
        self.namespace = namespace
        self._account = ServiceAccountV1(
            self,
            "this",
            metadata=ServiceAccountV1Metadata(name=self.name, namespace=namespace),
            automount_service_account_token=False,
            depends_on=list(depends_on),
        )
        act_as = RoleV1(
            self,
            "act-as",
            metadata=RoleV1Metadata(name=f"act-as-{self.name}", namespace=namespace),
            rule=[
                RoleV1Rule(
                    api_groups=[""], resources=["serviceaccounts"], resource_names=[self.name], verbs=["impersonate"]
                )
            ],
            depends_on=[self._account],
        )
        for actor in actors:
            RoleBindingV1(
                self,
                f"{actor}-acts",
                metadata=RoleBindingV1Metadata(name=f"{actor}-acts-as-{self.name}", namespace=namespace),
                role_ref=RoleBindingV1RoleRef(api_group=RBAC, kind="Role", name=f"act-as-{self.name}"),
                subject=[RoleBindingV1Subject(kind="ServiceAccount", name=actor, namespace=namespace)],
                depends_on=[act_as],
            )
        groups = RoleBindingV1(
            self,
            "people",
            metadata=RoleBindingV1Metadata(
                name=f"people-${{substr(sha256(each.value), 0, 8)}}-act-as-{self.name}", namespace=namespace
            ),
            role_ref=RoleBindingV1RoleRef(api_group=RBAC, kind="Role", name=f"act-as-{self.name}"),
            subject=[RoleBindingV1Subject(kind="Group", name="${each.value}", api_group=RBAC)],
            depends_on=[act_as],
        )
        # A binding for each group: nothing lives in one.
        groups.add_override("for_each", str(people))

    def grant(
        self, id_: str, *, namespace: str, labels: Mapping[str, str], depends_on: Sequence[ITerraformDependable]
    ) -> None:
        """Let it be an `environment-deployer` in a namespace."""
        RoleBindingV1(
            self,
            id_,
            metadata=RoleBindingV1Metadata(name=_DEPLOYER_ROLE, namespace=namespace, labels=dict(labels)),
            role_ref=RoleBindingV1RoleRef(api_group=RBAC, kind="ClusterRole", name=_DEPLOYER_ROLE),
            subject=[RoleBindingV1Subject(kind="ServiceAccount", name=self.name, namespace=self.namespace)],
            depends_on=[self._account, *depends_on],
        )

    def grant_everything(self) -> None:
        """Let it be the one cluster-admin among the deployers."""
        ClusterRoleBindingV1(
            self,
            "cluster-admin",
            metadata=ClusterRoleBindingV1Metadata(name=self.name),
            role_ref=ClusterRoleBindingV1RoleRef(api_group=RBAC, kind="ClusterRole", name="cluster-admin"),
            subject=[ClusterRoleBindingV1Subject(kind="ServiceAccount", name=self.name, namespace=self.namespace)],
            depends_on=[self._account],
        )
