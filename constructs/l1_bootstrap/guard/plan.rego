# What a plan may do. The input is `terraform show -json` of it.
package plan

import data.rules

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

warn contains sprintf("this plan deletes %s: what it holds is gone then, unless the deletion lock refuses", [change.address]) if {
	some change in changes
	"delete" in change.change.actions
	change.type in rules.holds_data
}

warn contains sprintf("this plan deletes the deletion lock %s", [change.address]) if {
	some change in changes
	"delete" in change.change.actions
	startswith(change.change.before.metadata[0].name, rules.lock)
}
