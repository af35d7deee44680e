"""Condition types and reasons: the words that programs and runbooks match on, so they never change their meaning.

`Ready` is True when the four others are. `Reconciling` and `Stalled` are present only while they are True, as kstatus expects.
"""

from typing import Final

READY: Final = "Ready"
ACCEPTED: Final = "Accepted"
REFERENCES_RESOLVED: Final = "ReferencesResolved"
DAPR_CONFIGURED: Final = "DaprConfigured"
AVAILABLE: Final = "Available"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
SUMMARISED: Final = (ACCEPTED, REFERENCES_RESOLVED, DAPR_CONFIGURED, AVAILABLE)

# All is well.
SUCCEEDED: Final = "Succeeded"
SUSPENDED: Final = "Suspended"
# On the way.
PROGRESSING: Final = "Progressing"
UNKNOWN: Final = "NotYetKnown"
RETRYING: Final = "ProgressingWithRetry"
# Accepted=False: the Agent must be changed.
INVALID_SPEC: Final = "InvalidSpec"
INVALID_SCHEMA: Final = "InvalidSchema"
MODEL_MISSING: Final = "ModelMissing"
STATE_MISSING: Final = "StateMissing"
PUBSUB_MISSING: Final = "PubsubMissing"
STATE_CHANGED: Final = "StateChanged"
CONFIG_TOO_LARGE: Final = "ConfigTooLarge"
CHILD_NAME_TAKEN: Final = "ChildNameTaken"
FORMER_CHILDREN: Final = "FormerChildrenRemain"
# ReferencesResolved=False: something that the Agent names is not there.
CONFIG_MAP_NOT_FOUND: Final = "ConfigMapNotFound"
CONFIG_MAP_KEY_NOT_FOUND: Final = "ConfigMapKeyNotFound"
COMPONENT_NOT_FOUND: Final = "ComponentNotFound"
COMPONENT_UNFIT: Final = "ComponentUnfit"
SECRET_NOT_FOUND: Final = "SecretNotFound"
SECRET_KEY_NOT_FOUND: Final = "SecretKeyNotFound"
SERVICE_ACCOUNT_NOT_FOUND: Final = "ServiceAccountNotFound"
# DaprConfigured=False.
DAPR_NOT_INSTALLED: Final = "DaprNotInstalled"
DAPR_REJECTED: Final = "DaprObjectRejected"
# Available=False: the pods.
SIDECAR_NOT_INJECTED: Final = "SidecarNotInjected"
SIDECAR_CRASHING: Final = "SidecarCrashing"
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
POD_SECURITY_REFUSED: Final = "PodSecurityRefused"
POD_REFUSED: Final = "PodRefused"
CONTAINER_CONFIG_ERROR: Final = "ContainerConfigError"
AGENT_CRASHING: Final = "AgentCrashing"
UNSCHEDULABLE: Final = "Unschedulable"
POD_FAILED: Final = "PodFailed"
NOT_READY: Final = "NotReady"
ROLLOUT_TIMEOUT: Final = "RolloutTimeout"
# The cluster says no to the operator.
APPLY_FAILED: Final = "ApplyFailed"
