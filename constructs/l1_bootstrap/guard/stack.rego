# What a stack may hold. Only what is listed passes: here, in rules.json, and in rules-<stack>.json.
# The input is two files: the stack's cdk.tf.json and its tfvars file.
package stack

import data.rules
import data.stack_rules

default document := null

document := file.contents if {
	some file in input
	endswith(file.path, "/cdk.tf.json")
}

default settings := null

settings := file.contents if {
	some file in input
	endswith(file.path, ".tfvars")
}

# Terraform takes arrays where objects belong: such a stack has no names here, and is refused for that.
names(block) := object.keys(block) if is_object(block)

names(block) := set() if not is_object(block)

deny contains "cdk.tf.json is no object: run make synth" if not is_object(document)

deny contains "the tfvars file is no object: write settings as name = value" if not is_object(settings)

# Blocks.

deny contains sprintf("%s: a stack has no such block", [section]) if {
	some section in names(document)
	not section in rules.sections
}

deny contains "terraform: only the synthesized backend and providers may stand here; they change from a laptop" if {
	object.get(document, "terraform", null) != stack_rules.terraform
}

deny contains "terraform.backend: a local state would be lost with the checkout: give cdktf.json another backend" if {
	stack_rules.terraform.backend.local
}

deny contains "provider: only the synthesized configuration may stand here; it changes from a laptop" if {
	object.get(document, "provider", null) != rules.providers
}

named := {"variable", "resource", "ephemeral"}

deny contains sprintf("%s: found no object", [section]) if {
	some section in named | {"locals"}
	section in names(document)
	not is_object(document[section])
}

deny contains sprintf("%s.%s: found no object", [section, name]) if {
	some section in named
	some name, block in document[section]
	not is_object(block)
}

deny contains sprintf("variable.%s.%s: a variable has no such argument", [name, argument]) if {
	some name, variable in document.variable
	some argument in names(variable)
	not argument in rules.variable_arguments
}

deny contains sprintf("ephemeral.%s: only random_password is drawn on the way", [type]) if {
	some type in names(document.ephemeral)
	type != "random_password"
}

deny contains sprintf("ephemeral.random_password.%s: only its length and characters, and how many, may be given", [name]) if {
	some name, password in document.ephemeral.random_password
	not passwords_arguments(password)
}

passwords_arguments(password) if {
	is_object(password)
	names(password) - {argument | some argument in rules.password_arguments} == set()
}

deny contains "moved: give from and to, two addresses" if {
	"moved" in names(document)
	not moves(document.moved)
}

moves(blocks) if {
	is_array(blocks)
	every block in blocks {
		names(block) == {"from", "to"}
		every _, address in block {
			regex.match(`^[a-z0-9_]+\.[A-Za-z0-9_-]+(\[[A-Za-z0-9"_-]+\])?$`, address)
		}
	}
}

# Resources.

deny contains sprintf("resource.%s: this stack may not have this type", [type]) if {
	some type in names(document.resource)
	not type in names(stack_rules.types)
}

deny contains sprintf("resource.%s.%s: found no object", [type, name]) if {
	some type, resources in document.resource
	some name, resource in resources
	not is_object(resource)
}

deny contains sprintf("resource.%s.%s.%s: this type may not have this argument", [type, name, argument]) if {
	some type, resources in document.resource
	some name, resource in resources
	some argument in names(resource)
	not argument in stack_rules.types[type]
}

# What a node is told to do runs on the node, and is changed from a laptop only (plan.rego).
deny contains sprintf("resource.terraform_data.%s: only the nodes of K3s are kept in such a record", [name]) if {
	some name in names(document.resource.terraform_data)
	not startswith(name, rules.nodes)
}

deny contains sprintf("resource.helm_release.%s: found another chart than those of versions.toml and charts/", [name]) if {
	some name, release in document.resource.helm_release
	not is_ours(release)
}

is_ours(release) if {
	not "repository" in names(release)
	release.chart in rules.local_charts
}

is_ours(release) if {
	regex.match(`^v?[0-9]+\.[0-9]+\.[0-9]+$`, release.version)
	some chart in rules.charts
	release.repository == chart.repository
	replace(release.chart, sprintf("-%s.tgz", [release.version]), "-<version>.tgz") == chart.chart
}

# Expressions: in JSON they stand in strings, the keys of objects among them.

expressions contains text if {
	walk(document, [_, text])
	is_template(text)
}

expressions contains text if {
	walk(document, [path, _])
	some text in path
	is_template(text)
}

is_template(text) if {
	is_string(text)
	regex.match(`[$%][{]`, text)
}

deny contains sprintf("the function %s is not among those that a stack may call, in: %s", [call[1], text]) if {
	some text in expressions
	some call in regex.find_all_string_submatch_n(`([\pL_][\pL\pN_-]*)\s*\(`, text, -1)
	not call[1] in rules.functions
}

# A comment between a function's name and its bracket would hide the name.
deny contains sprintf("an expression holds a comment: %s", [text]) if {
	some text in expressions
	regex.match(`/\*|(#|//)[^\n]*\n\s*\(`, text)
}

deny contains sprintf("an expression calls a provider's function: %s", [text]) if {
	some text in expressions
	contains(text, "::")
}

# The tfvars file.

deny contains sprintf("%s: never in a tfvars file: Atlantis gives it", [name]) if {
	some name in names(settings)
	name in rules.command_line_variables
}

deny contains "chart_mirror: found another mirror than that of the applied infra: apply it with infra first" if {
	"chart_mirror" in names(settings)
	not settings.chart_mirror in rules.mirrors
}
