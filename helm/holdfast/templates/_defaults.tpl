{{/*
Put the chart's defaults where the operator's values have null: Helm takes such a key away, and `tcp:` with all its keys
commented out is null. Every template begins with this; it changes .Values in place, and a second time changes nothing.
*/}}
{{- define "holdfast.defaults" -}}
{{- include "holdfast.filled" (list .Values (.Files.Get "files/defaults.json" | fromJson)) -}}
{{- end }}

{{- define "holdfast.filled" -}}
{{- $values := index . 0 -}}
{{- range $key, $entry := index . 1 -}}
{{- if kindIs "invalid" (index $values $key) -}}
{{- $_ := set $values $key (ternary (dict) $entry.default (hasKey $entry "keys")) -}}
{{- end -}}
{{- if hasKey $entry "keys" -}}
{{- include "holdfast.filled" (list (index $values $key) $entry.keys) -}}
{{- else if kindIs "map" (index $values $key) -}}
{{- include "holdfast.pruned" (index $values $key) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Take away what is null in a map of Kubernetes' own: `limits: {cpu: null}` would be a limit of 0. */}}
{{- define "holdfast.pruned" -}}
{{- $map := . -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value -}}{{- $_ := unset $map $key -}}{{- else if kindIs "map" $value -}}{{- include "holdfast.pruned" $value -}}{{- end -}}
{{- end -}}
{{- end }}
