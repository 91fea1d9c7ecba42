{{- /* A binding that denies what the policy `name` refuses. */ -}}
{{- define "tenancy.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ . }}
spec:
  policyName: {{ . }}
  validationActions: [Deny]
{{- end }}

{{- /* Bindings that deny what the policy `name` refuses in the namespaces of environments, and in those of pipelines. */ -}}
{{- define "tenancy.tenantBindings" -}}
{{- $name := .name }}
{{- range $suffix, $label := dict "" .root.Values.environmentLabel "-pipelines" .root.Values.pipelineLabel }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}{{ $suffix }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
  matchResources:
    namespaceSelector:
      matchExpressions:
        - key: {{ $label }}
          operator: Exists
{{- end }}
{{- end }}

{{- /* Selects the namespaces of environments. */ -}}
{{- define "tenancy.environments" -}}
namespaceSelector:
  matchExpressions:
    - key: {{ .Values.environmentLabel }}
      operator: Exists
{{- end }}

{{- /* The environment that the namespace of the request belongs to. */ -}}
{{- define "tenancy.environment" -}}
request.namespace.substring(request.namespace.indexOf("-") + 1)
{{- end }}

{{- /* Host prefixes by environment. */ -}}
{{- define "tenancy.prefixes" -}}
{{- $prefixes := dict -}}
{{- range .Values.environments }}{{ $_ := set $prefixes .name .hostPrefix }}{{ end -}}
{{- $prefixes | toJson -}}
{{- end }}

{{- /* Prefixes that the environment's host names must not have: those of the others. */ -}}
{{- define "tenancy.foreign" -}}
variables.prefixes.filter(name, name != variables.environment && variables.prefixes[name] != "").map(name, variables.prefixes[name])
{{- end }}

{{- /* Whether the CEL expression `.` is a host name of the environment, or of the pipeline; needs the variables below. */ -}}
{{- define "tenancy.isOwnHost" -}}
!{{ . }}.contains("*") && (variables.isPipeline
  ? variables.domains.exists(domain, {{ . }} == domain || {{ . }}.endsWith("." + domain))
    && !variables.foreign.exists(prefix, {{ . }}.startsWith(prefix + "-") || {{ . }}.startsWith(prefix + "."))
    && !variables.taken.exists(name, {{ . }}.startsWith(name + "."))
  : variables.prefix != ""
  ? {{ . }}.startsWith(variables.prefix + "-") || {{ . }}.startsWith(variables.prefix + ".")
  : {{ . }} != "" && !variables.declared.exists(domain, {{ . }} == domain || {{ . }}.endsWith("." + domain))
    && !variables.foreign.exists(prefix, {{ . }}.startsWith(prefix + "-") || {{ . }}.startsWith(prefix + "."))
    && !variables.platform.exists(name, {{ . }}.startsWith(name + ".")))
{{- end }}

{{- /* What a person reads of a host name that is not the environment's. */ -}}
{{- define "tenancy.ownHosts" -}}
(variables.isPipeline ? "host names of " + request.namespace + " are " + variables.domains.join(", ") + " and what ends with a dot and one of them"
  + " (envs/infra.tfvars, kubero.namespaces), and no host names of the platform or of an environment"
  : variables.prefix != "" ? "host names of " + variables.environment + " begin with " + variables.prefix + "- or " + variables.prefix + "."
  : "host names of " + variables.environment + " begin neither with another environment's prefix (" + variables.foreign.join(", ")
    + ") nor with a name of the platform (" + variables.platform.join(", ") + "), and are no pipeline's")
{{- end }}

{{- /* The domains of all pipelines. */ -}}
{{- define "tenancy.declared" -}}
{{- $domains := list -}}
{{- range .Values.pipelines }}{{ $domains = concat $domains . }}{{ end -}}
{{- $domains | sortAlpha | toJson -}}
{{- end }}

{{- /* The variables of a policy on host names. */ -}}
{{- define "tenancy.hostVariables" -}}
- name: isPipeline
  expression: {{ printf "request.namespace in %s" (keys .Values.pipelines | sortAlpha | toJson) | quote }}
- name: domains
  expression: {{ printf "variables.isPipeline ? %s[request.namespace] : []" (.Values.pipelines | toJson) | quote }}
- name: declared
  expression: {{ include "tenancy.declared" . | quote }}
- name: taken
  expression: {{ concat .Values.platformHosts .Values.environmentHosts | toJson | quote }}
- name: environment
  expression: {{ printf "variables.isPipeline ? '' : %s" (include "tenancy.environment" .) | quote }}
- name: prefixes
  expression: {{ include "tenancy.prefixes" . | quote }}
- name: prefix
  expression: 'variables.environment in variables.prefixes ? variables.prefixes[variables.environment] : "unknown"'
- name: foreign
  expression: {{ include "tenancy.foreign" . | quote }}
- name: platform
  expression: {{ .Values.platformHosts | toJson | quote }}
{{- end }}
