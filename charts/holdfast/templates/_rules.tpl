{{/*
What the operator may do where it looks after Agents. operator/holdfast_operator/rbac.py says the same, and a test compares.
Secrets: create and nothing else, unless secrets.watch says otherwise. Whoever may patch a Secret can read it.
*/}}
{{- define "holdfast.rules" -}}
# Agents: a list at the start, a watch for every change, a read where an event's copy was too large to keep.
- apiGroups: [holdfast.dev]
  resources: [agents]
  verbs: [get, list, watch]
# What an Agent comes to is told in its status, and nowhere else on it.
- apiGroups: [holdfast.dev]
  resources: [agents/status]
  verbs: [patch]
# Children name their Agent as an owner that waits for them (blockOwnerDeletion), which some clusters ask a right for.
- apiGroups: [holdfast.dev]
  resources: [agents/finalizers]
  verbs: [update]
# Every child: one read before it is first touched, server-side apply (create and patch), a list at the start, a watch against drift.
# Delete only where a child can be superseded or no longer be wanted.
- apiGroups: [""]
  resources: [configmaps, serviceaccounts]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [create, get, list, patch, watch]
# The Agent's tokens are made once. Reading is for secrets.watch alone.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create{{ if .Values.secrets.watch }}, get, list, watch{{ end }}]
# Pods tell what their Deployment does not; one that was admitted without a sidecar cannot gain one and is deleted.
- apiGroups: [""]
  resources: [pods]
  verbs: [delete, list, watch]
# An Event when an Agent turns; a repeated one is counted.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [create, get, list, patch, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [dapr.io]
  resources: [components, subscriptions]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [dapr.io]
  resources: [configurations, resiliencies]
  verbs: [create, get, list, patch, watch]
{{- end }}
