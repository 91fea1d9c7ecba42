"""Viewer: who may look at the cluster and change nothing, the account `viewer` first."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes.cluster_role_binding_v1 import (
    ClusterRoleBindingV1,
    ClusterRoleBindingV1Metadata,
    ClusterRoleBindingV1RoleRef,
    ClusterRoleBindingV1Subject,
)
from cdktf_cdktf_provider_kubernetes.service_account_v1 import ServiceAccountV1, ServiceAccountV1Metadata

from constructs import Construct
from constructs.l2_platform.aggregated_role import RBAC, READ, aggregated_role
from constructs.oidc import OidcSettings, members

_VIEWER = "viewer"
# What the built-in `view` leaves out: what belongs to no namespace, who may do what, and the operators' objects. None
# of them holds a secret. With `view` come namespaces, quotas, workloads, ConfigMaps, events and the pods' logs.
_READABLE = {
    "": ("nodes", "persistentvolumes"),
    "acme.cert-manager.io": ("challenges", "orders"),
    "admissionregistration.k8s.io": (
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    ),
    "apiextensions.k8s.io": ("customresourcedefinitions",),
    "apiregistration.k8s.io": ("apiservices",),
    "barmancloud.cnpg.io": ("objectstores",),
    "cert-manager.io": ("certificaterequests", "certificates", "clusterissuers", "issuers"),
    "coordination.k8s.io": ("leases",),
    "metrics.k8s.io": ("nodes", "pods"),
    "networking.k8s.io": ("ingressclasses",),
    "node.k8s.io": ("runtimeclasses",),
    "postgresql.cnpg.io": (
        "backups",
        "clusterimagecatalogs",
        "clusters",
        "databases",
        "imagecatalogs",
        "poolers",
        "publications",
        "scheduledbackups",
        "subscriptions",
    ),
    RBAC: ("clusterrolebindings", "clusterroles", "rolebindings", "roles"),
    "scheduling.k8s.io": ("priorityclasses",),
    "storage.k8s.io": ("csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"),
}


class Viewer(Construct):
    """The ClusterRole `viewer`, the ServiceAccount of that name, and the groups of the sign-in that hold it.

    The account has no token of its own: whoever administers the cluster draws one that ends.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        namespace: str,
        oidc: OidcSettings,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        role = aggregated_role(self, name=_VIEWER, built_in=["view"], own="more", rules=[(_READABLE, READ)])
        account = ServiceAccountV1(
            self,
            "account",
            metadata=ServiceAccountV1Metadata(name=_VIEWER, namespace=namespace),
            automount_service_account_token=False,
            depends_on=list(depends_on),
        )
        reference = ClusterRoleBindingV1RoleRef(api_group=RBAC, kind="ClusterRole", name=_VIEWER)
        ClusterRoleBindingV1(
            self,
            "binding",
            metadata=ClusterRoleBindingV1Metadata(name=_VIEWER),
            role_ref=reference,
            subject=[ClusterRoleBindingV1Subject(kind="ServiceAccount", name=_VIEWER, namespace=namespace)],
            depends_on=[role, account],
        )
        groups = ClusterRoleBindingV1(
            self,
            "groups",
            metadata=ClusterRoleBindingV1Metadata(name=f"{_VIEWER}-${{substr(sha256(each.value), 0, 8)}}"),
            role_ref=reference,
            subject=[ClusterRoleBindingV1Subject(kind="Group", name="${each.value}", api_group=RBAC)],
            depends_on=[role],
        )
        # A binding for each group: nothing lives in one.
        groups.add_override("for_each", str(members(oidc, oidc.viewers)))
