"""An aggregated role: a ClusterRole of our own that grows with built-in ones, as operators add to those."""

from collections.abc import Mapping, Sequence

from cdktf_cdktf_provider_kubernetes.cluster_role_v1 import (
    ClusterRoleV1,
    ClusterRoleV1AggregationRule,
    ClusterRoleV1AggregationRuleClusterRoleSelectors,
    ClusterRoleV1Metadata,
    ClusterRoleV1Rule,
)

from constructs import Construct

RBAC = "rbac.authorization.k8s.io"
READ = ("get", "list", "watch")
Kinds = Mapping[str, Sequence[str]]


def aggregated_role(
    scope: Construct, *, name: str, built_in: Sequence[str], own: str, rules: Sequence[tuple[Kinds, Sequence[str]]]
) -> ClusterRoleV1:
    """Return the ClusterRole `name`: all that the `built_in` ones allow, and what `<name>-<own>` does.

    `rules` are kinds by their API group, with the verbs for them.
    """
    label = f"strata/aggregate-to-{name}"
    ClusterRoleV1(
        scope,
        own,
        metadata=ClusterRoleV1Metadata(name=f"{name}-{own}", labels={label: "true"}),
        rule=[
            ClusterRoleV1Rule(api_groups=[group], resources=list(kinds), verbs=list(verbs))
            for groups, verbs in rules
            for group, kinds in groups.items()
        ],
    )
    labels = [label, *(f"{RBAC}/aggregate-to-{role}" for role in built_in)]
    return ClusterRoleV1(
        scope,
        "this",
        metadata=ClusterRoleV1Metadata(name=name),
        aggregation_rule=ClusterRoleV1AggregationRule(
            cluster_role_selectors=[
                ClusterRoleV1AggregationRuleClusterRoleSelectors(match_labels={key: "true"}) for key in labels
            ]
        ),
    )
