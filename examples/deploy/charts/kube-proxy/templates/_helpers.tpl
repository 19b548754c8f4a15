{{- /* Defaults that depend on the distribution. "-" as existingConfigMap is none. */ -}}
{{- define "kpng.existingConfigMap" -}}
{{- if .Values.existingConfigMap -}}
{{- ternary "" .Values.existingConfigMap (eq .Values.existingConfigMap "-") -}}
{{- else if eq .Values.distribution "kubeadm" -}}
kube-proxy
{{- end -}}
{{- end -}}

{{- define "kpng.apiServerHost" -}}
{{- $defaults := dict "k3s" "127.0.0.1" "talos" "127.0.0.1" "kind" "kind-control-plane" -}}
{{- .Values.apiServer.host | default (get $defaults .Values.distribution) | required "apiServer.host: required without existingConfigMap, unless distribution is kind, k3s or talos" -}}
{{- end -}}

{{- define "kpng.apiServerPort" -}}
{{- $defaults := dict "k3s" 6444 "talos" 7445 -}}
{{- .Values.apiServer.port | default (get $defaults .Values.distribution) | default 6443 -}}
{{- end -}}

{{- /* The distribution's own settings of kube-proxy, overridden by config. */ -}}
{{- define "kpng.config" -}}
{{- $config := dict "apiVersion" "kubeproxy.config.k8s.io/v1alpha1" "kind" "KubeProxyConfiguration" "mode" "nftables" -}}
{{- if eq .Values.distribution "k3s" -}}
{{- $config = mergeOverwrite $config (dict "clusterCIDR" "10.42.0.0/16" "conntrack" (dict "maxPerCore" 0 "tcpCloseWaitTimeout" "0s" "tcpEstablishedTimeout" "0s")) -}}
{{- else if eq .Values.distribution "talos" -}}
{{- $config = mergeOverwrite $config (dict "clusterCIDR" "10.244.0.0/16" "conntrack" (dict "maxPerCore" 0)) -}}
{{- else if eq .Values.distribution "kind" -}}
{{- $config = mergeOverwrite $config (dict "clusterCIDR" "10.244.0.0/16" "conntrack" (dict "maxPerCore" 0)) -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{- define "kpng.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "kpng.serviceAccount" -}}
{{ .Values.serviceAccount.name | default "kpng-kube-proxy" }}
{{- end -}}

{{- /* What the init container and the proxy have in common. */ -}}
{{- define "kpng.container" -}}
image: {{ include "kpng.image" . | quote }} # replace by your image
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [/kube-proxy]
env:
- name: NODE_NAME
  valueFrom:
    fieldRef: {fieldPath: spec.nodeName}
{{- if not (include "kpng.existingConfigMap" .) }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ include "kpng.apiServerHost" . | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ include "kpng.apiServerPort" . | quote }}
{{- end }}
volumeMounts:
- {name: config, mountPath: /var/lib/kube-proxy, readOnly: true}
{{- end -}}
