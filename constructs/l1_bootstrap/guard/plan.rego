# What a plan may change and delete. The input is `terraform show -json` of it; objects.rego is the other half.
package plan

import data.rules
import data.stack_rules

changes contains change if {
	some change in input.resource_changes
	change.change.actions != ["no-op"]
}

deny contains "found no plan" if not is_array(object.get(input, "resource_changes", null))

deny contains sprintf("%s: nodes are changed from a laptop: make nodes", [change.address]) if {
	some change in changes
	change.type == "terraform_data"
}

deny contains sprintf("%s: what people supply is written from a laptop: %s", [change.address, remedy]) if {
	some change in changes
	some address, remedy in rules.supplied
	startswith(change.address, address)
}

# What is deleted, or replaced, or left behind: with its own deletion lock closed, or with that of its system.

deleted contains change if {
	some change in changes
	some action in change.change.actions
	action in {"delete", "forget"}
}

metadata(change) := change.change.before.metadata[0]

is_open(change) if metadata(change).annotations[rules.delete_annotation] == metadata(change).name

is_lock(change) if {
	change.type == "kubernetes_config_map_v1"
	startswith(metadata(change).name, rules.lock)
}

# What the API server refuses to delete, by itself (charts/tenancy/templates/deletion-lock.yaml).
is_locked(change) if is_lock(change)

is_locked(change) if change.type in {"kubernetes_namespace_v1", "kubernetes_persistent_volume_claim_v1"}

is_locked(change) if {
	change.type == "kubernetes_secret_v1"
	metadata(change).labels[rules.protected_label] == "true"
}

namespace(change) := metadata(change).name if change.type == "kubernetes_namespace_v1"

namespace(change) := metadata(change).namespace if {
	change.type != "kubernetes_namespace_v1"
	change.type != "helm_release"
}

namespace(change) := change.change.before.namespace if change.type == "helm_release"

# Infra's plan has the namespaces in it; where it has not, and in an environment's, it is as the server was told.
labels := {metadata(change).name: object.get(metadata(change), ["labels", rules.protected_label], "") |
	some change in input.resource_changes
	change.type == "kubernetes_namespace_v1"
	is_object(change.change.before)
}

is_protected(change) if labels[namespace(change)] == "true"

is_protected(change) if {
	not namespace(change) in object.keys(labels)
	stack_rules.protected
}

deny contains sprintf("%s: %s", [change.address, remedy(change)]) if {
	some change in deleted
	is_protected(change)
	is_locked(change)
	not is_open(change)
}

deny contains sprintf("%s: %s", [change.address, remedy(lock)]) if {
	some change in deleted
	is_protected(change)
	holds_data(change)
	some lock in input.resource_changes
	is_lock(lock)
	lock.name != "lock"
	guards(lock, change)
	not is_unlocked(change)
}

# A lock `<system>_lock` stands before all that is `<system>_...`, the lock `lock` before the whole stack.
guards(lock, change) if {
	startswith(change.name, trim_suffix(lock.name, "lock"))
	object.get(lock, "index", null) in {null, object.get(change, "index", null)}
}

is_unlocked(change) if {
	some lock in input.resource_changes
	is_lock(lock)
	guards(lock, change)
	is_open(lock)
}

holds_data(change) if change.type == "kubernetes_stateful_set_v1"

holds_data(change) if {
	change.type == "helm_release"
	not change.change.before.chart in rules.charts_without_data
}

kinds := {
	"kubernetes_config_map_v1": "configmap",
	"kubernetes_namespace_v1": "namespace",
	"kubernetes_persistent_volume_claim_v1": "persistentvolumeclaim",
	"kubernetes_secret_v1": "secret",
}

remedy(change) := sprintf("deleted or replaced with what it holds; to do so for good: kubectl annotate %s %s%s %s=%s", [
	kinds[change.type],
	metadata(change).name,
	place(change),
	rules.delete_annotation,
	metadata(change).name,
])

place(change) := "" if change.type == "kubernetes_namespace_v1"

place(change) := sprintf(" --namespace=%s", [metadata(change).namespace]) if change.type != "kubernetes_namespace_v1"

warn contains sprintf("this plan deletes %s, and what it holds is gone then", [change.address]) if {
	some change in deleted
	change.type in rules.holds_data
}

warn contains sprintf("this plan deletes the deletion lock %s", [change.address]) if {
	some change in deleted
	is_lock(change)
}
