{{/* What PodMonitor and ServiceMonitor share: one endpoint. (dict "values" .Values.metrics.podMonitor) */}}
{{- define "holdfast.endpoint" -}}
- port: metrics
  path: /metrics
  {{- with .values.interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .values.scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  relabelings:
    - {sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node}
    {{- with .values.relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .values.metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
