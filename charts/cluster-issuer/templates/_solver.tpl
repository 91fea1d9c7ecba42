{{- /* One DNS-01 solver, of the provider that the values name. */ -}}
{{- define "cluster-issuer.solver" -}}
{{- $settings := index . .provider -}}
{{- if eq .provider "akamai" -}}
akamai:
  serviceConsumerDomain: {{ $settings.serviceConsumerDomain | quote }}
  clientTokenSecretRef: {{ include "cluster-issuer.key" (list $settings "client-token") }}
  clientSecretSecretRef: {{ include "cluster-issuer.key" (list $settings "client-secret") }}
  accessTokenSecretRef: {{ include "cluster-issuer.key" (list $settings "access-token") }}
{{- else if eq .provider "aws" -}}
route53:
  region: {{ $settings.region | quote }}
  {{- with $settings.hostedZoneID }}
  hostedZoneID: {{ . | quote }}
  {{- end }}
  accessKeyIDSecretRef: {{ include "cluster-issuer.key" (list $settings "access-key-id") }}
  secretAccessKeySecretRef: {{ include "cluster-issuer.key" (list $settings "secret-access-key") }}
{{- else if eq .provider "azure" -}}
azureDNS:
  subscriptionID: {{ $settings.subscriptionID | quote }}
  tenantID: {{ $settings.tenantID | quote }}
  clientID: {{ $settings.clientID | quote }}
  resourceGroupName: {{ $settings.resourceGroupName | quote }}
  clientSecretSecretRef: {{ include "cluster-issuer.key" (list $settings "client-secret") }}
{{- else if eq .provider "cloudflare" -}}
cloudflare:
  apiTokenSecretRef: {{ include "cluster-issuer.key" (list $settings "api-token") }}
{{- else if eq .provider "google" -}}
cloudDNS:
  project: {{ $settings.project | quote }}
  serviceAccountSecretRef: {{ include "cluster-issuer.key" (list $settings "key.json") }}
{{- else if eq .provider "rfc2136" -}}
rfc2136:
  nameserver: {{ $settings.nameserver | quote }}
  tsigKeyName: {{ $settings.keyName | quote }}
  tsigAlgorithm: {{ $settings.algorithm }}
  tsigSecretSecretRef: {{ include "cluster-issuer.key" (list $settings "tsig-secret") }}
{{- end -}}
{{- end -}}

{{- define "cluster-issuer.key" -}}
{ name: {{ (first .).secretName }}, key: {{ last . }} }
{{- end -}}
