"""Viewer: who may look at the cluster and change nothing, the account `viewer` first."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes.cluster_role_binding_v1 import (
    ClusterRoleBindingV1,
    ClusterRoleBindingV1Metadata,
    ClusterRoleBindingV1RoleRef,
    ClusterRoleBindingV1Subject,
)
from cdktf_cdktf_provider_kubernetes.cluster_role_v1 import (
    ClusterRoleV1,
    ClusterRoleV1AggregationRule,
    ClusterRoleV1AggregationRuleClusterRoleSelectors,
    ClusterRoleV1Metadata,
    ClusterRoleV1Rule,
)
from cdktf_cdktf_provider_kubernetes.service_account_v1 import ServiceAccountV1, ServiceAccountV1Metadata

from constructs import Construct
from constructs.oidc import OidcSettings, members

_VIEWER = "viewer"
_RBAC = "rbac.authorization.k8s.io"
_AGGREGATE = f"strata/aggregate-to-{_VIEWER}"
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
    _RBAC: ("clusterrolebindings", "clusterroles", "rolebindings", "roles"),
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
        ClusterRoleV1(
            self,
            "more",
            metadata=ClusterRoleV1Metadata(name=f"{_VIEWER}-more", labels={_AGGREGATE: "true"}),
            rule=[
                ClusterRoleV1Rule(api_groups=[group], resources=list(kinds), verbs=["get", "list", "watch"])
                for group, kinds in _READABLE.items()
            ],
        )
        role = ClusterRoleV1(
            self,
            "this",
            metadata=ClusterRoleV1Metadata(name=_VIEWER),
            aggregation_rule=ClusterRoleV1AggregationRule(
                cluster_role_selectors=[
                    ClusterRoleV1AggregationRuleClusterRoleSelectors(match_labels={label: "true"})
                    for label in (_AGGREGATE, f"{_RBAC}/aggregate-to-view")
                ]
            ),
        )
        account = ServiceAccountV1(
            self,
            "account",
            metadata=ServiceAccountV1Metadata(name=_VIEWER, namespace=namespace),
            automount_service_account_token=False,
            depends_on=list(depends_on),
        )
        reference = ClusterRoleBindingV1RoleRef(api_group=_RBAC, kind="ClusterRole", name=_VIEWER)
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
            subject=[ClusterRoleBindingV1Subject(kind="Group", name="${each.value}", api_group=_RBAC)],
            depends_on=[role],
        )
        # A binding for each group: nothing lives in one.
        groups.add_override("for_each", str(members(oidc, oidc.viewers)))
