{{- define "signoz-preferences.template" -}}
metadata:
  labels: { app.kubernetes.io/name: signoz-preferences }
spec:
  restartPolicy: Never
  priorityClassName: {{ .Values.priorityClass }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 65534
    runAsGroup: 65534
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: set
      image: {{ .Values.image }}
      command: [python3, -c]
      args: [{{ .Files.Get "scripts/preferences.py" | toJson }}]
      env:
        - name: ADDRESS
          value: {{ .Values.address }}
        - name: EMAIL
          value: {{ .Values.email }}
        - name: PASSWORD
          valueFrom:
            secretKeyRef: { name: {{ .Values.secret }}, key: password }
        - name: RETENTION
          value: {{ .Values.retention | toJson | quote }}
        - name: CHANNEL
          value: {{ .Values.alerts.channel }}
        {{- if ne .Values.alerts.channel "none" }}
        - name: CHANNEL_URL
          valueFrom:
            secretKeyRef: { name: {{ .Values.alerts.secret }}, key: url }
        {{- end }}
        - name: SECONDS
          value: {{ sub .Values.timeout 120 | quote }}
      resources: {{ .Values.resources | toJson }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
{{- end -}}
