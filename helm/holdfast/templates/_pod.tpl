{{/* The pod, apart from the DaemonSet around it. */}}
{{- define "holdfast.podSpec" -}}
{{- $values := .Values -}}
serviceAccountName: {{ include "holdfast.serviceAccountName" . }}
automountServiceAccountToken: {{ or $values.serviceAccount.automountToken $values.pods.kubernetesEvents.enabled }}
enableServiceLinks: false
hostPID: {{ $values.hostPID }}
hostNetwork: {{ $values.hostNetwork }}
{{- with include "holdfast.imagePullSecrets" . }}
{{ . }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with default (ternary "ClusterFirstWithHostNet" "" $values.hostNetwork) $values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with $values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.initContainers }}
initContainers:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
containers:
  - {{- include "holdfast.container" . | nindent 4 }}
  {{- with $values.sidecars }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "holdfast.configMapName" . }}
  - name: root
    hostPath: {path: {{ $values.hostPaths.root | quote }}, type: DirectoryOrCreate}
  - name: state
    hostPath: {path: {{ $values.hostPaths.state | quote }}, type: DirectoryOrCreate}
  - name: cgroup
    hostPath: {path: {{ $values.hostPaths.cgroup | quote }}, type: Directory}
  {{- range include "holdfast.runtimeDirectories" . | fromYamlArray }}
  - name: {{ .name }}
    hostPath: {path: {{ .path | quote }}, type: DirectoryOrCreate}
  {{- end }}
  {{- if and $values.tcp.enabled (ne $values.tcp.tls.source "none") }}
  - name: tls
    secret:
      secretName: {{ include "holdfast.tlsSecretName" . }}
      defaultMode: 0400
  {{- end }}
  {{- with $values.extraVolumes }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "holdfast.container" -}}
{{- $values := .Values -}}
name: holdfast
image: {{ include "holdfast.image" . }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: {{ concat (list "run" "--config" "/etc/holdfast/config.yaml") $values.extraArgs | toJson }}
env:
  - name: NODE_NAME
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  {{- with $values.env }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- with $values.envFrom }}
envFrom:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- $ports := list -}}
{{- if eq $values.probes.mode "grpc" }}{{ $ports = append $ports (list "health" $values.probes.port) }}{{ end -}}
{{- if $values.metrics.enabled }}{{ $ports = append $ports (list "metrics" $values.metrics.port) }}{{ end -}}
{{- if $values.tcp.enabled }}{{ $ports = append $ports (list "grpc" $values.tcp.port) }}{{ end -}}
{{- with $ports }}
ports:
  {{- range . }}
  - {name: {{ index . 0 }}, containerPort: {{ index . 1 }}, protocol: TCP}
  {{- end }}
{{- end }}
{{- if ne $values.probes.mode "none" }}
startupProbe:
  {{- include "holdfast.probe" (dict "top" $ "probe" $values.probes.startup) | nindent 2 }}
livenessProbe:
  {{- include "holdfast.probe" (dict "top" $ "probe" $values.probes.liveness) | nindent 2 }}
readinessProbe:
  {{- include "holdfast.probe" (dict "top" $ "probe" $values.probes.readiness) | nindent 2 }}
{{- end }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "holdfast.securityContext" . | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/holdfast, readOnly: true} # the directory: a subPath would never be updated
  - {name: root, mountPath: /var/lib/holdfast}
  - {name: state, mountPath: /run/holdfast}
  - {name: cgroup, mountPath: /sys/fs/cgroup, mountPropagation: {{ $values.hostPaths.mountPropagation }}} # v1: hierarchies mounted later, too
  {{- /* slave mounts: others would keep every container's root file system busy */}}
  {{- range include "holdfast.runtimeDirectories" . | fromYamlArray }}
  - {name: {{ .name }}, mountPath: {{ .mountPath | quote }}, readOnly: true, mountPropagation: {{ $values.hostPaths.mountPropagation }}}
  {{- end }}
  {{- if and $values.tcp.enabled (ne $values.tcp.tls.source "none") }}
  - {name: tls, mountPath: /etc/holdfast-tls, readOnly: true}
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Directories with the container runtime's sockets; NRI's is always at its own place in the pod. */}}
{{- define "holdfast.runtimeDirectories" -}}
{{- $found := list -}}
{{- if .Values.pods.cri.enabled -}}
{{- range $index, $path := .Values.pods.cri.directories -}}
{{- $found = append $found (dict "name" (printf "cri-%d" $index) "path" $path "mountPath" $path) -}}
{{- end -}}
{{- end -}}
{{- if .Values.pods.nri.enabled -}}
{{- $found = append $found (dict "name" "nri" "path" .Values.pods.nri.directory "mountPath" "/run/nri") -}}
{{- end -}}
{{- toYaml $found -}}
{{- end }}

{{- define "holdfast.securityContext" -}}
{{- $context := dict "runAsUser" 0 "runAsGroup" 0 "runAsNonRoot" false "readOnlyRootFilesystem" true -}}
{{- if eq .Values.privileges.mode "privileged" -}}
{{- $_ := set $context "privileged" true -}}
{{- else -}}
{{- $_ := mustMergeOverwrite $context (dict "privileged" false "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL") "add" .Values.privileges.capabilities) "seccompProfile" (dict "type" "RuntimeDefault")) -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $context (deepCopy .Values.securityContext)) -}}
{{- end }}
