{{/*
Where an Agent uses what the policy has a list for, as CEL. `list`: the items `x` of a field; `outer`: items `o` around them; `at`: the
field in words; `value`: what stands there, compared with the administrator's list.
*/}}
{{- define "holdfast.policy.uses" -}}
images:
- {list: 'has(variables.spec.image) ? [variables.spec.image] : []', at: '"spec.image"', value: x}
providers:
- {list: 'variables.models.filter(x, has(x.is.provider))', at: 'x.at + ".provider"', value: x.is.provider}
hosts:
- {list: 'variables.models.filter(x, has(x.is.endpoint))', at: 'x.at + ".endpoint"', value: x.is.endpoint}
- {list: 'variables.remotes.filter(x, has(x.is.url))', at: 'x.at + ".url"', value: x.is.url}
- outer: 'variables.models.filter(o, has(o.is.options))'
  list: 'o.is.options.filter(x, o.is.options[x].contains("//") || x.lowerAscii().matches("(endpoint|url|host|proxy|address)"))'
  at: 'o.at + ".options." + x'
  value: 'o.is.options[x]'
- outer: 'variables.models.filter(o, has(o.is.optionsFrom))'
  list: 'o.is.optionsFrom.filter(x, x.name.lowerAscii().matches("(endpoint|url|host|proxy|address)"))'
  at: 'o.at + ".optionsFrom." + x.name'
  value: '"that nobody sees"'
# What makes clients go elsewhere.
- {list: 'variables.envItems.filter(x, x.name.matches("(?i)(_proxy|^otel_.*endpoint)$"))', at: '"spec.env " + x.name', value: '(has(x.value) ? x.value : "")'}
- {list: variables.envSources, at: '"spec.envFrom"', value: '"(names that nobody sees)"'}
- list: '["otlp", "zipkin"].filter(x, has(variables.spec.observability) && has(variables.spec.observability.tracing) && x in variables.spec.observability.tracing)'
  at: '"spec.observability.tracing." + x'
  value: 'variables.spec.observability.tracing[x]'
components:
- {list: '(variables.models + variables.sources).filter(x, has(x.is.component))', at: 'x.at + ".component"', value: x.is.component}
- {list: 'variables.remotes.filter(x, has(x.is.server))', at: 'x.at + ".server"', value: x.is.server}
componentTypes:
- {list: 'variables.sources.filter(x, has(x.is.type))', at: 'x.at + ".type"', value: x.is.type}
secrets:
- {list: 'variables.models.filter(x, has(x.is.apiKeySecretRef))', at: 'x.at + ".apiKeySecretRef"', value: x.is.apiKeySecretRef.name}
- outer: 'variables.models.filter(o, has(o.is.optionsFrom))'
  list: 'o.is.optionsFrom'
  at: 'o.at + ".optionsFrom (" + x.name + ")"'
  value: x.secretKeyRef.name
- outer: 'variables.sources.filter(o, has(o.is.metadata))'
  list: 'o.is.metadata.filter(x, has(x.secretKeyRef))'
  at: 'o.at + ".metadata (" + x.name + ").secretKeyRef"'
  value: x.secretKeyRef.name
- outer: 'variables.remotes.filter(o, has(o.is.headersFrom))'
  list: 'o.is.headersFrom'
  at: 'o.at + ".headersFrom (" + x.name + ")"'
  value: x.secretKeyRef.name
- list: 'variables.envItems.filter(x, has(x.valueFrom) && has(x.valueFrom.secretKeyRef))'
  at: '"spec.env (" + x.name + ")"'
  value: '(has(x.valueFrom.secretKeyRef.name) ? x.valueFrom.secretKeyRef.name : "")'
- {list: 'variables.envSources.filter(x, has(x.secretRef))', at: '"spec.envFrom"', value: '(has(x.secretRef.name) ? x.secretRef.name : "")'}
- list: 'variables.volumeItems.filter(x, has(x.secret))'
  at: '"spec.volumes (" + x.name + ").secret"'
  value: '(has(x.secret.secretName) ? x.secret.secretName : "")'
- {list: 'has(variables.spec.imagePullSecrets) ? variables.spec.imagePullSecrets : []', at: '"spec.imagePullSecrets"', value: x.name}
serviceAccounts:
- {list: 'has(variables.spec.serviceAccountName) ? [variables.spec.serviceAccountName] : []', at: '"spec.serviceAccountName"', value: x}
volumes:
- outer: variables.volumeItems
  list: '["configMap", "secret", "emptyDir", "persistentVolumeClaim"].filter(x, x in o)'
  at: '"spec.volumes (" + o.name + ")"'
  value: x
env:
- {list: variables.envItems, at: '"spec.env"', value: x.name}
# In brackets, which no entry may begin with, so that none that ends with * has them; a lone * has everything.
- {list: variables.envSources, at: '"spec.envFrom"', value: '("(all of a " + (has(x.secretRef) ? "Secret" : "ConfigMap") + ")")'}
python:
- {list: 'variables.tools.filter(x, has(x.python))', at: '"spec.tools (" + x.name + ").python.configMapKeyRef"', value: x.python.configMapKeyRef.name}
# The ways to bring in code by the back door. What a variable may do else is for the list of variables, which has to be there (see
# holdfast.check); these are what an entry with * must not let in by chance.
- list: 'variables.envItems.filter(x, x.name.matches("^(PATH$|GCONV_PATH$|PYTHON|LD_|OPENSSL_|GLIBC_)"))'
  at: '"spec.env"'
  value: x.name
- {list: variables.envSources, at: '"spec.envFrom"', value: '"(names that nobody sees)"'}
- list: '(has(variables.spec.volumeMounts) ? variables.spec.volumeMounts : []).filter(x, !x.mountPath.matches("^/(data|mnt)(/[^./][^/]*)*$"))'
  at: '"spec.volumeMounts outside /data and /mnt"'
  value: x.mountPath
podLabels:
- {list: 'has(variables.spec.podLabels) ? variables.spec.podLabels.map(k, k) : []', at: '"spec.podLabels"', value: x}
podAnnotations:
- {list: 'has(variables.spec.podAnnotations) ? variables.spec.podAnnotations.map(k, k) : []', at: '"spec.podAnnotations"', value: x}
priorityClasses:
- {list: 'has(variables.spec.priorityClassName) ? [variables.spec.priorityClassName] : []', at: '"spec.priorityClassName"', value: x}
tolerations:
# One without a key tolerates everything.
- list: 'has(variables.spec.tolerations) ? variables.spec.tolerations : []'
  at: '"spec.tolerations"'
  value: '(has(x.key) && x.key != "" ? x.key : "*")'
{{- end }}

{{/* Lists that `uses` is written with. */}}
{{- define "holdfast.policy.parts" -}}
tools: 'has(variables.spec.tools) ? variables.spec.tools : []'
envItems: 'has(variables.spec.env) ? variables.spec.env : []'
envSources: 'has(variables.spec.envFrom) ? variables.spec.envFrom : []'
volumeItems: 'has(variables.spec.volumes) ? variables.spec.volumes : []'
models: >-
  (has(variables.spec.model) ? [{"at": dyn("spec.model"), "is": dyn(variables.spec.model)}] : [])
  + (has(variables.spec.model) && has(variables.spec.model.fallbacks) ? variables.spec.model.fallbacks.map(m, {"at": dyn("spec.model.fallbacks"), "is": dyn(m)}) : [])
  + (has(variables.spec.model) && has(variables.spec.model.routes) ? variables.spec.model.routes.map(r, {"at": dyn("spec.model.routes"), "is": dyn(r.model)}) : [])
  + (has(variables.spec.memory) && has(variables.spec.memory.model) ? [{"at": dyn("spec.memory.model"), "is": dyn(variables.spec.memory.model)}] : [])
  + (has(variables.spec.evaluation) && has(variables.spec.evaluation.model) ? [{"at": dyn("spec.evaluation.model"), "is": dyn(variables.spec.evaluation.model)}] : [])
sources: >-
  (has(variables.spec.state) ? [{"at": dyn("spec.state"), "is": dyn(variables.spec.state)}] : [])
  + (has(variables.spec.memory) ? [{"at": dyn("spec.memory"), "is": dyn(variables.spec.memory)}] : [])
  + (has(variables.spec.pubsub) ? [{"at": dyn("spec.pubsub"), "is": dyn(variables.spec.pubsub)}] : [])
  + (has(variables.spec.triggers) ? variables.spec.triggers : []).filter(t, has(t.topic)).map(t, {"at": dyn("spec.triggers (" + t.name + ").topic"), "is": dyn(t.topic)})
remotes: >-
  variables.tools.filter(t, has(t.http)).map(t, {"at": dyn("spec.tools (" + t.name + ").http"), "is": dyn(t.http)})
  + variables.tools.filter(t, has(t.mcp)).map(t, {"at": dyn("spec.tools (" + t.name + ").mcp"), "is": dyn(t.mcp)})
{{- end }}

{{/* Whether the list has VALUE. A host is compared as the client will read it, so what two programs may read in two ways is refused. */}}
{{- define "holdfast.policy.has" -}}
{{- if not .allowed -}}
false
{{- else if eq .kind "hosts" -}}
(VALUE).matches("^(?i)https?://[-a-z0-9.:\\[\\]]+([/?].*)?$") && isURL(VALUE) && {{ toJson .allowed }}.exists(p,
  p.startsWith("*.") ? url(VALUE).getHostname().lowerAscii().endsWith(p.substring(1)) :
  p.contains(":") ? url(VALUE).getHost().lowerAscii() == p : url(VALUE).getHostname().lowerAscii() == p)
{{- else -}}
{{ toJson .allowed }}.exists(p, p.endsWith("*") ? (VALUE).startsWith(p.substring(0, p.size() - 1)) : VALUE == p)
{{- end -}}
{{- end }}

{{/* CEL: texts `field value` of what the list does not have. Arguments: kind, allowed. */}}
{{- define "holdfast.policy.refused" -}}
{{- $has := include "holdfast.policy.has" . -}}
{{- $parts := list -}}
{{- range index (include "holdfast.policy.uses" . | fromYaml) .kind -}}
{{- $texts := printf "(%s).filter(x, !(%s)).map(x, %s + \" \" + %s)" .list ($has | replace "VALUE" .value) .at .value -}}
{{- if .outer -}}
{{- $texts = printf "(%s).map(o, %s.join(\", \")).filter(s, s != \"\")" .outer $texts -}}
{{- end -}}
{{- $parts = append $parts $texts -}}
{{- end -}}
{{ join "\n+ " $parts }}
{{- end }}
