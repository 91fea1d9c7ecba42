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

{{- /* Whether the CEL expression `.` is a host name of the environment; needs the variables prefix, foreign and platform. */ -}}
{{- define "tenancy.isOwnHost" -}}
!{{ . }}.contains("*") && (variables.prefix != ""
  ? {{ . }}.startsWith(variables.prefix + "-") || {{ . }}.startsWith(variables.prefix + ".")
  : {{ . }} != "" && !variables.foreign.exists(prefix, {{ . }}.startsWith(prefix + "-") || {{ . }}.startsWith(prefix + "."))
    && !variables.platform.exists(name, {{ . }}.startsWith(name + ".")))
{{- end }}

{{- /* What a person reads of a host name that is not the environment's. */ -}}
{{- define "tenancy.ownHosts" -}}
(variables.prefix != "" ? "host names of " + variables.environment + " begin with " + variables.prefix + "- or " + variables.prefix + "."
  : "host names of " + variables.environment + " begin neither with another environment's prefix (" + variables.foreign.join(", ")
    + ") nor with a name of the platform (" + variables.platform.join(", ") + ")")
{{- end }}

{{- /* The variables of a policy on host names. */ -}}
{{- define "tenancy.hostVariables" -}}
- name: environment
  expression: {{ include "tenancy.environment" . }}
- name: prefixes
  expression: {{ include "tenancy.prefixes" . | quote }}
- name: prefix
  expression: 'variables.environment in variables.prefixes ? variables.prefixes[variables.environment] : "unknown"'
- name: foreign
  expression: {{ include "tenancy.foreign" . | quote }}
- name: platform
  expression: {{ .Values.platformHosts | toJson | quote }}
{{- end }}
