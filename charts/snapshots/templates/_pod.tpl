{{- define "snapshots.container" -}}
volumeMounts:
  - name: snapshots
    mountPath: /snapshots
  {{- if .data }}
  - name: data
    mountPath: /data
  {{- end }}
resources: {{ .Values.resources | toJson }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}
{{- /* A script of the store's own, in its image. */ -}}
{{- define "snapshots.script" -}}
name: {{ .script }}
image: {{ .Values.image }}
command: [/bin/sh, -c]
args: [{{ .Files.Get (printf "scripts/%s/%s" .Values.system .script) | toJson }}]
env:
  - name: HOME
    value: /snapshots
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{ include "snapshots.container" . }}
{{- end -}}
{{- /* A script that every store has, in rclone's image. */ -}}
{{- define "snapshots.bucket" -}}
name: {{ .script }}
image: {{ .Values.bucketImage }}
command: [/bin/sh, -c]
args: [{{ .Files.Get (printf "scripts/%s" .script) | toJson }}]
env:
  - name: SYSTEM
    value: {{ .Values.system }}
  - name: KEEP_DAYS
    value: {{ .Values.keepDays | quote }}
  {{- if .Values.bucket.name }}
  - name: PLACE
    value: ":s3:{{ .Values.bucket.name }}/{{ .Values.bucket.folder }}"
  - name: FROM
    value: ""
  - name: SINCE
    value: ""
  - name: RCLONE_S3_PROVIDER
    value: {{ ternary "Other" "AWS" (ne .Values.bucket.endpoint "") }}
  - name: RCLONE_S3_ENDPOINT
    value: {{ .Values.bucket.endpoint | quote }}
  - name: RCLONE_S3_REGION
    value: {{ .Values.bucket.region }}
  - name: RCLONE_S3_NO_CHECK_BUCKET
    value: "true"
  {{- range $name, $key := dict "RCLONE_S3_ACCESS_KEY_ID" "ACCESS_KEY_ID" "RCLONE_S3_SECRET_ACCESS_KEY" "ACCESS_SECRET_KEY" }}
  - name: {{ $name }}
    valueFrom:
      secretKeyRef:
        name: {{ $.Values.bucket.secret }}
        key: {{ $key }}
  {{- end }}
  {{- end }}
{{ include "snapshots.container" . }}
{{- end -}}
{{- define "snapshots.pod" -}}
restartPolicy: Never
priorityClassName: {{ .Values.priorityClass }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.user }}
  runAsGroup: {{ .Values.group }}
  fsGroup: {{ .Values.group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
volumes:
  - name: snapshots
    {{- if .Values.bucket.name }}
    emptyDir: {}
    {{- else }}
    persistentVolumeClaim: { claimName: {{ .Values.claim }} }
    {{- end }}
  {{- if .data }}
  - name: data
    persistentVolumeClaim: { claimName: {{ .Values.data }} }
  {{- end }}
{{- end -}}
