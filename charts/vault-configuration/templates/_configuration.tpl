{{/*
bank-vaults' configuration. Of what it no longer names, policies are deleted from Vault and nothing else is: an
environment that leaves loses what it may do, its secrets stay until an administrator disables their engine.
*/}}
{{- define "vault-configuration" -}}
purgeUnmanagedConfig:
  enabled: true
  exclude: { audit: true, auth: true, groups: true, group-aliases: true, plugins: true, secrets: true }
# With a file on a full disk Vault would stop serving.
audit:
  - type: file
    description: Every request and answer, in the log of Vault's container.
    options: { file_path: stdout }
auth:
  - type: kubernetes
    config:
      # With no token of its own here, Vault asks the API server with its pod's token, which Kubernetes renews.
      kubernetes_host: https://kubernetes.default.svc:443
    roles:
      {{- range .Values.environments }}
      - name: {{ .name | quote }}
        bound_service_account_names: ["*"]
        bound_service_account_namespaces: {{ .namespaces | toJson }}
        token_policies: [{{ .name | quote }}]
        token_ttl: 1h
      {{- end }}
      - name: administrator
        bound_service_account_names: [{{ .Values.administrator }}]
        bound_service_account_namespaces: [{{ .Release.Namespace }}]
        token_policies: [administrator]
        token_ttl: 1h
      - name: snapshots
        bound_service_account_names: [{{ .Values.snapshots }}]
        bound_service_account_namespaces: [{{ .Release.Namespace }}]
        token_policies: [snapshots]
        token_ttl: 10m
      {{- range .Values.engines }}
      {{- with .roles }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- end }}
policies:
  {{- range .Values.environments }}
  - name: {{ .name | quote }}
    rules: |
      path "{{ .name }}/data/*" { capabilities = ["read"] }
      path "{{ .name }}/metadata/*" { capabilities = ["list", "read"] }
  {{- end }}
  - name: administrator
    rules: |
      path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }
  - name: snapshots
    rules: |
      path "sys/storage/raft/snapshot" { capabilities = ["read"] }
  {{- range .Values.engines }}
  {{- with .policies }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
secrets:
  {{- range .Values.environments }}
  - path: {{ .name | quote }}
    type: kv
    description: The secrets of {{ .name }}.
    options: { version: "2" }
  {{- end }}
  {{- range .Values.engines }}
  {{- toYaml (list .engine) | nindent 2 }}
  {{- end }}
{{- end -}}
