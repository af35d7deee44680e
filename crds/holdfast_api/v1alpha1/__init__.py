"""`holdfast.dev/v1alpha1`: the models of the Agent resource."""

from holdfast_api.v1alpha1.agent import (
    Access,
    Agent,
    AgentSpec,
    AgentStatus,
    Condition,
    ObjectMeta,
    SystemPromptSource,
)
from holdfast_api.v1alpha1.model import Model, OneModel
from holdfast_api.v1alpha1.runs import Evaluation, Limits, Output, Retention
from holdfast_api.v1alpha1.store import ComponentMetadata, Memory, State
from holdfast_api.v1alpha1.tools import Approval, HeaderSource, HttpTool, PythonTool, RateLimit, Retries, Tool
from holdfast_api.v1alpha1.types import ConfigMapKeyRef, SecretKeyRef

__all__ = [
    "Access",
    "Agent",
    "AgentSpec",
    "AgentStatus",
    "Approval",
    "ComponentMetadata",
    "Condition",
    "ConfigMapKeyRef",
    "Evaluation",
    "HeaderSource",
    "HttpTool",
    "Limits",
    "Memory",
    "Model",
    "ObjectMeta",
    "OneModel",
    "Output",
    "PythonTool",
    "RateLimit",
    "Retention",
    "Retries",
    "SecretKeyRef",
    "State",
    "SystemPromptSource",
    "Tool",
]
