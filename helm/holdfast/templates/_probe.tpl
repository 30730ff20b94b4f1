{{/* One probe: (dict "top" $ "probe" .Values.probes.liveness) */}}
{{- define "holdfast.probe" -}}
{{- $probes := .top.Values.probes -}}
{{- if eq $probes.mode "grpc" -}}
grpc:
  port: {{ $probes.port }}
  service: {{ .probe.service | quote }}
{{- else -}}
exec:
  command: [holdfast, health, {{ .probe.service | quote }}]
{{- end }}
{{- with .probe.spec }}
{{ toYaml . }}
{{- end }}
{{- end }}
