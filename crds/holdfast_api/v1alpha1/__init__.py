"""`holdfast.dev/v1alpha1`: the models of the Agent resource."""

from holdfast_api.v1alpha1.agent import (
    Access,
    Agent,
    AgentSpec,
    AgentStatus,
    Condition,
    Limits,
    ObjectMeta,
    SystemPromptSource,
)
from holdfast_api.v1alpha1.model import Model
from holdfast_api.v1alpha1.store import ComponentMetadata, Memory, State
from holdfast_api.v1alpha1.tools import HeaderSource, HttpTool, PythonTool, Tool
from holdfast_api.v1alpha1.types import ConfigMapKeyRef, SecretKeyRef

__all__ = [
    "Access",
    "Agent",
    "AgentSpec",
    "AgentStatus",
    "ComponentMetadata",
    "Condition",
    "ConfigMapKeyRef",
    "HeaderSource",
    "HttpTool",
    "Limits",
    "Memory",
    "Model",
    "ObjectMeta",
    "PythonTool",
    "SecretKeyRef",
    "State",
    "SystemPromptSource",
    "Tool",
]
