{{/* The daemon's configuration file: what the chart knows, and the operator's `config` over it. */}}
{{- define "holdfast.placementURI" -}}io.holdfast.placement.v1.rules{{- end }}
{{- define "holdfast.podsURI" -}}io.holdfast.pods.v1.directory{{- end }}
{{- define "holdfast.nriURI" -}}io.holdfast.nri.v1.plugin{{- end }}

{{/* The value of `builtin_rules`: builtinRules, or what the deprecated presets mean. (fromYaml needs a mapping around it) */}}
{{- define "holdfast.builtinRules" -}}
{{- if .Values.presets -}}
{{- $usual := list "batch" "containerRuntime" "kubelet" "logins" "nodeDaemons" "nodeExporter" "postgresql" -}}
{{- $optional := list "batchPods" "cloudnativePg" "sidecars" "singleProcessOomKill" -}}
{{- range $name, $_ := .Values.presets -}}
{{- if not (has $name (concat $usual $optional)) -}}{{- fail (printf "presets.%s: there are no such built-in rules; presets is deprecated, use builtinRules" $name) -}}{{- end -}}
{{- end -}}
{{- if ne (toJson .Values.builtinRules) "\"preview\"" -}}{{- fail "presets: the deprecated name of builtinRules, and both are set; remove presets" -}}{{- end -}}
{{- $wanted := list -}}
{{- range $name := concat $optional $usual -}}
{{- if dig $name "enabled" (has $name $usual) $.Values.presets -}}{{- $wanted = append $wanted (kebabcase $name) -}}{{- end -}}
{{- end -}}
{{- dict "value" $wanted | toYaml -}}
{{- else -}}
{{- dict "value" .Values.builtinRules | toYaml -}}
{{- end -}}
{{- end }}

{{- define "holdfast.config" -}}
{{- $placement := dict "dry_run" .Values.dryRun "on_stop" .Values.onStop "builtin_rules" (include "holdfast.builtinRules" . | fromYaml).value "rules" (.Values.rules | default list) -}}
{{- with .Values.builtinNamespaces -}}{{- $_ := set $placement "builtin_namespaces" . -}}{{- end -}}
{{- if .Values.pods.kubernetesEvents.enabled -}}{{- $_ := set $placement "kubernetes_events" true -}}{{- end -}}
{{- $config := dict "version" 2 "plugins" (dict (include "holdfast.placementURI" .) $placement) -}}
{{- $_ := set $config "metrics" (dict "address" (ternary (printf ":%d" (int .Values.metrics.port)) "" .Values.metrics.enabled) "grpc_zero_series" false) -}}
{{- $_ := set $config "web" (dict "address" (ternary (printf "127.0.0.1:%d" (int .Values.web.port)) "" .Values.web.enabled)) -}}
{{- $grpc := dict -}}
{{- if eq .Values.probes.mode "grpc" -}}
{{- $_ := set $grpc "health_address" (printf ":%d" (int .Values.probes.port)) -}}
{{- end -}}
{{- if .Values.tcp.enabled -}}
{{- $_ := set $grpc "tcp_address" (printf ":%d" (int .Values.tcp.port)) -}}
{{- if eq .Values.tcp.tls.source "none" -}}
{{- $_ := set $grpc "insecure" true -}}
{{- else -}}
{{- range $key, $file := dict "tcp_tls_cert" "tls.crt" "tcp_tls_key" "tls.key" "tcp_tls_ca" "ca.crt" -}}
{{- $_ := set $grpc $key (printf "/etc/holdfast-tls/%s" $file) -}}
{{- end -}}
{{- end -}}
{{- with .Values.tcp.grants }}{{- $_ := set $grpc "grants" . -}}{{- end -}}
{{- end -}}
{{- if $grpc -}}{{- $_ := set $config "grpc" $grpc -}}{{- end -}}
{{- $cri := dict -}}
{{- if not .Values.pods.cri.enabled -}}{{- $_ := set $cri "enabled" false -}}{{- end -}}
{{- with .Values.pods.cri.address }}{{- $_ := set $cri "address" . -}}{{- end -}}
{{- if $cri -}}{{- $_ := set $config.plugins (include "holdfast.podsURI" .) (dict "cri" $cri) -}}{{- end -}}
{{- if .Values.pods.nri.enabled -}}
{{- $_ := set $config.plugins (include "holdfast.nriURI" .) (dict "enabled" true "socket_path" "/run/nri/nri.sock") -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $config (deepCopy (.Values.config | default dict))) -}}
{{- end }}

{{/* What of it takes a restart: everything but what docs/configuration.md, Reloading, names. */}}
{{- define "holdfast.restartConfig" -}}
{{- $config := include "holdfast.config" . | fromYaml -}}
{{- $plugins := $config.plugins -}}
{{- $uri := include "holdfast.placementURI" . -}}
{{- $_ := set $plugins $uri (pick (index $plugins $uri) "rescan" "kills_kept" "kubernetes_events") -}}
{{- with $config.debug }}{{- $_ := unset . "level" -}}{{- end -}}
{{- with $config.tracing }}{{- $_ := unset . "ratio" -}}{{- $_ := unset . "parent_based" -}}{{- end -}}
{{- range $section := list "debug" "tracing" -}}{{- if not (index $config $section) -}}{{- $_ := unset $config $section -}}{{- end -}}{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* Values that fit the schema and cannot work together. */}}
{{- define "holdfast.check" -}}
{{- $config := .Values.config | default dict -}}
{{- range $key, $instead := dict "root" "hostPaths.root" "state" "hostPaths.state" -}}
{{- if hasKey $config $key -}}{{- fail (printf "config.%s: is the chart's: a directory in the pod; set %s for the node's" $key $instead) -}}{{- end -}}
{{- end -}}
{{- range $key, $instead := dict "address" "nothing: clients on the node use hostPaths.state" "tcp_address" "tcp.enabled and tcp.port" "tcp_tls_cert" "tcp.tls" "tcp_tls_key" "tcp.tls" "tcp_tls_ca" "tcp.tls" "insecure" "tcp.tls.source: none" "health_address" "probes.mode and probes.port" "grants" "tcp.grants" -}}
{{- if hasKey ($config.grpc | default dict) $key -}}{{- fail (printf "config.grpc.%s: is the chart's; set %s" $key $instead) -}}{{- end -}}
{{- end -}}
{{- if hasKey ($config.metrics | default dict) "address" -}}{{- fail "config.metrics.address: is the chart's; set metrics.enabled and metrics.port" -}}{{- end -}}
{{- if hasKey ($config.web | default dict) "address" -}}{{- fail "config.web.address: is the chart's; set web.enabled and web.port" -}}{{- end -}}
{{- $section := index ($config.plugins | default dict) (include "holdfast.placementURI" .) | default dict -}}
{{- range $key, $instead := dict "dry_run" "dryRun" "rules" "rules" "builtin_rules" "builtinRules" "builtin_namespaces" "builtinNamespaces" "shipped" "builtinRules" "on_stop" "onStop" "kubernetes_events" "pods.kubernetesEvents.enabled" -}}
{{- if hasKey $section $key -}}{{- fail (printf "config.plugins.%s.%s: is the chart's; set %s" (include "holdfast.placementURI" $) $key $instead) -}}{{- end -}}
{{- end -}}
{{- $cri := (index ($config.plugins | default dict) (include "holdfast.podsURI" .) | default dict).cri | default dict -}}
{{- range $key := list "enabled" "address" -}}
{{- if hasKey $cri $key -}}{{- fail (printf "config.plugins.%s.cri.%s: is the chart's; set pods.cri.%s" (include "holdfast.podsURI" $) $key $key) -}}{{- end -}}
{{- end -}}
{{- range $key, $instead := dict "enabled" "pods.nri.enabled" "socket_path" "pods.nri.directory" -}}
{{- if hasKey (index ($config.plugins | default dict) (include "holdfast.nriURI" $) | default dict) $key -}}{{- fail (printf "config.plugins.%s.%s: is the chart's; set %s" (include "holdfast.nriURI" $) $key $instead) -}}{{- end -}}
{{- end -}}
{{- if and .Values.tcp.enabled (eq .Values.tcp.tls.source "secret") (not .Values.tcp.tls.secretName) -}}
{{- fail "tcp.tls.secretName: must be given: a Secret with tls.crt, tls.key and ca.crt; or set tcp.tls.source to certManager, or to none for plaintext" -}}
{{- end -}}
{{- if and .Values.tcp.enabled (eq .Values.tcp.tls.source "certManager") (not .Values.tcp.tls.certManager.issuerRef.name) -}}
{{- fail "tcp.tls.certManager.issuerRef.name: must be given: the cert-manager issuer that signs the daemons' certificate" -}}
{{- end -}}
{{- if and .Values.tcp.grants (eq .Values.tcp.tls.source "none") -}}
{{- fail "tcp.grants: need client certificates; set tcp.tls.source to secret or certManager" -}}
{{- end -}}
{{- $ports := dict -}}
{{- if eq .Values.probes.mode "grpc" -}}{{- $_ := set $ports (toString .Values.probes.port) "probes.port" -}}{{- end -}}
{{- range $name, $section := dict "metrics.port" .Values.metrics "tcp.port" .Values.tcp "web.port" .Values.web -}}
{{- if $section.enabled -}}
{{- with index $ports (toString $section.port) -}}{{- fail (printf "%s: %v is %s, too; each listener needs a port of its own" $name $section.port .) -}}{{- end -}}
{{- $_ := set $ports (toString $section.port) $name -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.hostPaths.root .Values.hostPaths.state -}}
{{- fail "hostPaths.state: is hostPaths.root, too; the journal and the sockets need a directory each" -}}
{{- end -}}
{{- range .Values.pods.cri.directories -}}
{{- if has (clean .) (list "/" "/etc/holdfast" "/etc/holdfast-tls" "/run/holdfast" "/run/nri" "/sys/fs/cgroup" "/var/lib/holdfast") -}}
{{- fail (printf "pods.cri.directories: %s is the daemon's own directory in its pod, or hides one" .) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.existingConfigMap (or .Values.rules .Values.config) -}}
{{- fail "existingConfigMap: replaces rules and config; put them into its config.yaml" -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled -}}
{{- fail "metrics.serviceMonitor.enabled: with metrics.podMonitor.enabled every daemon would be scraped twice" -}}
{{- end -}}
{{- if and (or .Values.metrics.podMonitor.enabled .Values.metrics.serviceMonitor.enabled) (not .Values.metrics.enabled) -}}
{{- fail "metrics.enabled: is false, and a monitor is to be created; nobody would answer it" -}}
{{- end -}}
{{- if and .Values.pods.kubernetesEvents.enabled (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "pods.kubernetesEvents.enabled: would let every pod of the default service account create events; set serviceAccount.create or serviceAccount.name" -}}
{{- end -}}
{{- if and .Values.uninstall.restore (not .Values.serviceAccount.create) -}}
{{- fail "uninstall.restore: needs a service account of its own; set serviceAccount.create" -}}
{{- end -}}
{{- end }}
