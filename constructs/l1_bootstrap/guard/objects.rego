# What the objects of a plan may ask for, in resources and in the values of charts: pods without rights on the node,
# Services within the cluster, hosts of the stack's own, and images of a version that stays.
package plan

import data.rules
import data.stack_rules

written contains change if {
	some change in changes
	some action in change.change.actions
	action in {"create", "update"}
}

# A chart's values are YAML in strings, read by the same library as Helm reads them with.

texts contains [change, text] if {
	some change in written
	change.type == "helm_release"
	some text in change.change.after.values
	is_string(text)
}

is_readable(text) if {
	yaml.is_valid(text)
	is_object(yaml.unmarshal(text))
}

deny contains sprintf("%s: values that are no YAML object: give one", [change.address]) if {
	some [change, text] in texts
	not is_readable(text)
}

documents contains [change.address, yaml.unmarshal(text)] if {
	some [change, text] in texts
	is_readable(text)
}

documents contains [change.address, object.remove(change.change.after, {"data", "metadata"})] if {
	some change in written
	change.type != "helm_release"
}

# `set` and its kind would be values that nobody has looked at here; what a program makes of a chart, too.
deny contains sprintf("%s: %s: give it by values", [change.address, argument]) if {
	some change in written
	change.type == "helm_release"
	some argument in ["postrender", "set", "set_list", "set_sensitive", "set_wo", "set_wo_revision"]
	not object.get(change.change.after, argument, null) in unset
}

# A manifest within a string would be one that nobody has looked at either.
deny contains sprintf("%s: %s: a manifest in a string: give it as YAML", [address, written_path(path)]) if {
	some [address, document] in documents
	walk(document, [path, text])
	is_string(text)
	regex.match(`(^|[\n{,])\s*["']?kind["']?\s*:`, text)
}

# Keys have one spelling here: `hostnetwork` is host_network of Terraform and hostNetwork of Kubernetes.
spelt(key) := lower(replace(key, "_", ""))

written_path(path) := concat(".", [sprintf("%v", [part]) | some part in path])

# Every key of every document that a rule below asks for.
found contains [address, path, key, value] if {
	some [address, document] in documents
	walk(document, [path, value])
	is_string(path[count(path) - 1])
	key := spelt(path[count(path) - 1])
	is_watched(key)
}

is_watched(key) if key in watched

is_watched(key) if endswith(key, "type")

is_watched(key) if regex.match(`(image|imagename|imagetag|imageregistry)$`, key)

watched := object.keys(forbidden) | {"add", "enabled", "registry", "repository", "runasuser"}

unset := {null, false, "", "false", 0, "0", [], {}}

# Pods with rights on their node, and ways in from outside.

forbidden := {
	"privileged": "a privileged container is the node's administrator",
	"allowprivilegeescalation": "a process may not gain more rights than it began with",
	"hostnetwork": "a pod has its own network, not the node's",
	"hostpid": "a pod has its own processes, not the node's",
	"hostipc": "a pod has its own memory, not the node's",
	"hostpath": "a pod has volumes, not the node's files",
	"hostport": "a pod is reached by a Service, not at the node's port",
	"nodeport": "a Service is reached within the cluster, from outside by an Ingress",
	"externalips": "a Service would take traffic to other addresses",
	"loadbalancerip": "a Service is reached within the cluster, from outside by an Ingress",
	"loadbalancerclass": "a Service is reached within the cluster, from outside by an Ingress",
}

deny contains sprintf("%s: %s: %s; leave it out", [address, written_path(path), forbidden[key]]) if {
	some [address, path, key, value] in found
	key in object.keys(forbidden)
	not value in unset
}

deny contains sprintf("%s: %s: a container runs as a user of its own; give another than 0", [address, written_path(path)]) if {
	some [address, path, "runasuser", value] in found
	value in {0, "0"}
}

deny contains sprintf("%s: %s: a container gets no capability beyond its own; leave it out", [address, written_path(path)]) if {
	some [address, path, "add", value] in found
	some part in path
	is_string(part)
	spelt(part) == "capabilities"
	not value in unset
}

deny contains sprintf("%s: %s: found %s; give ClusterIP, and an Ingress to reach it from outside", [address, written_path(path), value]) if {
	some [address, path, key, value] in found
	endswith(key, "type")
	value in {"ExternalName", "LoadBalancer", "NodePort"}
}

# Hosts. An Ingress is the stack's own resource, where its host is known.

deny contains sprintf("%s: %s: a chart's own Ingress has a host that nobody looks at; leave it out", [address, written_path(path)]) if {
	some [address, path, "enabled", value] in found
	regex.match(`(ingress|ingressroute|httproute)$`, spelt(sprintf("%v", [path[count(path) - 2]])))
	not value in unset
}

ingresses contains change if {
	some change in written
	change.type == "kubernetes_ingress_v1"
}

hosts contains [change.address, object.get(rule, "host", null)] if {
	some change in ingresses
	some rule in change.change.after.spec[0].rule
}

hosts contains [change.address, host] if {
	some change in ingresses
	some tls in change.change.after.spec[0].tls
	some host in tls.hosts
}

deny contains sprintf("%s: found the host %v; give %s%s", [address, host, stack_rules.host_form, input.variables.base_domain.value]) if {
	some [address, host] in hosts
	not is_own(host)
}

deny contains sprintf("%s: it would answer for every host; leave default_backend out, and give rules", [change.address]) if {
	some change in ingresses
	not answers_by_rules(change.change.after.spec[0])
}

answers_by_rules(spec) if {
	object.get(spec, "default_backend", null) in unset
	count(spec.rule) > 0
}

is_own(host) if {
	is_string(host)
	endswith(host, sprintf(".%s", [input.variables.base_domain.value]))
	startswith(host, stack_rules.host_prefix)
	not contains(host, "*")
	not is_foreign(host)
}

is_foreign(host) if {
	some prefix in stack_rules.foreign_hosts
	startswith(host, prefix)
}

# Images.

references contains [address, path, value] if {
	some [address, path, key, value] in found
	regex.match(`image(name)?$`, key)
	is_string(value)
	value != ""
}

references contains [address, path, sprintf("%s%s%s%s", [registry_of(value), name, tag_of(value), digest_of(value)])] if {
	some [address, document] in documents
	walk(document, [path, value])
	is_object(value)
	name := object.get(value, "repository", object.get(value, "name", ""))
	is_image(path, value)
	is_string(name)
	name != ""
}

is_image(_, value) if "repository" in object.keys(value)

is_image(path, value) if {
	regex.match(`image$`, spelt(sprintf("%v", [path[count(path) - 1]])))
	is_object(value)
}

registry_of(value) := "" if object.get(value, "registry", null) in unset

registry_of(value) := sprintf("%v/", [value.registry]) if not object.get(value, "registry", null) in unset

tag_of(value) := "" if object.get(value, "tag", null) in unset

tag_of(value) := sprintf(":%v", [value.tag]) if not object.get(value, "tag", null) in unset

digest_of(value) := "" if digests(value) == set()

digest_of(value) := sprintf("@%v", [concat("", sort(digests(value)))]) if digests(value) != set()

digests(value) := {value[key] | some key in ["digest", "sha"]; not object.get(value, key, null) in unset}

deny contains sprintf("%s: %s: found %s; give an exact version such as :1.2.3, or a digest", [address, written_path(path), reference]) if {
	some [address, path, reference] in references
	not is_exact(reference)
}

is_exact(reference) if regex.match(`^[^@\s]+@sha256:[0-9a-f]{64}$`, reference)

is_exact(reference) if regex.match(`^[^@\s]+:v?[0-9]+(\.[0-9]+)+([-+_.][A-Za-z0-9._-]+)?$`, reference)

# A part of an image that is given alone goes with what the chart has for the others.
deny contains sprintf("%s: %s: found %v; give an exact version such as 1.2.3", [address, written_path(path), value]) if {
	some [address, path, value] in tags
	not value in unset
	not is_exact(sprintf("x:%v", [value]))
}

tags contains [address, path, value] if {
	some [address, path, key, value] in found
	endswith(key, "imagetag")
}

tags contains [address, path, value.tag] if {
	some [address, path, key, value] in found
	endswith(key, "image")
	is_object(value)
	"tag" in object.keys(value)
}

deny contains sprintf("%s: %s: found the image %s; %s", [address, written_path(path), reference, only_ours]) if {
	some [address, path, reference] in references
	is_array(stack_rules.images)
	not regex.replace(reference, `(:[^/@]*)?(@.*)?$`, "") in stack_rules.images
}

deny contains sprintf("%s: %s: found the registry %v; %s", [address, written_path(path), value, only_ours]) if {
	some [address, path, key, value] in found
	regex.match(`registry$`, key)
	not value in unset
	regex.match(`[.:]`, sprintf("%v", [value]))
	is_array(stack_rules.images)
	every image in stack_rules.images {
		not startswith(image, sprintf("%v/", [value]))
	}
}

only_ours := "give one of versions.toml by its whole name; a new one is applied with infra first"

# What a plan does not know yet could be any of it.

hidden := object.keys(forbidden) | {
	"add",
	"capabilities",
	"container",
	"defaultbackend",
	"ephemeralcontainer",
	"host",
	"hosts",
	"image",
	"initcontainer",
	"jobtemplate",
	"rule",
	"runasuser",
	"securitycontext",
	"spec",
	"template",
	"tls",
	"type",
	"volume",
}

deny contains sprintf("%s: %s: unknown before an apply; give what the plan knows", [change.address, written_path(path)]) if {
	some change in written
	change.type != "helm_release"
	walk(object.get(change.change, "after_unknown", {}), [path, true])
	path[0] == "spec"
	is_hidden(path)
}

# A Service's node port is drawn by the API server, if it has one.
is_hidden(path) if {
	names := [part | some part in path; is_string(part)]
	spelt(names[count(names) - 1]) in (hidden - {"nodeport"})
}

deny contains sprintf("%s: %s: unknown before an apply; give what the plan knows", [change.address, written_path(path)]) if {
	some change in written
	change.type == "helm_release"
	not change.change.after.chart in rules.charts_of_secrets
	walk(object.get(change.change, "after_unknown", {}), [path, true])
	not path[0] in {"app_version", "id", "manifest", "metadata", "resources", "status"}
}
