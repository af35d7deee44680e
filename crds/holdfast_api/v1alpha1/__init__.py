"""`holdfast.dev/v1alpha1`: the models of the Agent resource."""

from holdfast_api.v1alpha1.access import Access
from holdfast_api.v1alpha1.agent import (
    Agent,
    AgentSpec,
    AgentStatus,
    Condition,
    ObjectMeta,
    SystemPromptSource,
)
from holdfast_api.v1alpha1.headers import HeaderSource
from holdfast_api.v1alpha1.model import Model, OneModel, Route
from holdfast_api.v1alpha1.observability import Observability, Tracing
from holdfast_api.v1alpha1.pubsub import Broker, Pubsub
from holdfast_api.v1alpha1.remote import AgentTool, McpTool
from holdfast_api.v1alpha1.resiliency import CircuitBreaker, Resiliency
from holdfast_api.v1alpha1.runs import Evaluation, Limits, Output, Retention
from holdfast_api.v1alpha1.store import ComponentMetadata, ComponentSource, Memory, State
from holdfast_api.v1alpha1.tools import Approval, HttpTool, PythonTool, RateLimit, Retries, Tool
from holdfast_api.v1alpha1.triggers import Schedule, TopicTrigger, Trigger
from holdfast_api.v1alpha1.types import ConfigMapKeyRef, SecretKeyRef

__all__ = [
    "Access",
    "Agent",
    "AgentSpec",
    "AgentStatus",
    "AgentTool",
    "Approval",
    "Broker",
    "CircuitBreaker",
    "ComponentMetadata",
    "ComponentSource",
    "Condition",
    "ConfigMapKeyRef",
    "Evaluation",
    "HeaderSource",
    "HttpTool",
    "Limits",
    "McpTool",
    "Memory",
    "Model",
    "ObjectMeta",
    "Observability",
    "OneModel",
    "Output",
    "Pubsub",
    "PythonTool",
    "RateLimit",
    "Resiliency",
    "Retention",
    "Retries",
    "Route",
    "Schedule",
    "SecretKeyRef",
    "State",
    "SystemPromptSource",
    "Tool",
    "TopicTrigger",
    "Tracing",
    "Trigger",
]
