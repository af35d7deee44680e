{{- define "holdfast.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "holdfast.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "holdfast.name" .) .Release.Name -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "holdfast.name" .) | trunc 53 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ include "holdfast.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: holdfast
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "holdfast.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "holdfast.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* Where Holdfast's own images come from. Arguments: root, repository, tag. */}}
{{- define "holdfast.image" -}}
{{- with .root.Values.registry }}{{ . }}/{{ end }}{{ .repository }}:{{ .tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "holdfast.operatorImage" -}}
{{ include "holdfast.image" (dict "root" . "repository" .Values.image.repository "tag" .Values.image.tag) }}
{{- end }}

{{/* What every container may do at most: nothing. Passes Pod Security "restricted". */}}
{{- define "holdfast.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}

{{/* The user is the image's (65532), or the one that OpenShift chooses. */}}
{{- define "holdfast.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The defaults of all Agents, as the operator reads them. */}}
{{- define "holdfast.defaults" -}}
{{- $agents := deepCopy .Values.agents -}}
{{- $image := $agents.image | default (include "holdfast.image" (dict "root" . "repository" "holdfast-agent" "tag" "")) -}}
{{- $_ := set $agents "image" $image -}}
{{- $host := printf "%s-redis.%s.svc:6379" (include "holdfast.fullname" .) .Release.Namespace -}}
{{- if and .Values.redis.enabled (not $agents.state) -}}
{{- $_ := set $agents "state" (dict "type" "state.redis" "metadata" (list (dict "name" "redisHost" "value" $host))) -}}
{{- end -}}
{{- if and .Values.redis.enabled (not $agents.pubsub) -}}
{{- $most := dict "name" "maxLenApprox" "value" "100000" -}}
{{- $_ := set $agents "pubsub" (dict "type" "pubsub.redis" "metadata" (list (dict "name" "redisHost" "value" $host) $most)) -}}
{{- end -}}
{{- range $key := list "model" "state" "memory" "pubsub" "resources" "sidecarResources" "imagePullSecrets" -}}
{{- if not (index $agents $key) -}}{{- $_ := unset $agents $key -}}{{- end -}}
{{- end -}}
{{ toYaml $agents }}
{{- end }}

{{/* What the schema cannot say. */}}
{{- define "holdfast.check" -}}
{{- with .Values.agents.model -}}
{{- if eq (empty .component) (empty .provider) -}}
{{- fail "agents.model: give exactly one of provider (Holdfast makes the Dapr Component) and component (the name of one that exists in every namespace with Agents)" -}}
{{- end -}}
{{- end -}}
{{- with .Values.agents.state -}}
{{- if eq (empty .component) (empty .type) -}}
{{- fail "agents.state: give exactly one of type (Holdfast makes the Dapr Component) and component (the name of one that exists in every namespace with Agents)" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.policy.enabled .Values.policy.allow (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail "policy.allow needs Kubernetes 1.30 or newer, which has ValidatingAdmissionPolicies: leave the lists out, or upgrade the cluster" -}}
{{- end -}}
{{- if and .Values.policy.enabled (has "Deny" .Values.policy.actions) (has "Warn" .Values.policy.actions) -}}
{{- fail "policy.actions: Deny and Warn exclude each other, since whoever is refused is told why anyway. Give [Deny], [Deny, Audit], [Warn], [Audit] or [Warn, Audit]" -}}
{{- end -}}
{{- range $kind := list "hosts" "python" -}}
{{- $allow := $.Values.policy.allow | default dict -}}
{{- if and $.Values.policy.enabled (kindIs "slice" (get $allow $kind)) (or (not (kindIs "slice" $allow.env)) (has "*" $allow.env)) -}}
{{- fail (printf "policy.allow.%s needs policy.allow.env, a list of names and no * alone: variables that libraries read (PATH, OPENSSL_CONF, LOCALDOMAIN) load code and lead clients elsewhere. [] allows none" $kind) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
{{- fail "metrics.serviceMonitor.enabled needs metrics.service.enabled: Prometheus finds the operator by that Service" -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.name is missing: with serviceAccount.create=false, name the ServiceAccount that the operator uses" -}}
{{- end -}}
{{- end }}
